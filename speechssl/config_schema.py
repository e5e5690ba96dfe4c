"""The keys of a configuration class."""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple


class Schema(NamedTuple):
    """The keys of a configuration class."""

    leaves: dict[str, Any]
    """Type of each dotted key that holds a value."""
    sections: frozenset[str]
    """Dotted keys that hold other keys."""


def schema_of(cls: type) -> Schema:
    """Every dotted key of a configuration class, sections included."""
    leaves: dict[str, Any] = {}
    sections: set[str] = set()
    _collect_keys(cls, "", leaves, sections)
    return Schema(leaves, frozenset(sections))


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The dataclasses of a section that comes in several kinds, of which its key ``name`` says one; else none."""
    found = tuple(argument for argument in typing.get_args(hint) if dataclasses.is_dataclass(argument))
    return found if len(found) > 1 else ()


def kind_named(kinds: Sequence[Any], name: str) -> Any:
    """The kind whose default name this is."""
    return next(kind for kind in kinds if kind.name == name)


def _collect_keys(cls: type, prefix: str, leaves: dict[str, Any], sections: set[str]) -> None:
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        key = prefix + item.name
        section, kinds = section_type(hints[item.name]), kinds_of(hints[item.name])
        if kinds:
            sections.add(key)
            for kind in kinds:
                _collect_keys(kind, f"{key}.", leaves, sections)
            leaves[f"{key}.name"] = Literal[tuple(kind.name for kind in kinds)]
        elif section is not None:
            sections.add(key)
            _collect_keys(section, f"{key}.", leaves, sections)
        else:
            leaves[key] = hints[item.name]


def section_type(hint: Any) -> Any:
    """The dataclass of a section, which may be one that can be left out (``Section | None``); None for other types."""
    if dataclasses.is_dataclass(hint):
        return hint
    arguments = typing.get_args(hint)
    if len(arguments) == 2 and type(None) in arguments:
        return next((argument for argument in arguments if dataclasses.is_dataclass(argument)), None)
    return None
