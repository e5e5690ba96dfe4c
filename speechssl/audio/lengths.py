"""What audio a file's bytes hold, whatever its header says: cut off, longer than stated, several files joined.

Only what is needed is read: headers, what follows the audio, some places in between. No plain samples are decoded.
"""

import io
import math
import os
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from speechssl.audio import flac, ogg
from speechssl.audio.containers import (
    BEGINNINGS,
    HEADER_OVERLAP,
    RIFF_LIMIT,
    SEARCHED_BYTES,
    SMALL_BYTES,
    Claim,
    after_id3,
    find_beginning,
    find_header,
    is_header,
    next_chunk,
    read_at,
    read_claim,
)
from speechssl.audio.findings import ROUNDING_SECONDS, Finding
from speechssl.audio.splicing import Part, Piece, Stretch

NEAR_LIMIT = 1 << 16
"""What never got its size has 0 there, or 2^31 or 2^32 less a header."""
JUDGED_BYTES = 1 << 16
"""Of what follows the audio, looked at to tell sound from other bytes."""
UNIFORM_BITS = 7.8
"""Entropy of compressed or encrypted bytes is above; in audio, that of at least one byte of a sample is far below."""
MIN_UNIFORM = 2048
"""Bytes for which that entropy means something: of so many random ones it is 7.9 bits."""
TEXT_SHARE = 0.95
TEXT = bytes([9, 10, 13, *range(32, 127)])
OTHERS = {
    b"FORM": (4, 8, 16), b".snd": (8, 12, 24), b"dns.": (8, 12, 24), b"caff": (8, 8, 16), b"PVF1": (12, 12, 12),
    b"Creative Voice": (16, 16, 16), b"ALawSoundFile": (16, 16, 16), b"Extended Instrum": (16, 16, 16),
    b" paf": (16, 16, 16), b"fap ": (16, 16, 16), b"2BIT": (16, 16, 16), b"MATLAB": (16, 16, 16),
    b"\1\4": (16, 16, 16), b"\x64\xa3": (16, 16, 16), b"\xa3\x64": (16, 16, 16), b"\xf0\x7e": (4, 6, 9),
    b"\0\0\0\0\1\0\0\0": (16, 16, 31),
}  # fmt: skip
"""Beginnings of other formats that libsndfile reads, or of encodings that are not plain samples; where, first byte and
last, their length or number stands, and how much of the beginning occurs again, but for that, where a second file was
joined to the first."""
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")


class Layout(NamedTuple):
    """What a file holds."""

    parts: list[Part]
    """None, if libsndfile finds the same by itself, or if the format is not known here."""
    findings: list[Finding]


def examine(path: Path) -> Layout:
    """What a file holds.

    Raises:
        OSError: it cannot be read.
        RuntimeError: its header makes no sense.
    """
    with path.open("rb", buffering=0) as raw:
        size = os.fstat(raw.fileno()).st_size
        is_read = size <= SMALL_BYTES and raw.read(4) in (b"fLaC", b"OggS")
        file = io.BytesIO(read_at(raw, 0, size)) if is_read else raw
        parts: list[Part] = []
        start = 0
        while start < size and (part := _measure(file, start, size)) is not None:
            parts.append(part)
            start = part.stop
    findings: list[Finding] = []
    seconds = 0.0
    for part in parts:
        findings += [finding.moved(seconds) for finding in part.findings]
        seconds += part.seconds
    if len(parts) > 1:
        together = f", {seconds:.2f} s together" if seconds else ""
        findings.append(Finding("joined files", f"{len(parts)}, one after the other{together}"))
    if parts and start < size:
        detail = f"the file that begins at byte {start} of {size} cannot be read"
        findings.append(Finding("bytes after the audio", detail, math.inf, seconds))
    is_plain = len(parts) == 1 and parts[0].is_plain and start >= size
    return Layout([] if is_plain else parts, findings)


