"""Headers of containers of plain samples: WAV and its large relatives, AIFF, AU, CAF, NIST SPHERE.

A ``Claim`` is what a header says, together with a way to write a header that says otherwise. Nothing is judged here.
"""

import math
import mmap
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Literal, NamedTuple

HEADER_BYTES = 1 << 20
"""A header with its pictures and texts is not longer."""
SEARCHED_BYTES = 1 << 20
SMALL_BYTES = 1 << 18
"""A compressed file up to this size is read as a whole to know how long it is; of a larger one, some places."""
BEGINNINGS: tuple[bytes, ...] = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff\x2e\x91", b".snd", b"caff\0\1")
BEGINNINGS += (b"NIST_1A\n", b"fLaC", b"OggS\0\2")
"""Of files that may have been joined behind another; ``is_header`` looks at what follows them."""
HEADER_OVERLAP = 32
"""Bytes by which a beginning is known, at most."""
RIFF_LIMIT = 1 << 32
WAVE64_IDS = {
    name: name + bytes.fromhex(rest)
    for name, rest in ((b"riff", "2e91cf11a5d628db04c10000"), (b"wave", "f3acd3118cd100c04f8edb8a"))
} | {name: name + bytes.fromhex("f3acd3118cd100c04f8edb8a") for name in (b"fmt ", b"data")}
AIFF_BYTES = {b"NONE": 0, b"twos": 0, b"sowt": 0, b"raw ": 0, b"in24": 3, b"in32": 4, b"fl32": 4, b"FL32": 4} | {
    b"fl64": 8, b"FL64": 8, b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1, b"23ni": 4, b"42ni": 3
}  # fmt: skip
"""Bytes of a sample in each encoding of AIFF-C; 0 where they follow from the bits."""
AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
CHUNK_NAMES = frozenset(
    b"list info id3 bext cue smpl inst junk junq pad fllr fact peak plst labl note ltxt ixml _pmx afsp cart chna axml "
    b"acid strc umid levl minf elm1 regn saur dgda disp csid mark comt appl name auth anno (c) midi aesd basc trns "
    b"cate fver tlst clm wavl slnt data ssnd pakt free strg user uuid ovvw kuki chan edct cues lgwv mext qlty".split()
)
"""Of what programs put behind the audio, in small letters."""
Chunks = Literal["RIFF", "RIFX", "W64", "AIFF", "CAF", ""]
"""How what follows the audio is divided; "" where nothing may follow."""


class Claim(NamedTuple):
    """What a header says of the audio behind it."""

    format: str
    """libsndfile's name of the container."""
    data_start: int
    """First byte of the audio, in the file on disk."""
    stated: int | None
    """Bytes of audio; None where the header says that it goes on to the end."""
    frame_bytes: int
    """What cannot be divided: a sample of each channel, or a block of a compressed encoding."""
    bytes_per_second: float
    sample_bytes: int
    """Of one sample of one channel; 0 if it is compressed."""
    chunks: Chunks
    header_of: Callable[[int], bytes]
    """A header of the same audio with another number of bytes."""


def read_claim(file: BinaryIO, start: int, end: int) -> Claim | None:
    """What the header at a byte says; None if it is none of these, or one that is not understood.

    Raises:
        RuntimeError: it makes no sense.
    """
    file.seek(start)
    head = file.read(min(HEADER_BYTES, end - start, 4096))
    reader = _READERS.get(head[:4])
    try:
        claim = reader(head, start) if reader else None
        if claim is None and reader is not None and len(head) == 4096:  # pictures, texts
            file.seek(start)
            claim = reader(file.read(min(HEADER_BYTES, end - start)), start)
    except (struct.error, ValueError, OverflowError):
        return None
    if claim is None or claim.frame_bytes < 1 or not 0 < claim.bytes_per_second < math.inf:
        return None
    return claim


class Chunk(NamedTuple):
    """Header of a chunk behind the audio."""

    header_bytes: int
    size: int
    alignment: int
    is_known: bool
    """Whether its name is one that is in use."""
    is_samples: bool


