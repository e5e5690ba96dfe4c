"""torchaudio's wav2vec 2.0 and WavLM models: state dicts in, a state dict with its arguments out.

What ``write_torchaudio`` makes is loaded by torchaudio alone, with the three lines in ``LOADING``.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.config import ModelConfig
from speechssl.errors import CheckpointError
from speechssl.installation import import_torchaudio
from speechssl.interop.fairseq_values import show
from speechssl.interop.huggingface_labels import read_json
from speechssl.interop.imported import Architecture, Family, Imported, check_expressible, without_numbers
from speechssl.interop.labels import read_labels, write_labels
from speechssl.interop.naming import TORCHAUDIO, Pair, model_pairs
from speechssl.interop.sizes import MAX_LAYERS
from speechssl.interop.tensors import first_line, modern_name, num_rows, to_ours, to_theirs
from speechssl.interop.torch_files import read_torch_file
from speechssl.interop.torchaudio_config import (
    model_of_module,
    problems_of,
    published_model,
    their_arguments,
    their_function,
)
from speechssl.training.checkpoints import CheckpointKind

FORMAT = "torchaudio"
WEIGHTS_FILE = "model.pt"
FACTS_FILE = "model.json"
LABELS_FILE = "labels.txt"
LOADING = """\
facts = json.loads(Path("model.json").read_text())
model = getattr(torchaudio.models, facts["function"])(**facts["arguments"])
model.load_state_dict(torch.load("model.pt", weights_only=True))
"""
_MASKS = "mask_generator.mask_embedding"
_PRETEXT = "logit_generator."
_MARKER = "encoder.transformer.layer_norm.weight"
_PREFIXES = ("", "model.", "wav2vec2.")
"""Of the model itself, as a pipeline wraps it, and as ``HuBERTPretrainModel`` does."""
_FUNCTIONS = ("wav2vec2_model", "wavlm_model")


def is_torchaudio_folder(path: Path) -> bool:
    """Whether a path is a folder that ``write_torchaudio`` made."""
    return (path / FACTS_FILE).is_file() and (path / WEIGHTS_FILE).is_file()


def is_state_dict(content: Any) -> bool:
    """Whether a PyTorch file holds the state dict of a model of theirs."""
    return isinstance(content, Mapping) and any(f"{prefix}{_MARKER}" in content for prefix in _PREFIXES)


def read_state_dict(
    path: Path, theirs: Mapping[str, Tensor], *, model: ModelConfig | None, labels: Path | None
) -> Imported:
    """A model from the state dict in a file.

    Args:
        path: of the file.
        theirs: what it holds.
        model: the encoder, where it is not of a published shape.
        labels: of a recogniser.

    Raises:
        CheckpointError: missing, unknown or misshapen tensors, an unknown shape of model, or labels that do not fit.
    """
    theirs = inner_tensors(theirs)
    notes: list[str] = []
    if model is None:
        shapes = {name: value.shape for name, value in theirs.items()}
        model = published_model(shapes, source=str(path))
        normalizes = "normalised to zero mean and unit variance" if model.normalize_audio else "as it is"
        notes.append(
            f"a state dict does not tell everything: taken as the published model of this shape, with "
            f"{model.context.num_heads} heads, {'pre' if model.context.norm_first else 'post'}-norm blocks and 16 kHz "
            f"audio {normalizes}; give --model for another"
        )
    vocabulary = None
    if "aux.weight" in theirs:
        vocabulary = read_labels(labels, num_rows(theirs["aux.weight"]), source=str(path))
    kind: CheckpointKind = "encoder" if vocabulary is None else "ctc"
    family: Family = "wavlm" if model.context.relative_bias else "wav2vec2"
    if any(name.startswith(_PRETEXT) for name in theirs):
        family = "hubert"
    return imported_from(Architecture(kind, family, model, vocabulary=vocabulary, notes=notes), theirs, path)


def read_folder(folder: Path) -> Imported:
    """A folder that ``write_torchaudio`` made.

    Raises:
        CheckpointError: a file is damaged, or they do not belong together.
    """
    facts = read_facts(folder)
    file = read_torch_file(folder / WEIGHTS_FILE)
    theirs = file.tensors(file.content if isinstance(file.content, dict) else {})
    with without_numbers():
        module = module_of(facts, folder)
    model = model_of_module(module, sample_rate=facts["sample_rate"], normalize_audio=facts["normalize_waveform"])
    labels = folder / LABELS_FILE
    return read_state_dict(folder, theirs, model=model, labels=labels if labels.is_file() else None)


def read_facts(folder: Path) -> dict[str, Any]:
    """What ``model.json`` says.

    Raises:
        CheckpointError: it is damaged, or says something else.
    """
    facts = read_json(folder / FACTS_FILE)
    kinds = {"function": str, "arguments": dict, "sample_rate": int, "normalize_waveform": bool}
    wrong = [name for name, kind in kinds.items() if type(facts.get(name)) is not kind]
    if wrong:
        raise CheckpointError(f"{folder / FACTS_FILE}: {', '.join(wrong)} missing or of another kind; export it again")
    return facts


def module_of(facts: Mapping[str, Any], source: Path) -> Any:
    """A model of theirs with random weights.

    Raises:
        CheckpointError: the arguments are not those of a model.
    """
    if facts["function"] not in _FUNCTIONS:
        raise CheckpointError(
            f"{source}: function is {str(facts['function'])[:40]!r}, expected {' or '.join(_FUNCTIONS)}"
        )
    layers = facts["arguments"].get("encoder_num_layers", 1)  # without it, torchaudio says so
    if type(layers) is not int or not 0 < layers <= MAX_LAYERS:
        raise CheckpointError(f"{source}: encoder_num_layers is {show(layers)}, expected 1 to {MAX_LAYERS}")
    make = getattr(import_torchaudio("torchaudio.models"), facts["function"])
    try:
        return make(**facts["arguments"])
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{source}: no arguments of torchaudio.models.{facts['function']} ({first_line(error)})"
        ) from error


def imported_from(architecture: Architecture, theirs: Mapping[str, Tensor], source: Path) -> Imported:
    """A model of theirs under our names; torchaudio keeps no mask embedding but in models that are being pretrained."""
    pairs = their_pairs(architecture)
    if _MASKS in theirs:
        pairs.append(Pair("encoder.mask_embedding", (_MASKS,)))
    ignored = [name for name in theirs if name.startswith(_PRETEXT)]
    if ignored:
        architecture.notes.append(f"{', '.join(ignored)}: of HuBERT's pretext task, left out")
    shapes = architecture.shapes(str(source))
    weights = to_ours(pairs, theirs, shapes, source=str(source), ignored=ignored)
    if _MASKS not in theirs:
        weights["encoder.mask_embedding"] = torch.zeros(shapes["encoder.mask_embedding"])
        architecture.notes.append("torchaudio keeps no mask embedding: zeros in its place")
    return Imported(architecture, weights, source, FORMAT)


def their_pairs(architecture: Architecture) -> list[Pair]:
    """Every tensor of a model of theirs."""
    pairs = model_pairs(architecture, TORCHAUDIO)
    if architecture.model.context.relative_bias:
        pairs = [pair._replace(theirs=tuple(dict.fromkeys(map(in_wavlm, pair.theirs)))) for pair in pairs]
    return pairs


def in_wavlm(name: str) -> str:
    """A name as their WavLM has it: attention wraps PyTorch's, where queries, keys and values are one, as in ours."""
    stem, middle, last = name.rpartition(".attention.")
    part, _, kind = last.partition(".")
    match part:
        case "q_proj" | "k_proj" | "v_proj":
            return f"{stem}.attention.attention.in_proj_{kind}"
        case "out_proj":
            return f"{stem}.attention.attention.{last}"
    return f"{stem}{middle}{last}"