def _unmeasured(file: BinaryIO, start: int, end: int) -> Part | None:
    """The file that begins at a byte, up to where the next one does, if only its beginning is known here."""
    head = read_at(file, start, HEADER_OVERLAP)
    beginning = next((beginning for beginning in OTHERS if head.startswith(beginning)), None)
    if beginning is None:
        return None
    first, last, stop = OTHERS[beginning]

    def begins_another(other: bytes) -> bool:
        return is_header(other) or (other[:first] == head[:first] and other[last:stop] == head[last:stop])

    at = find_beginning(file, start + stop, end, (*BEGINNINGS, beginning), begins_another)
    findings = _shortage(head, at - start)
    return Part((Stretch(start, at - start),), "", at, 0.0, findings, is_plain=start == 0 and at == end)


def _shortage(head: bytes, found: int) -> tuple[Finding, ...]:
    """What is to be said of a file of so many bytes whose header says how many there are."""
    order: Literal["little", "big"] = "little" if head.startswith(b"dns.") else "big"
    first, second = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
    body, before = (first, 8) if head.startswith(b"FORM") else (second, first)
    if not head.startswith((b"FORM", b".snd", b"dns.")) or body + before <= found or _was_never_filled_in(body):
        return ()
    return (Finding("cut off", f"its header says {body + before} bytes, there are {found}", math.inf),)


def _measure(file: BinaryIO, start: int, end: int) -> Part | None:
    """The file that begins at a byte; None if it is none of those known here."""
    start = after_id3(file, start)
    file.seek(start)
    magic = file.read(4)
    if magic == b"fLaC":
        return flac.measure(file, start, end)
    if magic == b"OggS":
        return ogg.measure(file, start, end)
    claim = read_claim(file, start, end)
    return _settle(file, claim, end) if claim else _unmeasured(file, start, end)


def _settle(file: BinaryIO, claim: Claim, end: int) -> Part:
    """How many bytes of audio there are behind a header of plain samples, and where the next file begins."""
    begin = claim.data_start
    available = end - begin
    if available < 0:
        raise RuntimeError(f"its header puts the audio at byte {begin}, it ends at byte {end}")
    stated = available if claim.stated is None else claim.stated
    if available - stated >= RIFF_LIMIT:  # its 32 bits were not enough
        stated += (available - stated) // RIFF_LIMIT * RIFF_LIMIT
    if stated > available:
        stop = find_header(file, begin, end)
        return _part(claim, [Stretch(begin, stop - begin)], stop, _difference(claim, stop - begin))
    rest = _what_follows(file, claim, begin + stated, end)
    # Where nothing may follow, libsndfile takes all of it for audio.
    is_alone = rest.kind == "nothing" and (claim.chunks not in ("", "W64") or begin + stated == end)
    samples = [Stretch(begin, stated), *rest.samples]
    if rest.kind == "sound":
        stop = find_header(file, begin, end)
        return _part(claim, [Stretch(begin, stop - begin)], stop, _difference(claim, stop - begin))
    findings = _difference(claim, sum(stretch.size for stretch in samples))
    if rest.kind == "other bytes":
        detail = f"{end - rest.start} bytes after the audio are neither sound nor anything known, and are not read"
        findings.append(Finding("bytes after the audio", detail))
    part = _part(claim, samples, rest.start if rest.kind == "a file" else end, findings)
    return part._replace(is_plain=part.is_plain and is_alone)


def _part(claim: Claim, samples: list[Stretch], stop: int, findings: list[Finding]) -> Part:
    size = sum(stretch.size for stretch in samples)
    size -= size % claim.frame_bytes if claim.sample_bytes else 0
    is_plain = claim.stated in (None, size) or (len(samples) == 1 and claim.stated == samples[0].size)
    pieces: tuple[Piece, ...] = (claim.header_of(size), *samples)
    return Part(pieces, claim.format, stop, size / claim.bytes_per_second, tuple(findings), is_plain)


