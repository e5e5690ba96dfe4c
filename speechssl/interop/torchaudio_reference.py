"""torchaudio's own models as the other side of a proof."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.interop.imported import Architecture
from speechssl.interop.proof import CONTEXT, FEATURES, LOGITS, Reference, Stages, layer_name
from speechssl.interop.torch_files import read_torch_file
from speechssl.interop.torchaudio_bundles import find_bundle, inner_module, is_bundle, load_bundle
from speechssl.interop.torchaudio_config import their_arguments, their_function
from speechssl.interop.torchaudio_models import (
    WEIGHTS_FILE,
    inner_tensors,
    is_torchaudio_folder,
    module_of,
    read_facts,
)
from speechssl.objectives.contrastive import ContrastiveDraw

LOUDNESS = 10.0
"""Theirs adds 1e-5 to the variance of the waveform before it divides by its root, ours (and Hugging Face's) 1e-7, which
tells in quiet recordings. Of audio that is ten times louder, 1e-5 is the same share as 1e-7 of the audio itself."""


def torchaudio_reference(source: Path, architecture: Architecture) -> Reference:
    """A pipeline, a state dict or a written folder as torchaudio runs it.

    Raises:
        CheckpointError: the weights cannot be read again.
    """
    if is_bundle(source):
        return reference_of_module(load_bundle(find_bundle(str(source)), str(source)), architecture)
    if is_torchaudio_folder(source):
        module, path = module_of(read_facts(source), source), source / WEIGHTS_FILE
    else:
        facts = {"function": their_function(architecture.model), "arguments": their_arguments(architecture)}
        module, path = module_of(facts, source), source
    file = read_torch_file(path)
    wanted = set(module.state_dict())
    theirs = {name: value for name, value in inner_tensors(file.tensors(file.content)).items() if name in wanted}
    module.load_state_dict(theirs)
    return reference_of_module(module.eval(), architecture)


def reference_of_module(module: Any, architecture: Architecture) -> Reference:
    """A model of theirs, in evaluation mode, as it is or as a pipeline wraps it."""
    inner = inner_module(module)

    @torch.no_grad()
    def stages(audio: Tensor, draw: ContrastiveDraw | None) -> Stages:
        heard = normalized = audio
        if architecture.model.normalize_audio:
            heard = audio * LOUDNESS
            normalized = F.layer_norm(heard, heard.shape)
        features, _ = inner.feature_extractor(normalized, None)
        found = {FEATURES: inner.encoder.feature_projection.layer_norm(features)}
        # A pipeline normalises by itself.
        layers, _ = module.extract_features(normalized if module is inner else heard)
        found |= {layer_name(i): value for i, value in enumerate(layers, 1)}
        found[CONTEXT] = inner.encoder(features)
        if architecture.kind == "ctc":
            found[LOGITS], _ = inner(normalized)
        return found

    return stages