def inner_tensors(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without what wraps the model, under present names."""
    prefix = next((prefix for prefix in _PREFIXES if f"{prefix}{_MARKER}" in theirs), "")
    return {modern_name(name.removeprefix(prefix)): value for name, value in theirs.items()}


def write_torchaudio(folder: Path, architecture: Architecture, weights: Mapping[str, Tensor]) -> None:
    """Write a model into an empty folder: model.pt, model.json and, for a recogniser, labels.txt.

    The quantizer of a pretrained model stays behind, as does the mask embedding: theirs have neither.

    Raises:
        CheckpointError: theirs cannot compute it.
    """
    check_expressible(architecture, "torchaudio", problems_of(architecture.model))
    pairs = their_pairs(architecture)
    facts = {
        "function": their_function(architecture.model),
        "arguments": their_arguments(architecture),
        "sample_rate": architecture.model.sample_rate,
        "normalize_waveform": architecture.model.normalize_audio,
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    content = io.BytesIO()  # since torch's own writer of files hides that the disk is full
    torch.save(to_theirs(pairs, weights), content)
    (folder / WEIGHTS_FILE).write_bytes(content.getbuffer())
    if architecture.vocabulary is not None:
        write_labels(folder / LABELS_FILE, architecture.vocabulary)
    if architecture.kind == "pretrain":
        print("note: torchaudio's models have no quantizer; the encoder alone is written")
    print(f"to load it:\n{LOADING}")
