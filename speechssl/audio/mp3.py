"""What an MP3 holds, frame by frame: a tag says how long it is, if anything does, and damage is replaced by silence."""

import math
import mmap
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from speechssl.audio.containers import after_id3, find_all, id3_bytes
from speechssl.audio.findings import ROUNDING_SECONDS, Finding
from speechssl.audio.formats import HEAD_BYTES as FORMAT_BYTES
from speechssl.audio.formats import begins_as_audio
from speechssl.audio.mpeg import FrameHeader, header_of
from speechssl.audio.splicing import Piece, Stretch

SUFFIXES = (".mp1", ".mp2", ".mp3")
TAGS = (b"Xing", b"Info", b"VBRI")
HEAD_BYTES = 4096
"""The tag with an MP3's length lies in its first frame, which is shorter than this."""
SLACK_BYTES = 1 << 14
"""What may follow the last frame of an MP3 besides sound: tags, or a frame that is cut off."""
TAG_PLACES = (13, 21, 36, 15, 23, 38)
"""Where it lies in its frame, by version, channels and checksum."""
SHORTEST_FRAME = 24
"""Bytes of a frame, at least."""
EXTRA_SHARE = 0.01
"""From which on libmpg123 complains, on the terminal, of bytes that its tag does not count."""
ID3V1_BYTES = 128
FRAME_SAMPLES = 1152
"""Samples per frame, at most."""
RUN_FRAMES = 3
"""Frames in a row that make it certain that they are frames."""
AVERAGED_FRAMES = 32


class LengthTag(NamedTuple):
    """The tag in the first frame."""

    at: int
    """Byte at which it begins."""
    num_frames: int
    """Behind its own frame; 0 if it does not say, or something that cannot be."""
    problem: str = ""
    """Why what it says cannot be."""


def may_be(path: Path) -> bool:
    """Whether a file begins with a frame, but for ID3, or is named as if it did and does not begin as anything else."""
    with path.open("rb", buffering=0) as file:
        file.seek(after_id3(file, 0))
        head = file.read(FORMAT_BYTES)
    return header_of(head[:4]) is not None or (path.suffix.lower() in SUFFIXES and not begins_as_audio(head))


def _read_tag(data: mmap.mmap, start: int) -> LengthTag | None:
    """The tag with the length in the frame that begins at a byte; None if there is none."""
    head = data[start : start + HEAD_BYTES]
    found = [at for at in map(head.find, TAGS) if at >= 0]
    if not found:
        return None
    at = min(found)
    name, flags, num_frames, num_bytes = (
        head[at : at + 4],
        *(int.from_bytes(head[i : i + 4], "big") for i in range(at + 4, at + 16, 4)),
    )
    if name == b"VBRI" or flags & 3 != 3:
        return LengthTag(start + at, 0)
    if num_frames * SHORTEST_FRAME > num_bytes > 0:
        return LengthTag(start + at, 0, f"its header says {num_frames} frames in {num_bytes} bytes, which cannot be")
    return LengthTag(start + at, num_frames)


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
    orphans: tuple[bytes, ...] = ()
    """First four bytes of those of its first frames whose sound begins in frames that are lost."""


@dataclass
class Walk:
    """What is in an MP3, frame by frame."""

    first: FrameHeader
    """Of its first frame; the others are of this kind."""
    tag: LengthTag | None
    num_bytes: int
    """Of the file, but for ID3 at its beginning."""
    runs: list[Run] = field(default_factory=list)
    num_files: int = 1
    """How many were joined, by the tags at the beginning of each."""
    is_cut: bool = False
    """Whether the last frame is not whole."""

    @property
    def num_frames(self) -> int:
        """Whole frames."""
        return sum(run.num_frames for run in self.runs)

    @property
    def stated_frames(self) -> int:
        """Frames that the tag says there are, its own among them; 0 if it does not, or not of all of the file."""
        return self.tag.num_frames + 1 if self.tag is not None and self.tag.num_frames and self.num_files == 1 else 0

    def seconds(self, num_frames: int) -> float:
        """How long so many frames are."""
        return num_frames * self.first.num_samples / self.first.sample_rate


