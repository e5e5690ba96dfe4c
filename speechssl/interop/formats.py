"""Which format a model from elsewhere is in, and who reads and proves it."""

from collections.abc import Callable
from pathlib import Path

from speechssl.errors import CheckpointError, ConfigError
from speechssl.interop import fairseq, huggingface, torchaudio
from speechssl.interop.fairseq import read_fairseq
from speechssl.interop.fairseq_reference import fairseq_reference
from speechssl.interop.huggingface import is_huggingface, read_huggingface
from speechssl.interop.huggingface_reference import huggingface_reference
from speechssl.interop.imported import Architecture, Imported
from speechssl.interop.proof import Reference
from speechssl.interop.torch_files import read_torch_file
from speechssl.interop.torchaudio import is_pipeline, read_pipeline, torchaudio_reference


def read_model(path: Path, labels: Path | None = None) -> Imported:
    """The model in whatever format it is.

    Args:
        path: of a folder or file, or ``torchaudio:NAME``.
        labels: dictionary of a recogniser of fairseq's that holds none.

    Raises:
        CheckpointError: no format that is known, or a model that cannot be read.
        ConfigError: labels for a model that brings its own.
    """
    if labels is not None and not path.is_file():
        raise ConfigError(f"--labels is for fairseq's checkpoints that hold none, and {path} is no file; leave it out")
    if is_pipeline(path):
        return read_pipeline(str(path))
    if is_huggingface(path):
        return read_huggingface(path)
    if path.suffix in (".safetensors", ".json") and path.is_file():
        raise CheckpointError(f"{path}: a part of a model; give the folder that it lies in, with its config.json")
    if path.is_file():
        return read_fairseq(read_torch_file(path), labels)
    if not path.exists():
        of_hub = len(path.parts) == 2 and not path.parent.exists()
        hint = f"; a model of the Hugging Face hub is fetched first: hf download {path} --local-dir FOLDER"
        raise CheckpointError(f"{path}: no such folder or file{hint if of_hub else ''}")
    raise CheckpointError(
        f"{path}: no model that can be imported; expected a Hugging Face folder (config.json and weights), a "
        "checkpoint of fairseq's (.pt), or torchaudio:NAME"
    )


def reference_of(imported: Imported) -> Reference:
    """The other side of the proof."""
    reference = _REFERENCES[imported.format]
    return reference(imported.source, imported.architecture)


_REFERENCES: dict[str, Callable[[Path, Architecture], Reference]] = {
    huggingface.FORMAT: huggingface_reference,
    torchaudio.FORMAT: torchaudio_reference,
    fairseq.FORMAT: fairseq_reference,
}
