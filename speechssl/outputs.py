"""Where a verb writes: tried before any work, written whole or not at all, and nothing of others is replaced.

What a verb made itself it may replace; it knows that by its content, never by its name.
"""

import codecs
import io
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from speechssl.errors import ConfigError
from speechssl.files import partial_of, written_whole

logger = logging.getLogger(__name__)

_ELSEWHERE = "choose another name, or delete it"

Recogniser = Callable[[Path], bool]
"""Whether a file is what a verb writes under its name."""


def check_output_folder(folder: Path, *, key: str = "output", ours: Mapping[str, Recogniser] | None = None) -> None:
    """Try whether files can be written in a folder, which need not be there; nothing is left of the try.

    Args:
        folder: to write in.
        key: that it was given by.
        ours: files that will be written there, and how to know those of an earlier time.

    Raises:
        ConfigError: they cannot, or one of them is there and not ours.
    """
    with _refusals(key, folder), _made(folder), tempfile.TemporaryFile(dir=folder):
        pass
    for name, is_ours in (ours or {}).items():
        path = folder / name
        if os.path.lexists(path) and not _is_replaceable(path, is_ours):
            raise ConfigError(
                f"{key} is {folder}, where {name} is something that this command did not write, or that was changed "
                "since, and would replace; "
                "choose another folder, or move it away"
            )


def check_output_file(
    path: Path, is_ours: Recogniser, *, what: str, key: str = "output", inputs: Iterable[Path] = (), called: str = ""
) -> None:
    """Try whether a file can be written, and refuse to replace one that is not ours; nothing is left of the try.

    Args:
        path: of the file.
        is_ours: whether one that is there may be replaced.
        what: what ours are, for messages.
        key: that it was given by.
        inputs: files that are read, under whatever name.
        called: what they are, for messages.

    Raises:
        ConfigError: it cannot be written, or something else is there.
    """
    with _refusals(key, path):
        if path.is_dir():
            raise ConfigError(f"{key} is {path}, a folder; expected the name of a file")
        if path.exists():
            if any(_is_same(path, other) for other in inputs):
                raise ConfigError(f"{key} is {path}, which is one of {called}; choose another name")
            if path.is_file() and not os.access(path, os.W_OK):
                raise ConfigError(f"{key} is {path}, which is protected against writing; {_ELSEWHERE}")
            if path.is_file() and not _is_replaceable(path, is_ours):
                raise ConfigError(f"{key} is {path}, which is there already and holds no {what}; {_ELSEWHERE}")
        if not _is_special(path):
            partial = partial_of(path)
            was_there = partial.exists()
            with _made(partial.parent):
                partial.open("ab").close()
                if not was_there:
                    partial.unlink()


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A text file in UTF-8 that has its name when it is whole; devices and pipes are written to as they are.

    Raises:
        ConfigError: it cannot be written.
    """
    with ExitStack() as stack:
        with _refusals("output", path):
            there = path if _is_special(path) else stack.enter_context(written_whole(path, keeps_partial=True))
            file = stack.enter_context(there.open("w", encoding="utf-8", errors="surrogateescape"))
        yield file


def write_whole(path: Path, text: str) -> None:
    """Write a text file as ``whole_file`` does."""
    with whole_file(path) as file:
        file.write(text)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as a JSON file in the same way."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


class Lines:
    """Lines of text, or of JSON objects, for a stream in whatever encoding it has.

    Names of files that are no text go through as the bytes that they are. JSON stays JSON: what the encoding lacks is
    written as its escapes.

    Args:
        stream: to write to, at once.
        are_json: whether each line is an object of JSON.
    """

    def __init__(self, stream: IO[str], *, are_json: bool) -> None:
        self._stream = stream
        self._are_json = are_json
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._has_warned = False

    def write(self, line: str) -> None:
        """Write a line, without its end."""
        try:
            line.encode(self._encoding, "strict" if self._are_json else "surrogateescape")
        except UnicodeEncodeError as error:
            if not self._has_warned and error.reason != "surrogates not allowed":
                self._has_warned = True
                logger.warning(
                    "the encoding of standard output, %s, lacks letters of these transcripts: they are written as "
                    "escapes (\\xe9, \\u2019); --output FILE is UTF-8, and so is this with PYTHONIOENCODING=utf-8",
                    self._encoding,
                )
            if self._are_json:
                line = json.dumps(json.loads(line))
        self._stream.write(f"{line}\n")
        self._stream.flush()


def escape_what_does_not_fit(stream: IO[str] | None) -> None:
    """Let a stream take any text: letters that its encoding lacks become escapes, as on standard error."""
    if isinstance(stream, io.TextIOWrapper):
        codecs.register_error(_ESCAPES, _as_bytes_or_escapes)
        stream.reconfigure(errors=_ESCAPES)


_ESCAPES = "speechssl.bytes_or_escapes"


def _as_bytes_or_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Give the bytes of a file's name back as they were, and escapes of letters."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


def has_json(*keys: str) -> Recogniser:
    """Recogniser of files of one JSON object, or a list of them, that have these keys."""

    def recognise(path: Path) -> bool:
        content = json.loads(path.read_text(encoding="utf-8"))
        return all(_has(item, keys) for item in (content if isinstance(content, list) else [content]))

    return recognise


def has_json_lines(*keys: str) -> Recogniser:
    """Recogniser of files of JSON objects line by line that have these keys; the last one may be cut off."""

    def recognise(path: Path) -> bool:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                try:
                    content = json.loads(line)
                except ValueError:
                    return not line.endswith("\n") and line.startswith("{")
                if not _has(content, keys):
                    return False
        return True

    return recognise


def is_plot(path: Path) -> bool:
    """Whether a file is a picture that matplotlib has drawn."""
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith(b"\x89PNG") and b"Software\0Matplotlib" in head


def _has(content: Any, keys: Iterable[str]) -> bool:
    return isinstance(content, dict) and all(key in content for key in keys)


def _is_replaceable(path: Path, is_ours: Recogniser) -> bool:
    """Whether a file is ours, or empty as ``mktemp`` leaves it."""
    try:
        return path.is_file() and (path.stat().st_size == 0 or is_ours(path))
    except (OSError, ValueError, TypeError, RecursionError):  # no text, no JSON, or other JSON
        return False


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _is_special(path: Path) -> bool:
    """Whether a path is a device, a pipe or the like, which no file may take the place of."""
    return path.exists() and not path.is_file()


@contextmanager
def _refusals(key: str, path: Path) -> Iterator[None]:
    """Turn what the system says to a path into words."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a zero byte in a name
        above = next((parent for parent in path.parents if os.path.lexists(parent)), path)
        if os.path.lexists(path) and isinstance(error, FileExistsError):
            kind = "a link to what is not there" if path.is_symlink() and not path.exists() else "a file"
            reason = f"{kind}; expected a folder"
        elif not above.is_dir():
            reason = f"but {above} is no folder"
        else:
            reason = f"which cannot be written ({getattr(error, 'strerror', None) or error})"
        raise ConfigError(f"{key} is {path}, {reason}") from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder for a try; what was not there before is gone behind it."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
