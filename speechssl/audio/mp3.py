"""The frames of an MP3, for libsndfile, which takes the length from a tag and else guesses it from the first frame.

A file whose tag is right is left to libsndfile as it is. Of any other the frames alone are handed on, behind a tag that
counts them: so streams of variable bit rate, joined files and what follows damage are read to the end, and libmpg123
meets nothing that it would write on the terminal.
"""

import math
import mmap
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from speechssl.audio.containers import TAGS, Extent, after_id3, id3_bytes, more_behind
from speechssl.audio.findings import ROUNDING_SECONDS, Finding
from speechssl.audio.formats import HEAD_BYTES, begins_as_audio
from speechssl.audio.mpeg import FrameHeader, header_of

SUFFIXES = (".mp1", ".mp2", ".mp3")
SLACK_BYTES = 1 << 14
"""What may follow the last frame besides sound."""
SHORTEST_FRAME = 24
"""Bytes of a frame, at least."""
LONGEST_TAIL = 128
"""Bytes behind the last frame of which libmpg123 says nothing on the terminal, if they are below ..."""
TAIL_SHARE = 0.01
"""... this share of the frames."""
RUN_FRAMES = 3
"""Frames in a row that make it certain that they are frames."""


class Run(NamedTuple):
    """Frames without a gap."""

    start: int
    stop: int
    num_frames: int
    last: int
    """Byte at which its last frame begins."""


class Walk(NamedTuple):
    """What is in an MP3, frame by frame."""

    head: bytes
    """First four bytes of the first frame; the others are of this kind."""
    first: FrameHeader
    tag_bytes: int
    """Of the first frame, if it is a tag."""
    tagged_frames: int
    """Frames that the tag says there are, its own among them; 0 if it does not, or says what cannot be."""
    runs: list[Run]
    damage: list[Finding]
    num_other_bytes: int
    """In no frame; those of ID3 tags at the beginning do not count."""
    is_cut: bool
    """Whether it ends in a part of a frame, or in much that is neither a frame nor a tag."""

    @property
    def num_frames(self) -> int:
        """Whole frames."""
        return sum(run.num_frames for run in self.runs)

    def seconds(self, num_frames: float) -> float:
        """How long so many frames are."""
        return num_frames * self.first.num_samples / self.first.sample_rate


