"""What a user wrote: YAML files, and the command line, taken apart into settings of keys; no value is judged yet.

Where a section of several fields is expected, a YAML file may instead name another YAML file, relative to itself, so
that recipes can share one model; wherever a YAML file is expected, the name of one that comes with speechssl will do.
"""

import os.path
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from speechssl.config.schema import BOOLEANS, Schema, is_list, schema_of, show

COMMAND_LINE = "command line"
SHIPPED = Path(__file__).parents[1] / "conf"
"""Configurations that come with speechssl: architectures, and in folders whole ones."""


class Setting(NamedTuple):
    """One value for one key, and where it was written."""

    key: str
    value: Any
    source: str

    @property
    def shown(self) -> str:
        """The key as it was written."""
        return f"--{self.key}" if self.source == COMMAND_LINE else self.key


class Positionals(NamedTuple):
    """Keys that may be given by position."""

    keys: Sequence[str] = ()
    optional: frozenset[str] = frozenset()
    """Those that have a default."""
    takes_rest: str | None = None
    """The key that takes all that the others leave; None if no key is a list, or several are."""

    @property
    def shown(self) -> str:
        """As a usage line has them."""
        names = [f"{key.upper()} ..." if key == self.takes_rest else key.upper() for key in self.keys]
        return " ".join(
            f"[{name}]" if key in self.optional else name for key, name in zip(self.keys, names, strict=True)
        )


def positionals_of(cls: type, keys: Sequence[str]) -> Positionals:
    """The positional keys of a configuration class."""
    leaves = schema_of(cls).leaves
    lists = [key for key in keys if is_list(leaves[key])]
    has_default = {x.name for x in fields(cls) if (x.default, x.default_factory) != (MISSING, MISSING)}
    return Positionals(keys, frozenset(keys) & has_default, lists[0] if len(lists) == 1 else None)


