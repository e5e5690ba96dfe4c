"""One shard from its plan: a function of the plan and the options alone, so that any machine makes the same bytes."""

import math
import os
from bisect import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.audio.blocks import read_ranges
from speechssl.audio.findings import Finding
from speechssl.config import ShardConfig
from speechssl.errors import DataError
from speechssl.ingest.clips import Clip, audio_file, failure
from speechssl.ingest.packing import ShardPlan
from speechssl.ingest.recordings import Note, Rejected
from speechssl.shards.writer import EncodedSample, ShardFile, encode_audio, to_pcm

LEVEL_EDGES = np.arange(-90.0, 3.0, 3.0)
"""Bins of the mean level of samples, dB below full scale."""
LENGTH_EDGES = np.append(np.arange(0.0, 40.5, 0.5), np.inf)
"""Bins of the lengths of samples, seconds."""
CLIPPED = math.ceil(0.999 * 32768)
"""Sample of the waveform, of 16 bits, that counts as clipped."""
QUIET_PEAK = 128
"""Loudest sample, of 16 bits, up to which a recording is noted: 8 bits are left of it, as of 24 bits in the lower bytes
of 32, or of floats that were divided once too often."""
EDGE_SECONDS = 0.02
TASK_SECONDS = 20.0
"""Of audio that a thread prepares at a time, if recordings are shorter."""
LARGE_OFFSET = 0.03
"""Mean of the samples, of full scale, from which on a recording is noted: no sound card is as bad."""


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

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ShardOutcome":
        """Back from plain values."""
        rejected = [Rejected(*item) for item in content["rejected"]]
        return cls(**(content | {"rejected": rejected, "notes": [Note(*item) for item in content["notes"]]}))


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
                    outcome.notes += result.notes
            outcome.notes = list(dict.fromkeys(outcome.notes))  # of one file, many pieces
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
    notes: list[Note] = field(default_factory=list)