class SplicedFile:
    """A tag and stretches of a file, one after the other, as a file that soundfile reads.

    Args:
        path: of the file on disk.
        tag: what comes first.
        runs: what follows.
    """

    def __init__(self, path: Path, tag: bytes, runs: Sequence[Run]) -> None:
        self.name = str(path)
        self._tag, self._runs = tag, runs
        self._ends = list(accumulate([len(tag), *(run.stop - run.start for run in runs)]))
        self._at = 0
        self._file = path.open("rb")

    def __repr__(self) -> str:
        """As soundfile names it in its errors."""
        return repr(self.name)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte."""
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence] + offset
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        """Read as many bytes as the buffer holds, fewer only at the end."""
        filled = 0
        while filled < len(buffer) and (data := self._next(len(buffer) - filled)):
            buffer[filled : filled + len(data)] = data
            filled += len(data)
            self._at += len(data)
        return filled

    def _next(self, size: int) -> bytes:
        """Bytes from here, of one piece; none at the end."""
        number = bisect_right(self._ends, self._at)
        if number == 0:
            return self._tag[self._at : self._at + size]
        if number == len(self._ends):
            return b""
        left = self._ends[number] - self._at
        self._file.seek(self._runs[number - 1].stop - left)
        return self._file.read(min(size, left))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def may_be(path: Path) -> bool:
    """Whether a file begins with a frame, but for ID3, or is named as if it did and does not begin as anything else."""
    with path.open("rb", buffering=0) as file:
        file.seek(after_id3(file, 0))
        head = file.read(HEAD_BYTES)
    return header_of(head[:4]) is not None or (path.suffix.lower() in SUFFIXES and not begins_as_audio(head))


def walk(path: Path) -> Walk:
    """Go through the frames of an MP3.

    Raises:
        RuntimeError: it has none with sound, or goes on with another sample rate or number of channels.
        AudioError: another file follows, which is no MP3.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = after_id3(file, 0)
        at = _resync(data, begin, None)
        head = bytes(data[at : at + 4])
        first = header_of(head)
        if first is None:
            raise RuntimeError("it holds no frames of MPEG audio")
        tag = _read_tag(data[at : at + first.size])
        found = Walk(head, first, first.size if tag is not None else 0, tag or 0, [], [], 0, is_cut=False)
        is_cut = False
        while at < len(data):
            run = _run_at(data, at, first)
            tag_size = _tag_bytes(data, run.stop)
            at = run.stop + tag_size if tag_size else _resync(data, run.stop + 1, first)
            if not tag_size:
                _check_kind(data, run.stop, found)
                rest = data[run.stop : run.stop + HEAD_BYTES]
                if header_of(rest[:4]) is None and not rest.startswith(TAGS) and begins_as_audio(rest):
                    raise more_behind(path, Extent(begin, run.stop - begin, run.stop, len(data)))
                is_cut = at - run.stop > SLACK_BYTES or header_of(data[run.stop : run.stop + 4]) is not None
            if not tag_size and at < len(data):
                found.damage.append(_damage(run, at - run.stop, found))
                run = Run(run.start, run.last, run.num_frames - 1, run.last)  # damage reaches into its last frame
            if run.num_frames > 0:
                found.runs.append(run)
        if found.num_frames <= (found.tag_bytes > 0):
            raise RuntimeError("it breaks off before the end of its first frame with sound")
        num_bytes = sum(run.stop - run.start for run in found.runs)
        return found._replace(num_other_bytes=len(data) - begin - num_bytes, is_cut=is_cut and not tag_size)


def _damage(run: Run, num_bytes: int, found: Walk) -> Finding:
    """What is to be said of bytes behind a run that are no frames."""
    frame_bytes = (run.stop - run.start) / run.num_frames if run.num_frames else found.first.size
    second = found.seconds(found.num_frames + max(0, run.num_frames - 1))
    missing = found.seconds(num_bytes / frame_bytes + 1)
    detail = f"about {missing:.2f} s at {second:.2f} s are damaged, and left out"
    return Finding("damaged", detail, missing, second)


def _read_tag(frame: bytes) -> int | None:
    """Frames that a tag in the first frame says there are, its own among them, or 0; None if there is no tag."""
    at = max(map(frame.find, (b"Xing", b"Info", b"VBRI")))
    if at < 0:
        return None
    flags, num_frames, num_bytes = (int.from_bytes(frame[i : i + 4], "big") for i in range(at + 4, at + 16, 4))
    is_plain = frame[at : at + 4] != b"VBRI" and flags & 3 == 3 and num_frames
    return num_frames + 1 if is_plain and num_frames * SHORTEST_FRAME <= max(num_bytes, SHORTEST_FRAME) else 0


def holds_frames(data: bytes) -> bool:
    """Whether frames follow each other somewhere in it, so many that it is certain."""
    for at in (match.start() for match in re.finditer(b"\xff", data)):
        first = header_of(data[at : at + 4])
        if first is not None and _run_at(data, at, first).num_frames >= RUN_FRAMES:
            return True
    return False


def _run_at(data: mmap.mmap | bytes, start: int, first: FrameHeader) -> Run:
    """The whole frames from a byte on that follow each other."""
    at, last, count, kind = start, start, 0, first[1:]
    while (frame := header_of(data[at : at + 4])) is not None and frame[1:] == kind and at + frame.size <= len(data):
        at, last, count = at + frame.size, at, count + 1
    return Run(start, at, count, last)


def _tag_bytes(data: mmap.mmap, at: int) -> int:
    """Bytes of the tag that begins at a byte; 0 if none does, or if it says that it reaches beyond the file."""
    head = data[at : at + 32]
    size = id3_bytes(head)
    if head.startswith(b"TAG"):
        size = 128
    elif head.startswith(b"APETAGEX") and len(head) == 32:
        size = 32 + int.from_bytes(head[12:16], "little") if head[23] & 0x20 else 32
    return size if at + size <= len(data) else 0


