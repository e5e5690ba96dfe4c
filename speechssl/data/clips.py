"""What becomes a sample: recordings as they are, and the pieces that long ones are cut into.

Nothing is decoded that a header tells, so that the shards of a large corpus can be planned in minutes.
"""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechssl.audio.blocks import AudioInfo, probe_with_begin, read_range
from speechssl.audio.segmentation import cut
from speechssl.config import ShardConfig
from speechssl.data.recordings import Member, Note, Recording, Rejected
from speechssl.errors import DataError
from speechssl.text.normalisation import normalize_text

BEGIN_SECONDS = 0.25
"""Of clips of equal length, compared before all of them is."""


class Clip(NamedTuple):
    """One sample to be."""

    key: str
    path: str
    member: Member | None
    """Where the audio is if ``path`` is a tar."""
    start_frame: int
    """First frame, at the file's own rate."""
    num_frames: int
    sample_rate: int
    """Of the file, in Hz."""
    text: str
    speaker: str
    language: str
    split: str
    recording: str
    begin: str = ""
    """Hash of its beginning; empty if it was not heard yet."""
    channel: int | None = None
    """Channel of the file that is taken, from 0; None for the mean of all."""

    @property
    def name(self) -> str:
        """File, and member of a tar, for messages."""
        return name_of(self)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.num_frames / self.sample_rate


def name_of(item: Recording | Clip) -> str:
    """File, and member of a tar, for messages."""
    return f"{item.path}: {item.member.name}" if item.member else item.path


class Scanned(NamedTuple):
    """What one recording gives."""

    clips: list[Clip]
    rejected: list[Rejected]
    sample_rate: int
    """Of the file, in Hz; 0 if it could not be read."""
    num_channels: int
    format: str
    dropped_seconds: float
    """Of a long recording: what lies between its pieces."""
    notes: list[Note]
    """What was noticed, where it is used all the same."""


def scan(recording: Recording, config: ShardConfig) -> Scanned:
    """Clips of one recording; what cannot be used is named, never raised."""
    name = name_of(recording)
    text = normalize_text(recording.text, config.text_case)
    if config.require_text and not text:
        return _nothing(recording, "no transcript", "none is given for it")
    try:
        with audio_file(recording.path, recording.member) as path:
            is_file = recording.start_seconds is None and recording.stop_seconds is None
            heard = BEGIN_SECONDS if is_file and config.deduplicate else 0.0
            info, begin = probe_with_begin(path, heard)
            start, stop = frames_of(recording, info)
            whole = Clip(
                recording.key, recording.path, recording.member, start, stop - start, info.sample_rate,
                text, recording.speaker, recording.language, recording.split, recording.recording,
                samples_hash(begin) if len(begin) else "",
            )  # fmt: skip
            clips, dropped = pieces_of(whole, path, info, config)
    except DataError as error:
        return _nothing(recording, "unreadable audio", str(error).removeprefix(f"{name}: "))
    kept: list[Clip] = []
    rejected: list[Rejected] = []
    if not clips:
        rejected.append(Rejected(name, "no speech", f"none was found in its {whole.seconds:.1f} s", recording.key))
    for clip in clips:
        reason = too_short_or_long(clip, config)
        if reason is None:
            kept.append(clip)
        else:
            rejected.append(reason)
    return Scanned(kept, rejected, info.sample_rate, info.num_channels, info.format, dropped, [])


def _nothing(recording: Recording, reason: str, detail: str) -> Scanned:
    return Scanned([], [Rejected(name_of(recording), reason, detail, recording.key)], 0, 0, "", 0.0, [])


def frames_of(recording: Recording, info: AudioInfo) -> tuple[int, int]:
    """First frame of a recording, and the one after its last.

    Raises:
        DataError: a segment that begins after its file has ended.
    """
    start = round((recording.start_seconds or 0) * info.sample_rate)
    stop = info.num_frames
    if recording.stop_seconds is not None:
        stop = min(stop, round(recording.stop_seconds * info.sample_rate))
    if start >= stop:
        raise DataError(
            f"{recording.path}: the segment from {recording.start_seconds or 0:g} s has no audio, the file lasts "
            f"{info.num_frames / info.sample_rate:.2f} s; correct the manifest"
        )
    return start, stop


def pieces_of(whole: Clip, path: Path, info: AudioInfo, config: ShardConfig) -> tuple[list[Clip], float]:
    """The clip itself, or its pieces if it is a long file without transcript; also the seconds that are in none."""
    is_file = whole.num_frames == info.num_frames
    if whole.text or not is_file or whole.seconds <= config.cut_above_seconds:
        return [whole], 0.0
    cuts = cut(path, info, config.segmentation)
    pieces = [
        whole._replace(
            key=f"{whole.key}-{number:05d}", start_frame=segment.start_frame, num_frames=segment.num_frames, begin=""
        )
        for number, segment in enumerate(cuts.segments)
    ]
    return pieces, whole.seconds - sum(piece.seconds for piece in pieces)


