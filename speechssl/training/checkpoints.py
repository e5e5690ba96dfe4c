"""Checkpoints: written whole or not at all, and read without unpickling anything that could run code.

A run folder holds::

    RUN/checkpoints/update_00000600/model.safetensors    weights
                                    config.yaml          resolved configuration
                                    training_state.pt    optimiser and position, for resuming
                                    checkpoint.json      kind, update, code version, vocabulary, metrics
    RUN/best.json                                        the update with the best score on held-out data, and that
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors.torch
import torch
import yaml

from speechssl import __version__
from speechssl.config.reading import to_yaml
from speechssl.errors import CheckpointError
from speechssl.files import PARTIAL, remove_folder, written_whole
from speechssl.training.checkpoint_errors import read_errors_named, write_errors_named

CheckpointKind = Literal["pretrain", "ctc", "encoder"]

_WEIGHTS = "model.safetensors"
_CONFIG = "config.yaml"
_TRAINING_STATE = "training_state.pt"
_DESCRIPTION = "checkpoint.json"
BEST_FILE = "best.json"
_PREFIX = "update_"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds, but for the training state."""

    path: Path
    """The checkpoint folder."""
    kind: CheckpointKind
    """"pretrain": an encoder with its pretext task; "ctc": a recogniser; "encoder": one from elsewhere by itself."""
    update: int
    """Optimiser updates done."""
    config: dict[str, Any]
    """The configuration of its run as plain values; config.reading.from_dict turns it into its dataclass."""
    model_state: dict[str, torch.Tensor]
    """Weights by name, on the CPU."""
    vocabulary: dict[str, Any] | None
    """Labels of a recogniser."""
    metrics: dict[str, float | None]
    """Figures at this update; None stands for one that was not finite."""
    version: str
    """speechssl version that wrote it."""
    origin: dict[str, Any] | None = None
    """Where a model came from that was made elsewhere: its family, format and name."""
    teacher: dict[str, Any] | None = None
    """The ``model`` section of an earlier encoder that the pretext task learns from, whose weights are its own."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """How the confidence of a recogniser's words was calibrated, by the names of decoders."""

    @property
    def encoder_state(self) -> dict[str, torch.Tensor]:
        """The encoder's weights, by their names in it."""
        prefix = "encoder."
        return {name.removeprefix(prefix): w for name, w in self.model_state.items() if name.startswith(prefix)}


