"""What an Ogg file (Vorbis, Opus, FLAC) holds by its pages, of which libsndfile drops the damaged ones silently."""

import mmap
import zlib
from pathlib import Path
from typing import NamedTuple

from speechssl.audio.containers import Extent, after_id3, more_behind
from speechssl.audio.findings import AudioError, Finding
from speechssl.audio.formats import HEAD_BYTES, begins_as_audio

HEADER_BYTES = 27
"""Bytes before a page's table."""
FIRST, LAST = 2, 4
"""Flags of a stream's first and last page."""
UNKNOWN = (1 << 64) - 1
"""Position of a page in which no packet ends."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """A page that is whole."""

    start: int
    size: int
    flags: int
    position: int
    """Samples up to its end, as the encoding counts them."""
    stream: int


def check_pages(path: Path, seconds: float) -> list[Finding]:
    """Find damaged pages and a missing end.

    Args:
        path: Ogg file.
        seconds: how long it is up to its last page.

    Raises:
        AudioError: a second stream or another file follows the first, which libsndfile does not read.
    """
    pages: list[Page] = []
    holes: list[tuple[int, int]] = []
    """Byte, and position before it."""
    at, position = 0, 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while at < len(data):
            page = read_page(data, at, len(data))
            if page is None:
                holes.append((at, position))
                at = _next_page(data, at + 1)
                continue
            if page.flags & FIRST and pages and not pages[-1].flags & FIRST:
                raise AudioError(
                    f"{path}: is several streams, one after the other, the second from byte {at} on; split it, or "
                    "convert it, as with FFmpeg",
                    "more behind its end",
                )
            pages.append(page)
            position = position if page.position == UNKNOWN else page.position
            at += page.size
        if pages and pages[-1].flags & LAST:
            stop = after_id3(file, pages[-1].start + pages[-1].size)
            if begins_as_audio(data[stop : stop + HEAD_BYTES]):
                raise more_behind(path, Extent(0, stop, stop, len(data)))
    scale = seconds / position if position else 0.0
    findings = []
    for start, before in holes:
        if pages and start < pages[-1].start:
            detail = f"it is damaged at byte {start}, about {before * scale:.2f} s; what follows comes too early"
            findings.append(Finding("damaged", detail, float("inf"), before * scale))
    if not (pages and pages[-1].flags & LAST):
        detail = f"no page is marked as its last, after {seconds:.2f} s; if it is whole, write it anew, as with FFmpeg"
        findings.append(Finding("cut off", detail, float("inf"), seconds))
    return findings


def read_page(data: mmap.mmap | bytes, at: int, end: int) -> Page | None:
    """The page at a byte, if its checksum is right."""
    header = data[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES or header[:4] != b"OggS":
        return None
    body = at + HEADER_BYTES + header[26]
    size = body - at + sum(data[at + HEADER_BYTES : body])
    if at + size > end:
        return None
    content = header[:22] + bytes(4) + data[at + 26 : at + size]
    if _checksum(content) != int.from_bytes(header[22:26], "little"):
        return None
    return Page(at, size, header[5], int.from_bytes(header[6:14], "little"), int.from_bytes(header[14:18], "little"))


def _next_page(data: mmap.mmap, at: int) -> int:
    while (at := data.find(b"OggS", at)) >= 0:
        if read_page(data, at, len(data)) is not None:
            return at
        at += 1
    return len(data)


def _checksum(data: bytes) -> int:
    """CRC-32 with the highest bit first: zlib's has the lowest first, so that bits go in and come out reversed."""
    reversed_checksum = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reversed_checksum.to_bytes(4, "little").translate(_REVERSED), "big")
