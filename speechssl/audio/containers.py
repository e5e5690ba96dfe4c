"""How much audio the header of a container says there is, and what lies behind its end.

libsndfile shortens a header's word to what the file has, and reads nothing behind the end that it states: both in
silence. Other audio behind the end, as where two files were joined, is refused by name, never heard in part.
"""

import re
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from speechssl.audio.findings import ROUNDING_SECONDS, AudioError, Finding
from speechssl.audio.formats import begins_as_audio

NEAR_LIMIT = 1 << 16
"""Where a program did not know the size when it wrote it, there is 2^31 or 2^32 less a header."""
NEVER_FILLED_IN = (1 << 31, 1 << 32, 1 << 63, 1 << 64, 0x7F000000)
"""The last is what sox writes to AIFF."""
JUDGED_BYTES = 1 << 20
CUT_CHUNK_BYTES = 1 << 10
"""What the last chunk may lack, which holds no audio."""
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")


class _Chunks(NamedTuple):
    """How a file is divided."""

    first: int
    """Byte of the first chunk."""
    name_bytes: int
    size_bytes: int
    order: Literal["little", "big"]
    alignment: int
    counts_header: bool = False
    """Whether a chunk's size is that of its header too."""


_LITTLE, _BIG = _Chunks(12, 4, 4, "little", 2), _Chunks(12, 4, 4, "big", 2)
_CHUNKS = {
    b"RIFF": _LITTLE, b"RF64": _LITTLE, b"BW64": _LITTLE, b"RIFX": _BIG, b"FORM": _BIG,
    b"riff": _Chunks(40, 16, 8, "little", 8, counts_header=True),
    b"caff": _Chunks(8, 4, 8, "big", 1),
}  # fmt: skip
_KINDS = (b"WAVE", b"AIFF", b"AIFC", b"8SVX", b"16SV")
"""What files of RIFF and FORM are sound."""
_SOUND = (b"data", b"SSND", b"BODY")


class Extent(NamedTuple):
    """Bytes of a file with plain sizes in its header."""

    start: int
    """First of the audio, or of its chunk."""
    stated: int
    """Of audio, as the header says."""
    stop: int
    """First one that nothing in the file accounts for."""
    size: int
    """Of the file."""


def read_extent(path: Path) -> Extent | None:
    """What the header of a file says; None where it says nothing, or nothing that is understood here.

    Raises:
        OSError: the file cannot be read.
        AudioError: other audio begins behind the audio.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        extent = _extent(file, size)
        if extent is None or extent.stop >= size:
            return extent
        rest = _read_at(file, extent.stop, JUDGED_BYTES)
    if rest.lstrip(b"\0").startswith(TAGS) or (len(rest) < JUDGED_BYTES and not any(rest)):
        return extent._replace(stop=size)
    if begins_as_audio(rest) or rest.startswith(_SOUND):
        raise more_behind(path, extent)
    return extent


def more_behind(path: Path, extent: Extent) -> AudioError:
    """The error of a file with more behind the end of its audio than a decoder reads."""
    return AudioError(
        f"{path}: {extent.size - extent.stop} bytes follow the end of its audio, from byte {extent.stop} on, and no "
        "decoder reads them; if files were joined, split it; if its header is wrong, `ffmpeg -ignore_length 1 -i IN "
        "OUT.flac` mends it",
        "more behind its end",
    )


def check_extent(path: Path, extent: Extent, seconds: float) -> list[Finding]:
    """Compare what a header says with the audio that a decoder finds.

    Args:
        path: of the file.
        extent: what its header says.
        seconds: how long the decoder says it is; 0 if it does not.

    Raises:
        AudioError: more follows than a rounding.
    """
    available = extent.size - extent.start
    bytes_per_second = min(extent.stated, available) / seconds if seconds else 0.0
    if extent.size - extent.stop > ROUNDING_SECONDS * bytes_per_second:
        raise more_behind(path, extent)
    missing = extent.stated - available
    if missing <= ROUNDING_SECONDS * bytes_per_second or _was_never_filled_in(extent.stated):
        return []
    stated = seconds * extent.stated / available if available > 0 else 0.0
    detail = f"its header says {stated:.2f} s, there are {seconds:.2f} s"
    return [Finding("cut off", detail, stated - seconds if seconds else float("inf"), seconds)]


def after_id3(file: BinaryIO, start: int) -> int:
    """First byte from one on that is not of an ID3 tag, as some programs put them before everything."""
    while size := id3_bytes(_read_at(file, start, 10)):
        start += size
    return start


def id3_bytes(head: bytes) -> int:
    """Bytes of the ID3 tag that begins with these; 0 if none does."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:  # 7 bits in each
        size = size << 7 | byte & 127
    return 10 + size


