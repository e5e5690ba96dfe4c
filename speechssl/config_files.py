"""Configurations from YAML files and the command line, typed by the dataclasses of ``config.py``.

jsonargparse reads the YAML, judges and converts the values and writes the help; the walk over the sources is done here,
so that a message can say which file is wrong, name the nearest valid key, and list everything at once.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from speechssl.config_limits import fault_of
from speechssl.config_schema import kind_named, kinds_of, schema_of, section_type
from speechssl.config_sources import COMMAND_LINE, Setting, Sources, read_arguments, read_mapping
from speechssl.config_values import convert, describe, nearest, show
from speechssl.errors import ConfigError

Config = TypeVar("Config")

_GIVEN = "_given"


def parse(cls: type[Config], argv: Sequence[str], *, positionals: Sequence[str] = ()) -> Config:
    """The configuration that a command line describes.

    Args:
        cls: A dataclass of ``config.py``.
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

    Its numbers are taken as they are: ``config_limits`` judges those of a user.

    Raises:
        ConfigError: As parse, with ``source`` in front of each problem.
    """
    sources = Sources()
    read_mapping(schema_of(cls), mapping, sources, prefix="", source=source, folder=Path())
    return build(cls, sources, limited=False)


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values: nested dictionaries, lists, strings, numbers."""
    plain = _plain(config)
    if not isinstance(plain, dict):
        raise TypeError(f"expected a dataclass or a mapping, found {type(config).__name__}")
    return plain


def to_yaml(config: Any) -> str:
    """A configuration as YAML that ``--config`` reads back to an equal one."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def build(cls: type[Config], sources: Sources, *, limited: bool = True) -> Config:
    """Make the configuration from what was read; ``limited`` also judges its numbers.

    Raises:
        ConfigError: Everything that is wrong, one problem per line.
    """
    problems = list(sources.problems)
    values = _typed_values(cls, sources.settings, problems, limited=limited)
    missing: list[str] = []
    config = _instantiate(cls, values, "", dataclasses.MISSING, missing)
    refused = {setting.key for setting in sources.settings} - values.keys()  # said already
    problems += [
        f"{key} is missing: give it as --{key}, or in a --config file" for key in missing if key not in refused
    ]
    _raise(problems)
    vars(config)[_GIVEN] = frozenset(values)
    return typing.cast(Config, config)


def is_given(config: Any, section: str) -> bool:
    """Whether something of a section was written down, even if it says what the default is; False of what was made in
    Python."""
    return any(key.startswith(f"{section}.") for key in vars(config).get(_GIVEN, ()))


def partial_yaml(cls: type, sources: Sources) -> str:
    """The configuration as YAML for ``--print_config``: keys that must be given but were not stand as null.

    Raises:
        ConfigError: As build, but for missing keys.
    """
    problems = list(sources.problems)
    values = _typed_values(cls, sources.settings, problems, limited=True)
    _raise(problems)
    return to_yaml(_instantiate(cls, values, "", dataclasses.MISSING, []))


def _raise(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n  ".join([f"{len(problems)} problems in the configuration:", *problems]))


def _typed_values(cls: type, settings: Sequence[Setting], problems: list[str], *, limited: bool) -> dict[str, Any]:
    """Convert each value to its key's type, later settings winning; what cannot be is added to ``problems``."""
    schema = schema_of(cls)
    defaults = _instantiate(cls, {}, "", dataclasses.MISSING, [])
    values: dict[str, Any] = {}
    for setting in settings:
        shown = f"--{setting.key}" if setting.source == COMMAND_LINE else setting.key
        if setting.key not in schema.leaves:
            value = f" (value {show(setting.value)})" if setting.value is not None else ""
            close = shown.removesuffix(setting.key) + nearest(setting.key, (*schema.leaves, *schema.sections))
            problems.append(f"{setting.source}: unknown key {shown}{value}; the nearest valid key is {close}")
            continue
        hint = schema.leaves[setting.key]
        if setting.append and typing.get_origin(hint) is not list:
            problems.append(f"{setting.source}: {shown}+: only a list can be added to, not {describe(hint)}")
            continue
        try:
            converted = convert(hint, setting.value)
        except ValueError as error:
            problems.append(f"{setting.source}: {shown}: {error}")
            continue
        if limited and (fault := fault_of(setting.key, converted)):
            problems.append(f"{setting.source}: {shown} {fault}")
            continue
        if setting.append:
            converted = [*(values.get(setting.key) or _attribute(defaults, setting.key) or []), *converted]
        values[setting.key] = converted
    problems += _of_other_kinds(cls, settings, values, defaults)
    return values


def _of_other_kinds(cls: type, settings: Sequence[Setting], values: dict[str, Any], defaults: Any) -> list[str]:
    """What was given for another kind of a section than the one that its name says; it is taken out of ``values``."""
    problems = []
    for item in dataclasses.fields(cls):
        kinds = kinds_of(typing.get_type_hints(cls)[item.name])
        if not kinds:
            continue
        name = values.get(f"{item.name}.name", getattr(defaults, item.name).name)
        own = {f"{item.name}.{key}" for key in schema_of(kind_named(kinds, name)).leaves}
        for setting in settings:
            if setting.key.startswith(f"{item.name}.") and setting.key in values and setting.key not in own:
                key = setting.key.removeprefix(f"{item.name}.")
                others = [kind.name for kind in kinds if key in schema_of(kind).leaves]
                problems.append(
                    f"{setting.source}: {setting.key} is a key of {item.name}.name {' and '.join(others)}, the name is "
                    f"{name}; take it out of there, or give --{item.name}.name {others[0]}"
                )
        for key in [key for key in values if key.startswith(f"{item.name}.") and key not in own]:
            del values[key]
    return problems


def _instantiate(cls: Any, values: Mapping[str, Any], prefix: str, default: Any, missing: list[str]) -> Any:
    """Build a dataclass from typed values by dotted key, absent ones from ``default`` (an instance) or the class."""
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        key = prefix + item.name
        inherited = _default(item) if default is dataclasses.MISSING else getattr(default, item.name)
        section = section_type(hints[item.name])
        if kinds := kinds_of(hints[item.name]):
            section = kind_named(kinds, values.get(f"{key}.name", inherited.name))
            inherited = inherited if isinstance(inherited, section) else section()
        if section is not None:
            if inherited is None and not any(name.startswith(f"{key}.") for name in values):
                arguments[item.name] = None
                continue
            start = dataclasses.MISSING if inherited is None else inherited
            arguments[item.name] = _instantiate(section, values, f"{key}.", start, missing)
            continue
        arguments[item.name] = values.get(key, inherited)
        if arguments[item.name] in (dataclasses.MISSING, []) and inherited is dataclasses.MISSING:
            missing.append(key)
            arguments[item.name] = None
    return cls(**arguments)


def _default(item: dataclasses.Field) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def _attribute(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name, None)
    return config


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line: a list of convolutions is read as rows, not as a ladder of dashes."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)

    def ignore_aliases(self, data: Any) -> bool:
        return True
