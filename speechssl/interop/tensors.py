"""Weights under our names and under others', with every tensor accounted for."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from speechssl.errors import CheckpointError
from speechssl.interop.imported import Architecture, Imported
from speechssl.interop.naming import OLD_WEIGHT_NORM, Pair

MASKS = "encoder.mask_embedding"
_SHOWN = 12


def take_over(
    architecture: Architecture,
    pairs_of: Callable[[Architecture], list[Pair]],
    theirs: Mapping[str, Tensor],
    *,
    source: Path,
    format: str,
    ignored: Collection[str] = (),
) -> Imported:
    """A model of others under our names.

    Args:
        architecture: what it is said to be; its sizes are judged before anything is made of them.
        pairs_of: lists its tensors.
        theirs: weights as the source calls them.
        source: for messages.
        format: of the source.
        ignored: names of the source that are no weights of the model.

    Raises:
        CheckpointError: no model has these sizes, or tensors are not those of one.
    """
    shapes = architecture.shapes(str(source))
    pairs = pairs_of(architecture)
    if architecture.kind != "pretrain":
        # Models that were made without masks have no embedding of them, which nothing else uses.
        pairs = [pair for pair in pairs if pair.ours != MASKS or pair.theirs[0] in theirs]
    weights = to_ours(pairs, theirs, shapes, source=str(source), ignored=ignored)
    if MASKS not in weights:
        weights[MASKS] = torch.zeros(shapes[MASKS])
        architecture.notes.append("no mask embedding in the model: zeros in its place")
    return Imported(architecture, weights, source, format)


def to_ours(
    pairs: Sequence[Pair],
    theirs: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
    *,
    source: str,
    ignored: Collection[str] = (),
) -> dict[str, Tensor]:
    """Weights under our names, in float32, or in float64 where theirs are.

    Args:
        pairs: every tensor of the model.
        theirs: weights as the source calls them.
        shapes: of our tensors.
        source: for messages.
        ignored: names of the source that are no weights of the model.

    Raises:
        CheckpointError: lists every tensor that is missing, unknown, of another shape, or not of finite numbers.
    """
    theirs = {modern_name(name): value for name, value in theirs.items()}
    wanted = {name for pair in pairs for name in pair.theirs}
    problems = [f"{name}: missing" for pair in pairs for name in pair.theirs if name not in theirs]
    problems += [f"{printable(name)}: unknown" for name in theirs if name not in wanted and name not in ignored]
    problems += [f"{name}: {fault}" for name in theirs if name in wanted and (fault := fault_of(theirs[name]))]
    ours: dict[str, Tensor] = {}
    for pair in pairs:
        if all(name in theirs for name in pair.theirs):
            parts = [theirs[name] for name in pair.theirs]
            shape = shapes[pair.ours]
            if all(part.shape == their_shape(pair, shape) for part in parts):
                ours[pair.ours] = torch.cat([at_least_float32(part) for part in parts]).reshape(shape)
            else:
                found = ", ".join(str(tuple(part.shape)) for part in parts)
                problems.append(f"{', '.join(pair.theirs)}: {found}, expected {tuple(their_shape(pair, shape))}")
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise CheckpointError(
            f"{source}: its tensors are not those of the model that its configuration describes:\n  "
            + "\n  ".join(problems[:_SHOWN] + more)
            + "\nNothing was written. Give the configuration that belongs to these weights, or name the architecture "
            "in an issue if it is one that should be read."
        )
    return ours


def to_theirs(pairs: Sequence[Pair], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under others' names, each in memory of its own; inverse of ``to_ours``."""
    theirs: dict[str, Tensor] = {}
    for pair in pairs:
        value = ours[pair.ours]
        if pair.their_shape is not None:
            value = value.reshape(pair.their_shape)
        for name, part in zip(pair.theirs, value.chunk(len(pair.theirs)), strict=True):
            theirs[name] = part.detach().clone(memory_format=torch.contiguous_format)
    return theirs


def at_least_float32(value: Tensor) -> Tensor:
    """A tensor without half precision."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def fault_of(value: Tensor) -> str:
    """What is wrong with a tensor's numbers; empty if nothing is."""
    if not value.is_floating_point():
        return f"numbers of type {str(value.dtype).removeprefix('torch.')}, expected floating-point ones"
    return "" if bool(value.float().isfinite().all()) else "holds values that are no finite numbers"


def printable(name: str) -> str:
    """A name of a file for a terminal, without what would steer it."""
    return name[:200] if name.isprintable() else ascii(name[:200])


def their_shape(pair: Pair, shape: torch.Size) -> torch.Size:
    """Shape of each of the tensors that ours of a shape is elsewhere."""
    if pair.their_shape is not None:
        return torch.Size(pair.their_shape)
    return torch.Size((shape[0] // len(pair.theirs), *shape[1:]))


def modern_name(name: str) -> str:
    """A tensor's name with PyTorch's present names for the parts of normalised weights."""
    stem, dot, last = name.rpartition(".")
    return f"{stem}{dot}{OLD_WEIGHT_NORM.get(last, last)}"


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
