"""A file as a decoder has to see it: stretches of the one on disk, and other bytes where it is wrong."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from speechssl.audio.findings import Finding

SEEMINGLY_ENDLESS = 1 << 40


class Stretch(NamedTuple):
    """Bytes of the file on disk."""

    start: int
    size: int


Piece = bytes | Stretch


class Part(NamedTuple):
    """One file's worth of audio within a file: all of it, unless several were joined."""

    pieces: tuple[Piece, ...]
    """With a header that is right."""
    format: str
    """libsndfile's name of the container on disk."""
    stop: int
    """Byte after all that belongs to it."""
    seconds: float
    """How long it is, about."""
    findings: tuple[Finding, ...] = ()
    """Times in them are from its begin."""
    is_plain: bool = True
    """Whether libsndfile reads the same by itself, if this is all of the file."""
    can_be_counted: bool = True
    """Whether libsndfile's count of its frames is right."""


class SplicedFile:
    """Pieces, one after the other, as a file that can be read, such as soundfile takes.

    Args:
        path: file that the stretches are of.
        pieces: what is read.
        endless: whether it says that it is huge, so that nothing concludes from its size where its audio ends.
    """

    def __init__(self, path: Path, pieces: Sequence[Piece], *, endless: bool = False) -> None:
        self.name = str(path)
        self._pieces = [piece for piece in pieces if _size_of(piece)]
        self._ends = list(accumulate(map(_size_of, self._pieces)))
        self._endless = endless
        self._asked_for_size = False
        self._at = 0
        self._file = path.open("rb")

    @property
    def size(self) -> int:
        """Bytes."""
        return self._ends[-1] if self._ends else 0

    @property
    def bytes_left(self) -> int:
        """Bytes that were not read yet."""
        return self.size - self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte."""
        self._asked_for_size = whence == os.SEEK_END and offset == 0
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = base + offset
        return self.tell()

    def tell(self) -> int:
        """Where it is, or how long it says to be when its end was sought."""
        return SEEMINGLY_ENDLESS if self._endless and self._asked_for_size else self._at

    def readinto(self, buffer: memoryview) -> int:
        """Read as many bytes as the buffer holds, fewer only at the end."""
        self._asked_for_size = False
        filled = 0
        while filled < len(buffer) and 0 <= self._at < self.size:
            data = self._next(len(buffer) - filled)
            if not data:
                break  # the file on disk has become shorter
            buffer[filled : filled + len(data)] = data
            filled += len(data)
            self._at += len(data)
        return filled

    def _next(self, size: int) -> bytes:
        """Bytes from here, of one piece."""
        number = bisect_right(self._ends, self._at)
        piece, left = self._pieces[number], self._ends[number] - self._at
        inside = _size_of(piece) - left
        if isinstance(piece, bytes):
            return piece[inside : inside + min(size, left)]
        self._file.seek(piece.start + inside)
        return self._file.read(min(size, left))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _size_of(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.size
