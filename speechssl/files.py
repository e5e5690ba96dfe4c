"""Files and folders that are whole or not there: written under another name, synced, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

PARTIAL = ".partial_"
"""Before the name of what is not whole; what an interrupted command leaves is written over by the next."""


def partial_of(path: Path) -> Path:
    """The name of a file or folder before it is whole, beside what a link of its name leads to."""
    path = path.resolve()
    return path.with_name(f"{PARTIAL}{path.name}")


@contextmanager
def written_whole(path: Path, *, keeps_partial: bool = False, replaces_folder: bool = False) -> Iterator[Path]:
    """Give the name under which a file or a folder is to be written; at the end it gets its own.

    A file that is there is replaced, a folder only if that is said. After an error nothing is left of what was
    written, unless it ``keeps_partial``, and what was there is there again.

    A folder cannot be replaced in one step: for a moment there is none of its name. A reader of that moment finds
    nothing, and so does one after a kill in it, which leaves both folders whole beside each other, the new one as
    ``.partial_NAME`` and the old one as ``.partial_old_NAME``, either of which may be given the name by hand.

    Raises:
        OSError: it cannot be written.
    """
    final, partial = path.resolve(), partial_of(path)
    partial.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)
    try:
        yield partial
        for written in (*(partial.iterdir() if partial.is_dir() else ()), partial):
            sync(written)
        with _stepping_aside(final) if replaces_folder else nullcontext():
            partial.replace(final)
            sync(final.parent)
    except BaseException:
        if not keeps_partial:
            _remove(partial)
        raise


@contextmanager
def _stepping_aside(path: Path) -> Iterator[None]:
    """Give a folder that is there another name; delete it at the end, or after an error give it its own again."""
    aside, is_there = _aside(path), path.exists()
    if is_there:
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    try:
        yield
    except BaseException:
        if is_there and not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f"{PARTIAL}old_{path.name}")


def remove_folder(path: Path) -> None:
    """Delete a folder, if it is there, so that no reader ever sees a part of it."""
    if path.exists():
        doomed = _aside(path)
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)


def sync(path: Path) -> None:
    """Force a file, or a folder's list of entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