def walk(path: Path) -> Walk | None:
    """Go through the frames of an MP3; None if it has none.

    Raises:
        RuntimeError: it goes on with another sample rate or number of channels.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = after_id3(file, 0)
        at = _resync(data, start, None)
        first = header_of(data[at : at + 4])
        if first is None:
            return None
        found = Walk(first, _read_tag(data, at), len(data) - start)
        follows_tag, orphans = False, tuple[bytes, ...]()
        while at < len(data):
            run, found.is_cut = _run_at(data, at, first)
            at += run.size
            if run.num_frames:
                found.runs.append(run._replace(orphans=orphans))
                orphans = ()
                found.num_files += follows_tag
                follows_tag = False
            if found.is_cut or at >= len(data):
                break
            size = _tag_bytes(data, at)
            following = at + size if size else _resync(data, at + 1, first)
            if size:
                follows_tag = True
            else:
                _check_kind(data, at, found)
                orphans = _orphans(data, following, first)
                found.runs[-1] = found.runs[-1]._replace(hole=found.runs[-1].hole + following - at)
            at = following
        if found.tag is None or found.num_frames != found.tag.num_frames + 1:
            found.num_files = max(found.num_files, _num_length_tags(data, first))
    return found


def _num_length_tags(data: mmap.mmap, first: FrameHeader) -> int:
    """Frames with a tag of the length, one in each file that was joined."""
    starts = [at - place for tag in TAGS for at in find_all(data, tag) for place in TAG_PLACES]
    heads = (header_of(data[at : at + 4]) for at in set(starts) if at >= 0)
    return sum(head is not None and head[1:] == first[1:] for head in heads)


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
    if size := id3_bytes(head):
        return size
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


def _orphans(data: mmap.mmap, start: int, first: FrameHeader) -> tuple[bytes, ...]:
    """Headers of the frames from a byte on whose sound begins in frames before it, as in layer III it may."""
    orphans, at, kept = [], start, 0
    while (frame := header_of(data[at : at + 4])) is not None and frame[1:] == first[1:]:
        head = data[at : at + 8]
        side = _side_bytes(head)
        begin = int.from_bytes(head[side.start : side.start + 2], "big") >> (7 if head[1] >> 3 & 3 == 3 else 8)
        if begin <= kept or side.stop == side.start:
            break
        orphans.append(head[:4])
        kept += frame.size - side.stop
        at += frame.size
    return tuple(orphans)


def _side_bytes(head: bytes) -> slice:
    """Which bytes of a frame say how its sound is coded; none but in layer III."""
    start = 4 if head[1] & 1 else 6  # behind the header and its checksum
    is_first_version, is_mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    size = {(True, True): 17, (False, False): 17, (True, False): 32, (False, True): 9}[is_first_version, is_mono]
    return slice(start, start + (size if head[1] >> 1 & 3 == 1 else 0))


def _check_kind(data: mmap.mmap | bytes, at: int, found: Walk) -> None:
    """Raise RuntimeError if frames of another kind follow, which no decoder here joins with those before."""
    other = header_of(data[at : at + 4])
    if other is not None and other[1:] != found.first[1:] and _is_run(data, at, None):
        second = found.seconds(found.num_frames)
        raise RuntimeError(
            f"sound of another sample rate or number of channels follows after {second:.2f} s: {other.sample_rate} Hz "
            f"and {other.num_channels}, after {found.first.sample_rate} Hz and {found.first.num_channels}"
        )


class Mended(NamedTuple):
    """An MP3 without what is wrong with it."""

    pieces: list[Piece]
    """None, if libmpg123 reads the file as it is and has nothing to say."""
    has_length: bool
    """Whether its tag says how long it is; else it is hidden, so that it ends nothing early."""
    findings: list[Finding]


def mend(found: Walk) -> Mended:
    """The frames of an MP3, with silent ones in place of those that are damaged, and what is to be said of it."""
    lost = _lost_frames(found)
    num_frames = found.num_frames + sum(num - 1 for num in lost if num)
    stated, tag = found.stated_frames, found.tag
    has_length = stated > 0 and abs(found.seconds(num_frames - stated)) <= ROUNDING_SECONDS
    extra = found.num_bytes - found.runs[0].size
    if (
        has_length
        and num_frames == stated
        and len(lost) == 1
        and extra <= min(ID3V1_BYTES, EXTRA_SHARE * found.runs[0].size)
    ):
        return Mended([], True, [])
    pieces: list[Piece] = []
    findings: list[Finding] = []
    position = 0
    for i, (run, num_lost) in enumerate(zip(found.runs, lost, strict=True)):
        pieces += _pieces_of(run, run.size - (_size(run.last) if num_lost else 0))  # damage reaches into the last
        position += run.num_frames
        if num_lost:
            pieces.append(_silent_frame(run.last) * num_lost)
            first, missing = found.seconds(position - 1), found.seconds(num_lost + len(found.runs[i + 1].orphans))
            detail = f"{missing:.2f} s at {first:.2f} s are damaged, and silent now"
            findings.append(Finding("damaged", detail, missing, first, first + missing))
            position += num_lost - 1
    if tag is not None:
        size = sum(piece.size if isinstance(piece, Stretch) else len(piece) for piece in pieces)
        numbers = (num_frames - 1).to_bytes(4, "big") + size.to_bytes(4, "big")
        pieces = _with_bytes(pieces, *((tag.at + 8, numbers) if has_length else (tag.at, bytes(4))))
    return Mended(pieces, has_length, findings + _difference(found, num_frames))


def _pieces_of(run: Run, size: int) -> list[Piece]:
    """So many bytes of a run. Its orphans are silent, but others need the rest of what is in them."""
    pieces: list[Piece] = []
    at = run.start
    for head in run.orphans:
        side, next_at = _side_bytes(head), at + _size(head)
        if next_at > run.start + size:
            break
        pieces.append(bytes([head[0], head[1] | 1, *head[2:]]).ljust(side.stop, b"\0"))
        pieces.append(Stretch(at + side.stop, next_at - at - side.stop))
        at = next_at
    return [*pieces, Stretch(at, run.start + size - at)]


def _with_bytes(pieces: list[Piece], at: int, data: bytes) -> list[Piece]:
    """The first piece with other bytes from one on, if they are in it."""
    first = pieces[0]
    if not isinstance(first, Stretch) or not first.start <= at <= first.start + first.size - len(data):
        return pieces
    behind = at + len(data)
    rest = Stretch(behind, first.start + first.size - behind)
    return [Stretch(first.start, at - first.start), data, rest, *pieces[1:]]


def _lost_frames(found: Walk) -> list[int]:
    """Frames to be replaced behind each run, the last of the run among them; what follows all frames is no loss."""
    holes = [run.hole / run.frame_bytes if run.hole >= SHORTEST_FRAME else 0.0 for run in found.runs[:-1]]
    lost = [*(round(hole) + (hole > 0) for hole in holes), 0]
    if found.stated_frames and sum(num > 0 for num in lost) == 1:
        exact = found.stated_frames - found.num_frames + 1
        most = [run.hole // SHORTEST_FRAME + 1 for run in found.runs]
        lost = [exact if num and 0 < exact <= limit else num for num, limit in zip(lost, most, strict=True)]
    return lost


def _size(head: bytes) -> int:
    frame = header_of(head)
    return frame.size if frame else 0


def _silent_frame(head: bytes) -> bytes:
    """A frame of the same kind in which everything is 0: no bits are spent on sound, and no checksum is there."""
    return bytes([head[0], head[1] | 1, *head[2:]]).ljust(_size(head), b"\0")


def _difference(found: Walk, num_frames: int) -> list[Finding]:
    """What is to be said of the end of an MP3 and of its tag; ``num_frames`` with those that were replaced."""
    seconds = found.seconds(num_frames)
    if found.stated_frames:
        stated = found.seconds(found.stated_frames)
        detail = f"its header says {stated:.2f} s, there are {seconds:.2f} s"
        if seconds - stated > ROUNDING_SECONDS:
            return [Finding("longer than its header", detail)]
        if stated - seconds > ROUNDING_SECONDS:
            return [Finding("cut off", detail, stated - seconds, seconds)]
        return []
    findings = []
    if found.tag is not None and found.tag.problem:
        findings.append(Finding("length that cannot be", f"{found.tag.problem}, there are {seconds:.2f} s"))
    if found.num_files > 1:
        findings.append(Finding("joined files", f"{found.num_files}, one after the other, {seconds:.2f} s together"))
    if found.is_cut or found.runs[-1].hole > SLACK_BYTES:
        detail = f"it breaks off after {seconds:.2f} s, its last frame is not whole"
        findings.append(Finding("cut off", detail, math.inf, seconds))
    return findings
