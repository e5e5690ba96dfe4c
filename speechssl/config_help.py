"""What ``speechssl VERB --help`` prints."""

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import field
from typing import Any, Literal

from jsonargparse import ArgumentParser, set_parsing_settings

from speechssl.config_schema import kinds_of, schema_of, section_type
from speechssl.config_shipped import shipped_names
from speechssl.config_values import is_list


def help_text(cls: type, *, command: str, positionals: Sequence[str] = ()) -> str:
    """What ``speechssl VERB --help`` prints: every key with its meaning, type and default."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    schema = schema_of(cls)
    shown = [f"{key.upper()} ..." if is_list(schema.leaves[key]) else key.upper() for key in positionals]
    parser = ArgumentParser(prog=command, usage=" ".join([command, *shown, "[--config FILE ...] [--KEY VALUE ...]"]))
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file of the keys below; may be repeated, later files win. Here and for the sections below, FILE may "
        f"be the name of one that comes with speechssl: {', '.join(shipped_names())}.",
    )
    parser.add_argument(
        "--print_config", action="store_true", help="Print the resolved configuration as YAML and exit."
    )
    parser.add_class_arguments(_with_whole_sections(cls))
    return parser.format_help().replace("<class 'Path'>", "Path")


def _with_whole_sections(cls: type) -> type:
    """The class with ordinary sections, whose keys jsonargparse explains, in place of those that may be left out, and
    of those that come in several kinds, with the keys of all."""
    hints = typing.get_type_hints(cls)
    optional: dict[str, type] = {}
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        if kinds := kinds_of(hint):
            names: Any = Literal[tuple(kind.name for kind in kinds)]
            optional[item.name] = dataclasses.make_dataclass(
                kinds[0].__name__,
                [("name", names, kinds[0].name)],
                bases=tuple(reversed(kinds)),
            )
            optional[item.name].__doc__ = hint.__doc__
        elif (section := section_type(hint)) is not None and section is not hint:
            optional[item.name] = section
    if not optional:
        return cls
    fields = [(name, section, field(default_factory=section)) for name, section in optional.items()]
    whole = dataclasses.make_dataclass(cls.__name__, fields, bases=(cls,))
    whole.__doc__ = cls.__doc__
    return whole
