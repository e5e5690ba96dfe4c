"""Values of configurations of others, judged before they are used or shown: a file may have been made to mislead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from speechssl.errors import CheckpointError
from speechssl.interop.pickles import Inert

Section = TypeVar("Section")
Names = dict[str, tuple[str, Any]]
"""Fields of a section of ours, and what each is called elsewhere with its value where it is left out; None: never."""
_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Values:
    """Values by name, of which each is judged as it is read; how large numbers may be, the whole model is asked."""

    source: str
    """Where they are from, for messages."""
    values: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """A value without what OmegaConf or an enumeration wraps it in."""
        value = unwrap(self.values.get(name))
        return default if value is None else value

    def of_type(self, kind: type, name: str, default: Any = None) -> Any:
        """A value of a type, where whole numbers are numbers too.

        Raises:
            CheckpointError: missing, or of another type.
        """
        value = self.get(name, default)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise self.problem(name, value, _EXPECTED[kind])
        return value

    def section(self, kind: type[Section], names: Names, **more: Any) -> Section:
        """A section of ours, each value of the type of the field's default.

        Raises:
            CheckpointError: a value is missing or of another type.
        """
        example = kind()
        found = {
            ours: self.of_type(type(getattr(example, ours)), theirs, default)
            for ours, (theirs, default) in names.items()
        }
        return kind(**found | more)

    def check_fixed(self, fixed: Mapping[str, Any]) -> None:
        """Check what our encoder computes in one way only.

        Raises:
            CheckpointError: lists the values that ask for another way.
        """
        problems = [
            f"{name} is {show(found)}, only {value!r} can be imported"
            for name, value in fixed.items()
            if (found := self.get(name, value)) != value
        ]
        if problems:
            raise CheckpointError(f"{self.source}: {'; '.join(problems)}")

    def problem(self, name: str, found: Any, expected: str) -> CheckpointError:
        """An error about a value."""
        return CheckpointError(f"{self.source}: {name} of its configuration is {show(found)}, expected {expected}")


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Values by name in a dictionary, a namespace or a container of OmegaConf's; none in anything else."""
    value = unwrap(value)
    return value if isinstance(value, dict) else {}


def unwrap(value: Any) -> Any:
    """What an inert object of a configuration stands for."""
    for _ in range(4):
        if not isinstance(value, Inert):
            return value
        if value.name == "argparse.Namespace":
            return value.state
        if "_content" in value.state or "_val" in value.state:  # OmegaConf's containers and values
            value = value.state.get("_content", value.state.get("_val"))
        elif len(value.arguments) == 1:  # members of enumerations
            value = value.arguments[0]
        else:
            return None
    return None


def show(value: Any) -> str:
    """A value of a file for a message: only what is short by nature."""
    if value is None:
        return "missing"
    if isinstance(value, str):
        return repr(value[:60])
    if isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 10**12):
        return repr(value)
    return f"of type {type(value).__name__}"
