"""Configurations from YAML files and the command line, typed by the dataclasses of ``config.py``.

A key is the dotted path of a field (``training.max_updates``). Where a section of several fields is expected, a YAML
file may instead name another YAML file, relative to itself, so that recipes can share one model. jsonargparse reads the
YAML, judges and converts the values and writes the help; the walk over the sources is done here, so that a message can
say which file is wrong, name the nearest valid key, and list everything at once.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from jsonargparse import ArgumentParser, get_loader, set_parsing_settings

from speechssl.config_values import convert, describe, is_list, nearest, show
from speechssl.errors import ConfigError

Config = TypeVar("Config")

_COMMAND_LINE = "command line"


class Setting(NamedTuple):
    """One value for one key, and where it was written."""

    key: str
    value: Any
    source: str
    append: bool = False
    """Whether the value is added to a list instead of replacing it (``--data.shards+ more``)."""


@dataclass
class Sources:
    """All that a user wrote, in rising order of precedence, with what is already known to be wrong with it."""

    settings: list[Setting] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    help: bool = False
    """--help was given."""
    print_config: bool = False
    """--print_config was given."""


class Schema(NamedTuple):
    """The keys of a configuration class."""

    leaves: dict[str, Any]
    """Type of each dotted key that holds a value."""
    sections: frozenset[str]
    """Dotted keys that hold other keys."""


def parse(cls: type[Config], argv: Sequence[str], *, positionals: Sequence[str] = ()) -> Config:
    """The configuration that a command line describes.

    Args:
        cls: A dataclass of ``config.py``.
        argv: ``--config FILE`` any number of times, later files winning over earlier ones, then ``--KEY VALUE``, which
            win over every file. A list takes all the values up to the next option.
        positionals: Keys that may be given by position; a list takes all that those after it leave.

    Raises:
        ConfigError: Unknown keys, values of another type, missing keys, unreadable files; all are listed.
    """
    return build(cls, read_arguments(cls, argv, positionals=positionals))


def from_dict(cls: type[Config], mapping: Mapping[str, Any], *, source: str = "configuration") -> Config:
    """The configuration in a mapping of plain values, such as a checkpoint holds; absent keys take their defaults.

    Raises:
        ConfigError: As parse, with ``source`` in front of each problem.
    """
    sources = Sources()
    _read_mapping(schema_of(cls), mapping, sources, prefix="", source=source, folder=Path())
    return build(cls, sources)


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values: nested dictionaries, lists, strings, numbers."""
    plain = _plain(config)
    if not isinstance(plain, dict):
        raise TypeError(f"expected a dataclass or a mapping, found {type(config).__name__}")
    return plain


def to_yaml(config: Any) -> str:
    """A configuration as YAML that ``--config`` reads back to an equal one."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def schema_of(cls: type) -> Schema:
    """Every dotted key of a configuration class, sections included."""
    leaves: dict[str, Any] = {}
    sections: set[str] = set()
    _collect_keys(cls, "", leaves, sections)
    return Schema(leaves, frozenset(sections))


def help_text(cls: type, *, command: str, positionals: Sequence[str] = ()) -> str:
    """What ``speechssl VERB --help`` prints: every key with its meaning, type and default."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    schema = schema_of(cls)
    shown = [f"{key.upper()} ..." if is_list(schema.leaves[key]) else key.upper() for key in positionals]
    parser = ArgumentParser(prog=command, usage=" ".join([command, *shown, "[--config FILE ...] [--KEY VALUE ...]"]))
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file of the keys below; may be repeated, later files win."
    )
    parser.add_argument(
        "--print_config", action="store_true", help="Print the resolved configuration as YAML and exit."
    )
    parser.add_class_arguments(_with_whole_sections(cls))
    return parser.format_help().replace("<class 'Path'>", "Path")


def _with_whole_sections(cls: type) -> type:
    """The class with sections that may be left out as ordinary ones, whose keys jsonargparse explains."""
    hints = typing.get_type_hints(cls)
    optional = {
        item.name: section
        for item in dataclasses.fields(cls)
        if (section := _section_type(hints[item.name])) is not None and section is not hints[item.name]
    }
    if not optional:
        return cls
    fields = [(name, section, field(default_factory=section)) for name, section in optional.items()]
    whole = dataclasses.make_dataclass(cls.__name__, fields, bases=(cls,))
    whole.__doc__ = cls.__doc__
    return whole


