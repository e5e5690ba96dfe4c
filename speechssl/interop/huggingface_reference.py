"""Hugging Face's own models as the other side of a proof."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.errors import CheckpointError, ConfigError
from speechssl.interop.huggingface_config import FEATURES_FILE
from speechssl.interop.imported import Architecture
from speechssl.interop.proof import CONTEXT, FEATURES, LOGITS, LOSS, Reference, Stages, layer_name
from speechssl.interop.tensors import first_line
from speechssl.objectives.contrastive import ContrastiveDraw


def huggingface_reference(folder: Path, architecture: Architecture) -> Reference:
    """A folder's model as transformers loads and runs it.

    Raises:
        ConfigError: transformers is not installed.
        CheckpointError: it does not load the folder.
    """
    transformers = import_transformers()
    classes = {"pretrain": "AutoModelForPreTraining", "ctc": "AutoModelForCTC", "encoder": "AutoModel"}
    with failures_told(folder, "load"):
        # Half-precision weights would be loaded as such, and their own attention is what every machine has.
        options = {"torch_dtype": torch.float32, "attn_implementation": "eager", "local_files_only": True}
        model = getattr(transformers, classes[architecture.kind]).from_pretrained(folder, **options).eval()
        prepare = make_features(transformers, folder, architecture)

    @torch.no_grad()
    def stages(audio: Tensor, draw: ContrastiveDraw | None) -> Stages:
        with failures_told(folder, "run"):
            return run(audio, draw)

    def run(audio: Tensor, draw: ContrastiveDraw | None) -> Stages:
        heard = prepare(audio[0].numpy(), sampling_rate=architecture.model.sample_rate, return_tensors="pt")
        values = heard.input_values.to(audio.dtype)
        encoder = getattr(model, model.base_model_prefix, model)
        encoded = encoder(values, output_hidden_states=True)
        features = encoder.feature_extractor(values).transpose(1, 2)
        found = {FEATURES: encoder.feature_projection.layer_norm(features)}
        # The first hidden state is the first block's input; in pre-norm models the last one is already normalised.
        last = len(encoded.hidden_states) - (1 if architecture.model.context.norm_first else 0)
        found |= {layer_name(i): encoded.hidden_states[i] for i in range(1, last)}
        found[CONTEXT] = encoded.last_hidden_state
        if architecture.kind == "ctc":
            found[LOGITS] = model(values).logits
        if draw is not None:
            found[LOSS] = contrastive_loss(model, values, draw)
        return found

    return stages


@contextmanager
def failures_told(folder: Path, action: str) -> Iterator[None]:
    """Turn whatever goes wrong in transformers into one error: what it takes depends on its version, not on us.

    Raises:
        CheckpointError: with what it says.
    """
    try:
        yield
    except Exception as error:
        raise CheckpointError(
            f"{folder}: transformers does not {action} this model ({type(error).__name__}: {first_line(error)}); "
            "nothing was written. If the model is sound, --proof false does without the comparison"
        ) from error


def contrastive_loss(model: Any, values: Tensor, draw: ContrastiveDraw) -> Tensor:
    """Their contrastive loss with our masks and negatives."""
    negatives = torch.zeros(*draw.time_mask.shape, draw.negatives.shape[2], dtype=torch.long)
    negatives[0, draw.positions[0]] = draw.positions[0][draw.negatives[0]]
    output = model(values, mask_time_indices=draw.time_mask, sampled_negative_indices=negatives)
    return output.contrastive_loss


def make_features(transformers: Any, folder: Path, architecture: Architecture) -> Any:
    """Their preparation of audio: the folder's own if it has one."""
    if (folder / FEATURES_FILE).is_file():
        return transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    return transformers.Wav2Vec2FeatureExtractor(
        sampling_rate=architecture.model.sample_rate, do_normalize=architecture.model.normalize_audio
    )


def import_transformers() -> Any:
    """The package, without its advertisements and progress bars.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import transformers  # an extra, and seconds to import
    except ImportError as error:
        raise ConfigError(
            "the proof runs Hugging Face's own model, and transformers is not installed: pip install "
            "'speechssl[interop]', or leave the proof out with --proof false"
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
