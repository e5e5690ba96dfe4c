"""Pickles as data: an interpreter of pickle's instructions that calls nothing a file names.

What a file may name is a table (``pickle_values``); any other name is collected and refused at the end. Nothing is
imported; there is no instruction here that could call a function of Python's, set an attribute of an object or enter
code of the file's author (``docs/decisions.md``).

Names of instructions are those of the standard library's ``pickletools``, whose ``genops`` reads them.
"""

import pickletools
import warnings
from collections.abc import Callable
from typing import IO, Any, cast

from speechssl.interop.pickle_values import (
    MAKERS,
    STORAGES,
    DamagedError,
    Inert,
    Named,
    RefusedError,
    Storage,
    as_key,
    is_admitted,
    pairs_of,
)

MAX_INSTRUCTIONS = 2_000_000
MAX_BYTES = 64 * 2**20
"""Limits on one pickle, numbers of tensors not counted, so that a small file cannot fill the memory."""
MAX_COPIED = 1_000_000
"""Limit on what one pickle may have copied, in items: one instruction copies a list of any length, again and again."""
_LONGEST_NAME = 1_000

_ARGUMENTS = frozenset([
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
])  # fmt: skip
"""Instructions that put their argument on the stack."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_GATHERED: dict[str, Callable[[list[Any]], Any]] = {
    "LIST": list,
    "TUPLE": tuple,
    "DICT": lambda items: dict(pairs_of(items)),
    "FROZENSET": lambda items: frozenset(map(as_key, items)),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(file: IO[bytes]) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle from where a file stands.

    Args:
        file: read no further than the pickle's end.

    Returns:
        What it holds, as plain values, ``Inert`` and ``StoredTensor``, and the storages by key.

    Raises:
        RefusedError: it names something that is not admitted.
        DamagedError: cut off, malformed, or larger than any honest one.
    """
    machine = _Machine()
    window = cast("IO[bytes]", _Window(file))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in text of Python 2, which is refused
            for count, (instruction, argument, _) in enumerate(pickletools.genops(window)):
                if count >= MAX_INSTRUCTIONS:
                    raise DamagedError(f"a pickle of more than {MAX_INSTRUCTIONS} instructions")
                machine.step(instruction.name, argument)
        content = machine.stack[-1]
    except (DamagedError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # What a refused object would have been is not known, so the rest of the pickle may make no sense.
        if not machine.refused:
            raise DamagedError(
                str(error) if isinstance(error, DamagedError) else f"malformed pickle: {error}"
            ) from error
    if machine.refused:
        raise RefusedError(list(machine.refused))
    return content, machine.storages


class _Window:
    """The file as ``genops`` reads it, up to a limit."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.left = MAX_BYTES

    def read(self, size: int) -> bytes:
        self.take(size)
        return self.file.read(size)

    def readline(self) -> bytes:
        line = self.file.readline(self.left + 1)
        self.take(len(line))
        return line

    def tell(self) -> int:
        return self.file.tell()

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise DamagedError(f"a pickle of more than {MAX_BYTES // 2**20} MiB")


class _Machine:
    """The stack, the marks in it, and the memo of pickle's virtual machine."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.refused: dict[str, None] = {}
        self.storages: dict[str, Storage] = {}
        self.copied = 0

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in _ARGUMENTS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _GATHERED:
            self.stack.append(_GATHERED[name](self.pop_to_mark()))
        elif name in _TUPLES:
            self.stack.append(tuple(self.pop(_TUPLES[name])))
        elif not (self.arrange(name, argument) or self.fill(name) or self.make(name, argument)):
            raise DamagedError(f"the instruction {name}, which tensors and plain values do not need")

    def arrange(self, name: str, argument: Any) -> bool:
        """Stack, marks and memo; whether the instruction was one of these."""
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "POP":
                self.stack.pop()
            case "POP_MARK":
                self.pop_to_mark()
            case "DUP":
                self.stack.append(self.stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case _:
                return False
        return True

    def fill(self, name: str) -> bool:
        """Containers that exist already; whether the instruction was one of these."""
        match name:
            case "APPEND":
                self.add(self.pop(1), list)
            case "APPENDS":
                self.add(self.pop_to_mark(), list)
            case "ADDITEMS":
                self.add(self.pop_to_mark(), set)
            case "SETITEM":
                self.add(self.pop(2), dict)
            case "SETITEMS":
                self.add(self.pop_to_mark(), dict)
            case _:
                return False
        return True

    def add(self, items: list[Any], kind: type) -> None:
        """Items to the container on top of the stack; an inert object has no place for them."""
        target = self.stack[-1]
        if type(target) is not kind and not isinstance(target, Inert):
            raise DamagedError(f"items of a {kind.__name__} for type {type(target).__name__}")
        if type(target) is list:
            target.extend(items)
        elif type(target) is set:
            target.update(map(as_key, items))
        elif type(target) is dict:
            target.update(pairs_of(items))

    def make(self, name: str, argument: Any) -> bool:
        """Names, objects and storages; whether the instruction was one of these."""
        match name:
            case "GLOBAL":
                self.stack.append(self.named(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                module, attribute = self.pop(2)
                self.stack.append(self.named(f"{_text(module)}.{_text(attribute)}"))
            case "REDUCE" | "NEWOBJ":
                made, arguments = self.pop(2)
                self.stack.append(self.made(made, arguments))
            case "NEWOBJ_EX":
                made, arguments, _ = self.pop(3)
                self.stack.append(self.made(made, arguments))
            case "BUILD":
                (state,) = self.pop(1)
                self.store(self.stack[-1], state)
            case "BINPERSID":
                (identity,) = self.pop(1)
                self.stack.append(self.storage(identity))
            case _:
                return False
        return True

    def named(self, name: str) -> Named:
        """A name, noted if it is not admitted."""
        if not is_admitted(name):
            self.refused[name] = None
        return Named(name)

    def made(self, made: Any, arguments: Any) -> Any:
        """What a call would make: by a function of ours, or inert."""
        if type(made) is not Named or type(arguments) is not tuple:
            raise DamagedError("a call of something that is no name")
        maker = MAKERS.get(made.name)
        if maker is None:
            return Inert(made.name, arguments)
        for argument in arguments:
            self.count(argument)
        try:
            return maker(*arguments)
        except (DamagedError, TypeError, ValueError):
            if not self.refused:
                raise
            return Inert(made.name)  # of something refused; what else is refused is to be told too

    def count(self, value: Any) -> None:
        """Note that the items of a value are gone through once more."""
        self.copied += len(value) if isinstance(value, (list, tuple, set, frozenset, dict)) else 1
        if self.copied > MAX_COPIED:
            raise DamagedError(f"a pickle that has more than {MAX_COPIED} items copied")

    def store(self, target: Any, state: Any) -> None:
        """Attributes of an object: kept for inert ones; dictionaries have them too, and they say nothing of weights."""
        if isinstance(target, Inert):
            parts = state if isinstance(state, tuple) else (state,)
            for part in parts:
                self.count(part)
                if isinstance(part, dict):
                    target.state.update((key, value) for key, value in part.items() if isinstance(key, str))
        elif type(target) is not dict:
            raise DamagedError(f"attributes for type {type(target).__name__}")

    def storage(self, identity: Any) -> Storage:
        """A storage that the pickle refers to: ("storage", type, key, device, numbers[, None])."""
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise DamagedError("a reference to something that is no storage")
        kind, key, size = identity[1], identity[2], identity[4]
        if type(kind) is not Named or kind.name not in STORAGES or type(key) is not str or type(size) is not int:
            raise DamagedError("a storage of unknown kind")
        if size < 0 or identity[5:] not in ((), (None,)):
            raise DamagedError("a storage that is a part of another")
        found = Storage(key, STORAGES[kind.name], size)
        if self.storages.setdefault(key, found) != found:
            raise DamagedError(f"two descriptions of the storage {key[:40]!a}")
        return found

    def pop(self, count: int) -> list[Any]:
        """The topmost values, first pushed first."""
        if len(self.stack) < count:
            raise DamagedError("a malformed pickle (too few values)")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def pop_to_mark(self) -> list[Any]:
        """The values above the last mark."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values


def _text(value: Any) -> str:
    if type(value) is not str:
        raise DamagedError(f"type {type(value).__name__} as a name")
    if len(value) > _LONGEST_NAME:
        raise DamagedError(f"a name of {len(value)} characters")
    return value
