"""What an Ogg file (Vorbis, Opus, FLAC) holds by its pages: damaged ones, an end that is missing, streams in a row."""

import io
import math
import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from speechssl.audio.findings import Finding
from speechssl.audio.splicing import Part, Piece, Stretch

HEADER_BYTES = 27
"""Bytes before a page's table."""
FIRST, LAST = 2, 4
"""Flags of a stream's first and last page."""
UNKNOWN = (1 << 64) - 1
"""Position of a page in which no packet ends."""
SHORT_PAGE = 0.9
"""Writers fill pages alike in bytes or in time, but for the last one: if that is shorter by more than this share in
both, it is the last, marked or not."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """A page that is whole."""

    start: int
    size: int
    flags: int
    position: int
    """Samples up to its end, as the encoding counts them."""
    stream: int


class Hole(NamedTuple):
    """Bytes that are in no page."""

    start: int
    size: int
    num_pages_before: int


def measure(file: BinaryIO, start: int, end: int) -> Part | None:
    """The stream that begins at a byte; None if it is not alone there, or its first page is damaged."""
    with _in_memory(file) as data:
        pages, holes, stop = _walk(data, start, end)
        if not pages or pages[0].start != start or any(page.stream != pages[0].stream for page in pages):
            return None
        rate, skipped = _rate(data[start : start + pages[0].size])
        last = bytes(data[pages[-1].start : pages[-1].start + pages[-1].size])
    positions = [page.position for page in pages if page.position != UNKNOWN]
    seconds = max(0, positions[-1] - skipped) / rate if positions and rate else 0.0
    findings = [_damage(pages, hole, rate) for hole in holes if hole.num_pages_before < len(pages)]
    pieces: list[Piece] = [Stretch(page.start, page.size) for page in pages]
    is_marked = bool(pages[-1].flags & LAST)
    if not is_marked and (_ends_in_page(holes, pages, stop) or not _is_flushed(pages)):
        detail = f"it breaks off after {seconds:.2f} s, its end is missing"
        findings.append(Finding("cut off", detail, math.inf, seconds))
    elif not is_marked:  # libsndfile reads nothing of an Opus stream whose last page is not full and not marked either
        pieces[-1] = _marked(last)
    if not holes:
        pieces = [Stretch(start, pages[-1].start - start), pieces[-1]]
    return Part(tuple(pieces), "OGG", stop, seconds, tuple(findings), is_marked and not holes, not holes)


def _marked(page: bytes) -> bytes:
    """The page as the last one of its stream."""
    header = page[:5] + bytes([page[5] | LAST]) + page[6:22]
    return header + _checksum(header + bytes(4) + page[26:]).to_bytes(4, "little") + page[26:]


@contextmanager
def _in_memory(file: BinaryIO) -> Iterator[mmap.mmap | bytes]:
    if isinstance(file, io.BytesIO):
        yield file.getvalue()
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _walk(data: mmap.mmap | bytes, start: int, end: int) -> tuple[list[Page], list[Hole], int]:
    """The pages of one stream, what lies between them, and the byte at which the next stream begins."""
    pages: list[Page] = []
    holes: list[Hole] = []
    at = start
    while at < end:
        page = read_page(data, at, end)
        if page is None:
            following = _next_page(data, at + 1, end)
            holes.append(Hole(at, following - at, len(pages)))
            at = following
            continue
        if page.flags & FIRST and pages and not pages[-1].flags & FIRST:
            break
        pages.append(page)
        at += page.size
    return pages, holes, at


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


def _next_page(data: mmap.mmap | bytes, at: int, end: int) -> int:
    while (at := data.find(b"OggS", at, end)) >= 0:
        if read_page(data, at, end) is not None:
            return at
        at += 1
    return end


def _checksum(data: bytes) -> int:
    """CRC-32 with the highest bit first: zlib's has the lowest first, so that bits go in and come out reversed."""
    reversed_checksum = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reversed_checksum.to_bytes(4, "little").translate(_REVERSED), "big")


def _rate(page: bytes) -> tuple[int, int]:
    """Positions per second, and how many are skipped at the beginning; 0 for an encoding that is not known."""
    head = page[HEADER_BYTES + page[26] :]
    if head.startswith(b"OpusHead"):
        return 48000, int.from_bytes(head[10:12], "little")
    if head.startswith(b"\x01vorbis"):
        return int.from_bytes(head[12:16], "little"), 0
    if head.startswith(b"\x7fFLAC"):
        return int.from_bytes(head[27:30], "big") >> 4, 0
    return 0, 0


def _damage(pages: list[Page], hole: Hole, rate: int) -> Finding:
    before = [page.position for page in pages[: hole.num_pages_before] if page.position != UNKNOWN]
    after = next((page for page in pages[hole.num_pages_before :] if page.position != UNKNOWN), None)
    first = before[-1] if before else 0
    if after is None or not rate:
        return Finding("damaged", f"{hole.size} bytes at byte {hole.start} are left out", math.inf)
    share = hole.size / (hole.size + after.size)
    missing, second = max(0, after.position - first) * share / rate, first / rate
    return Finding("damaged", f"about {missing:.2f} s at {second:.2f} s are left out", missing, second)


def _ends_in_page(holes: list[Hole], pages: list[Page], stop: int) -> bool:
    """Whether something that is no page follows the last one."""
    return bool(holes) and holes[-1].num_pages_before == len(pages) and holes[-1].start + holes[-1].size == stop


def _is_flushed(pages: list[Page]) -> bool:
    """Whether the last page is shorter than those before, as only the end of a recording is."""
    if len(pages) < 5:
        return True
    earlier, before, last = pages[-3:]
    durations = before.position - earlier.position, last.position - before.position
    return last.size < SHORT_PAGE * before.size and durations[1] < SHORT_PAGE * durations[0]
