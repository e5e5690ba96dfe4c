"""fairseq checkpoints: wav2vec 2.0, HuBERT, data2vec-audio and WavLM, pretrained or fine-tuned with CTC."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from speechssl.config import ModelConfig
from speechssl.errors import CheckpointError
from speechssl.interop.fairseq_config import Settings, model_config, objective_config, read_settings
from speechssl.interop.imported import Architecture, Family, Imported, make_vocabulary
from speechssl.interop.naming import FAIRSEQ, model_pairs
from speechssl.interop.pickles import Inert
from speechssl.interop.tensors import take_over
from speechssl.interop.torch_files import TorchFile
from speechssl.interop.values import as_mapping
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import CheckpointKind

FORMAT = "fairseq"
FINE_TUNED = "w2v_encoder."
ENCODER = "w2v_encoder.w2v_model."
"""Before the names of a fine-tuned model, and before those of its encoder."""
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""Symbols that every dictionary of theirs begins with."""
PRETEXT = ("final_proj.", "project_q.", "label_embs_concat")
"""Of a pretext task; without a quantizer, none that can go on here."""


def read_fairseq(file: TorchFile, labels: Path | None = None) -> Imported:
    """A model from a checkpoint.

    Args:
        file: the checkpoint.
        labels: of a recogniser, in place of the dictionary in the checkpoint.

    Raises:
        CheckpointError: another file, a model that is not read, missing, unknown or misshapen tensors, or labels that
            do not fit.
    """
    source, content = str(file.path), file.content
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not {"cfg", "args"} & content.keys():
        raise CheckpointError(
            f"{source}: no fairseq checkpoint (model, and cfg or args). Weights alone do not tell what they compute: "
            "models of torchaudio's are given by name, as torchaudio:HUBERT_BASE, those of Hugging Face's as folders"
        )
    theirs = file.tensors(model)
    settings = read_settings(content, source)
    kind = kind_of(theirs)
    encoder = model_config(settings)
    architecture = Architecture(
        kind,
        family_of(settings, theirs, encoder),
        encoder,
        objective=objective_config(settings) if kind == "pretrain" else None,
        vocabulary=vocabulary_of(file, theirs, labels) if kind == "ctc" else None,
    )
    architecture.notes.extend(training_notes(settings) if kind == "pretrain" else [])
    prefix = ENCODER if any(name.startswith(FINE_TUNED) for name in theirs) else ""
    ignored = [name for name in theirs if kind != "pretrain" and name.removeprefix(prefix).startswith(PRETEXT)]
    if ignored:
        architecture.notes.append(f"{', '.join(sorted(ignored))}: of the pretext task, left out")
    pairs_of = partial(model_pairs, names=FAIRSEQ, prefix=prefix)
    return take_over(architecture, pairs_of, theirs, source=file.path, format=FORMAT, ignored=ignored)


def kind_of(theirs: Mapping[str, Tensor]) -> CheckpointKind:
    """What the tensors make."""
    if "quantizer.vars" in theirs:
        return "pretrain"
    return "ctc" if f"{FINE_TUNED}proj.weight" in theirs else "encoder"


def family_of(settings: Settings, theirs: Mapping[str, Tensor], encoder: ModelConfig) -> Family:
    """WavLM and data2vec, which their encoders tell, or else wav2vec 2.0 or HuBERT, whose encoders are alike."""
    if encoder.context.relative_bias:
        return "wavlm"
    if encoder.context.pos_conv_depth > 1:
        return "data2vec-audio"
    return "hubert" if settings.kind.startswith("hubert") or "label_embs_concat" in theirs else "wav2vec2"


def vocabulary_of(file: TorchFile, theirs: Mapping[str, Tensor], labels: Path | None) -> Vocabulary:
    """The labels of a recogniser; fairseq's CTC takes the first one, ``<s>``, for the blank.

    Raises:
        CheckpointError: none in the checkpoint and none given, or not one for each output.
    """
    weight = theirs[f"{FINE_TUNED}proj.weight"]
    outputs = weight.shape[0] if weight.dim() else 0
    symbols = dictionary_of(file.content) if labels is None else read_dictionary(labels)
    if symbols is None:
        raise CheckpointError(
            f"{file.path}: a recogniser of {outputs} labels without its dictionary; give it with --labels dict.ltr.txt"
        )
    source = labels or file.path
    if len(symbols) != outputs:
        raise CheckpointError(
            f"{source}: {len(symbols)} symbols for {outputs} outputs of {file.path}; give the dictionary that belongs "
            "to these weights with --labels FILE"
        )
    try:
        return make_vocabulary(symbols)
    except ValueError as error:
        raise CheckpointError(
            f"{source}: the dictionary cannot be used ({error}); give another with --labels"
        ) from error


def read_dictionary(path: Path) -> list[str]:
    """Symbols of a dictionary in a file, after those that every one of theirs has: lines of symbol and count.

    Raises:
        CheckpointError: no file, or another kind.
    """
    try:
        lines = [line.rpartition(" ") for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: the dictionary cannot be read ({error})") from error
    if not all(symbol and count.isdigit() for symbol, _, count in lines):
        raise CheckpointError(f"{path}: no dictionary of fairseq's; expected a symbol and its count in every line")
    return [*SPECIALS, *(symbol for symbol, _, _ in lines)]


def dictionary_of(content: Mapping[str, Any]) -> list[str] | None:
    """Symbols of the dictionary that a task has stored; None without one."""
    state = as_mapping(content.get("task_state"))
    several = [state.get(name) for name in ("ft_dictionaries", "dictionaries")]
    found = [state.get("target_dictionary")]
    for item in several:
        found += list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []
    for item in found:
        symbols = item.state.get("symbols") if isinstance(item, Inert) else None
        if isinstance(symbols, list) and all(isinstance(symbol, str) for symbol in symbols):
            return symbols
    return None


def training_notes(settings: Settings) -> list[str]:
    """How pretraining that goes on here differs from what the configuration asked for."""
    model, notes = settings.model, []
    for name in ("cross_sample_negatives", "codebook_negatives"):
        if model.of_type(int, name, 0):
            notes.append(f"{name}: negatives are drawn from the masked frames of the same utterance only")
    if model.of_type(bool, "negatives_from_everywhere", False):
        notes.append("negatives_from_everywhere: negatives are drawn from masked frames only")
    if model.get("mask_selection", "static") != "static":
        notes.append("mask_selection: spans are drawn of one length")
    return notes
