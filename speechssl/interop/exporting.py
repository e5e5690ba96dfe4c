"""The verb ``export``: a checkpoint in a format that others load, if it computes the same there."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import safetensors

from speechssl.config import ContrastiveConfig, ExportConfig, HeadConfig, ModelConfig, PretrainConfig
from speechssl.config.limits import check
from speechssl.config.reading import from_dict
from speechssl.errors import CheckpointError
from speechssl.files import partial_of, written_whole
from speechssl.interop.huggingface import write_huggingface
from speechssl.interop.huggingface_reference import huggingface_reference
from speechssl.interop.imported import FAMILIES, Architecture
from speechssl.interop.model_card import model_card
from speechssl.interop.onnx_models import export_onnx
from speechssl.interop.proof import Reference, proof_audio, prove
from speechssl.interop.tensors import first_line
from speechssl.interop.torch_export import export_torch
from speechssl.interop.torchaudio_models import write_torchaudio
from speechssl.interop.torchaudio_reference import torchaudio_reference
from speechssl.model.loading import load_weights
from speechssl.outputs import check_output_folder
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import Checkpoint, load_checkpoint


def run(config: ExportConfig) -> None:
    """Write the model under a temporary name, prove it, and give it its name.

    Raises:
        ConfigError: the output cannot be made, or a package that is needed is not installed.
        CheckpointError: the output is there already, or there is no checkpoint, or one that the format cannot hold;
            nothing is left then.
        DataError: an evaluation for the model card that cannot be read.
    """
    check(config)
    check_new(config.output)
    checkpoint = known_elsewhere(load_checkpoint(config.checkpoint))
    architecture = architecture_of(checkpoint)
    module = architecture.build()
    load_weights(module, checkpoint.model_state, source=checkpoint.path)
    audio = proof_audio(config.audio, architecture.model.sample_rate)
    with new_folder(config.output) as folder:
        if config.to in _GRAPHS:
            write = _GRAPHS[config.to]
            write(folder, architecture, module, audio=audio, tolerance=config.tolerance, proof=config.proof)
        else:
            write_framework(folder, config, checkpoint, architecture)
            if config.proof:
                prove(module, _REFERENCES[config.to](folder, architecture), audio, config.tolerance)
        if not config.proof:
            print("not proved (--proof false)")
    print(f"{config.output}: {', '.join(sorted(path.name for path in config.output.iterdir()))}")


def write_framework(folder: Path, config: ExportConfig, checkpoint: Checkpoint, architecture: Architecture) -> None:
    """Write a model as another framework has it."""
    if config.to == "torchaudio":
        write_torchaudio(folder, architecture, checkpoint.model_state)
        return
    card = model_card(checkpoint, architecture, config.evaluations, name=config.output.name, license=config.license)
    write_huggingface(folder, architecture, checkpoint.model_state)
    (folder / "README.md").write_text(card, encoding="utf-8")


_GRAPHS: dict[str, Callable[..., None]] = {"onnx": export_onnx, "torch": export_torch}
_REFERENCES: dict[str, Callable[[Path, Architecture], Reference]] = {
    "huggingface": huggingface_reference,
    "torchaudio": torchaudio_reference,
}


def known_elsewhere(checkpoint: Checkpoint) -> Checkpoint:
    """The encoder alone of a checkpoint whose pretext task other frameworks do not have."""
    if checkpoint.kind != "pretrain":
        return checkpoint
    objective = from_dict(PretrainConfig, {"objective": checkpoint.config["objective"]}).objective
    if isinstance(objective, ContrastiveConfig):
        return checkpoint
    print(f"note: the encoder alone is written, since other frameworks have no {objective.name} of this kind")
    weights = {name: value for name, value in checkpoint.model_state.items() if name.startswith("encoder.")}
    return replace(checkpoint, kind="encoder", model_state=weights)


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """What a checkpoint's model computes."""
    sections = checkpoint.config
    family = (checkpoint.origin or {}).get("family", FAMILIES[0])
    return Architecture(
        checkpoint.kind,
        family,
        from_dict(ModelConfig, sections["model"]),
        from_dict(ContrastiveConfig, sections["objective"]) if checkpoint.kind == "pretrain" else None,
        Vocabulary.from_dict(checkpoint.vocabulary) if checkpoint.vocabulary is not None else None,
        from_dict(HeadConfig, sections.get("head", {})),
    )


def check_new(output: Path) -> None:
    """Raise CheckpointError if the name is taken, ConfigError if no folder of it can be made."""
    if os.path.lexists(output):
        raise CheckpointError(f"{output}: is there already; delete it or choose another --output")
    check_output_folder(partial_of(output))


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder that gets its name when all is well, and is deleted otherwise.

    Raises:
        CheckpointError: nothing can be written there.
    """
    try:
        with written_whole(output) as partial:
            partial.mkdir()
            yield partial
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise CheckpointError(f"{output}: cannot be written ({reason}); nothing is left of it") from error
