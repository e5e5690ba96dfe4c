"""One value of a configuration: converted to its field's type by jsonargparse, or refused in plain words."""

import argparse
import difflib
import functools
import types
import typing
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def convert(hint: Any, value: Any) -> Any:
    """Convert a value from YAML or the command line to a field's type; a single text stands for a list of one.

    Raises:
        ValueError: It cannot be; the message says what was expected and found.
    """
    if value is None and type(None) not in typing.get_args(hint):
        # jsonargparse would take it for "not given" and let it through.
        raise ValueError(f"expected {describe(hint)}, found nothing (null)")
    if is_list(hint) and isinstance(value, str) and not value.lstrip().startswith("["):
        value = [value]
    for item in value if isinstance(value, list) else [value]:
        if item == "" and hint is not str:
            # As a path it would be the folder in which a person happens to stand.
            raise ValueError(f"expected {describe(hint)}, found an empty text")
        if isinstance(item, str) and "\0" in item:
            raise ValueError(f"expected {describe(hint)}, found {show(item)}, which no file can be called")
    try:
        return _parser(hint).parse_object({"value": value}).value
    except argparse.ArgumentError as error:
        raise ValueError(f"expected {describe(hint)}, found {show(value)}{_meant(hint, value)}") from error


@functools.cache
def _parser(hint: Any) -> ArgumentParser:
    """Takes a value of a type; to make one takes as long as to use it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    return parser


def describe(hint: Any) -> str:
    """A type in the words of a message: "a whole number", "one of group, layer"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is list:
        return f"a list, each item {describe(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)} ({', '.join(map(describe, arguments))})"
    if origin in (typing.Union, types.UnionType):
        return ", or ".join("null" if argument is type(None) else describe(argument) for argument in arguments)
    return _WORDS.get(hint, str(hint))


def nearest(key: str, valid: typing.Iterable[str]) -> str:
    """The valid key most like this one: as a whole, in its last part (people forget the section) or initials (lr)."""
    name = key.rpartition(".")[2]

    def likeness(candidate: str) -> float:
        candidate_name = candidate.rpartition(".")[2]
        initials = "".join(word[:1] for word in candidate_name.split("_"))
        whole = difflib.SequenceMatcher(None, key, candidate).ratio()
        last = 0.95 if initials == name else difflib.SequenceMatcher(None, name, candidate_name).ratio()
        return max(whole, 0.9 * last + 0.1 * whole)

    return max(valid, key=likeness)


def is_list(hint: Any) -> bool:
    """Whether a field holds several values."""
    return typing.get_origin(hint) in (list, tuple)


def show(value: Any) -> str:
    """A value for a message, cut to fit a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _meant(hint: Any, value: Any) -> str:
    if typing.get_origin(hint) is not typing.Literal:
        return ""
    close = difflib.get_close_matches(str(value), map(str, typing.get_args(hint)), n=1)
    return f"; did you mean {close[0]}?" if close else ""
