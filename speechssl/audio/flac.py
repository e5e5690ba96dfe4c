"""How long a FLAC file is by its frames, which are numbered: its header may say nothing, or something else."""

import math
from typing import BinaryIO, NamedTuple

from speechssl.audio.containers import SMALL_BYTES, find_header, read_at
from speechssl.audio.findings import ROUNDING_SECONDS, Finding
from speechssl.audio.splicing import Part, Stretch

PLACES = (0.07, 0.23, 0.31, 0.47, 0.59, 0.73, 0.89)
"""Where, as shares of the file: at no regular distance, so that files of equal length that were joined do not look like
one whose frames are numbered in order."""
TAIL_BYTES = 1 << 13
STREAM_INFO = 42
"""Bytes up to the end of the block that every file begins with."""
LARGEST_COUNT = (1 << 36) - 1
HEADER_BYTES = 17
"""Bytes of a frame's header, at most, and one."""
_CRC8 = [0] * 256
_CRC16 = [0] * 256
for _byte in range(256):
    _eight, _sixteen = _byte, _byte << 8
    for _ in range(8):
        _eight = (_eight << 1 ^ (0x07 if _eight & 0x80 else 0)) & 0xFF
        _sixteen = (_sixteen << 1 ^ (0x8005 if _sixteen & 0x8000 else 0)) & 0xFFFF
    _CRC8[_byte], _CRC16[_byte] = _eight, _sixteen


class StreamInfo(NamedTuple):
    """What the header says."""

    frames_start: int
    """Byte at which the first frame begins."""
    block_size: int
    """Samples of a frame, at most."""
    frame_bytes: int
    """Bytes of a frame, at most."""
    sample_rate: int
    num_channels: int
    num_samples: int
    """0 if it was not known."""


class Frame(NamedTuple):
    """The header of a frame."""

    start: int
    """Its byte."""
    first_sample: int
    num_samples: int


def read_info(file: BinaryIO, start: int) -> StreamInfo | None:
    """What the header at a byte says; None if it makes no sense."""
    head = read_at(file, start, STREAM_INFO)
    if len(head) < STREAM_INFO or head[4] & 0x7F or head[5:8] != b"\0\0\x22":
        return None
    at, is_last = start + STREAM_INFO, bool(head[4] & 0x80)
    while not is_last:
        block = read_at(file, at, 4)
        if len(block) < 4:
            return None
        is_last, at = bool(block[0] & 0x80), at + 4 + int.from_bytes(block[1:], "big")
    packed = int.from_bytes(head[18:26], "big")
    rate, channels, bits = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
    block_size = int.from_bytes(head[10:12], "big")
    frame_bytes = int.from_bytes(head[15:18], "big") or block_size * channels * math.ceil((bits + 1) / 8) + 64
    num_samples = packed & LARGEST_COUNT
    stated = 0 if num_samples == LARGEST_COUNT else num_samples
    return StreamInfo(at, block_size, frame_bytes, rate, channels, stated) if rate else None


class FlacFrames:
    """The frames of a FLAC file, found by their headers.

    Args:
        file: open file.
        info: what its header says.
    """

    def __init__(self, file: BinaryIO, info: StreamInfo) -> None:
        self._file, self._info = file, info
        self._sync = read_at(file, info.frames_start, 2)

    def first(self) -> Frame | None:
        """The one behind the file's header; None if there is none."""
        info = self._info
        if self._sync not in (b"\xff\xf8", b"\xff\xf9"):
            return None
        return self._header(read_at(self._file, info.frames_start, HEADER_BYTES), 0, info.frames_start)

    def next_from(self, at: int) -> Frame | None:
        """The first one that begins from a byte on, as far as frames reach."""
        data = read_at(self._file, at, 2 * self._info.frame_bytes)
        found = data.find(self._sync)
        while found >= 0:
            frame = self._header(data, found, at)
            if frame is not None:
                return frame
            found = data.find(self._sync, found + 1)
        return None

    def last_before(self, end: int, first: Frame) -> Frame:
        """The last one that begins before a byte; the first of all if there is none.

        Bytes within a frame can look like a header: one counts if it is where the file should end, or if the one
        before it is near.
        """
        size = 2 * self._info.frame_bytes + TAIL_BYTES
        while True:
            start = max(first.start, end - size)
            data = read_at(self._file, start, end - start)
            found = data.rfind(self._sync)
            frames: list[Frame] = []
            while found >= 0:
                frame = self._header(data, found, start)
                if frame is not None:
                    if frame.first_sample + frame.num_samples == self._info.num_samples:
                        return frame
                    followed = next((later for later in frames if _follows(later, frame)), None)
                    if followed is not None:
                        return followed
                    frames.append(frame)
                found = data.rfind(self._sync, 0, found + 1)
            if start == first.start:
                return first
            size *= 8

    def _header(self, data: bytes, at: int, offset: int) -> Frame | None:
        head = data[at : at + HEADER_BYTES]
        if len(head) < 6 or head[2] & 0xF0 == 0 or head[2] & 0xF == 0xF or head[3] & 1:
            return None
        channels = head[3] >> 4
        if (channels + 1 if channels < 8 else 2) != self._info.num_channels or channels > 10:
            return None
        ones = 8 - (~head[4] & 0xFF).bit_length()
        length = max(1, ones)
        number = head[4] & (0x7F >> ones)
        for byte in head[5 : 4 + length]:
            number = number << 6 | byte & 0x3F
        at_end = 4 + length
        code = head[2] >> 4
        extra = {6: 1, 7: 2}.get(code, 0)
        num_samples = _block_size(code, int.from_bytes(head[at_end : at_end + extra], "big"))
        at_end += extra + {12: 1, 13: 2, 14: 2}.get(head[2] & 0xF, 0)
        if ones in (1, 8) or at_end >= len(head) or _crc8(head[:at_end]) != head[at_end]:
            return None
        is_fixed = self._sync == b"\xff\xf8"
        return Frame(offset + at, number * self._info.block_size if is_fixed else number, num_samples)

    def is_whole(self, frame: Frame, end: int) -> bool:
        """Whether a frame ends at a byte, by its checksum."""
        data = read_at(self._file, frame.start, end - frame.start)
        checksum = 0
        for byte in data[:-2]:
            checksum = (checksum << 8 & 0xFF00) ^ _CRC16[checksum >> 8 ^ byte]
        return checksum == int.from_bytes(data[-2:], "big")


