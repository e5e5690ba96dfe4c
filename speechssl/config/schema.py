"""The keys of a configuration class, and the values that they take."""

import difflib
import types
import typing
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml

from speechssl.config.limits import Section, hints_of
from speechssl.redaction import redact_addresses


class Schema(NamedTuple):
    """The keys of a configuration class: dotted paths of fields."""

    leaves: dict[str, Any]
    """Type of each key that holds a value."""
    sections: frozenset[str]
    """Keys that hold other keys."""


def schema_of(cls: type) -> Schema:
    """Every key of a configuration class; a section that comes in several kinds has the keys of all."""
    leaves: dict[str, Any] = {}
    sections: set[str] = set()
    for name, hint in hints_of(cls).items():
        kinds = kinds_of(hint)
        if not kinds:
            leaves[name] = hint
            continue
        sections.add(name)
        for kind in kinds:
            inner = schema_of(kind)
            leaves |= {f"{name}.{key}": hint for key, hint in inner.leaves.items()}
            sections |= {f"{name}.{key}" for key in inner.sections}
        if len(kinds) > 1:
            leaves[f"{name}.name"] = Literal[tuple(kind.name for kind in kinds)]
    return Schema(leaves, frozenset(sections))


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The classes of a section: one, or several of which its key ``name`` says one; none of a value."""
    parts = (hint, *typing.get_args(hint))
    return tuple(part for part in parts if isinstance(part, type) and issubclass(part, Section))


def kind_named(kinds: Iterable[Any], name: str) -> Any:
    """The kind whose default name this is."""
    return next(kind for kind in kinds if kind.name == name)


def is_list(hint: Any) -> bool:
    """Whether a field holds several values."""
    return typing.get_origin(_plain(hint)) in (list, tuple)


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def convert(hint: Any, value: Any) -> Any:
    """Convert a value from YAML or the command line to a field's type; a single text stands for a list of one.

    Raises:
        ValueError: It cannot be; the message says what was expected and found.
    """
    try:
        return _convert(_plain(hint), value)
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        found = "an empty text" if value in ("", [""]) else "nothing (null)" if value is None else show(value)
        options = map(str, typing.get_args(hint)) if typing.get_origin(hint) is Literal else ()
        close = difflib.get_close_matches(str(value), options, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"expected {describe(hint)}, found {found}{meant}") from error


def _convert(hint: Any, value: Any) -> Any:
    """As ``convert``, with errors that say nothing."""
    origin, parts = typing.get_origin(hint), [_plain(part) for part in typing.get_args(hint)]
    if origin in (typing.Union, types.UnionType):
        return _convert_to_any(parts, value)
    if origin in (list, tuple) and isinstance(value, str):
        value = _items(value)
    is_text = isinstance(value, str) and "\0" not in value and (value != "" or hint is str)
    match value:
        case list() | tuple() if origin is list and "" not in value:
            return [_convert(parts[0], item) for item in value]
        case list() | tuple() if origin is tuple:
            return tuple(_convert(part, item) for part, item in zip(parts, value, strict=True))
        case None | "null" if hint is type(None):
            return None
        case str() if origin is Literal and value in parts:
            return value
        case str() if is_text and hint is bool and value.lower() in BOOLEANS:
            return BOOLEANS[value.lower()]
        case str() if is_text and hint in (int, float, str, Path):
            return hint(value)
        case bool() if hint is bool:
            return value
        case int() if not isinstance(value, bool) and hint in (int, float):
            return hint(value)
        case float() if hint is float:
            return value
    raise ValueError


def _items(text: str) -> list[Any]:
    """A list in YAML, or else the text as its only item: a glob may begin with a bracket."""
    if text.lstrip().startswith("["):
        with suppress(yaml.YAMLError):
            if isinstance(found := yaml.safe_load(text), list):
                return found
    return [text]


def _convert_to_any(options: list[Any], value: Any) -> Any:
    """To the first type that takes the value, null before all."""
    for option in sorted(options, key=lambda option: option is not type(None)):
        try:
            return _convert(option, value)
        except ValueError:
            continue
    raise ValueError


def _plain(hint: Any) -> Any:
    """A type without its limit."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def describe(hint: Any) -> str:
    """A type in the words of a message: "a whole number", "one of group, layer"."""
    hint = _plain(hint)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is list:
        return f"a list, each item {describe(parts[0])}"
    if origin is tuple:
        return f"a list of {len(parts)} ({', '.join(map(describe, parts))})"
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(map(describe, parts))
    return "null" if hint is type(None) else _WORDS[hint]


def show(value: Any) -> str:
    """A value for a message, cut to fit a line."""
    text = redact_addresses(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(key: str, valid: Iterable[str]) -> str:
    """The valid key most like this one: as a whole, in its last part (people forget the section) or initials (lr)."""
    name = key.rpartition(".")[2]

    def likeness(candidate: str) -> float:
        candidate_name = candidate.rpartition(".")[2]
        initials = "".join(word[:1] for word in candidate_name.split("_"))
        whole = difflib.SequenceMatcher(None, key, candidate).ratio()
        last = 0.95 if initials == name else difflib.SequenceMatcher(None, name, candidate_name).ratio()
        return max(whole, 0.9 * last + 0.1 * whole)

    return max(valid, key=likeness)
