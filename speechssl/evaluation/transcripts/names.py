"""Names of recordings and utterances: short ends of paths, and what they are called where spaces part fields."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from speechssl.ingest.lists.paths import looks_like_audio

_NO_FIELD = re.compile(r"[\s%]|^;")


def short_names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of paths, of one depth, that tell them apart; suffixes of audio only where they have to.

    ``a/b/one.wav`` is ``one``, or ``b/one`` beside another ``one``, or ``one.wav`` beside ``a/b/one.mp3``.
    """
    depths = range(1, _depth(paths) + 1)
    tries = [ends_of(bare, depth) for bare in (_without_suffixes(paths), paths) for depth in depths]
    return next((names for names in tries if len(set(names)) == len(names)), list(paths))


def field_name(name: str) -> str:
    """A name as one field of NIST's formats: spaces, and ``%`` itself, as in addresses (``%20``).

    ``urllib.parse.unquote`` gives the name back.
    """
    return _NO_FIELD.sub(lambda match: quote(match[0]), name)


def bare_ends(paths: Sequence[str], depth: int) -> list[str] | None:
    """So many last parts of each path without its suffix; None if two are the same."""
    names = ends_of(_without_suffixes(paths), depth)
    return names if len(set(names)) == len(names) else None


def ends_of(paths: Iterable[str], depth: int) -> list[str]:
    """So many last parts of each path."""
    return ["/".join(path.replace("\\", "/").split("/")[-depth:]) for path in paths]


def _without_suffixes(paths: Iterable[str]) -> list[str]:
    return [path.rpartition(".")[0] if looks_like_audio(path) else path for path in paths]


def _depth(paths: Iterable[str]) -> int:
    return max((path.count("/") + path.count("\\") for path in paths), default=0) + 1