def too_short_or_long(clip: Clip, config: ShardConfig) -> Rejected | None:
    """Why a clip is left out for its length, if it is."""
    if clip.seconds < config.min_seconds:
        detail = f"{clip.seconds:.2f} s, min_seconds is {config.min_seconds:g}"
        return Rejected(clip.name, "too short", detail, clip.key)
    if clip.seconds > config.max_seconds:
        detail = f"{clip.seconds:.2f} s, max_seconds is {config.max_seconds:g}"
        return Rejected(clip.name, "too long", detail, clip.key)
    return None


@contextmanager
def audio_file(path: str, member: Member | None) -> Iterator[Path]:
    """A file with the audio: the one named, or a copy of a tar's member that lasts as long as the context.

    Raises:
        DataError: the tar is gone, or has changed; and what is raised within, with the member's name for the copy's.
    """
    if member is None:
        yield Path(path)
        return
    with tempfile.NamedTemporaryFile(suffix=Path(member.name).suffix) as copy:
        copy.write(read_member(path, member))
        copy.flush()
        try:
            yield Path(copy.name)
        except DataError as error:
            raise DataError(str(error).replace(copy.name, f"{path}: {member.name}")) from error


def read_member(path: str, member: Member) -> bytes:
    """Bytes of a tar's member.

    Raises:
        DataError: the tar is gone, or shorter than it was.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123, a Path per member costs more than the read
            file.seek(member.offset)
            data = file.read(member.size)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if len(data) != member.size:
        raise DataError(f"{path}: {member.name}: {len(data)} bytes, expected {member.size}; the tar has changed")
    return data


def read_clip(clip: Clip, sample_rate: int) -> np.ndarray:
    """Audio of a clip, mono float32 in -1..1, (S,).

    Raises:
        DataError: unreadable, shorter than its header says, or not finite.
    """
    with audio_file(clip.path, clip.member) as path:
        return read_range(path, clip.start_frame, clip.num_frames, sample_rate)


def split_duplicates(
    clips: Sequence[Clip], hash_all: Callable[[list[Clip]], Iterable[str]]
) -> tuple[list[Clip], list[Rejected]]:
    """Leave out clips whose audio is that of another one, sample for sample.

    One with a transcript is kept if there is one, and one of a test or dev part sooner than one of a training part, so
    that nothing is trained on that is also tested. Clips of equal length and rate are compared by the hash of their
    beginning, and those that agree by that of all.

    Args:
        clips: in order.
        hash_all: ``audio_hash`` of many clips, in order.
    """
    groups = _groups(range(len(clips)), [(clip.num_frames, clip.sample_rate) for clip in clips])
    unheard = sorted(i for group in groups for i in group if not clips[i].begin)
    begins = dict(zip(unheard, hash_all([beginning(clips[i]) for i in unheard]), strict=True))
    groups = _split_groups(groups, {i: begins.get(i, clips[i].begin) for group in groups for i in group})
    candidates = sorted(i for group in groups for i in group)
    hashes = dict(zip(candidates, hash_all([clips[i] for i in candidates]), strict=True))
    original: dict[int, int] = {}
    for group in _split_groups(groups, hashes):
        kept = min(group, key=lambda i: (not clips[i].text, not is_held_out(clips[i].split), i))
        original |= {i: kept for i in group if i != kept}
    rejected = [
        Rejected(clips[i].name, "the same audio twice", f"that of {clips[j].name}", clips[i].key)
        for i, j in sorted(original.items())
    ]
    return [clip for i, clip in enumerate(clips) if i not in original], rejected


def is_held_out(split: str) -> bool:
    """Whether a part of a corpus is for testing, by its name, as in test-clean, dev or validation.

    Common Voice's "validated" is what its listeners approved of, with its training part.
    """
    return split.startswith(("test", "dev")) or split in {"valid", "validation", "eval"}


def _groups(numbers: Iterable[int], values: Iterable[Hashable]) -> list[list[int]]:
    """Numbers whose values are equal, if there are at least two of them, in order."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for number, value in zip(numbers, values, strict=True):
        groups[value].append(number)
    return [group for group in groups.values() if len(group) > 1]


def _split_groups(groups: Iterable[Sequence[int]], values: Mapping[int, Hashable]) -> list[list[int]]:
    """Groups within which the values are equal too."""
    return [part for group in groups for part in _groups(group, [values[i] for i in group])]


def beginning(clip: Clip) -> Clip:
    """The first BEGIN_SECONDS of a clip."""
    return clip._replace(num_frames=min(clip.num_frames, round(BEGIN_SECONDS * clip.sample_rate)))


def audio_hash(clip: Clip) -> str:
    """Hash of a clip's audio; its own name if it cannot be read, which is told when it is encoded."""
    try:
        return samples_hash(read_clip(clip, clip.sample_rate))
    except DataError:
        return clip.name


def samples_hash(samples: np.ndarray) -> str:
    """Hash of audio, float32 (S,)."""
    return hashlib.sha256(samples.tobytes()).hexdigest()[:32]