def next_chunk(head: bytes, chunks: Chunks) -> Chunk | None:
    """What 24 bytes say if a chunk begins with them; None if none can."""
    name = head[:4]
    if len(head) < 8 or is_header(head[:12]) or not (name.isascii() and name.decode().isprintable()):
        return None
    known, is_samples = name.strip().lower() in CHUNK_NAMES, name in (b"data", b"SSND")
    match chunks:
        case "W64":
            size = int.from_bytes(head[16:24], "little") - 24
            return Chunk(24, size, 8, known, is_samples) if size >= 0 else None
        case "CAF":
            size = int.from_bytes(head[4:12], "big", signed=True)
            return Chunk(12, size, 1, known, False) if size >= 0 else None
        case _:
            order: Literal["little", "big"] = "little" if chunks == "RIFF" else "big"
            return Chunk(8, int.from_bytes(head[4:8], order), 2, known, is_samples and chunks != "AIFF")


def after_id3(file: BinaryIO, start: int) -> int:
    """First byte from one on that is not of an ID3 tag, as some programs put them before everything."""
    while size := id3_bytes(read_at(file, start, 10)):
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


def is_header(head: bytes) -> bool:
    """Whether 12 bytes begin a file of a known kind, with enough in them not to occur in audio."""
    return (
        (head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"))
        or head[:12] == WAVE64_IDS[b"riff"][:12]
        or head[:8] in (b"NIST_1A\n", b"caff\0\1\0\0", b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")
        or (head[:4] == b".snd" and 24 <= int.from_bytes(head[4:8], "big") < 4096)
        or head[:6] == b"OggS\0\2"
    )


def find_header(file: BinaryIO, start: int, end: int) -> int:
    """Where the next file begins between two bytes; the end if there is none."""
    return find_beginning(file, start, end, BEGINNINGS, is_header)


def find_beginning(
    file: BinaryIO, start: int, end: int, beginnings: Sequence[bytes], is_right: Callable[[bytes], bool]
) -> int:
    """The first byte between two at which bytes of a file begin; the end if there is none.

    Args:
        file: open file.
        start, end: bytes.
        beginnings: what to look for, one by one: many times as fast as a regular expression of them all.
        is_right: of HEADER_OVERLAP bytes that begin so, fewer at the end of the file, whether they count.
    """
    while start < end:
        data = read_at(file, start, min(SEARCHED_BYTES, end - start))
        first = len(data)
        for beginning in beginnings:
            at = data.find(beginning, 0, first)
            while at >= 0 and not is_right(data[at : at + HEADER_OVERLAP]):
                at = data.find(beginning, at + 1, first)
            first = at if at >= 0 else first
        if first < len(data):
            return start + first
        if len(data) < SEARCHED_BYTES:
            break
        start += len(data) - HEADER_OVERLAP
    return end


def find_all(data: bytes | mmap.mmap, wanted: bytes) -> Iterator[int]:
    """Bytes at which others begin."""
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)


def read_at(file: BinaryIO, start: int, size: int) -> bytes:
    """Bytes from one on; fewer at the end."""
    file.seek(start)
    return file.read(size)


def _wave(head: bytes, start: int) -> Claim | None:
    kind = head[:4]
    order: Literal["little", "big"] = "big" if kind == b"RIFX" else "little"
    at, large, fmt = 12, None, b""
    if head[8:12] != b"WAVE":
        return None
    while at + 8 <= len(head):
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], order)
        body = head[at + 8 : at + 8 + size]
        if name == b"data":
            stated = large if large is not None and size == RIFF_LIMIT - 1 else size
            return _wave_claim(kind, fmt, start + at + 8, stated, order) if fmt else None
        if name == b"ds64":
            large = struct.unpack_from("<Q", body, 8)[0]
        elif name == b"fmt ":
            fmt = body
        at += 8 + size + size % 2
    return None