def _resync(data: mmap.mmap, at: int, first: FrameHeader | None) -> int:
    """Where frames begin again; the end if they do not."""
    while (at := data.find(b"\xff", at)) >= 0:
        if _is_run(data, at, first):
            return at
        at += 1
    return len(data)


def _is_run(data: mmap.mmap, at: int, first: FrameHeader | None) -> bool:
    for _ in range(RUN_FRAMES):
        frame = header_of(data[at : at + 4])
        if frame is None or (first is not None and frame[1:] != first[1:]):
            return False
        first = first or frame
        at += frame.size
        if at >= len(data) or _tag_bytes(data, at):
            return True
    return True


def _check_kind(data: mmap.mmap, at: int, found: Walk) -> None:
    """Raise RuntimeError if frames of another kind follow, which no decoder here joins with those before."""
    other, first = header_of(data[at : at + 4]), found.first
    if other is not None and other[1:] != first[1:] and _is_run(data, at, None):
        raise RuntimeError(
            f"sound of another sample rate or number of channels follows at byte {at}: {other.sample_rate} Hz and "
            f"{other.num_channels}, after {first.sample_rate} Hz and {first.num_channels}"
        )


def source_of(path: Path, found: Walk) -> Path | SplicedFile:
    """What libsndfile is to read of an MP3: the file itself, if its tag is right and nothing else is in it."""
    runs, stated = found.runs, found.tagged_frames
    is_right = len(runs) == 1 and stated > 0 and abs(found.seconds(found.num_frames - stated)) <= ROUNDING_SECONDS
    size = sum(run.stop - run.start for run in runs)
    if is_right and found.num_frames == stated and found.num_other_bytes <= min(LONGEST_TAIL, TAIL_SHARE * size):
        return path
    is_layer_3 = found.head[1] >> 1 & 3 == 1
    if is_right or not is_layer_3:
        return SplicedFile(path, b"", runs)
    first = runs[0]._replace(start=runs[0].start + found.tag_bytes)
    num_frames = found.num_frames - (found.tag_bytes > 0)
    return SplicedFile(path, _counting_tag(found.head, num_frames, size - found.tag_bytes), [first, *runs[1:]])


def _counting_tag(head: bytes, num_frames: int, num_bytes: int) -> bytes:
    """A silent frame of layer III that says how many frames follow."""
    is_mpeg_1, is_mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    at = 4 + (17 if is_mpeg_1 == is_mono else 32 if is_mpeg_1 else 9)
    for bit_rate in range(1, 15):
        own = bytes([head[0], head[1] | 1, bit_rate << 4 | head[2] & 0x0C, head[3]])  # no checksum, no padding
        frame = header_of(own)
        if frame is not None and frame.size >= at + 16:
            break
    assert frame is not None
    numbers = b"".join(number.to_bytes(4, "big") for number in (3, num_frames, num_bytes + frame.size))
    return (own.ljust(at, b"\0") + b"Info" + numbers).ljust(frame.size, b"\0")


def findings_of(found: Walk) -> list[Finding]:
    """What is to be said of an MP3."""
    seconds = found.seconds(found.num_frames)
    missing = math.inf
    detail = f"it breaks off after {seconds:.2f} s, its last frame is not whole"
    if found.tagged_frames:
        stated = found.seconds(found.tagged_frames)
        missing = stated - seconds - sum(finding.missing_seconds for finding in found.damage)
        if missing > ROUNDING_SECONDS:
            detail = f"its header says {stated:.2f} s, there are {seconds:.2f} s"
        elif found.is_cut and missing < -ROUNDING_SECONDS:  # the tag is of the first of several files
            missing = math.inf
    if missing > ROUNDING_SECONDS and (found.tagged_frames or found.is_cut):
        return [*found.damage, Finding("cut off", detail, missing, seconds)]
    return found.damage
