"""Values of fairseq's configurations, judged before they are used or shown: their file may have been made to mislead.

Nothing is evaluated; fairseq's own code passes some of them to ``eval``.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speechssl.config import ConvLayer
from speechssl.errors import CheckpointError
from speechssl.interop.pickles import Inert
from speechssl.interop.sizes import LARGEST, MAX_LAYERS

_MAX_TEXT = 1_000


@dataclass
class Section:
    """Values by name, of which each is judged as it is read."""

    source: str
    values: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """A value without what OmegaConf or an enumeration wraps it in."""
        value = unwrap(self.values.get(name))
        return default if value is None else value

    def whole(self, name: str, *, default: int | None = None, least: int = 1, most: int = LARGEST) -> int:
        """A whole number.

        Raises:
            CheckpointError: missing, or no such number.
        """
        value = self.get(name, default)
        if type(value) is not int or not least <= value <= most:
            raise self.problem(name, value, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, default: float) -> float:
        """A number.

        Raises:
            CheckpointError: something else.
        """
        value = self.get(name, default)
        if type(value) not in (int, float) or not 0 <= value < LARGEST:
            raise self.problem(name, value, "a number from 0 on")
        return float(value)

    def numbers(self, name: str, defaults: tuple[float, ...]) -> tuple[float, ...]:
        """As many numbers as there are defaults; older configurations have them as text.

        Raises:
            CheckpointError: something else.
        """
        value = self.get(name, defaults)
        try:
            items = ast.literal_eval(value) if isinstance(value, str) and len(value) < _MAX_TEXT else value
            found = tuple(unwrap(item) for item in items)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise self.problem(name, value, f"{len(defaults)} numbers") from error
        if len(found) != len(defaults) or not all(type(item) in (int, float) and 0 <= item < LARGEST for item in found):
            raise self.problem(name, value, f"{len(defaults)} numbers")
        return tuple(float(item) for item in found)

    def flag(self, name: str) -> bool:
        """Whether something is set; absent flags are not.

        Raises:
            CheckpointError: neither true nor false.
        """
        value = self.get(name, False)
        if type(value) is not bool:
            raise self.problem(name, value, "true or false")
        return value

    def problem(self, name: str, found: Any, expected: str) -> CheckpointError:
        """An error about a value."""
        return CheckpointError(f"{self.source}: {name} of its configuration is {show(found)}, expected {expected}")


def conv_layers(model: Section) -> list[ConvLayer]:
    """The convolutions, from text such as ``[(512,10,5)] + [(512,3,2)] * 4``.

    Raises:
        CheckpointError: something else.
    """
    text = model.get("conv_feature_layers")
    expected = "lists of (channels, kernel, stride), added and repeated"
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise model.problem("conv_feature_layers", text, expected)
    try:
        layers = _layers_of(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise model.problem("conv_feature_layers", text, expected) from error
    if not layers or not all(map(_is_layer, layers)):
        raise model.problem("conv_feature_layers", text, expected)
    return layers


def _is_layer(value: Any) -> bool:
    whole = isinstance(value, tuple) and all(type(number) is int and 0 < number <= LARGEST for number in value)
    return whole and len(value) == 3


def _layers_of(node: ast.expr) -> list[Any]:
    """Lists, sums of lists, and lists times numbers; ValueError for all else."""
    match node:
        case ast.List(elts=items):
            layers = [ast.literal_eval(item) for item in items]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            layers = _layers_of(left) + _layers_of(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int() as times)) if times <= MAX_LAYERS:
            layers = _layers_of(left) * times
        case _:
            raise ValueError("no list")
    if len(layers) > MAX_LAYERS:
        raise ValueError("too many layers")
    return layers


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