def save_checkpoint(
    run: Path,
    *,
    kind: CheckpointKind,
    update: int,
    config: Any,
    model_state: Mapping[str, torch.Tensor],
    training_state: dict[str, Any] | None,
    vocabulary: dict[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    origin: dict[str, Any] | None = None,
    teacher: dict[str, Any] | None = None,
) -> Path:
    """Write ``RUN/checkpoints/update_<update>`` under a temporary name, sync it to disk, then rename it.

    Args are as the fields of :class:`Checkpoint`, and ``training_state`` is what resuming needs: nested dicts, lists
    and tuples of tensors and plain values.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written. Nothing partial is left, and earlier
            checkpoints are untouched.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model_state.items()}
    description = {
        "kind": kind,
        "update": update,
        "version": __version__,
        "vocabulary": vocabulary,
        "metrics": _finite_or_none(metrics or {}),
        "origin": origin,
        "teacher": teacher,
    }
    final = folder_of(run, update)
    folder = final.parent
    # A run that was set back writes the same update again.
    with write_errors_named(final), written_whole(final, replaces_folder=True) as partial:
        for left in folder.glob(f"{PARTIAL}*"):  # of an interrupted run
            shutil.rmtree(left)
        partial.mkdir()
        safetensors.torch.save_file(weights, partial / _WEIGHTS, metadata={"format": "pt"})
        if training_state is not None:
            _write_training_state(partial / _TRAINING_STATE, training_state)
        (partial / _CONFIG).write_text(to_yaml(config), encoding="utf-8")
        (partial / _DESCRIPTION).write_text(_to_json(description), encoding="utf-8")
    return final


def set_metrics(
    run: Path, update: int, metrics: Mapping[str, float], calibration: Mapping[str, Any] | None = None
) -> None:
    """Give the checkpoint of an update its figures, and how sure it may be of words, atomically.

    Raises:
        CheckpointError: The checkpoint is damaged, or cannot be written.
    """
    path = folder_of(run, update)
    with read_errors_named(path):
        description = _describe(path)
    description["metrics"] = _finite_or_none(metrics)
    description["calibration"] = {**description.get("calibration", {}), **(calibration or {})}
    _replace_text(path / _DESCRIPTION, _to_json(description))


def set_calibration(checkpoint: Path, calibration: Mapping[str, Any]) -> None:
    """Say in a checkpoint folder how sure it may be of words, by the names of decoders; others keep what they have.

    Raises:
        CheckpointError: It is damaged, or cannot be written.
    """
    with read_errors_named(checkpoint):
        description = _describe(checkpoint)
    description["calibration"] = {**description.get("calibration", {}), **calibration}
    _replace_text(checkpoint / _DESCRIPTION, _to_json(description))


def prune_checkpoints(run: Path, keep: int, best_update: int | None) -> None:
    """Delete all but the ``keep`` newest checkpoints and the best one; the newest always stays.

    Raises:
        CheckpointError: A checkpoint cannot be deleted.
    """
    checkpoints = _checkpoints(run)
    kept = set(checkpoints[-max(1, keep) :])
    if best_update is not None:
        kept.add(folder_of(run, best_update))
    for path in checkpoints:
        if path not in kept:
            with write_errors_named(path, action="delete"):
                remove_folder(path)


class Best(NamedTuple):
    """The checkpoint that best.json names."""

    update: int
    score: str
    """Name of the figure."""
    value: float


def mark_best(run: Path, best: Best) -> None:
    """Write ``RUN/best.json`` atomically: find_checkpoint then chooses this update.

    Raises:
        CheckpointError: The file cannot be written.
    """
    _replace_text(run / BEST_FILE, json.dumps({"update": best.update, best.score: best.value}) + "\n")


def read_best(run: Path) -> Best | None:
    """The best checkpoint of a run so far, or None if none was marked.

    Raises:
        CheckpointError: best.json is damaged.
    """
    path = run / BEST_FILE
    if not path.is_file():
        return None
    try:
        return parse_best(path)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f'{path}: expected {{"update": ..., "wer": ...}} or another score, found something else ({error}); '
            "delete it to use the newest checkpoint instead"
        ) from error


def parse_best(path: Path) -> Best:
    """What mark_best has written; raises OSError, ValueError or TypeError if it has not."""
    found = dict(json.loads(path.read_text(encoding="utf-8")))
    update = int(found.pop("update", None))
    [(score, value)] = found.items()
    return Best(update, score, float(value))


def latest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint folder of a run, or None if it has none."""
    checkpoints = _checkpoints(run)
    return checkpoints[-1] if checkpoints else None


def describe_latest(run: Path) -> dict[str, Any]:
    """What the newest checkpoint of a run says of itself: ``vocabulary``, ``teacher``; {} if there is none.

    Raises:
        CheckpointError: It is damaged.
    """
    path = latest_checkpoint(run)
    if path is None:
        return {}
    with read_errors_named(path):
        return _describe(path)


def run_of(checkpoint: Path) -> Path:
    """Run folder that a checkpoint folder lies in."""
    return checkpoint.parent.parent


def find_checkpoint(path: Path) -> Path:
    """Resolve what a user names to one checkpoint folder.

    Args:
        path: A checkpoint folder, or a run folder: its best checkpoint if one was marked, else its newest.

    Raises:
        CheckpointError: There is nothing of the kind; the message says what was found and expected.
    """
    if (path / _DESCRIPTION).is_file():
        return path
    if not path.exists():
        raise CheckpointError(f"{path}: no such folder; {_EXPECTED}")
    if not path.is_dir():
        raise CheckpointError(f"{path}: a file; {_EXPECTED}")
    best = read_best(path)
    if best is not None:
        found = folder_of(path, best.update)
        if not (found / _DESCRIPTION).is_file():
            raise CheckpointError(
                f"{path / BEST_FILE} names update {best.update}, but {found} is missing; name another checkpoint "
                f"folder, or delete {path / BEST_FILE} to use the newest"
            )
        return found
    latest = latest_checkpoint(path)
    if latest is None:
        raise CheckpointError(f"{path}: holds no finished checkpoint; {_EXPECTED}")
    return latest


_EXPECTED = (
    "expected a run folder (the --output of a pretraining or fine-tuning that has reached a checkpoint) "
    "or one of its checkpoints, RUN/checkpoints/update_..."
)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder, or the one that find_checkpoint chooses in a run folder; weights on the CPU.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    path = find_checkpoint(path)
    with read_errors_named(path):
        description = _describe(path)
        config = yaml.safe_load((path / _CONFIG).read_text(encoding="utf-8"))
        return Checkpoint(
            path=path,
            kind=description["kind"],
            update=int(description["update"]),
            config=config,
            model_state=safetensors.torch.load_file(path / _WEIGHTS, device="cpu"),
            vocabulary=description["vocabulary"],
            metrics=description["metrics"],
            version=description["version"],
            origin=description.get("origin"),
            teacher=description.get("teacher"),
            calibration=description.get("calibration", {}),
        )


def is_resumable(path: Path) -> bool:
    """Whether a checkpoint folder holds what resuming needs; those that were published for use do not."""
    return (path / _TRAINING_STATE).is_file()


def load_training_state(path: Path, *, in_memory: bool = True) -> dict[str, Any]:
    """Read what resuming needs from a checkpoint folder, on the CPU, executing nothing that the file may hold.

    Args:
        path: The folder.
        in_memory: Whether all of it is read; else tensors stay in the file until they are looked at.

    Raises:
        CheckpointError: The checkpoint has none (it was published for use, not for resuming), or it is damaged.
    """
    if not is_resumable(path):
        raise CheckpointError(
            f"{path}: has no {_TRAINING_STATE}, so this run cannot be resumed from it; "
            "start a new run with --init and another --output"
        )
    with read_errors_named(path):
        state = torch.load(path / _TRAINING_STATE, map_location="cpu", weights_only=True, mmap=not in_memory)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path / _TRAINING_STATE}: expected a dictionary, found {type(state).__name__}")
    return state