def read_arguments(cls: type, argv: Sequence[str], *, positionals: Sequence[str] = ()) -> Sources:
    """Take a command line and the files it names apart; nothing is raised yet."""
    schema = schema_of(cls)
    sources = Sources()
    overrides = Sources()
    loose: list[str] = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if token in ("-h", "--help"):
            sources.help = True
        elif token == "--print_config":
            sources.print_config = True
        elif token == "--":
            loose, tokens = loose + tokens, []
        elif token.startswith("--"):
            _read_option(schema, token, tokens, sources, overrides)
        elif token.startswith("-") and len(token) > 1:
            sources.problems.append(f"{_COMMAND_LINE}: unknown option {token}; options start with two dashes")
        else:
            loose.append(token)
    _read_positionals(schema, loose, positionals, overrides)
    sources.settings += overrides.settings
    sources.problems += overrides.problems
    return sources


def build(cls: type[Config], sources: Sources) -> Config:
    """Make the configuration from what was read.

    Raises:
        ConfigError: Everything that is wrong, one problem per line.
    """
    problems = list(sources.problems)
    values = _typed_values(cls, sources.settings, problems)
    missing: list[str] = []
    config = _instantiate(cls, values, "", dataclasses.MISSING, missing)
    problems += [f"{key} is missing: give it as --{key}, or in a --config file" for key in missing]
    _raise(problems)
    return typing.cast(Config, config)


def partial_yaml(cls: type, sources: Sources) -> str:
    """The configuration as YAML for ``--print_config``: keys that must be given but were not stand as null.

    Raises:
        ConfigError: As build, but for missing keys.
    """
    problems = list(sources.problems)
    values = _typed_values(cls, sources.settings, problems)
    _raise(problems)
    return to_yaml(_instantiate(cls, values, "", dataclasses.MISSING, []))


def _raise(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n  ".join([f"{len(problems)} problems in the configuration:", *problems]))


def _collect_keys(cls: type, prefix: str, leaves: dict[str, Any], sections: set[str]) -> None:
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        key = prefix + item.name
        section = _section_type(hints[item.name])
        if section is not None:
            sections.add(key)
            _collect_keys(section, f"{key}.", leaves, sections)
        else:
            leaves[key] = hints[item.name]


def _section_type(hint: Any) -> Any:
    """The dataclass of a section, which may be one that can be left out (``Section | None``); None for other types."""
    if dataclasses.is_dataclass(hint):
        return hint
    arguments = typing.get_args(hint)
    if len(arguments) == 2 and type(None) in arguments:
        return next((argument for argument in arguments if dataclasses.is_dataclass(argument)), None)
    return None


def _read_option(schema: Schema, token: str, rest: list[str], sources: Sources, overrides: Sources) -> None:
    """Take one option off the command line, with its values off ``rest``."""
    name, equals, value = token[2:].partition("=")
    values = [value] if equals else []
    hint = schema.leaves.get(name.removesuffix("+"))
    while not equals and rest and not rest[0].startswith("--") and (is_list(hint) or not values):
        values.append(rest.pop(0))
    if not values and hint is bool:
        values = ["true"]
    if name == "config":
        for path in values:
            _read_file(schema, Path(path), sources, prefix="", written_in=f"{_COMMAND_LINE}: --config")
    elif name in schema.sections:
        _read_section(schema, name, values[0] if values else None, overrides, source=_COMMAND_LINE, folder=Path())
    elif values or name not in schema.leaves:
        given: Any = values if len(values) > 1 else next(iter(values), None)
        overrides.settings.append(Setting(name.removesuffix("+"), given, _COMMAND_LINE, append=name.endswith("+")))
    if not values and (name == "config" or name in schema.leaves or name in schema.sections):
        overrides.problems.append(f"{_COMMAND_LINE}: --{name} needs a value")


def _read_positionals(schema: Schema, loose: list[str], positionals: Sequence[str], overrides: Sources) -> None:
    """Give the arguments without a key to the positional keys that no option has given."""
    given = {setting.key for setting in overrides.settings}
    wanted = [key for key in positionals if key not in given]
    for position, key in enumerate(wanted):
        if loose:
            # A list leaves one for each of the keys after it.
            taken = max(1, len(loose) - len(wanted) + position + 1) if is_list(schema.leaves[key]) else 1
            value: Any = loose[:taken] if is_list(schema.leaves[key]) else loose[0]
            overrides.settings.append(Setting(key, value, _COMMAND_LINE))
            loose = loose[taken:]
    overrides.problems += [
        f"{_COMMAND_LINE}: unexpected argument {argument!r}; keys are given as --KEY VALUE" for argument in loose
    ]


def _read_file(schema: Schema, path: Path, sources: Sources, *, prefix: str, written_in: str) -> None:
    """Read a YAML file of the whole configuration, or of the section that ``prefix`` names."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        sources.problems.append(f"{written_in}: cannot read the configuration file {path}: {reason}")
        return
    try:
        _refuse_duplicates(yaml.compose(text, Loader=yaml.SafeLoader))
        content = get_loader("yaml")(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        sources.problems.append(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}")
        return
    if content is None:
        return
    if not isinstance(content, Mapping):
        sources.problems.append(f"{path}: expected keys with values, found {show(content)}")
        return
    section = "" if prefix else _section_of(schema, content)
    if section:
        sources.problems.append(
            f"{written_in}: {path} holds the keys of the section {section}; give --{section} {path}"
        )
        return
    _read_mapping(schema, content, sources, prefix=prefix, source=str(path), folder=path.parent)


def _section_of(schema: Schema, content: Mapping[Any, Any]) -> str:
    """The section whose keys a file holds in place of those of a whole configuration; empty if there is none."""
    keys = schema.leaves.keys() | schema.sections
    if any(str(name) in keys for name in content):
        return ""
    fitting = [section for section in schema.sections if all(f"{section}.{name}" in keys for name in content)]
    return min(fitting, default="")


def _refuse_duplicates(node: yaml.Node | None) -> None:
    """YAML readers silently let the second of two equal keys win, which loses a whole section."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name} is given twice", problem_mark=key.start_mark)
            seen.add(name)
            _refuse_duplicates(value)


