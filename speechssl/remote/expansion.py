"""Shards that addresses and folders elsewhere name."""

from collections.abc import Mapping

from braceexpand import braceexpand

from speechssl.errors import DataError
from speechssl.remote.failures import NotFoundError
from speechssl.remote.store import ShardStore
from speechssl.shards.addresses import SCHEMES, opening_hint, redact, split_query
from speechssl.shards.listing import REPORT_FILE, shards_in_report

_BRACES = "name the shards with braces, as in shard-{000000..000099}.tar"


def find_remote(patterns: Mapping[int, str], store: ShardStore) -> dict[str, int]:
    """Addresses of shards, in order of path, with the number of the pattern that names each first.

    Patterns are addresses of shards and of folders (ending in a slash), with braces as in webdataset:
    ``shard-{000000..000099}.tar``.

    Raises:
        DataError: names every pattern that leads to no shards.
    """
    found: dict[str, int] = {}
    problems = []
    for number, pattern in patterns.items():
        try:
            for url in _expand_braces(pattern):
                for shard in _shards_at(url, store):
                    found.setdefault(shard, number)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return dict(sorted(found.items(), key=lambda item: (redact(item[0]).split("/"), item[0])))


def _expand_braces(pattern: str) -> list[str]:
    try:
        return list(braceexpand(pattern))
    except ValueError as error:
        raise DataError(f"{redact(pattern)}: its braces do not match ({error})") from error


def _shards_at(url: str, store: ShardStore) -> list[str]:
    """Addresses of the shards that one address, without braces, stands for."""
    scheme, path = url.partition("://")[0].lower(), split_query(url)[0]
    if scheme not in SCHEMES:
        expected = f"expected {', '.join(f'{known}://' for known in SCHEMES)} or a path; else fetch them first"
        raise DataError(f"{redact(url)}: shards cannot be read from there, {expected}")
    if path.endswith("/"):
        return _shards_in(url, store)
    if any(mark in path.partition("://")[2].partition("/")[2] for mark in "*?["):
        raise DataError(f"{redact(url)}: addresses cannot be searched; {_BRACES}, or give their folder and a slash")
    return [url]


def _shards_in(folder: str, store: ShardStore) -> list[str]:
    """Addresses of the shards that the report of a remote folder lists, or that above it for a part of a split."""
    path, query = split_query(folder)
    top, name = path.rstrip("/").rpartition("/")[::2]
    for base, prefix in [(path, "")] + ([(f"{top}/", f"{name}/")] if "://" in top else []):
        try:
            listed = shards_in_report(store.read(base + REPORT_FILE + query))
        except NotFoundError:
            continue
        names = [item.removeprefix(prefix) for item in listed if item.startswith(prefix)]
        if shards := [item for item in names if "/" not in item]:
            return [path + item + query for item in shards]
        if not prefix:
            parts = sorted({item.partition("/")[0] for item in names})
            hint = f"give {', '.join(f'{part}/' for part in parts)} of it" if parts else "make the set again"
            raise DataError(f"{redact(folder)}: its {REPORT_FILE} lists no shards; {hint}")
    raise DataError(
        f"{redact(folder)}: no {REPORT_FILE} here, which `speechssl shard` writes last: the set is not finished, or "
        f"was not copied as a whole; finish it, or {_BRACES}{opening_hint(folder)}"
    )
