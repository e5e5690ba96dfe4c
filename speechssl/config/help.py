"""What ``speechssl VERB --help`` prints: every key with its meaning, type and default."""

import ast
import inspect
import itertools
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from speechssl.config.limits import hints_of
from speechssl.config.reading import default_of, plain
from speechssl.config.schema import describe, kinds_of, schema_of
from speechssl.config.sources import positionals_of, shipped_names


def help_text(cls: type, *, command: str, positionals: Sequence[str] = ()) -> str:
    """The help of a verb whose configuration is of a class."""
    leaves = dict(schema_of(cls).leaves)
    places = positionals_of(cls, positionals).shown
    usage = " ".join([command, *([places] if places else []), "[--config FILE ...] [--KEY VALUE ...]"])
    parser = ArgumentParser(prog=command, usage=usage)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file of the keys below; may be repeated, later files win. Here and for the sections below, FILE may "
        f"be the name of one that comes with speechssl: {', '.join(shipped_names())}.",
    )
    parser.add_argument(
        "--print_config", action="store_true", help="Print the resolved configuration as YAML and exit."
    )
    _add_section(parser, cls, None, inspect.getdoc(cls) or "", "", leaves)
    return parser.format_help()


def _add_section(
    parser: ArgumentParser, cls: type, default: Any, title: str, prefix: str, leaves: dict[str, Any]
) -> None:
    """Explain the keys of a section, then those of the sections in it; ``leaves`` loses what has been explained."""
    group = parser.add_argument_group(
        title.rstrip("."), f"--{prefix[:-1]} FILE for a YAML file of them" if prefix else None
    )
    texts, hints = field_texts(cls), hints_of(cls)
    inner = []
    for item in fields(cls):
        key, text = f"{prefix}{item.name}", texts[item.name]
        usual = default_of(item) if default is None else getattr(default, item.name)
        kinds = kinds_of(hints[item.name])
        for kind in kinds:
            of_kind = f"{text} ({kind.name})" if len(kinds) > 1 else text
            inner.append((kind, usual if isinstance(usual, kind) else None, of_kind, f"{key}."))
        if key in leaves:
            known = "required" if usual is MISSING else f"default: {plain(usual)}"
            said = f"{text} ({describe(leaves.pop(key))}; {known})"
            group.add_argument(f"--{key}", metavar=item.name.upper(), help=said.replace("%", "%%"))
    for section in inner:
        _add_section(parser, *section, leaves)


def field_texts(cls: type) -> dict[str, str]:
    """The text under each field of a class, on one line; sources hold it, objects do not."""
    tree = ast.parse(Path(inspect.getfile(cls)).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    found = {}
    for node, following in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(following, ast.Expr):
            found[node.target.id] = " ".join(ast.literal_eval(following.value).split())
    return found
