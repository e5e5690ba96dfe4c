"""The verb ``import``: a model that was made elsewhere becomes a checkpoint, if it computes the same."""

from pathlib import Path

from speechssl.config import ImportConfig
from speechssl.errors import CheckpointError
from speechssl.interop.huggingface import is_huggingface, read_huggingface
from speechssl.interop.huggingface_reference import huggingface_reference
from speechssl.interop.imported import Imported
from speechssl.interop.proof import Reference, proof_audio, prove


def run(config: ImportConfig) -> None:
    """Read a model, prove it, write the checkpoint.

    Raises:
        ConfigError: a package that the proof needs is not installed.
        CheckpointError: the model cannot be read, or computes something else; nothing is written then.
    """
    check_output(config.output)
    imported = read_model(config)
    for note in imported.architecture.notes:
        print(f"note: {note}")
    if config.proof:
        audio = proof_audio(config.audio, imported.architecture.model.sample_rate)
        prove(imported.build(), reference_of(imported), audio, config.tolerance)
    else:
        print("not proved (--proof false)")
    imported.save(config.output)
    print(summary(imported, config.output))


def check_output(output: Path) -> None:
    """Raise CheckpointError if the folder holds anything."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(f"{output}: is there already; delete it or choose another --output")


def read_model(config: ImportConfig) -> Imported:
    """The model in whatever format it is.

    Raises:
        CheckpointError: no format that is known.
    """
    if is_huggingface(config.checkpoint):
        return read_huggingface(config.checkpoint)
    if not config.checkpoint.exists():
        raise CheckpointError(f"{config.checkpoint}: no such folder or file")
    raise CheckpointError(
        f"{config.checkpoint}: no model that can be imported; expected a Hugging Face folder (config.json and weights)"
    )


def reference_of(imported: Imported) -> Reference:
    """The other side of the proof."""
    return huggingface_reference(imported.source, imported.architecture)


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
