"""Hugging Face folders: wav2vec 2.0, HuBERT, WavLM and data2vec-audio, in and out."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from speechssl.errors import CheckpointError
from speechssl.interop.huggingface_config import CONFIG_FILE, describe, family_of, read_architecture
from speechssl.interop.huggingface_labels import read_json
from speechssl.interop.imported import Architecture, Family, Imported
from speechssl.interop.naming import HUGGINGFACE, model_pairs
from speechssl.interop.tensors import take_over, to_theirs
from speechssl.interop.torch_files import read_torch_file
from speechssl.interop.values import show
from speechssl.training.checkpoints import CheckpointKind

FORMAT = "Hugging Face"
WEIGHTS_FILE = "model.safetensors"
PICKLE_FILE = "pytorch_model.bin"
PREFIXES: dict[Family, str] = {
    "wav2vec2": "wav2vec2.",
    "hubert": "hubert.",
    "wavlm": "wavlm.",
    "data2vec-audio": "data2vec_audio.",
}

FORMER_NAMES = {"mask_time_emb_vector": HUGGINGFACE.mask_embedding}
"""In an encoder: what the first versions of transformers called a tensor (facebook/wav2vec2-base-100h has it so)."""
PASSED_OVER = ("position_ids",)
"""Last parts of names of buffers that transformers no longer keeps."""
HEADS: dict[CheckpointKind, tuple[str, ...]] = {
    "pretrain": ("quantizer", "project_hid", "project_q"),
    "ctc": ("lm_head",),
    # Classifiers of utterances, frames and speakers.
    "encoder": ("projector", "classifier", "layer_weights", "tdnn", "feature_extractor", "objective"),
}
"""Modules beside an encoder, by the kind of model that has them; of classifiers the encoder alone is taken."""


def is_huggingface(path: Path) -> bool:
    """Whether a path looks like one of their models."""
    return (path / CONFIG_FILE).is_file()


def read_huggingface(folder: Path) -> Imported:
    """Read a model folder: configuration, weights in safetensors or a pickle of tensors, vocabulary.

    Raises:
        CheckpointError: anything missing, damaged or unknown; nothing in the folder is executed.
    """
    theirs = read_weights(folder)
    config = read_json(folder / CONFIG_FILE)
    prefix = PREFIXES[family_of(config, folder)]
    kind = kind_of(theirs, config)
    if not any(name.startswith(prefix) for name in theirs):
        prefix = ""
    architecture = read_architecture(folder, kind)
    theirs = settled(theirs, prefix, kind, architecture.notes)
    pairs_of = partial(model_pairs, names=HUGGINGFACE, prefix=prefix)
    return take_over(architecture, pairs_of, theirs, source=folder, format=FORMAT)


def kind_of(theirs: Mapping[str, Tensor], config: Mapping[str, Any]) -> CheckpointKind:
    """What the tensors make; of a file with both heads, what its configuration says."""
    is_recogniser = "lm_head.weight" in theirs
    if "quantizer.codevectors" in theirs and not (is_recogniser and "ForCTC" in str(config.get("architectures"))):
        return "pretrain"
    return "ctc" if is_recogniser else "encoder"


def settled(theirs: Mapping[str, Tensor], prefix: str, kind: CheckpointKind, notes: list[str]) -> dict[str, Tensor]:
    """Tensors under their present names, without those of other heads.

    Args:
        theirs: all tensors of a file.
        prefix: of the encoder's; without one, none is beside it.
        kind: of the model that is wanted.
        notes: what a person should know is added to it.
    """
    heads = {name for other, names in HEADS.items() if other != kind or other == "encoder" for name in names}
    kept: dict[str, Tensor] = {}
    others: set[str] = set()
    for name, value in theirs.items():
        is_inner = name.startswith(prefix)
        present = prefix + FORMER_NAMES.get(name.removeprefix(prefix), name.removeprefix(prefix)) if is_inner else name
        module = name.partition(".")[0]
        if name.rpartition(".")[2] in PASSED_OVER or (present != name and present in theirs):
            notes.append(f"{name}: transformers passes it over, and so does this")
        elif not is_inner and module in heads:
            others.add(module)
        else:
            kept[present] = value
            if present != name:
                notes.append(f"{name}: a former name of {present}")
    if others:
        notes.append(f"{', '.join(sorted(others))}: heads of other tasks, left out")
    return kept


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, in one file or several.

    Raises:
        CheckpointError: no weights, a damaged file, or a pickle that holds more than tensors.
    """
    for name, read in ((WEIGHTS_FILE, read_safetensors), (PICKLE_FILE, read_pickle)):
        if (folder / name).is_file():
            return read(folder / name)
        if (folder / f"{name}.index.json").is_file():
            parts = parts_of(folder / f"{name}.index.json")
            return {key: value for part in parts for key, value in read(part).items()}
    raise CheckpointError(f"{folder}: has neither {WEIGHTS_FILE} nor {PICKLE_FILE}; fetch the weights of the model too")


def parts_of(index: Path) -> list[Path]:
    """The files that an index names, each once.

    Raises:
        CheckpointError: one that is not in the folder, or none at all.
    """
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise CheckpointError(f"{index}: its weight_map names no files; fetch the index again")
    folder = index.parent
    for name in names.values():
        if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
            raise CheckpointError(f"{folder}: its index names {show(name)}, which is not a file of it; fetch it too")
    return [folder / name for name in sorted(set(names.values()))]


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged or cut off ({error}); fetch it again") from error


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch file, without executing what it may hold."""
    file = read_torch_file(path)
    if not isinstance(file.content, dict):
        raise CheckpointError(f"{path}: expected tensors by name, found something else; it is not a Hugging Face model")
    return file.tensors(file.content)


def write_huggingface(folder: Path, architecture: Architecture, weights: Mapping[str, Tensor]) -> None:
    """Write a model into an empty folder, as their ``from_pretrained`` loads it.

    Raises:
        CheckpointError: theirs cannot compute it.
    """
    files = describe(architecture)
    prefix = "" if architecture.kind == "encoder" else PREFIXES[architecture.family]
    theirs = to_theirs(model_pairs(architecture, HUGGINGFACE, prefix), weights)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    safetensors.torch.save_file(theirs, folder / WEIGHTS_FILE, metadata={"format": "pt"})
