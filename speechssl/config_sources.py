"""What a user wrote: YAML files, and the command line, taken apart into settings of keys; nothing is judged yet.

A key is the dotted path of a field (``training.max_updates``). Where a section of several fields is expected, a YAML
file may instead name another YAML file, relative to itself, so that recipes can share one model; and wherever a YAML
file is expected, the name of one that comes with speechssl will do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import get_loader

from speechssl.config_schema import Schema, schema_of
from speechssl.config_shipped import describe_missing, locate
from speechssl.config_values import is_list, show

COMMAND_LINE = "command line"
_BOOLEANS = ("true", "false", "yes", "no", "on", "off")


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
            _read_option(schema, token, tokens, sources, overrides, is_alone=not positionals)
        elif token.startswith("-") and len(token) > 1:
            sources.problems.append(f"{COMMAND_LINE}: unknown option {token}; options start with two dashes")
        else:
            loose.append(token)
    _read_positionals(schema, loose, positionals, overrides)
    sources.settings += overrides.settings
    sources.problems += overrides.problems
    return sources


def _read_option(
    schema: Schema, token: str, rest: list[str], sources: Sources, overrides: Sources, *, is_alone: bool
) -> None:
    """Take one option off the command line, with its values off ``rest``.

    What follows a switch (true or false) is its value if it is one of these words, else it stands for itself, unless
    the verb takes no such arguments (``is_alone``) and it can only have been meant for a value.
    """
    name, equals, value = token[2:].partition("=")
    values = [value] if equals else []
    hint = schema.leaves.get(name.removesuffix("+"))
    if hint is bool and not equals:
        is_value = bool(rest) and not rest[0].startswith("--") and (is_alone or rest[0].lower() in _BOOLEANS)
        values = [rest.pop(0) if is_value else "true"]
    while not equals and rest and not rest[0].startswith("--") and (is_list(hint) or not values):
        values.append(rest.pop(0))
    if name == "config":
        for path in values:
            _read_file(schema, path, sources, prefix="", written_in=f"{COMMAND_LINE}: --config", folder=Path())
    elif name in schema.sections:
        _read_section(schema, name, values[0] if values else None, overrides, source=COMMAND_LINE, folder=Path())
    elif values or name not in schema.leaves:
        given: Any = values if len(values) > 1 else next(iter(values), None)
        overrides.settings.append(Setting(name.removesuffix("+"), given, COMMAND_LINE, append=name.endswith("+")))
    if not values and (name == "config" or name in schema.leaves or name in schema.sections):
        overrides.problems.append(f"{COMMAND_LINE}: --{name} needs a value")


def _read_positionals(schema: Schema, loose: list[str], positionals: Sequence[str], overrides: Sources) -> None:
    """Give the arguments without a key to the positional keys that no option has given."""
    given = {setting.key for setting in overrides.settings}
    wanted = [key for key in positionals if key not in given]
    for position, key in enumerate(wanted):
        if loose:
            # A list leaves one for each of the keys after it.
            taken = max(1, len(loose) - len(wanted) + position + 1) if is_list(schema.leaves[key]) else 1
            value: Any = loose[:taken] if is_list(schema.leaves[key]) else loose[0]
            overrides.settings.append(Setting(key, value, COMMAND_LINE))
            loose = loose[taken:]
    overrides.problems += [
        f"{COMMAND_LINE}: unexpected argument {argument!r}; keys are given as --KEY VALUE" for argument in loose
    ]


def _read_file(schema: Schema, name: str, sources: Sources, *, prefix: str, written_in: str, folder: Path) -> None:
    """Read a YAML file of the whole configuration, or of the section that ``prefix`` names.

    Args:
        schema: all keys.
        name: path of the file, or the name of one that comes with speechssl.
        sources: takes what is read.
        prefix: of the section's keys; empty for a whole configuration.
        written_in: where the name was found, for messages.
        folder: that a path is relative to.
    """
    path = locate(name, folder)
    if path is None:
        missing = describe_missing(name, folder, prefix.removesuffix("."))
        missing = missing if name else "expected a YAML file, found an empty text"
        sources.problems.append(f"{written_in}: {missing}")
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        sources.problems.append(f"{written_in}: cannot read the configuration file {path}: {reason}")
        return
    try:
        _refuse_duplicates(yaml.compose(text, Loader=yaml.SafeLoader))
        content = get_loader("yaml")(text)
    except (yaml.YAMLError, RecursionError) as error:
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
            f"{written_in}: {path} holds the keys of the section {section}; give --{section} {name}"
        )
        return
    read_mapping(schema, content, sources, prefix=prefix, source=str(path), folder=path.parent)


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


def read_mapping(
    schema: Schema, mapping: Mapping[Any, Any], sources: Sources, *, prefix: str, source: str, folder: Path
) -> None:
    """Flatten nested keys into settings; what stands under an unknown key is reported key by key."""
    for name, value in mapping.items():
        key = f"{prefix}{name}"
        if key in schema.sections:
            _read_section(schema, key, value, sources, source=source, folder=folder)
        elif isinstance(value, Mapping) and value and key not in schema.leaves:
            read_mapping(schema, value, sources, prefix=f"{key}.", source=source, folder=folder)
        else:
            sources.settings.append(Setting(key, value, source))


def _read_section(schema: Schema, key: str, value: Any, sources: Sources, *, source: str, folder: Path) -> None:
    """A section is given as keys with values, or as the path of a YAML file of them."""
    if isinstance(value, Mapping):
        read_mapping(schema, value, sources, prefix=f"{key}.", source=source, folder=folder)
    elif isinstance(value, str):
        shown = f"--{key}" if source == COMMAND_LINE else key
        _read_file(schema, value, sources, prefix=f"{key}.", written_in=f"{source}: {shown}", folder=folder)
    elif value is not None:
        keys = [leaf.removeprefix(f"{key}.") for leaf in schema.leaves if leaf.startswith(f"{key}.")]
        sources.problems.append(
            f"{source}: {key}: expected a YAML file or the keys {', '.join(keys)}, found {show(value)}"
        )
