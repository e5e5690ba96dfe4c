"""The verb ``import``: a model that was made elsewhere becomes a checkpoint, if it computes the same."""

import shutil
from collections.abc import Callable
from pathlib import Path

from speechssl.config import ImportConfig
from speechssl.config.limits import check
from speechssl.errors import CheckpointError, ConfigError
from speechssl.interop import fairseq, torchaudio
from speechssl.interop.fairseq import is_fairseq, read_fairseq
from speechssl.interop.fairseq_reference import fairseq_reference
from speechssl.interop.huggingface import is_huggingface, read_huggingface
from speechssl.interop.huggingface_reference import huggingface_reference
from speechssl.interop.imported import Architecture, Imported
from speechssl.interop.proof import Reference, proof_audio, prove
from speechssl.interop.torch_files import read_torch_file
from speechssl.interop.torchaudio import is_pipeline, read_pipeline, torchaudio_reference
from speechssl.outputs import check_output_folder


def run(config: ImportConfig) -> None:
    """Read a model, prove it, write the checkpoint.

    Raises:
        ConfigError: the output cannot be made, or a package that the proof needs is not installed.
        CheckpointError: the output is there already, the model cannot be read, or it computes something else; nothing
            is written then.
    """
    check(config)
    check_output(config.output)
    imported = read_model(config)
    for note in imported.architecture.notes:
        print(f"note: {note}")
    if config.proof:
        audio = proof_audio(config.audio, imported.architecture.model.sample_rate)
        prove(imported.build(), reference_of(imported), audio, config.tolerance)
    else:
        print("not proved (--proof false)")
    save(imported, config.output)
    print(summary(imported, config.output))


def save(imported: Imported, output: Path) -> None:
    """Write the checkpoint, or nothing: a folder that holds a part of it would be in the way of another try.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written.
    """
    was_there = output.exists()
    try:
        imported.save(output)
    except BaseException:
        shutil.rmtree(output / "checkpoints" if was_there else output, ignore_errors=True)
        raise


def check_output(output: Path) -> None:
    """Raise CheckpointError if the folder holds anything, ConfigError if it cannot be made."""
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise CheckpointError(f"{output}: is there already; delete it or choose another --output")
    check_output_folder(output)


def read_model(config: ImportConfig) -> Imported:
    """The model in whatever format it is.

    Raises:
        CheckpointError: no format that is known.
        ConfigError: labels for a model that brings its own.
    """
    path = config.checkpoint
    if config.labels is not None and not path.is_file():
        raise ConfigError(f"--labels is for fairseq's checkpoints that hold none, and {path} is no file; leave it out")
    if is_pipeline(path):
        return read_pipeline(str(path))
    if is_huggingface(path):
        return read_huggingface(path)
    if path.suffix in (".safetensors", ".json") and path.is_file():
        raise CheckpointError(f"{path}: a part of a model; give the folder that it lies in, with its config.json")
    if path.is_file():
        return read_file(path, config.labels)
    if not path.exists():
        of_hub = len(path.parts) == 2 and not path.parent.exists()
        hint = f"; a model of the Hugging Face hub is fetched first: hf download {path} --local-dir FOLDER"
        raise CheckpointError(f"{path}: no such folder or file{hint if of_hub else ''}")
    raise CheckpointError(
        f"{path}: no model that can be imported; expected a Hugging Face folder (config.json and weights), a "
        "checkpoint of fairseq's (.pt), or torchaudio:NAME"
    )


def read_file(path: Path, labels: Path | None) -> Imported:
    """The model in a PyTorch file.

    Raises:
        CheckpointError: a damaged file, one with more than tensors and settings, or no checkpoint of fairseq's.
    """
    file = read_torch_file(path)
    if is_fairseq(file.content):
        return read_fairseq(file, labels)
    raise CheckpointError(
        f"{path}: no fairseq checkpoint (model, and cfg or args). Weights alone do not tell what they compute: models "
        "of torchaudio's are given by name, as torchaudio:HUBERT_BASE, those of Hugging Face's as folders"
    )


def reference_of(imported: Imported) -> Reference:
    """The other side of the proof."""
    reference = _REFERENCES[imported.format]
    return reference(imported.source, imported.architecture)


_REFERENCES: dict[str, Callable[[Path, Architecture], Reference]] = {
    "Hugging Face": huggingface_reference,
    torchaudio.FORMAT: torchaudio_reference,
    fairseq.FORMAT: fairseq_reference,
}


def summary(imported: Imported, output: Path) -> str:
    """What was made, and what to do with it."""
    architecture = imported.architecture
    size = sum(value.numel() for value in imported.weights.values()) / 1e6
    what = {
        "pretrain": "an encoder with its quantizer; use it with `speechssl finetune --init`, or go on with "
        "`speechssl pretrain --init`",
        "ctc": "a recogniser; use it with `speechssl transcribe` and `speechssl evaluate`",
        "encoder": "an encoder; use it with `speechssl finetune --init`",
    }
    return f"{output}: {architecture.family}, {size:.1f} M parameters, {what[architecture.kind]}"
