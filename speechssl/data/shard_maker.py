"""One shard from its plan: a function of the plan and the options alone, so that any machine makes the same bytes."""

import math
import os
from bisect import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.audio.blocks import read_ranges
from speechssl.config import ShardConfig
from speechssl.data.clips import Clip, audio_file
from speechssl.data.packing import ShardPlan
from speechssl.data.recordings import Note, Rejected
from speechssl.data.writer import EncodedSample, ShardFile, encode_audio, to_pcm
from speechssl.errors import DataError

LEVEL_EDGES = np.arange(-90.0, 3.0, 3.0)
"""Bins of the mean level of samples, dB below full scale."""
LENGTH_EDGES = np.append(np.arange(0.0, 40.5, 0.5), np.inf)
"""Bins of the lengths of samples, seconds."""
CLIPPED = math.ceil(0.999 * 32768)
"""Sample of the waveform, of 16 bits, that counts as clipped."""


@dataclass
class ShardOutcome:
    """What came of one plan; its file beside the shard marks the shard as whole."""

    name: str
    num_samples: int = 0
    """Utterances in the shard; without any there is no shard."""
    seconds: float = 0.0
    num_bytes: int = 0
    sha256: str = ""
    speakers: dict[str, float] = field(default_factory=dict)
    """Seconds of each speaker."""
    lengths: list[int] = field(default_factory=lambda: [0] * (len(LENGTH_EDGES) - 1))
    """Samples by length."""
    levels: list[int] = field(default_factory=lambda: [0] * (len(LEVEL_EDGES) - 1))
    """Samples by level."""
    num_clipped: int = 0
    """Samples with more than 0.1% of clipped values."""
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {
            "rejected": [list(item) for item in self.rejected],
            "notes": [list(item) for item in self.notes],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ShardOutcome":
        """Back from plain values."""
        lists = {
            "rejected": [Rejected(*item) for item in content["rejected"]],
            "notes": [Note(*item) for item in content["notes"]],
        }
        return cls(**(content | lists))


def make_shard(plan: ShardPlan, output: Path, config: ShardConfig, num_threads: int) -> ShardOutcome:
    """Read, check, encode and write the clips of a plan, in its order.

    Returns:
        Counts; recordings that cannot be used are named in it, not raised.

    Raises:
        DataError: the shard cannot be written.
    """
    outcome = ShardOutcome(plan.name)
    path = output / f"{plan.name}.tar"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ShardFile(path, config.sample_rate, config.format) as shard:
            for clip, result in zip(plan.clips, prepared(plan.clips, config, num_threads), strict=True):
                if isinstance(result, Rejected):
                    outcome.rejected.append(result)
                else:
                    shard.write(result.encoded)
                    count(outcome, clip, result, config.sample_rate)
            outcome.num_bytes, outcome.sha256 = shard.finish()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose another folder, then "
            "give the same command again"
        ) from error
    return outcome


@dataclass(frozen=True)
class Prepared:
    """A clip that is ready to be written."""

    encoded: EncodedSample
    level: float
    """Mean level in dB below full scale."""
    clipped_share: float


def prepared(clips: Sequence[Clip], config: ShardConfig, num_threads: int) -> Iterator[Prepared | Rejected]:
    """Prepare clips in threads (decoders release the interpreter), a bounded number ahead; results in order."""
    pending: deque[Future[list[Prepared | Rejected]]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for run in runs_of_files(clips):
                pending.append(pool.submit(prepare_run, run, config))
                if len(pending) > 2 * num_threads or len(run) > 1 < len(pending):
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def runs_of_files(clips: Sequence[Clip], max_seconds: float = 3600.0) -> Iterator[list[Clip]]:
    """Neighbours that are pieces of one file, in order and without overlap, up to an hour of them at a time."""
    run: list[Clip] = []
    seconds = 0.0
    for clip in clips:
        last = run[-1] if run else None
        follows = (
            last is not None
            and (clip.path, clip.member) == (last.path, last.member)
            and clip.start_frame >= last.start_frame + last.num_frames
        )
        if run and (not follows or seconds > max_seconds):
            yield run
            run, seconds = [], 0.0
        run.append(clip)
        seconds += clip.seconds
    if run:
        yield run


def prepare_run(run: list[Clip], config: ShardConfig) -> list[Prepared | Rejected]:
    """Read pieces of one file while decoding it once; after one that cannot be read, begin again with the next."""
    results: list[Prepared | Rejected] = []
    while len(results) < len(run):
        left = run[len(results) :]
        try:
            with audio_file(left[0].path, left[0].member) as path:
                ranges = [(clip.start_frame, clip.num_frames) for clip in left]
                for clip, samples in zip(left, read_ranges(path, ranges, config.sample_rate), strict=True):
                    results.append(prepare(clip, samples, config))
        except DataError as error:
            clip = run[len(results)]
            results.append(Rejected(clip.name, "unreadable audio", str(error).removeprefix(f"{clip.name}: "), clip.key))
    return results


def prepare(clip: Clip, samples: np.ndarray, config: ShardConfig) -> Prepared | Rejected:
    """Check and encode the audio of a clip, (S,)."""
    pcm = to_pcm(samples)
    # Whole numbers add up to the same sum in any order, on any machine.
    power = int(np.square(pcm, dtype=np.int32).sum(dtype=np.int64)) / len(pcm) / 32768**2
    if power == 0:
        return Rejected(clip.name, "silent", "all its samples are 0", clip.key)
    level = 10 * np.log10(power)
    if level < config.min_level_db:
        return Rejected(clip.name, "too quiet", f"{level:.1f} dB, min_level_db is {config.min_level_db:g}", clip.key)
    clipped = clipped_share(pcm)
    if clipped > config.max_clipped_share:
        return Rejected(
            clip.name,
            "clipped",
            f"{clipped:.2%} of its samples, max_clipped_share is {config.max_clipped_share:g}",
            clip.key,
        )
    metadata: dict[str, str | float] = {
        "seconds": round(len(samples) / config.sample_rate, 4),
        "source": os.path.basename(clip.member.name if clip.member else clip.path),  # noqa: PTH119, it is no Path
    }
    if clip.start_frame:
        metadata["start_seconds"] = round(clip.start_frame / clip.sample_rate, 4)
    for name, value in (("text", clip.text), ("speaker", clip.speaker), ("language", clip.language)):
        if value:
            metadata[name] = value
    audio = encode_audio(samples if config.format == "opus" else pcm, config.sample_rate, config.format)
    return Prepared(EncodedSample(clip.key, audio, len(samples), metadata), float(level), clipped)


def clipped_share(pcm: np.ndarray) -> float:
    """Share of samples, int16 (S,), at full scale or a thousandth below it."""
    if max(int(pcm.max()), -int(pcm.min())) < CLIPPED:
        return 0.0
    return float(np.mean((pcm >= CLIPPED) | (pcm <= -CLIPPED)))


def count(outcome: ShardOutcome, clip: Clip, result: Prepared, sample_rate: int) -> None:
    """Add a written clip to the counts of its shard."""
    seconds = result.encoded.num_samples / sample_rate
    outcome.num_samples += 1
    outcome.seconds += seconds
    if clip.speaker:
        outcome.speakers[clip.speaker] = outcome.speakers.get(clip.speaker, 0.0) + seconds
    for counts, edges, value in (
        (outcome.lengths, LENGTH_EDGES, seconds),
        (outcome.levels, LEVEL_EDGES, result.level),
    ):
        counts[min(max(bisect(edges, value) - 1, 0), len(counts) - 1)] += 1
    outcome.num_clipped += result.clipped_share > 0.001