def learned_from(checkpoint: Path) -> np.ndarray:
    """Samples that a checkpoint's run learned from, uint64 (N,) as of ``Corpus.identities``; none if it does not say.

    Raises:
        CheckpointError: its training state is damaged.
    """
    if not is_resumable(checkpoint):
        return np.empty(0, np.uint64)
    train = load_training_state(checkpoint, in_memory=False).get("train") or {}
    found: torch.Tensor = train.get("samples", torch.empty(0, dtype=torch.int64))
    return found.numpy().view(np.uint64)


def folder_of(run: Path, update: int) -> Path:
    """Where the checkpoint of an update lies, if there is one."""
    return run / "checkpoints" / f"{_PREFIX}{update:08d}"


def _describe(path: Path) -> dict[str, Any]:
    return json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))


def _to_json(description: Mapping[str, Any]) -> str:
    return json.dumps(description, indent=1, ensure_ascii=False)


def _finite_or_none(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}


def _checkpoints(run: Path) -> list[Path]:
    """Complete checkpoint folders, oldest first."""
    found = (path for path in (run / "checkpoints").glob(f"{_PREFIX}*") if (path / _DESCRIPTION).is_file())
    return sorted(found, key=lambda path: path.name)


def _replace_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole, old or new, whatever happens."""
    with write_errors_named(path), written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _write_training_state(path: Path, state: dict[str, Any]) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        # A riddle about positions in the file: behind it is what the system said.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        raise cause or error from None