def _follows(later: Frame, frame: Frame) -> bool:
    return frame.first_sample + frame.num_samples == later.first_sample


def _block_size(code: int, stated: int) -> int:
    if code == 1:
        return 192
    if code < 6:
        return 576 << code - 2
    return stated + 1 if code < 8 else 256 << code - 8


def _crc8(data: bytes) -> int:
    checksum = 0
    for byte in data:
        checksum = _CRC8[checksum ^ byte]
    return checksum


def measure(file: BinaryIO, start: int, end: int) -> Part | None:
    """The FLAC file that begins at a byte; None if it has no frames that make sense."""
    info = read_info(file, start)
    if info is None:
        return None
    frames = FlacFrames(file, info)
    first = frames.first()
    if first is None:
        return None
    last = frames.last_before(end, first)
    if _may_hold_another(file, frames, first, last, info, end):
        end = find_header(file, info.frames_start, end)
        last = frames.last_before(end, first)
    stop_byte, stop_sample = end, last.first_sample + last.num_samples
    if stop_sample - first.first_sample != info.num_samples and not frames.is_whole(last, end):
        stop_byte, stop_sample = last.start, last.first_sample
    found = stop_sample - first.first_sample
    findings = _difference(info, found, is_cut=stop_byte < end)
    if found == info.num_samples and first.first_sample == 0:
        return Part((Stretch(start, end - start),), "FLAC", end, found / info.sample_rate, findings)
    head = bytearray(read_at(file, start, STREAM_INFO))
    packed = int.from_bytes(head[18:26], "big") >> 36 << 36 | stop_sample
    head[18:26] = packed.to_bytes(8, "big")
    pieces = (bytes(head), Stretch(start + STREAM_INFO, stop_byte - start - STREAM_INFO))
    can_be_counted = first.first_sample == 0
    return Part(pieces, "FLAC", end, found / info.sample_rate, findings, False, can_be_counted)


def _difference(info: StreamInfo, found: int, *, is_cut: bool) -> tuple[Finding, ...]:
    if abs(found - info.num_samples) <= ROUNDING_SECONDS * info.sample_rate and info.num_samples:
        return ()
    seconds, stated = found / info.sample_rate, info.num_samples / info.sample_rate
    detail = f"its header says {stated:.2f} s, there are {seconds:.2f} s"
    if info.num_samples:
        if seconds > stated:
            return (Finding("longer than its header", detail),)
        return (Finding("cut off", detail, stated - seconds, seconds),)
    findings = [Finding("sizes never filled in", f"its header leaves its length open, there are {seconds:.2f} s")]
    if is_cut:
        findings.append(Finding("cut off", f"its last frame, at {seconds:.2f} s, is not whole", math.inf, seconds))
    return tuple(findings)


def _may_hold_another(
    file: BinaryIO, frames: FlacFrames, first: Frame, last: Frame, info: StreamInfo, end: int
) -> bool:
    """Whether another file may have been joined to this one, so that it is worth a search."""
    if last.first_sample + last.num_samples - first.first_sample != info.num_samples:
        return True
    if end - info.frames_start <= SMALL_BYTES:
        return read_at(file, info.frames_start, end - info.frames_start).rfind(b"fLaC") >= 0  # faster than find
    if end - last.start > info.frame_bytes + SMALL_BYTES:
        return True
    places = [info.frames_start + int(place * (end - info.frames_start)) for place in PLACES]
    samples = [frame.first_sample for place in places if (frame := frames.next_from(place)) is not None]
    return samples != sorted(samples)
