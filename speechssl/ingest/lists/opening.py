"""Lists as text: with a byte order mark or without, compressed or not."""

# ruff: noqa: SIM115
import gzip
import io
from typing import BinaryIO, NamedTuple, TextIO, cast

from speechssl.shards.transcripts import marked_encoding

HEAD_BYTES = 1 << 16
"""Of a list, by which its format is known."""


def open_bytes(path: str) -> BinaryIO:
    """Open a file that may be compressed by gzip."""
    file = open(path, "rb")
    is_compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_compressed else file


def open_list(path: str) -> TextIO:
    """Open a list as text, its line ends as they are.

    Bytes that are not UTF-8 become surrogates, which are found in the field that has them.
    """
    with open_bytes(path) as file:
        encoding = marked_encoding(file.read(4)) or "utf-8"
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    return io.TextIOWrapper(open_bytes(path), encoding, errors, newline="")


class Head(NamedTuple):
    """How a list begins."""

    lines: list[str]
    """Those that are whole; none if it is not text."""
    is_text: bool

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.lines)


def head_of(path: str) -> Head:
    """The begin of a list.

    Raises:
        OSError: it cannot be read.
        EOFError, zlib.error: it is compressed, and damaged or cut off.
    """
    with open_bytes(path) as file:
        data = file.read(HEAD_BYTES)
    encoding = marked_encoding(data) or "utf-8"
    text = data.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "ignore")
    lines = list(io.StringIO(text, newline=""))  # as they will be read
    if len(data) == HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may go on
    return Head([], is_text=False) if "\0" in text else Head(lines, is_text=True)