def _wave_claim(kind: bytes, fmt: bytes, data_start: int, stated: int, order: Literal["little", "big"]) -> Claim:
    letter = "<" if order == "little" else ">"
    tag, channels, _, per_second, align, bits = struct.unpack_from(f"{letter}HHIIHH", fmt)
    rate = struct.unpack_from(f"{letter}I", fmt, 4)[0]
    is_plain = tag in (1, 3, 6, 7, 0xFFFE)
    if is_plain:  # what players look at; the mean rate is often wrong
        align = align or channels * math.ceil(bits / 8)
        per_second = rate * align

    def header_of(size: int) -> bytes:
        chunk = b"fmt " + struct.pack(f"{letter}I", len(fmt)) + fmt + bytes(len(fmt) % 2)
        total = 4 + len(chunk) + 8 + size
        if total < RIFF_LIMIT:
            name = b"RIFX" if order == "big" else b"RIFF"
            return name + struct.pack(f"{letter}I", total) + b"WAVE" + chunk + b"data" + struct.pack(f"{letter}I", size)
        sizes = struct.pack("<QQQI", total + 36, size, size // max(1, align), 0)
        full = b"\xff" * 4
        return b"RF64" + full + b"WAVE" + b"ds64" + struct.pack("<I", 28) + sizes + chunk + b"data" + full

    name = "RF64" if kind in (b"RF64", b"BW64") else "WAVEX" if tag == 0xFFFE else "WAV"
    sample_bytes = max(1, align // max(1, channels)) if is_plain else 0
    chunks: Chunks = "RIFX" if order == "big" else "RIFF"
    return Claim(name, data_start, stated, align, per_second, sample_bytes, chunks, header_of)


def _wave64(head: bytes, start: int) -> Claim | None:
    if head[:16] != WAVE64_IDS[b"riff"] or head[24:40] != WAVE64_IDS[b"wave"]:
        return None
    at, fmt = 40, b""
    while at + 24 <= len(head):
        name, size = head[at : at + 16], struct.unpack_from("<Q", head, at + 16)[0]
        if name == WAVE64_IDS[b"data"]:
            if not fmt:
                return None
            claim = _wave_claim(b"riff", fmt, start + at + 24, max(0, size - 24), "little")
            return claim._replace(format="W64", chunks="W64")
        if name == WAVE64_IDS[b"fmt "]:
            fmt = head[at + 24 : at + size]
        if size < 24:
            return None
        at += size + -size % 8
    return None


def _aiff(head: bytes, start: int) -> Claim | None:
    kind, at, common = head[8:12], 12, b""
    if kind not in (b"AIFF", b"AIFC"):
        return None
    while at + 8 <= len(head):
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "big")
        if name == b"COMM":
            common = head[at + 8 : at + 8 + size]
        elif name == b"SSND" and common:
            offset = int.from_bytes(head[at + 8 : at + 12], "big")
            if offset > max(0, size - 8):
                raise RuntimeError(f"its header puts the audio {offset} bytes from the beginning of {size} bytes")
            return _aiff_claim(kind, common, start + at + 16 + offset, max(0, size - 8 - offset))
        at += 8 + size + size % 2
    return None


def _aiff_claim(kind: bytes, common: bytes, data_start: int, stated: int) -> Claim | None:
    channels, _, bits = struct.unpack_from(">hIh", common)
    encoding = common[18:22] if kind == b"AIFC" else b"NONE"
    if encoding not in AIFF_BYTES or len(common) < 18:
        return None
    sample_bytes = AIFF_BYTES[encoding] or math.ceil(bits / 8)
    frame_bytes = channels * sample_bytes
    exponent, mantissa = struct.unpack_from(">HQ", common, 8)
    rate = math.ldexp(mantissa, (exponent & 0x7FFF) - 16383 - 63)

    def header_of(size: int) -> bytes:
        frames = struct.pack(">I", min(size // frame_bytes, RIFF_LIMIT - 1))
        chunk = common[:2] + frames + common[6:] + bytes(len(common) % 2)
        body = kind + b"COMM" + struct.pack(">I", len(common)) + chunk + b"SSND"
        sizes = [min(RIFF_LIMIT - 1, n) for n in (len(body) + 12 + size, size + 8)]
        return b"FORM" + struct.pack(">I", sizes[0]) + body + struct.pack(">III", sizes[1], 0, 0)

    return Claim("AIFF", data_start, stated, frame_bytes, rate * frame_bytes, sample_bytes, "AIFF", header_of)


def _au(head: bytes, start: int) -> Claim | None:
    letter = ">" if head[:4] == b".snd" else "<"
    offset, size, encoding, rate, channels = struct.unpack_from(f"{letter}5I", head, 4)
    sample_bytes = AU_BYTES.get(encoding, 0)
    if not sample_bytes or not 24 <= offset <= len(head):
        return None

    def header_of(num_bytes: int) -> bytes:
        return head[:8] + struct.pack(f"{letter}I", min(num_bytes, RIFF_LIMIT - 1)) + head[12:offset]

    frame_bytes = channels * sample_bytes
    stated = None if size == RIFF_LIMIT - 1 else size
    return Claim("AU", start + offset, stated, frame_bytes, rate * frame_bytes, sample_bytes, "", header_of)


def _caf(head: bytes, start: int) -> Claim | None:
    at, description = 8, b""
    while at + 12 <= len(head):
        name, size = head[at : at + 4], struct.unpack_from(">q", head, at + 4)[0]
        if name == b"desc":
            description = head[at + 12 : at + 44]
        elif name == b"data":
            return _caf_claim(head[:at], description, start + at + 16, None if size < 0 else max(0, size - 4))
        if size < 0:
            return None
        at += 12 + size
    return None


def _caf_claim(before: bytes, description: bytes, data_start: int, stated: int | None) -> Claim | None:
    rate, encoding, _, frame_bytes, _, channels, bits = struct.unpack_from(">d4s5I", description)
    if encoding not in (b"lpcm", b"ulaw", b"alaw"):
        return None

    def header_of(size: int) -> bytes:
        return before + b"data" + struct.pack(">qI", size + 4, 0)

    sample_bytes = math.ceil(bits / 8) or frame_bytes // max(1, channels)
    return Claim("CAF", data_start, stated, frame_bytes, rate * frame_bytes, sample_bytes, "CAF", header_of)


def _nist(head: bytes, start: int) -> Claim | None:
    header_bytes = int(head[8:16])
    fields = dict(re.findall(rb"^(\w+) -\w+ (.*?) *$", head[16:header_bytes], re.MULTILINE))
    coding = fields.get(b"sample_coding", b"pcm")
    if coding not in (b"pcm", b"ulaw", b"mu-law", b"alaw") or header_bytes > len(head):
        return None
    channels, sample_bytes = int(fields.get(b"channel_count", b"1")), int(fields.get(b"sample_n_bytes", b"1"))
    frame_bytes = channels * sample_bytes
    stated = int(fields[b"sample_count"]) * frame_bytes if b"sample_count" in fields else None

    def header_of(size: int) -> bytes:
        count = b"sample_count -i %d" % (size // frame_bytes)
        text = re.sub(rb"^sample_count -i \d+", count, head[:header_bytes].rstrip(b"\0 "), flags=re.MULTILINE)
        return text.ljust(header_bytes)[:header_bytes]

    per_second = int(fields[b"sample_rate"]) * frame_bytes if b"sample_rate" in fields else 0
    return Claim("NIST", start + header_bytes, stated, frame_bytes, per_second, sample_bytes, "", header_of)


_READERS: dict[bytes, Callable[[bytes, int], Claim | None]] = {
    b"RIFF": _wave, b"RIFX": _wave, b"RF64": _wave, b"BW64": _wave, b"riff": _wave64, b"FORM": _aiff,
    b".snd": _au, b"dns.": _au, b"caff": _caf, b"NIST": _nist,
}  # fmt: skip
