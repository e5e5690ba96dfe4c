"""From what a user wrote, or a checkpoint holds, to a configuration, and back to plain values and YAML.

A message says which file is wrong and names the nearest valid key, and all that is wrong is listed at once.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from speechssl.config.limits import fault_of, hints_of
from speechssl.config.schema import convert, kind_named, kinds_of, nearest, schema_of, show
from speechssl.config.sources import Setting, Sources, read_arguments
from speechssl.errors import ConfigError

Config = TypeVar("Config")


def parse(cls: type[Config], argv: Sequence[str], *, positionals: Sequence[str] = ()) -> Config:
    """The configuration that a command line describes.

    Args:
        cls: A class of ``speechssl.config``.
        argv: ``--config FILE`` any number of times, later files winning over earlier ones, then ``--KEY VALUE``, which
            win over every file. A list takes all the values up to the next option.
        positionals: Keys that may be given by position; a list takes all that those after it leave.

    Raises:
        ConfigError: Unknown keys, values of another type, numbers that make no sense, missing keys, unreadable files;
            all are listed.
    """
    return build(cls, read_arguments(cls, argv, positionals=positionals))


def from_dict(cls: type[Config], mapping: Mapping[str, Any], *, source: str = "configuration") -> Config:
    """The configuration in a mapping of plain values, such as a checkpoint holds; absent keys take their defaults.

    Its numbers are taken as they are: limits are for those of a user.

    Raises:
        ConfigError: As parse, with ``source`` in front of each problem.
    """
    sources = Sources(schema_of(cls))
    sources.read_mapping(mapping, prefix="", source=source, folder=Path())
    return build(cls, sources, limited=False)


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values: nested dictionaries, lists, strings, numbers."""
    return typing.cast(dict[str, Any], plain(config))


def to_yaml(config: Any) -> str:
    """A configuration as YAML that ``--config`` reads back to an equal one."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def build(cls: type[Config], sources: Sources, *, limited: bool = True, partial: bool = False) -> Config:
    """Make the configuration from what was read.

    Args:
        cls: A class of ``speechssl.config``.
        sources: What was read.
        limited: Whether numbers are judged.
        partial: Whether keys that must be given may be absent, for ``--print_config``; they are None.

    Raises:
        ConfigError: Everything that is wrong, one problem per line.
    """
    problems = list(sources.problems)
    refused = set()
    given: dict[str, Any] = {}
    for setting in sources.settings:
        try:
            value = _value_of(cls, setting, sources, limited=limited)
        except ValueError as error:
            problems.append(f"{setting.source}: {error}")
            refused.add(setting.key)
            continue
        *sections, name = setting.key.split(".")
        inner = given
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    missing: list[str] = []
    config = _make(cls, given, None, "", missing)
    wanted = [key for key in missing if key not in refused and not partial]
    problems += missing_problems(wanted, sources)
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n  ".join([f"{len(problems)} problems in the configuration:", *problems]))
    return typing.cast(Config, config)


def missing_problems(wanted: Sequence[str], sources: Sources) -> list[str]:
    """What to say of keys that must be given and are not; of all that have a place, in one line."""
    placed = [key for key in wanted if key in sources.positionals.keys]
    problems = [f"{key} is missing: give it as --{key}, or in a --config file" for key in wanted if key not in placed]
    if placed:
        *before, last = placed
        names, are, them = (f"{', '.join(before)} and {last}", "are", "them") if before else (last, "is", "it")
        options = " ".join(f"--{key}" for key in placed)
        problems.insert(
            0,
            f"{names} {are} missing: give {them} by place ({sources.positionals.shown}), as {options}, "
            "or in a --config file",
        )
    return problems


def _value_of(cls: type, setting: Setting, sources: Sources, *, limited: bool) -> Any:
    """The value of a setting in its key's type.

    Raises:
        ValueError: It has none, with the reason.
    """
    schema, key, shown = sources.schema, setting.key, setting.shown
    if key not in schema.leaves:
        value = f" (value {show(setting.value)})" if setting.value is not None else ""
        close = shown.removesuffix(key) + nearest(key, (*schema.leaves, *schema.sections))
        raise ValueError(f"unknown key {shown}{value}; the nearest valid key is {close}")
    section, _, name = key.partition(".")
    kind = _kind_of(cls, section, sources.settings)
    if kind is not None and name not in schema_of(kind).leaves:
        others = [other.name for other in kinds_of(hints_of(cls)[section]) if name in schema_of(other).leaves]
        raise ValueError(
            f"{shown} is no key of {section}.name {kind.name}, but of {' and '.join(others)}: give --{section}.name "
            f"{others[0]}, or take it out"
        )
    hint = schema.leaves[key]
    try:
        value = convert(hint, setting.value)
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from error
    if limited and (fault := fault_of(hint, value)):
        raise ValueError(f"{shown} {fault}")
    return value


def _kind_of(cls: Any, section: str, settings: Sequence[Setting]) -> Any:
    """Of a section that comes in several kinds, the one that was asked for, or else the default; None of others."""
    kinds = kinds_of(hints_of(cls)[section])
    asked: Any = {setting.key: setting.value for setting in settings}.get(f"{section}.name")
    if len(kinds) < 2:
        return None
    return kind_named(kinds, asked) if asked in [kind.name for kind in kinds] else type(getattr(cls, section))


def _make(cls: Any, given: Mapping[str, Any], default: Any, prefix: str, missing: list[str]) -> Any:
    """A section of given values, and else those of a ``default`` section or the class; ``missing`` takes keys.

    A section of which nothing is given is the very object that is the default.
    """
    hints, arguments = hints_of(cls), {}
    for item in dataclasses.fields(cls):
        usual = default_of(item) if default is None else getattr(default, item.name)
        kinds = kinds_of(hints[item.name])
        if kinds and usual is dataclasses.MISSING:
            usual = kinds[0]()
        found = given.get(item.name, usual)
        if kinds and item.name in given:
            kind = kind_named(kinds, found.get("name", usual.name)) if len(kinds) > 1 else kinds[0]
            found = _make(kind, found, usual if isinstance(usual, kind) else None, f"{prefix}{item.name}.", missing)
        elif found in (dataclasses.MISSING, []) and usual is dataclasses.MISSING:
            missing.append(f"{prefix}{item.name}")
            found = None
        arguments[item.name] = found
    return cls(**arguments)


def default_of(item: dataclasses.Field) -> Any:
    """The default of a field; ``dataclasses.MISSING`` of one that has none."""
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def plain(value: Any) -> Any:
    """A value, or all of a section, as dictionaries, lists, strings and numbers."""
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line: a list of convolutions is read as rows, not as a ladder of dashes."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)