def prepared(clips: Sequence[Clip], config: ShardConfig, num_threads: int) -> Iterator[Prepared | Rejected]:
    """Prepare clips in threads (decoders release the interpreter), a bounded number ahead; results in order."""
    pending: deque[Future[list[Prepared | Rejected]]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for runs in tasks_of(clips):
                pending.append(pool.submit(prepare_runs, runs, config))
                if len(pending) > 2 * num_threads or len(runs) == 1 < min(len(runs[0]), len(pending)):
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def tasks_of(clips: Sequence[Clip]) -> Iterator[list[list[Clip]]]:
    """Runs that are prepared together, in order: to hand out each short recording by itself takes long."""
    task: list[list[Clip]] = []
    seconds = 0.0
    for run in runs_of_files(clips):
        length = sum(clip.seconds for clip in run)
        if task and seconds + length > TASK_SECONDS:
            yield task
            task, seconds = [], 0.0
        task.append(run)
        seconds += length
    if task:
        yield task


def prepare_runs(runs: Sequence[list[Clip]], config: ShardConfig) -> list[Prepared | Rejected]:
    """Prepare runs one after the other."""
    return [result for run in runs for result in prepare_run(run, config)]


def runs_of_files(clips: Sequence[Clip], max_seconds: float = 3600.0) -> Iterator[list[Clip]]:
    """Neighbours that are pieces of one file, in order and without overlap, up to an hour of them at a time."""
    run: list[Clip] = []
    seconds = 0.0
    for clip in clips:
        last = run[-1] if run else None
        follows = (
            last is not None
            and (clip.path, clip.member, clip.choice) == (last.path, last.member, last.choice)
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
        findings: list[Finding] = []
        try:
            with audio_file(left[0].path, left[0].member) as path:
                ranges = [(clip.start_frame, clip.num_frames) for clip in left]
                pieces = read_ranges(path, ranges, config.sample_rate, left[0].choice, findings)
                for clip, samples in zip(left, pieces, strict=True):
                    results.append(prepare(clip, samples, config, findings))
        except Exception as error:
            results.append(failure(run[len(results)], error))
    return results


def prepare(
    clip: Clip, samples: np.ndarray, config: ShardConfig, findings: Sequence[Finding] = ()
) -> Prepared | Rejected:
    """Check and encode the audio of a clip, (S,); findings are of its file."""
    first, last = clip.start_frame / clip.sample_rate, (clip.start_frame + clip.num_frames) / clip.sample_rate
    notes = []
    for finding in findings:
        if clip.text and finding.spoils(first, last):
            return Rejected(clip.name, finding.kind, finding.detail, clip.key)
        if finding.touches(first, last):
            notes.append(Note(clip.name, finding.kind, finding.detail))
    if not len(samples):
        return Rejected(clip.name, "too short", f"no samples at {config.sample_rate} Hz", clip.key)
    pcm = to_pcm(samples)
    power, offset = power_of(pcm)
    if power == 0 or (clip.sample_rate != config.sample_rate and is_step(pcm, config.sample_rate)):
        return Rejected(clip.name, "silent", _constant(samples, pcm), clip.key)
    level = 10 * np.log10(power)
    if level < config.min_level_db:
        return Rejected(clip.name, "too quiet", f"{level:.1f} dB, min_level_db is {config.min_level_db:g}", clip.key)
    peak = peak_of(pcm)
    clipped = clipped_share(pcm) if peak >= CLIPPED else 0.0
    if clipped > config.max_clipped_share:
        return Rejected(
            clip.name,
            "clipped",
            f"{clipped:.2%} of its samples, max_clipped_share is {config.max_clipped_share:g}",
            clip.key,
        )
    if abs(offset) > LARGE_OFFSET:
        notes.append(Note(clip.name, "offset", f"{offset:.3f} is added to all samples, of full scale 1"))
    if peak <= QUIET_PEAK:
        notes.append(Note(clip.name, "very quiet", f"its loudest sample is {peak} of 32767, so that few bits are left"))
    audio = encode_audio(samples if config.format == "opus" else pcm, config.sample_rate, config.format)
    encoded = EncodedSample(clip.key, audio, len(samples), metadata_of(clip, len(samples) / config.sample_rate))
    return Prepared(encoded, float(level), clipped, notes)


def metadata_of(clip: Clip, seconds: float) -> dict[str, Any]:
    """What is written beside the audio."""
    metadata: dict[str, Any] = {
        "seconds": round(seconds, 4),
        "source": os.path.basename(clip.member.name if clip.member else clip.path),
    }
    if clip.start_frame:
        metadata["start_seconds"] = round(clip.start_frame / clip.sample_rate, 4)
    if clip.channels:
        metadata["channels"] = list(clip.channels)
    for name, value in (("text", clip.text), ("speaker", clip.speaker), ("language", clip.language)):
        if value:
            metadata[name] = value
    return metadata


def power_of(pcm: np.ndarray) -> tuple[float, float]:
    """Power of int16 (S,) without its offset, and the offset, both of full scale 1.

    Whole numbers add up to the same sum in any order, on any machine. No product of vectors: BLAS would start threads
    within the worker's threads.
    """
    total = int(pcm.sum(dtype=np.int64))
    squares = int(np.square(pcm, dtype=np.int32).sum(dtype=np.int64))
    return (squares * len(pcm) - total * total) / len(pcm) ** 2 / 32768**2, total / len(pcm) / 32768


def peak_of(pcm: np.ndarray) -> int:
    """Largest magnitude of int16 (S,)."""
    return max(int(pcm.max()), -int(pcm.min()))


def is_step(pcm: np.ndarray, sample_rate: int) -> bool:
    """Whether int16 (S,) that was resampled has one value, but for the edges, where a constant rings."""
    edge = round(EDGE_SECONDS * sample_rate)
    inner = pcm[edge:-edge]
    return len(inner) > edge and int(inner.max()) - int(inner.min()) <= 1 < peak_of(inner)


def _constant(samples: np.ndarray, pcm: np.ndarray) -> str:
    """What is said of audio, (S,), that has one value in 16 bits."""
    if value := int(pcm[len(pcm) // 2]):
        return f"all its samples are {value / 32768:.3g}"
    loudest = float(np.abs(samples).max())
    if loudest:
        return f"its loudest sample is {loudest:.1g} of full scale 1, of which 16 bits leave nothing; raise its level"
    return "all its samples are 0"


def clipped_share(pcm: np.ndarray) -> float:
    """Share of samples, int16 (S,), at full scale or a thousandth below it."""
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