@dataclass
class Sources:
    """All that a user wrote, in rising order of precedence, with what is already known to be wrong with it."""

    schema: Schema
    settings: list[Setting] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    help: bool = False
    """--help was given."""
    print_config: bool = False
    """--print_config was given."""
    positionals: Positionals = Positionals()

    def read_option(self, token: str, rest: list[str]) -> None:
        """Take one option off the command line, with its values off ``rest``; a switch needs none."""
        name, equals, value = token[2:].partition("=")
        values = [value] if equals else []
        hint = self.schema.leaves.get(name)
        if hint is bool and not equals:
            values = [rest.pop(0) if rest and rest[0].lower() in BOOLEANS else "true"]
        while not equals and rest and not rest[0].startswith("--") and (is_list(hint) or not values):
            values.append(rest.pop(0))
        if not values and (name == "config" or name in self.schema.leaves or name in self.schema.sections):
            self.problems.append(f"{COMMAND_LINE}: --{name} needs a value")
        elif name == "config":
            self.read_file(values[0], prefix="", written_in=f"{COMMAND_LINE}: --config", folder=Path())
        elif name in self.schema.sections:
            self._read_section(name, values[0], source=COMMAND_LINE, folder=Path())
        else:
            given: Any = values if len(values) > 1 else next(iter(values), None)
            self.settings.append(Setting(name, given, COMMAND_LINE))

    def read_positionals(self, loose: list[str], positionals: "Positionals") -> None:
        """Give the arguments without a key to the positional keys that no option has given.

        Where there are fewer than keys, those that must be given come before others.
        """
        given = {setting.key for setting in self.settings if setting.source == COMMAND_LINE}
        wanted = [key for key in positionals.keys if key not in given]
        num_optional = len(loose) - sum(key not in positionals.optional for key in wanted)
        optional = [key for key in wanted if key in positionals.optional][: max(0, num_optional)]
        wanted = [key for key in wanted if key in optional or key not in positionals.optional]
        for position, key in enumerate(wanted):
            if loose:
                # A list leaves one for each of the keys after it.
                taken = max(1, len(loose) - len(wanted) + position + 1) if key == positionals.takes_rest else 1
                value: Any = loose[:taken] if is_list(self.schema.leaves[key]) else loose[0]
                self.settings.append(Setting(key, value, COMMAND_LINE))
                loose = loose[taken:]
        places = f"by place there are {positionals.shown}, " if positionals.keys else ""
        self.problems += [
            f"{COMMAND_LINE}: unexpected argument {argument!r}; {places}keys are given as --KEY VALUE"
            for argument in loose
        ]

    def read_file(self, name: str, *, prefix: str, written_in: str, folder: Path) -> None:
        """Read a YAML file of the whole configuration, or of the section that ``prefix`` names.

        Args:
            name: path of the file, or the name of one that comes with speechssl.
            prefix: of the section's keys; empty for a whole configuration.
            written_in: where the name was found, for messages.
            folder: that a path is relative to.
        """
        path = folder / name
        if not os.path.isfile(path) and name in shipped_names():  # noqa: PTH113 - is False of impossible names too
            path = SHIPPED / f"{name}.yaml"
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}
            if not isinstance(content, Mapping):
                raise ValueError(f"expected keys with values, found {show(content)}")
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}, line {mark.line + 1}" if mark else f"{path}"
            reason = getattr(error, "problem", None) or getattr(error, "strerror", None) or error
            known = ", ".join(shipped_names(prefix.removesuffix("."))) if isinstance(error, OSError) else ""
            by_name = f"; by name there are {known}" if known else ""
            reason = f"{where}: {reason}{by_name}" if name else "expected a YAML file, found an empty text"
            self.problems.append(f"{written_in}: {reason}")
            return
        num_before = len(self.settings)
        self.read_mapping(content, prefix=prefix, source=str(path), folder=path.parent)
        times = Counter(item.key for item in self.settings[num_before:] if item.source == str(path))
        self.problems += [f"{path}: {key} is given {times[key]} times" for key in times if times[key] > 1]

    def read_mapping(self, mapping: Mapping[Any, Any], *, prefix: str, source: str, folder: Path) -> None:
        """Flatten nested keys into settings; what stands under an unknown key is reported key by key."""
        for name, value in mapping.items():
            key = f"{prefix}{name}"
            if key in self.schema.sections:
                self._read_section(key, value, source=source, folder=folder)
            elif isinstance(value, Mapping) and value and key not in self.schema.leaves:
                self.read_mapping(value, prefix=f"{key}.", source=source, folder=folder)
            else:
                self.settings.append(Setting(key, value, source))

    def _read_section(self, key: str, value: Any, *, source: str, folder: Path) -> None:
        """A section is given as keys with values, or as the path of a YAML file of them."""
        if isinstance(value, Mapping):
            self.read_mapping(value, prefix=f"{key}.", source=source, folder=folder)
        elif isinstance(value, str):
            written_in = f"{source}: {Setting(key, value, source).shown}"
            self.read_file(value, prefix=f"{key}.", written_in=written_in, folder=folder)
        elif value is not None:
            self.problems.append(f"{source}: {key}: expected a YAML file or keys with values, found {show(value)}")


def read_arguments(cls: type, argv: Sequence[str], *, positionals: Sequence[str] = ()) -> Sources:
    """Take a command line and the files it names apart; nothing is raised yet."""
    sources = Sources(schema_of(cls))
    of_files: list[Setting] = []
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
            num_before = len(sources.settings)
            sources.read_option(token, tokens)
            if token.partition("=")[0] == "--config":
                of_files += sources.settings[num_before:]
                del sources.settings[num_before:]
        elif token.startswith("-") and len(token) > 1:
            sources.problems.append(f"{COMMAND_LINE}: unknown option {token}; options start with two dashes")
        else:
            loose.append(token)
    sources.positionals = positionals_of(cls, positionals)
    sources.read_positionals(loose, sources.positionals)
    sources.settings = of_files + sources.settings
    return sources


def shipped_names(section: str | None = None) -> list[str]:
    """Names of those that hold the keys of a section, of a whole configuration (""), or (None) of all."""
    found = sorted(path.relative_to(SHIPPED).with_suffix("").as_posix() for path in SHIPPED.rglob("*.yaml"))
    if section is None:
        return found
    return [name for name in found if section in ("", "model") and ("/" in name) == (section == "")]


class _Loader(yaml.SafeLoader):
    """Refuses what YAML readers let through: the second of two equal keys wins, which loses a whole section."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name} is given twice", problem_mark=key.start_mark)
            seen.add(name)
        super().flatten_mapping(node)