def _read_mapping(
    schema: Schema, mapping: Mapping[Any, Any], sources: Sources, *, prefix: str, source: str, folder: Path
) -> None:
    """Flatten nested keys into settings; what stands under an unknown key is reported key by key."""
    for name, value in mapping.items():
        key = f"{prefix}{name}"
        if key in schema.sections:
            _read_section(schema, key, value, sources, source=source, folder=folder)
        elif isinstance(value, Mapping) and value and key not in schema.leaves:
            _read_mapping(schema, value, sources, prefix=f"{key}.", source=source, folder=folder)
        else:
            sources.settings.append(Setting(key, value, source))


def _read_section(schema: Schema, key: str, value: Any, sources: Sources, *, source: str, folder: Path) -> None:
    """A section is given as keys with values, or as the path of a YAML file of them."""
    if isinstance(value, Mapping):
        _read_mapping(schema, value, sources, prefix=f"{key}.", source=source, folder=folder)
    elif isinstance(value, str):
        shown = f"--{key}" if source == _COMMAND_LINE else key
        _read_file(schema, folder / value, sources, prefix=f"{key}.", written_in=f"{source}: {shown}")
    elif value is not None:
        keys = [leaf.removeprefix(f"{key}.") for leaf in schema.leaves if leaf.startswith(f"{key}.")]
        sources.problems.append(
            f"{source}: {key}: expected a YAML file or the keys {', '.join(keys)}, found {show(value)}"
        )


def _typed_values(cls: type, settings: Sequence[Setting], problems: list[str]) -> dict[str, Any]:
    """Convert each value to its key's type, later settings winning; what cannot be is added to ``problems``."""
    schema = schema_of(cls)
    defaults = _instantiate(cls, {}, "", dataclasses.MISSING, [])
    values: dict[str, Any] = {}
    for setting in settings:
        shown = f"--{setting.key}" if setting.source == _COMMAND_LINE else setting.key
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
        if setting.append:
            converted = [*(values.get(setting.key) or _attribute(defaults, setting.key) or []), *converted]
        values[setting.key] = converted
    return values


def _instantiate(cls: Any, values: Mapping[str, Any], prefix: str, default: Any, missing: list[str]) -> Any:
    """Build a dataclass from typed values by dotted key, absent ones from ``default`` (an instance) or the class."""
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        key = prefix + item.name
        inherited = _default(item) if default is dataclasses.MISSING else getattr(default, item.name)
        section = _section_type(hints[item.name])
        if section is not None:
            if inherited is None and not any(name.startswith(f"{key}.") for name in values):
                arguments[item.name] = None
                continue
            start = dataclasses.MISSING if inherited is None else inherited
            arguments[item.name] = _instantiate(section, values, f"{key}.", start, missing)
            continue
        arguments[item.name] = values.get(key, inherited)
        if arguments[item.name] is dataclasses.MISSING:
            missing.append(key)
            arguments[item.name] = None
    return cls(**arguments)


def _default(item: dataclasses.Field) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def _attribute(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = None if config is None else getattr(config, name)
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
