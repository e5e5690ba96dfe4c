"""What a pickle may name, and what stands for it: values without behaviour.

Tensors become descriptions of where their numbers lie, ordered dictionaries become dictionaries, configuration objects
and vocabularies become ``Inert``: a name and what was stored in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch

_MAX_DIMENSIONS = 8
_LARGEST = 2**60
"""Of sizes and strides; beyond 2**63 PyTorch fails in ways of its own."""
_LONGEST_KEY = 16


class RefusedError(Exception):
    """A pickle that names what is not admitted; ``names`` lists it."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = list(names)


class DamagedError(Exception):
    """A file that is cut off, or was made to mislead."""


@dataclass(frozen=True)
class Named:
    """A function or class that a file names; no more than the name."""

    name: str


class Inert:
    """An object of a file: the name of its class and what was stored, without any behaviour."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.arguments = arguments
        self.state: dict[str, Any] = {}
        """Attributes by name."""


class Storage(NamedTuple):
    """Numbers of a file, one after the other."""

    key: str
    dtype: torch.dtype
    size: int
    """Numbers."""


class StoredTensor(NamedTuple):
    """A tensor whose numbers are still in the file; what it describes lies inside its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    """What ``torch._utils._rebuild_tensor_v2`` would make.

    Raises:
        DamagedError: it would reach out of its storage, or stand for more numbers than that has.
    """
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, Storage) or not all(type(number) is int and number >= 0 for number in numbers):
        raise DamagedError("a tensor that is not described by whole numbers")
    shape, stride = tuple(shape), tuple(stride)
    if max(shape + stride, default=0) > _LARGEST:
        raise DamagedError("a tensor of a size that no memory has")
    if len(shape) != len(stride) or len(shape) > _MAX_DIMENSIONS:
        raise DamagedError(f"a tensor of {len(shape)} dimensions with {len(stride)} strides")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and (last >= storage.size or prod(shape) > storage.size):
        raise DamagedError(f"a tensor that reaches out of its {storage.size} stored numbers")
    return StoredTensor(storage, offset, shape, stride)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _dictionary(*items: Any) -> dict[Any, Any]:
    """``OrderedDict``, ``dict`` and ``defaultdict``, all of which are filled by later instructions."""
    if len(items) == 1 and isinstance(items[0], (list, tuple)):
        return {as_key(key): value for key, value in items[0]}
    return {}


def _set(items: Sequence[Any] = ()) -> set[Any]:
    return {as_key(item) for item in items}


_BUILTINS: dict[str, Callable[..., Any]] = {"dict": _dictionary, "set": _set, "frozenset": _set}
MAKERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": tuple,
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _dictionary,
    **{f"builtins.{name}": maker for name, maker in _BUILTINS.items()},
    **{f"__builtin__.{name}": maker for name, maker in _BUILTINS.items()},  # in older protocols
}
_INERT_NAMES = {
    "argparse.Namespace",
    "typing.Any",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
    *(f"{module}.{kind}" for module in ("builtins", "__builtin__") for kind in ("int", "float", "bool", "str", "list")),
}
_INERT_PACKAGES = ("fairseq.", "omegaconf.")


def pairs_of(items: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Keys and values that lie one after the other.

    Raises:
        DamagedError: a key without a value, or one that is no key.
    """
    if len(items) % 2:
        raise DamagedError("a dictionary with a key and no value")
    return [(as_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]


def as_key(value: Any) -> Any:
    """A key of a dictionary, or an item of a set; the hash of nested tuples could take for ever.

    Raises:
        DamagedError: neither text nor a number, nor a short tuple of these.
    """
    if (
        isinstance(value, tuple)
        and len(value) <= _LONGEST_KEY
        and all(isinstance(part, (str, int, float)) for part in value)
    ):
        return value
    if value is None or isinstance(value, (str, bytes, int, float)):
        return value
    raise DamagedError(f"type {type(value).__name__} as the key of a dictionary")


def is_admitted(name: str) -> bool:
    """Whether a pickle may name this function or class."""
    return name in MAKERS or name in STORAGES or name in _INERT_NAMES or name.startswith(_INERT_PACKAGES)
