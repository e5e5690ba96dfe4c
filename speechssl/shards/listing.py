"""Shards that files, folders and globs of this machine name, and what lies beside them."""

import glob
import json
import os
from collections.abc import Sequence
from pathlib import Path

from speechssl.errors import DataError
from speechssl.shards.addresses import is_remote, redact

REPORT_FILE = "report.json"
"""Beside finished shards; lists them."""
UNFINISHED = ".unfinished"
"""Folder beside shards of a set that is not finished."""


def find_shards(patterns: Sequence[str]) -> dict[Path, int]:
    """Shard files of files, folders and globs, in order of path, with the number of the pattern that names each first.

    Raises:
        DataError: names every pattern that matches nothing.
    """
    found: dict[Path, int] = {}
    problems = []
    for number, pattern in enumerate(patterns):
        if is_remote(pattern):
            problems.append(f"{redact(pattern)}: is not on this machine; copy the shards here and give their folder")
            continue
        path = Path(pattern)
        names = sorted(path.glob("*.tar")) if path.is_dir() else sorted(glob.glob(pattern))  # noqa: PTH207, absolute too
        matches = [path for path in map(Path, names) if not path.name.startswith(".")]
        if path.is_dir():
            problems += folder_problems(path)
        elif not matches:
            problems.append(f"{pattern}: no shards here (not found)")
        found = dict.fromkeys(matches, number) | found
    if problems:
        raise DataError("\n".join(problems) + "\nMake them with `speechssl shard SOURCE OUTPUT`.")
    return dict(sorted(found.items()))


def set_of(shard: Path | str) -> str:
    """The set that a shard belongs to, within which keys are unique: the folder it is in, or the one of its address."""
    return os.path.abspath(shard.parent) if isinstance(shard, Path) else shard.rpartition("/")[0]  # noqa: PTH100


def folder_problems(folder: Path) -> list[str]:
    """Why a folder is not a whole set of shards, or a whole part of a set that is split."""
    present = {path.name for path in folder.glob("*.tar") if not path.name.startswith(".")}
    for top, prefix in ((folder, ""), (folder.parent, f"{folder.name}/")):
        if (top / UNFINISHED).is_dir():
            return [f"{folder}: this set of shards was never finished; give the command that made it again"]
        if (top / REPORT_FILE).is_file():
            listed = {name.removeprefix(prefix) for name in listed_shards(top) if name.startswith(prefix)}
            missing = sorted(name for name in listed - present if "/" not in name)
            if missing:
                return [f"{folder}: {len(missing)} of {len(listed)} shards are missing ({', '.join(missing[:3])})"]
    if not present:
        parts = sorted({path.parent.name for path in folder.glob("*/*.tar")})
        hint = f", but {', '.join(parts)} have" if parts else ""
        return [f"{folder}: no shards here (a folder without .tar files{hint})"]
    return []


def listed_shards(folder: Path) -> list[str]:
    """Shards that the report of a finished set names, relative to its folder."""
    try:
        return shards_in_report((folder / REPORT_FILE).read_bytes())
    except OSError:
        return []


def shards_in_report(content: bytes) -> list[str]:
    """Shards that a report names; none if it is another program's file of that name."""
    try:
        shards = json.loads(content).get("shards", [])
    except (ValueError, AttributeError, RecursionError):
        return []
    return [name for name in shards if isinstance(name, str)] if isinstance(shards, list) else []