def _difference(claim: Claim, found: int) -> list[Finding]:
    """What is to be said of a header, beside the bytes of audio that were found."""
    if claim.stated is None:
        return []
    stated_seconds, seconds = claim.stated / claim.bytes_per_second, found / claim.bytes_per_second
    detail = f"its header says {stated_seconds:.2f} s, there are {seconds:.2f} s"
    if abs(seconds - stated_seconds) <= ROUNDING_SECONDS:
        return []
    if _was_never_filled_in(claim.stated):
        return [Finding("sizes never filled in", f"its header leaves its length open, there are {seconds:.2f} s")]
    if found > claim.stated:
        return [Finding("longer than its header", detail)]
    return [Finding("cut off", detail, stated_seconds - seconds, seconds)]


def _was_never_filled_in(stated: int) -> bool:
    """Whether a size is what programs write that do not know it yet; sox has one of its own for AIFF."""
    nearest = min(abs(stated - size) for size in (1 << 31, 1 << 32, 0x7F000000, 1 << 63, 1 << 64))
    return stated == 0 or nearest <= NEAR_LIMIT


class _Rest(NamedTuple):
    """What follows the audio that a header states."""

    kind: Literal["nothing", "a file", "sound", "other bytes"]
    start: int
    samples: list[Stretch]
    """Of further chunks of audio in the same file."""


def _what_follows(file: BinaryIO, claim: Claim, at: int, end: int) -> _Rest:
    at, samples = _after_chunks(file, claim, at, end)
    for start in (at, at + 1):
        if start < end and is_header(read_at(file, start, 12)):
            return _Rest("a file", start, samples)
    rest = read_at(file, at, min(JUDGED_BYTES, end - at))
    has_tag = rest.removeprefix(b"\0").startswith(TAGS)
    if has_tag or end - at <= ROUNDING_SECONDS * claim.bytes_per_second or _is_zero(file, at, end):
        return _Rest("nothing", at, samples)
    is_text = len(rest.translate(None, TEXT)) < (1 - TEXT_SHARE) * len(rest)
    kind: Literal["sound", "other bytes"] = "other bytes" if is_text or _is_uniform(rest, claim) else "sound"
    return _Rest(kind, at, samples)


def _after_chunks(file: BinaryIO, claim: Claim, at: int, end: int) -> tuple[int, list[Stretch]]:
    """First byte behind the chunks that follow the audio, whether or not it is padded; and further audio in them."""
    paddings = {"": (), "CAF": (0,), "W64": (-(at - claim.data_start) % 8, 0)}.get(claim.chunks, (at % 2, 1 - at % 2))
    for padding in paddings:
        behind, samples, start = at, [], at + padding
        while start < end and (chunk := next_chunk(read_at(file, start, 24), claim.chunks)) is not None:
            stop = start + chunk.header_bytes + chunk.size
            if chunk.is_samples and stop <= end:
                samples.append(Stretch(start + chunk.header_bytes, chunk.size))
            following = stop + -chunk.size % chunk.alignment
            if following >= end and (stop <= end or chunk.is_known):
                return end, samples
            if stop > end:
                break
            if chunk.is_known or is_header(read_at(file, following, 12)):
                behind = following
            start = following
        if behind > at:
            return behind, samples
    return at, []


def _is_zero(file: BinaryIO, at: int, end: int) -> bool:
    while at < end:
        data = read_at(file, at, SEARCHED_BYTES)
        if not data or any(data):
            return False
        at += len(data)
    return True


def _is_uniform(data: bytes, claim: Claim) -> bool:
    """Whether every byte of a sample takes all of its values alike, as in no sound."""
    if len(data) < MIN_UNIFORM * claim.sample_bytes or not claim.sample_bytes:
        return False
    columns = np.frombuffer(data, np.uint8)[: len(data) // claim.sample_bytes * claim.sample_bytes]
    for column in columns.reshape(-1, claim.sample_bytes).T:
        shares = np.bincount(column, minlength=256) / len(column)
        shares = shares[shares > 0]
        if -(shares * np.log2(shares)).sum() < UNIFORM_BITS:
            return False
    return True
