"""What becomes a sample: recordings as they are, and the pieces that long ones are cut into.

Nothing is decoded that a header tells, so that the shards of a large corpus can be planned in minutes.
"""

import hashlib
import logging
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechssl.audio.blocks import read_range
from speechssl.audio.decoders import OF_THE_MACHINE
from speechssl.audio.findings import AudioError
from speechssl.audio.inspection import AudioInfo, Choice, Inspection, inspect
from speechssl.audio.segmentation import Cuts, cut, resolve_method
from speechssl.config import ShardConfig
from speechssl.errors import DataError, UserError
from speechssl.ingest.left_out import read_left_out
from speechssl.ingest.recordings import Member, Note, Recording, Rejected
from speechssl.ingest.spans import span_of
from speechssl.text.normalisation import normalize_text

logger = logging.getLogger(__name__)

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
    channels: tuple[int, ...] = ()
    """Channels of the file whose mean is taken, from 0; empty for all of them."""
    gain: float = 1.0
    """Factor of the file's samples."""

    @property
    def choice(self) -> Choice:
        """What of the file is heard."""
        return Choice(self.channels, self.gain)

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
    """Clips of one recording; what cannot be used is named, never raised.

    Raises:
        DataError: this machine has no room or no handles left, which is no recording's fault.
    """
    text = normalize_text(recording.text, config.text_case, recording.language)
    try:
        if config.leave_out is not None and (why := read_left_out(config.leave_out).get(recording.key)) is not None:
            raise AudioError(why, "left out by a list")
        if config.require_text and not text:
            raise AudioError("none is given for it", "no transcript")
        return _scan(recording, text, config)
    except Exception as error:
        return Scanned([], [failure(recording, error)], 0, 0, "", 0.0, [])


def failure(item: Recording | Clip, error: Exception) -> Rejected:
    """What is said of a recording, or a piece of one, that cannot be used for whatever reason.

    Raises:
        DataError: this machine has no room or no handles left.
        UserError: the options are wrong.
    """
    name = name_of(item)
    if isinstance(error, DataError):
        reason = error.reason if isinstance(error, AudioError) else "unreadable audio"
        return Rejected(name, reason, str(error).removeprefix(f"{name}: "), item.key)
    if isinstance(error, UserError):
        raise error
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        raise DataError(
            f"{name}: cannot be read ({error.strerror}); this machine has no room, in memory or in "
            f"{tempfile.gettempdir()}, or too many open files: free some, then give the same command again"
        ) from error
    logger.debug("%s: cannot be used", name, exc_info=error)
    return Rejected(name, "could not be read", f"{type(error).__name__}: {error}".strip(": "), item.key)


def _scan(recording: Recording, text: str, config: ShardConfig) -> Scanned:
    name = name_of(recording)
    dropped_seconds = 0.0
    with audio_file(recording.path, recording.member) as path:
        inspection = _inspect(recording, path, config)
        info = inspection.info
        found = Scanned([], [], info.sample_rate, info.num_channels, info.format, 0.0, [])
        span = span_of(recording, info, has_text=bool(text))
        found.notes.extend(Note(name, kind, detail) for kind, detail in span.notes)
        last = span.stop / info.sample_rate if recording.stop_seconds is not None else math.inf
        for finding in inspection.findings:
            if text and finding.spoils(span.start / info.sample_rate, last):
                raise AudioError(finding.detail, finding.kind)
            found.notes.append(Note(name, finding.kind, finding.detail))
        for suffix, choice in choices_of(recording, text, inspection, config):
            begin = choice.of(inspection.begin)
            whole = Clip(
                recording.key + suffix, recording.path, recording.member, span.start, span.stop - span.start,
                info.sample_rate, text, recording.speaker, recording.language, recording.split, recording.recording,
                samples_hash(begin) if len(begin) else "", *choice,
            )  # fmt: skip
            dropped_seconds += add_pieces(found, whole, path, info, config)
    return found._replace(dropped_seconds=dropped_seconds)


def _inspect(recording: Recording, path: Path, config: ShardConfig) -> Inspection:
    judges_channels = config.channel == "mix" and recording.channel is None
    is_file = recording.start_seconds is None and recording.stop_seconds is None
    if is_file or recording.member is not None:
        begin_seconds = BEGIN_SECONDS if is_file and config.deduplicate else 0.0
        return inspect(path, begin_seconds=begin_seconds, judges_channels=judges_channels)
    status = os.stat(path)
    return _inspect_again(path, status.st_mtime_ns, status.st_size, judges_channels)


@lru_cache(maxsize=32)
def _inspect_again(path: Path, _modified: int, _size: int, judges_channels: bool) -> Inspection:
    """The same for each segment of a file, of which there may be thousands."""
    return inspect(path, judges_channels=judges_channels)