def _extent(file: BinaryIO, size: int) -> Extent | None:
    start = after_id3(file, 0)
    head = _read_at(file, start, 1024)
    chunks = _CHUNKS.get(head[:4])
    if head.startswith((b".snd", b"dns.")):
        order: Literal["little", "big"] = "big" if head.startswith(b".snd") else "little"
        begin, stated = start + int.from_bytes(head[4:8], order), int.from_bytes(head[8:12], order)
        return Extent(begin, stated, size if _was_never_filled_in(stated) else begin + stated, size)
    if head.startswith(b"NIST_1A"):
        return _nist_extent(head, start, size)
    if chunks is None or (chunks.first == 12 and head[8:12] not in _KINDS):
        return None
    return _walk(file, start + chunks.first, size, chunks)


def _nist_extent(head: bytes, start: int, size: int) -> Extent | None:
    fields = dict(re.findall(rb"^(\w+) -\w+ (\S+)", head, re.MULTILINE))
    numbers = [fields.get(name, b"") for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    if not all(number.isdigit() for number in [*numbers, head[8:16].strip()]):
        return None
    count, channels, sample_bytes = map(int, numbers)
    begin, stated = start + int(head[8:16]), count * channels * sample_bytes
    return Extent(begin, stated, begin + stated, size)


def _walk(file: BinaryIO, at: int, size: int, chunks: _Chunks) -> Extent | None:
    """From chunk to chunk up to where none follows."""
    sound: tuple[int, int] | None = None
    large = 0
    while (chunk := _chunk_at(file, at, chunks)) is not None:
        head, begin, length = chunk
        if head.startswith(b"ds64"):
            large = int.from_bytes(_read_at(file, begin + 8, 8), "little")
        is_sound = head.startswith(_SOUND)
        if is_sound and sound is None:
            sound = begin, large if large and length == (1 << 32) - 1 else length
            at = sum(sound)
            if at >= size:
                return Extent(*sound, size, size)
            even = at + -sound[1] % chunks.alignment  # some programs write no padding, or always
            at = next((place for place in (even, at, at + 1) if _fits(_chunk_at(file, place, chunks), size)), at)
        elif not _fits(chunk, size) or (sound is not None and (is_sound or begins_as_audio(head))):
            break
        else:
            at = begin + length + -length % chunks.alignment
    return None if sound is None else Extent(*sound, min(at, size), size)


def _chunk_at(file: BinaryIO, at: int, chunks: _Chunks) -> tuple[bytes, int, int] | None:
    """The header of a chunk and some bytes behind it, where its content begins, and how long it is; None at the end."""
    header_bytes = chunks.name_bytes + chunks.size_bytes
    head = _read_at(file, at, header_bytes + 16)
    length = int.from_bytes(head[chunks.name_bytes : header_bytes], chunks.order)
    return (head, at + header_bytes, length - header_bytes * chunks.counts_header) if len(head) > header_bytes else None


def _fits(chunk: tuple[bytes, int, int] | None, size: int) -> bool:
    """Whether this can be a chunk of a file of so many bytes."""
    if chunk is None:
        return False
    head, begin, length = chunk
    return head[:4].isascii() and head[:4].decode().isprintable() and 0 <= length <= size + CUT_CHUNK_BYTES - begin


def _was_never_filled_in(stated: int) -> bool:
    return min(abs(stated - limit) for limit in NEVER_FILLED_IN) <= NEAR_LIMIT


def _read_at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
