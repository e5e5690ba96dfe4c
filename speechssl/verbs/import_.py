"""``speechssl import``: a model that was made elsewhere becomes a checkpoint, if it computes the same."""

from pathlib import Path

from speechssl.config import ImportConfig
from speechssl.config.limits import check
from speechssl.interop.formats import read_model, reference_of
from speechssl.interop.imported import Imported
from speechssl.interop.proof import made_voice, prove
from speechssl.interop.whole_folder import check_new, new_folder

_USES = {
    "pretrain": "an encoder with its quantizer; use it with `speechssl finetune --init`, or go on with "
    "`speechssl pretrain --init`",
    "ctc": "a recogniser; use it with `speechssl transcribe` and `speechssl evaluate`",
    "encoder": "an encoder; use it with `speechssl finetune --init`",
}


def run(config: ImportConfig) -> None:
    """Read a model, prove it, write the checkpoint.

    Raises:
        ConfigError: the output cannot be made, or a package that the proof needs is not installed.
        CheckpointError: the output is there already, the model cannot be read, or it computes something else; nothing
            is written then.
    """
    check(config)
    check_new(config.output)
    imported = read_model(config.checkpoint, config.labels)
    for note in imported.architecture.notes:
        print(f"note: {note}")
    if config.proof:
        voice = made_voice(imported.architecture.model.sample_rate)
        prove(imported.build(), reference_of(imported), voice, config.tolerance)
    else:
        print("not proved (--proof false)")
    with new_folder(config.output) as folder:
        imported.save(folder)
    print(summary(imported, config.output))


def summary(imported: Imported, output: Path) -> str:
    """What was made, and what to do with it."""
    architecture = imported.architecture
    size = sum(value.numel() for value in imported.weights.values()) / 1e6
    return f"{output}: {architecture.family}, {size:.1f} M parameters, {_USES[architecture.kind]}"
