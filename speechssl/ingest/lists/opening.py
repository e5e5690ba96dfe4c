"""Lists as text: with a byte order mark or without, in UTF-8 or UTF-16, compressed or not."""

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
        encoding = _encoding(file.read(1024))
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    return io.TextIOWrapper(open_bytes(path), encoding, errors, newline="")


class Head(NamedTuple):
    """How a list begins."""

    text: str
    """Empty if it is not text."""
    is_text: bool
    is_whole: bool
    """Whether that is all of it."""


def head_of(path: str) -> Head:
    """The begin of a list.

    Raises:
        OSError: it cannot be read.
        EOFError, zlib.error: it is compressed, and damaged or cut off.
    """
    with open_bytes(path) as file:
        data = file.read(HEAD_BYTES)
    encoding = _encoding(data[:1024])
    text = data.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "ignore")
    is_text = "\0" not in text
    return Head(text if is_text else "", is_text, len(data) < HEAD_BYTES)


def _encoding(begin: bytes) -> str:
    if encoding := marked_encoding(begin):
        return encoding
    # Without a mark: most of the text in lists is ASCII, of which UTF-16 makes a zero and another byte.
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        if len(begin) >= 4 and not any(begin[first:16:2]) and all(begin[1 - first : 16 : 2]):
            return encoding
    return "utf-8-sig"
