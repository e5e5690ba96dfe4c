"""What an MP3 holds, frame by frame: a tag says how long it is, if anything does, and damage is replaced by silence."""

import math
import mmap
import re
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from speechssl.audio.containers import after_id3
from speechssl.audio.findings import ROUNDING_SECONDS, Finding
from speechssl.audio.splicing import Piece, Stretch

TAGS = (b"Xing", b"Info", b"VBRI")
HEAD_BYTES = 4096
"""The tag with an MP3's length lies in its first frame, which is shorter than this."""
TAG_OFFSET = 40
"""It lies no further from the beginning of that frame."""
SLACK_BYTES = 1 << 14
"""What may follow the last frame of an MP3 besides sound: tags, or a frame that is cut off."""
TAG_PLACES = (13, 21, 36, 15, 23, 38)
"""Where it lies in its frame, by version, channels and checksum."""
ID3V1_BYTES = 128
FRAME_SAMPLES = 1152
"""Samples per frame, at most."""
RUN_FRAMES = 3
"""Frames in a row that make it certain that they are frames."""
AVERAGED_FRAMES = 32
BIT_RATES = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""In kbit/s, by version (3 is MPEG-1, all others share one table) and layer (3 is Layer I, 1 is Layer III)."""
SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class FrameHeader(NamedTuple):
    """What four bytes say."""

    size: int
    """Bytes of the frame."""
    num_samples: int
    sample_rate: int
    num_channels: int


class LengthTag(NamedTuple):
    """The tag in the first frame."""

    at: int
    """Byte at which it begins."""
    num_frames: int
    """0 if it does not say."""
    num_bytes: int
    """From the beginning of the first frame on; 0 if it does not say."""


@lru_cache(maxsize=4096)
def header_of(head: bytes) -> FrameHeader | None:
    """What the first four bytes of a frame say; None if they cannot be those of one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bit_rate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 0 or bit_rate in (0, 15) or rate == 3:
        return None
    sample_rate = SAMPLE_RATES[version][rate]
    bits = 1000 * BIT_RATES[(3 if version == 3 else 2, layer)][bit_rate - 1]
    num_samples = 384 if layer == 3 else 576 if layer == 1 and version != 3 else 1152
    size = (12 * bits // sample_rate + padding) * 4 if layer == 3 else num_samples // 8 * bits // sample_rate + padding
    return FrameHeader(size, num_samples, sample_rate, 1 if head[3] >> 6 == 3 else 2)


def read_tag(file: BinaryIO) -> LengthTag | None:
    """The tag with the length; None if there is none."""
    start = after_id3(file, 0)
    file.seek(start)
    data = file.read(HEAD_BYTES)
    found = [at for at in map(data.find, TAGS) if at >= 0]
    if not found:
        return None
    at = min(found)
    head = data[at : at + 16]
    flags = int.from_bytes(head[4:8], "big")
    if head.startswith(b"VBRI") or flags & 3 != 3:
        return LengthTag(start + at, 0, 0)
    return LengthTag(start + at, int.from_bytes(head[8:12], "big"), int.from_bytes(head[12:16], "big"))


def agrees(path: Path, tag: LengthTag | None) -> bool:
    """Whether an MP3 is as long as its tag says, but for what may follow, and that is no sound."""
    size = path.stat().st_size
    if tag is None or not tag.num_bytes:
        return False
    extra = size - tag.at + TAG_OFFSET - tag.num_bytes  # counted from the beginning of the first frame, or before
    if not 0 <= extra <= SLACK_BYTES:
        return False
    with path.open("rb") as file:
        file.seek(size - max(0, extra - TAG_OFFSET))
        rest = file.read()
    return len(rest) <= ID3V1_BYTES or _resync(rest, 0, None) >= len(rest)


class Run(NamedTuple):
    """Frames without a gap."""

    start: int
    size: int
    num_frames: int
    last: bytes
    """First four bytes of its last frame."""
    frame_bytes: float
    """Of its last frames, on average."""
    hole: int = 0
    """Bytes behind it that are no frames; those of tags do not count."""


@dataclass
class Walk:
    """What is in an MP3, frame by frame."""

    first: FrameHeader
    """Of its first frame; the others are of this kind."""
    runs: list[Run] = field(default_factory=list)
    num_files: int = 1
    """How many were joined, by the tags at the beginning of each."""
    is_cut: bool = False
    """Whether the last frame is not whole."""

    @property
    def num_frames(self) -> int:
        """Whole frames."""
        return sum(run.num_frames for run in self.runs)

    def seconds(self, num_frames: int) -> float:
        """How long so many frames are."""
        return num_frames * self.first.num_samples / self.first.sample_rate


def walk(path: Path) -> Walk | None:
    """Go through the frames of an MP3; None if it has none.

    Raises:
        RuntimeError: it goes on with another sample rate or number of channels.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = _resync(data, after_id3(file, 0), None)
        first = header_of(data[at : at + 4])
        if first is None:
            return None
        found = Walk(first)
        num_tags = 0
        while at < len(data):
            run, found.is_cut = _run_at(data, at, first)
            at += run.size
            if run.num_frames:
                found.runs.append(run)
            if found.is_cut or at >= len(data):
                break
            size = _tag_bytes(data, at)
            following = at + size if size else _resync(data, at + 1, first)
            if size:
                num_tags += following < len(data)
            else:
                _check_kind(data, at, found)
                found.runs[-1] = found.runs[-1]._replace(hole=found.runs[-1].hole + following - at)
            at = following
        found.num_files = max(1 + num_tags, _num_length_tags(data, first))
    return found


def _num_length_tags(data: mmap.mmap, first: FrameHeader) -> int:
    """Frames with a tag of the length, one in each file that was joined."""
    places = [[match.start() - place for place in TAG_PLACES] for match in re.finditer(b"|".join(TAGS), data)]
    heads = [[header_of(data[at : at + 4]) for at in some if at >= 0] for some in places]
    return sum(any(head is not None and head[1:] == first[1:] for head in some) for some in heads)


def _run_at(data: mmap.mmap | bytes, start: int, first: FrameHeader) -> tuple[Run, bool]:
    """The frames from a byte on that follow each other, and whether the file ends within the next one."""
    at, count, last, kind, is_cut = start, 0, b"", first[1:], False
    sizes: deque[int] = deque([first.size], maxlen=AVERAGED_FRAMES)
    while at + 4 <= len(data):
        head = data[at : at + 4]
        frame = header_of(head)
        if frame is None or frame[1:] != kind:
            break
        if at + frame.size > len(data):
            is_cut = True
            break
        sizes.append(frame.size)
        at, count, last = at + frame.size, count + 1, head
    return Run(start, at - start, count, last, sum(sizes) / len(sizes)), is_cut


def _tag_bytes(data: mmap.mmap | bytes, at: int) -> int:
    """Bytes of the tag that begins at a byte; 0 if none does."""
    head = data[at : at + 32]
    if head.startswith(b"ID3") and len(head) >= 10:
        size = 0
        for byte in head[6:10]:  # 7 bits in each
            size = size << 7 | byte & 127
        return 10 + size
    if head.startswith(b"TAG") and len(data) - at >= 128:
        return 128
    if head.startswith(b"APETAGEX") and len(head) == 32:
        return 32 + int.from_bytes(head[12:16], "little") if head[23] & 0x20 else 32
    return 0


def _resync(data: mmap.mmap | bytes, at: int, first: FrameHeader | None) -> int:
    """Where frames begin again; the end if they do not."""
    while (at := data.find(b"\xff", at)) >= 0:
        if _is_run(data, at, first):
            return at
        at += 1
    return len(data)


def _is_run(data: mmap.mmap | bytes, at: int, first: FrameHeader | None) -> bool:
    for _ in range(RUN_FRAMES):
        frame = header_of(data[at : at + 4])
        if frame is None or (first is not None and frame[1:] != first[1:]):
            return False
        first = first or frame
        at += frame.size
        if at >= len(data) or _tag_bytes(data, at):
            return True
    return True


def _check_kind(data: mmap.mmap | bytes, at: int, found: Walk) -> None:
    """Raise RuntimeError if frames of another kind follow, which no decoder here joins with those before."""
    other = header_of(data[at : at + 4])
    if other is not None and other[1:] != found.first[1:] and _is_run(data, at, None):
        second = found.seconds(found.num_frames)
        raise RuntimeError(
            f"sound of another sample rate or number of channels follows after {second:.2f} s: {other.sample_rate} Hz "
            f"and {other.num_channels}, after {found.first.sample_rate} Hz and {found.first.num_channels}"
        )


def mended(found: Walk, tag: LengthTag | None, *, hide_tag: bool) -> tuple[list[Piece], list[Finding]]:
    """The frames of an MP3 with silent ones in place of those that are damaged, and what is to be said of it.

    Args:
        found: its frames.
        tag: of its length, if it has one.
        hide_tag: whether to make the tag invisible, so that it ends nothing early.
    """
    pieces: list[Piece] = []
    findings: list[Finding] = []
    position = 0
    for run, num_lost in zip(found.runs, _lost_frames(found, tag), strict=True):
        size = run.size - (_size(run.last) if num_lost else 0)  # damage reaches into the frame before it
        if hide_tag and tag is not None and run.start <= tag.at < run.start + size:
            pieces += [Stretch(run.start, tag.at - run.start), bytes(4)]
            pieces.append(Stretch(tag.at + 4, run.start + size - tag.at - 4))
        else:
            pieces.append(Stretch(run.start, size))
        position += run.num_frames
        if num_lost:
            pieces.append(_silent_frame(run.last) * num_lost)
            first, missing = found.seconds(position - 1), found.seconds(num_lost)
            detail = f"{missing:.2f} s at {first:.2f} s are damaged, and silent now"
            findings.append(Finding("damaged", detail, missing, first, first + missing))
            position += num_lost - 1
    return pieces, findings + _difference(found, tag, position)


def _lost_frames(found: Walk, tag: LengthTag | None) -> list[int]:
    """Frames to be replaced behind each run, the last of the run among them; what follows all frames is no loss."""
    lost = [round(run.hole / run.frame_bytes) for run in found.runs[:-1]] + [0]
    lost = [num + (num > 0) for num in lost]
    if tag is not None and tag.num_frames and found.num_files == 1 and sum(num > 0 for num in lost) == 1:
        exact = tag.num_frames + 1 - found.num_frames + 1  # the frame with the tag is not in its number
        lost = [exact if num and exact > 0 else num for num in lost]
    return lost


def _size(head: bytes) -> int:
    frame = header_of(head)
    return frame.size if frame else 0


def _silent_frame(head: bytes) -> bytes:
    """A frame of the same kind in which everything is 0: no bits are spent on sound, and no checksum is there."""
    return bytes([head[0], head[1] | 1, *head[2:]]).ljust(_size(head), b"\0")


def _difference(found: Walk, tag: LengthTag | None, num_frames: int) -> list[Finding]:
    """What is to be said of the end of an MP3 and of its tag; ``num_frames`` with those that were replaced."""
    seconds = found.seconds(num_frames)
    if tag is not None and tag.num_frames and found.num_files == 1:
        stated = found.seconds(tag.num_frames + 1)
        detail = f"its header says {stated:.2f} s, there are {seconds:.2f} s"
        if seconds - stated > ROUNDING_SECONDS:
            return [Finding("longer than its header", detail)]
        if stated - seconds > ROUNDING_SECONDS:
            return [Finding("cut off", detail, stated - seconds, seconds)]
        return []
    findings = []
    if found.num_files > 1:
        findings.append(Finding("joined files", f"{found.num_files}, one after the other, {seconds:.2f} s together"))
    if found.is_cut or found.runs[-1].hole > SLACK_BYTES:
        detail = f"it breaks off after {seconds:.2f} s, its last frame is not whole"
        findings.append(Finding("cut off", detail, math.inf, seconds))
    return findings
