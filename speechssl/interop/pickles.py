"""Pickles as data: the standard library's reader, for which every name in a file stands for something of ours.

A pickle reaches code through the names it holds, by calling one or by setting attributes. Here a name is only a name:
calls give descriptions of tensors, dictionaries and sets, or an ``Inert`` object, which keeps its attributes as values.
Nothing is imported. Other names are collected and refused at the end (``docs/decisions.md``).
"""

import io
import pickle
import pickletools
import warnings
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from math import prod
from typing import IO, Any, NamedTuple

import torch

MAX_INSTRUCTIONS = 2_000_000
MAX_BYTES = 64 * 2**20
"""Limits on one pickle, numbers of tensors not counted, so that a small file cannot fill the memory."""
MAX_COPIED = 1_000_000
"""Limit on what one pickle may have copied, in items: one instruction copies a list of any length, again and again."""
_LONGEST_NAME = 1_000
_LONGEST_KEY = 16
_MAX_DIMENSIONS = 8
_LARGEST = 2**60
"""Of sizes and strides; beyond 2**63 PyTorch fails in ways of its own."""
_UNUSED = {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
"""Instructions that would make objects in further ways; nobody's checkpoint has them."""


class RefusedError(Exception):
    """A pickle that names what is not admitted, which are the arguments."""


class DamagedError(Exception):
    """A file that is cut off, or was made to mislead."""


@dataclass(frozen=True)
class Named:
    """A function or class that a file names; no more than the name."""

    name: str


class Inert:
    """An object of a file: the name of its class and what was stored in it, without any behaviour."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.arguments = arguments
        self.state: dict[str, Any] = {}
        """Attributes by name."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Ignore an item of a container of theirs."""

    def extend(self, items: list[Any]) -> None:
        """Ignore items of a container of theirs."""


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


def read_pickle(file: IO[bytes]) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle from where a file stands, and leave the file at its end.

    Returns:
        What it holds, as plain values, ``Inert`` and ``StoredTensor``, and the storages by key.

    Raises:
        RefusedError: it names something that is not admitted.
        DamagedError: cut off, malformed, or larger than any honest one.
    """
    start = file.tell()
    code = io.BytesIO(file.read(MAX_BYTES))
    reader = _Reader(code)
    try:
        _look_over(code)
        file.seek(start + code.tell())
        code.seek(0)
        content = reader.load()
    # The standard library's reader trusts a file: of one that is not sound, any operation may fail. What a refused
    # object would have been is not known, so the rest of such a pickle may make no sense.
    except Exception as error:
        if not reader.refused and isinstance(error, DamagedError):
            raise
        if not reader.refused:
            raise DamagedError(f"malformed pickle: {error}") from error
    if reader.refused:
        raise RefusedError(*reader.refused)
    return content, reader.storages


def _look_over(code: IO[bytes]) -> None:
    """Go to a pickle's end, over instructions of which none announces more bytes than there are.

    Raises:
        DamagedError: it is too long, or has instructions that are not followed here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in text of Python 2
        for count, (instruction, _, _) in enumerate(pickletools.genops(code)):
            if count >= MAX_INSTRUCTIONS:
                raise DamagedError(f"a pickle of more than {MAX_INSTRUCTIONS} instructions")
            if instruction.name in _UNUSED:
                raise DamagedError(f"the instruction {instruction.name}, which tensors and plain values do not need")


def _with_keys(instruction: bytes, where: slice) -> Callable[[Any], None]:
    """An instruction that takes keys from a part of the stack, after a look at them."""
    load: Callable[[Any], None] = pickle._Unpickler.dispatch[instruction[0]]

    def checked(reader: Any) -> None:
        for key in reader.stack[where]:
            as_key(key)
        load(reader)

    return checked


# The one of the standard library's two readers of which single instructions can be replaced; the other one takes as
# much memory as the largest number of its memo says.
class _Reader(pickle._Unpickler):
    """The standard library's reader, with each instruction that calls, sets attributes or takes keys replaced."""

    stack: list[Any]

    def __init__(self, code: IO[bytes]) -> None:
        super().__init__(code, encoding="latin1")
        self.refused: dict[str, None] = {}
        self.storages: dict[str, Storage] = {}
        self.copied = 0

    def find_class(self, module: str, name: str) -> Any:
        """A name, noted if it is not admitted."""
        for part in (module, name):
            if len(part) > _LONGEST_NAME:
                raise DamagedError(f"a name of {len(part)} characters")
        found = Named(f"{module}.{name}")
        if not is_admitted(found.name):
            self.refused[found.name] = None
        return found

    def persistent_load(self, pid: Any) -> Storage:
        """A storage that the pickle refers to: ("storage", type, key, device, numbers[, None])."""
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
            raise DamagedError("a reference to something that is no storage")
        kind, key, size = pid[1], pid[2], pid[4]
        if type(kind) is not Named or kind.name not in STORAGES or type(key) is not str or type(size) is not int:
            raise DamagedError("a storage of unknown kind")
        if size < 0 or pid[5:] not in ((), (None,)):
            raise DamagedError("a storage that is a part of another")
        found = Storage(key, STORAGES[kind.name], size)
        if self.storages.setdefault(key, found) != found:
            raise DamagedError(f"two descriptions of the storage {key[:40]!a}")
        return found

    def load_call(self) -> None:
        """Make what a call of a name would make: by a function of ours, or inert."""
        arguments, made = self.stack.pop(), self.stack.pop()
        if type(made) is not Named or type(arguments) is not tuple:
            raise DamagedError("a call of something that is no name")
        self.count(arguments)
        # Once something is refused, the rest is read for further names alone.
        maker = MAKERS.get(made.name) if not self.refused else None
        self.stack.append(Inert(made.name, arguments) if maker is None else maker(*arguments))

    def load_attributes(self) -> None:
        """Keep attributes of inert objects; those of dictionaries say nothing of weights."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Inert):
            parts = state if isinstance(state, tuple) else (state,)
            self.count(parts)
            for part in parts:
                if isinstance(part, dict):
                    target.state.update((key, value) for key, value in part.items() if isinstance(key, str))
        elif type(target) is not dict:
            raise DamagedError(f"attributes for type {type(target).__name__}")

    def count(self, values: tuple[Any, ...]) -> None:
        """Note that the items of values are gone through once more."""
        self.copied += sum(len(item) if isinstance(item, Sized) else 1 for item in values)
        if self.copied > MAX_COPIED:
            raise DamagedError(f"a pickle that has more than {MAX_COPIED} items copied")

    dispatch = pickle._Unpickler.dispatch | {
        pickle.REDUCE[0]: load_call,
        pickle.NEWOBJ[0]: load_call,
        pickle.BUILD[0]: load_attributes,
        pickle.SETITEM[0]: _with_keys(pickle.SETITEM, slice(-2, -1)),
        pickle.SETITEMS[0]: _with_keys(pickle.SETITEMS, slice(0, None, 2)),
        pickle.DICT[0]: _with_keys(pickle.DICT, slice(0, None, 2)),
        pickle.ADDITEMS[0]: _with_keys(pickle.ADDITEMS, slice(None)),
        pickle.FROZENSET[0]: _with_keys(pickle.FROZENSET, slice(None)),
    }


def as_key(value: Any) -> Any:
    """A key of a dictionary, or an item of a set; the hash of nested tuples could take for ever.

    Raises:
        DamagedError: neither text nor a number, nor a short tuple of these.
    """
    parts = value if isinstance(value, tuple) and len(value) <= _LONGEST_KEY else (value,)
    if value is None or all(isinstance(part, (str, bytes, int, float)) for part in parts):
        return value
    raise DamagedError(f"type {type(value).__name__} as the key of a dictionary")


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


def _set(items: Iterable[Any] = ()) -> set[Any]:
    return set(map(as_key, items))


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
_BUILTINS = ("builtins", "__builtin__")
"""The module's name, and that of older protocols."""
MAKERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": tuple,
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _dictionary,
    **{f"{module}.dict": _dictionary for module in _BUILTINS},
    **{f"{module}.{name}": _set for module in _BUILTINS for name in ("set", "frozenset")},
}
_INERT_NAMES = {
    "argparse.Namespace",
    "typing.Any",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
    *(f"{module}.{kind}" for module in _BUILTINS for kind in ("int", "float", "bool", "str", "list")),
}
_INERT_PACKAGES = ("fairseq.", "omegaconf.")


def is_admitted(name: str) -> bool:
    """Whether a pickle may name this function or class."""
    return name in MAKERS or name in STORAGES or name in _INERT_NAMES or name.startswith(_INERT_PACKAGES)
