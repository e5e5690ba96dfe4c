"""A list of recordings that are to be left out, by their keys."""

from functools import lru_cache
from pathlib import Path

from speechssl.errors import DataError
from speechssl.ingest.recordings import Found

_SHOWN = 5


def read_left_out(path: Path) -> dict[str, str]:
    """Why each recording is left out, by its key: the second column, if there is one.

    Raises:
        DataError: it cannot be read, or holds no key.
    """
    try:
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or f"no UTF-8, {error}"
        raise DataError(f"leave_out is {path}, which cannot be read ({reason}); expected a list of keys") from error


@lru_cache(maxsize=4)
def _read(path: Path, _modified: int, _size: int) -> dict[str, str]:
    """The same for each of a million recordings."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, reason, *_ = [*line.split("\t"), ""]
        if key.strip() and key != "key":
            found[key.strip()] = f"{path.name} names it{f': {reason}' if reason else ''}"
    if not found:
        raise DataError(f"leave_out is {path}, which names no recording; expected a key in the first column of a line")
    return found


def check_left_out(path: Path, found: Found) -> None:
    """Raise DataError if a list names recordings that are not there: it may be of other sources."""
    there = {recording.key for recording in found.recordings} | {item.key for item in found.rejected}
    missing = sorted(read_left_out(path).keys() - there)
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise DataError(
            f"leave_out is {path}, which names {', '.join(missing[:_SHOWN])}{more}: no recordings of these sources; "
            "give the sources that were aligned, or another list"
        )