def choices_of(
    recording: Recording, text: str, inspection: Inspection, config: ShardConfig
) -> list[tuple[str, Choice]]:
    """What is heard of a recording, and what that adds to its key: the best, one channel, or each by itself.

    Raises:
        AudioError: a channel that is not there, or a transcript of several channels that are to be parted.
    """
    num_channels, best = inspection.info.num_channels, inspection.choice
    channel = config.channel if recording.channel is None else recording.channel
    if isinstance(channel, int):
        if not 0 <= channel < num_channels:
            there = "0 alone" if num_channels == 1 else f"0 to {num_channels - 1}"
            raise AudioError(f"channel {channel}, the file has {there}; channels are counted from 0", "no such channel")
        return [("", best._replace(channels=(channel,) if num_channels > 1 else ()))]
    if channel == "mix" or num_channels == 1:
        return [("", best)]
    if text:  # on each of them it would be wrong, and without it each would be lost for training on words
        raise AudioError(
            f"its transcript is of {num_channels} channels together, and `--channel each` parts them; name the channel "
            "of each transcript in a column channel, or give `--channel mix`",
            "transcript of several channels",
        )
    return [(f"-ch{number}", best._replace(channels=(number,))) for number in range(num_channels)]


def add_pieces(found: Scanned, whole: Clip, path: Path, info: AudioInfo, config: ShardConfig) -> float:
    """Add a recording, or its pieces if it is a long file without transcript, or why they are left out.

    Returns:
        Seconds between the pieces.
    """
    is_file = whole.num_frames == info.num_frames
    if whole.text or not is_file or whole.seconds <= config.cut_above_seconds:
        _add(whole, found, config)
        return 0.0
    cuts = cut(path, info, config.segmentation, choice=whole.choice)
    found.notes.extend(Note(whole.name, finding.kind, finding.detail) for finding in cuts.findings)
    if not cuts.segments:
        found.rejected.append(_without_speech(whole, cuts, config))
        return 0.0
    for number, segment in enumerate(cuts.segments):
        key = f"{whole.key}-{number:05d}"
        piece = whole._replace(key=key, start_frame=segment.start_frame, num_frames=segment.num_frames, begin="")
        _add(piece, found, config)
    return whole.seconds - sum(segment.num_frames for segment in cuts.segments) / info.sample_rate


def _add(clip: Clip, found: Scanned, config: ShardConfig) -> None:
    """Add a clip, or that its length is not wanted."""
    reason = too_short_or_long(clip, config)
    if reason is None:
        found.clips.append(clip)
    else:
        found.rejected.append(reason)


def _without_speech(whole: Clip, cuts: Cuts, config: ShardConfig) -> Rejected:
    """Why nothing of a long recording is used."""
    options = config.segmentation
    if cuts.is_constant:
        return Rejected(whole.name, "silent", f"all of its {whole.seconds:.1f} s have one value", whole.key)
    if cuts.dropped_seconds:
        what = (
            f"{cuts.dropped_seconds:.2f} s of speech, in parts below segmentation.min_seconds ({options.min_seconds:g})"
        )
    else:
        what = f"none by method {resolve_method(options)} at threshold {options.threshold:g}"
    detail = (
        f"{what} in {whole.seconds:.1f} s; if there is some, lower segmentation.threshold, choose another "
        "segmentation.method, or raise cut_above_seconds to keep it whole"
    )
    return Rejected(whole.name, "no speech found", detail, whole.key)


def too_short_or_long(clip: Clip, config: ShardConfig) -> Rejected | None:
    """Why a clip is left out for its length, if it is."""
    if clip.seconds < config.min_seconds:
        reason, detail = "too short", f"{clip.seconds:.2f} s, min_seconds is {config.min_seconds:g}"
    elif clip.seconds * config.sample_rate < 1:
        reason = "too short"
        detail = f"{clip.num_frames} samples at {clip.sample_rate} Hz are none at {config.sample_rate} Hz"
    elif clip.seconds > config.max_seconds:
        reason, detail = "too long", f"{clip.seconds:.2f} s, max_seconds is {config.max_seconds:g}"
    else:
        return None
    return Rejected(clip.name, reason, detail, clip.key)


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
        with open(path, "rb") as file:
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
        return read_range(path, clip.start_frame, clip.num_frames, sample_rate, clip.choice)


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
    except Exception as error:
        failure(clip, error)  # which raises what is no recording's fault
        return f"{clip.name} {clip.key}"


def samples_hash(samples: np.ndarray) -> str:
    """Hash of audio, float32 (S,)."""
    return hashlib.sha256(samples.tobytes()).hexdigest()[:32]
