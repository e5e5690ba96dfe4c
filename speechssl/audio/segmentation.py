"""Long recordings to segments of speech, found while a recording is read once in blocks.

What stays of the audio is a power for each 20 ms and, with silero, a probability for each 32 ms: some megabytes for
10 hours. The rest is arithmetic on these, so that nothing depends on the length of the blocks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from speechssl.audio.blocks import read_blocks
from speechssl.audio.findings import Finding
from speechssl.audio.inspection import EVERYTHING, AudioInfo, Choice
from speechssl.audio.silero import SileroNetwork, has_silero
from speechssl.config import SegmentationConfig
from speechssl.errors import ConfigError, DataError

HOP_SECONDS = 0.02
SMOOTHING_HOPS = 3
"""Speech is looked for in levels over 60 ms ..."""
QUIET_HOPS = 11
"""... and a quiet place in levels over 220 ms, so that a cut keeps its distance from the words around it."""
FLOOR_HOPS = 1500
"""The noise floor is that of the 30 s around a hop: long enough to have pauses in it."""
FLOOR_STRIDE = 50
"""Hops between the points for which it is determined; it is interpolated between them."""
FLOOR_PERCENTILE = 10
LOUD_PERCENTILE = 99
FLOOR_DEPTH_DB = 50.0
"""The floor is no further below the loud parts of a recording: silence that a computer made has no floor."""
SCORE_DB = 12.0
"""Level above the noise floor that scores 1."""
LOW_SHARE = 0.7
"""Speech lasts for as long as its score is not below this share of the threshold."""

Method = Literal["silero", "energy", "none"]
Span = tuple[int, int]
"""First frame, and the one after the last."""


class Segment(NamedTuple):
    """A piece of a recording, in frames of its own rate."""

    start_frame: int
    num_frames: int


class Cuts(NamedTuple):
    """What a recording was cut into."""

    segments: list[Segment]
    """In order of time, without overlap."""
    speech_seconds: float
    """Speech that was found, short pauses included and margins not."""
    dropped_seconds: float
    """What of it is in no segment: islands shorter than min_seconds."""
    is_constant: bool = False
    """Whether all samples have one value."""
    findings: Sequence[Finding] = ()
    """What was met when the recording was heard, as damage."""


class Limits(NamedTuple):
    """The lengths of a SegmentationConfig in frames."""

    min_speech: int
    min_silence: int
    padding: int
    max_segment: int
    min_segment: int


class _Piece(NamedTuple):
    """What may become a segment, or several."""

    start: int
    end: int
    speech: int
    """Frames of it that are not margin."""


class _Listener(Protocol):
    def add(self, block: np.ndarray) -> None:
        """Take the next samples, (S,)."""


def cut(
    path: Path,
    info: AudioInfo,
    config: SegmentationConfig,
    *,
    choice: Choice = EVERYTHING,
    block_seconds: float = 30.0,
) -> Cuts:
    """Find the segments of a recording.

    Args:
        path: audio file of any format.
        info: what ``probe`` says of it.
        config: how speech is found, and how long segments are.
        choice: what of it is heard.
        block_seconds: audio in memory at a time; the result does not depend on it.

    Returns:
        The segments, and how much speech there is in them and outside; no segments if none was found.

    Raises:
        ConfigError: the package that finds speech is not installed.
        DataError: the file cannot be read, or was replaced by one of another length.
    """
    method, limits = resolve_method(config), frame_limits(config, info.sample_rate)
    if method == "none":
        return assemble([(0, info.num_frames)], info, limits, lambda first, last: last)
    meter = LevelMeter(info.sample_rate)
    network = SileroNetwork(info.sample_rate) if method == "silero" else None
    findings: list[Finding] = []
    blocks = read_blocks(path, block_seconds, choice, findings)
    num_frames = _listen([meter] if network is None else [meter, network], blocks)
    if num_frames > info.num_frames or (num_frames < info.num_frames and not findings):
        raise DataError(f"{path}: {num_frames} frames, expected {info.num_frames}; the file was replaced, start again")
    info = info._replace(num_frames=num_frames)
    powers = meter.finish()
    scores = energy_scores(powers) if network is None else network.finish()
    runs = speech_runs(scores, config.threshold)
    edges = runs * meter.hop if network is None else network.frames(runs)
    quietness = _smooth(powers, QUIET_HOPS)
    cuts = assemble(
        join_runs(np.minimum(edges, info.num_frames), limits),
        info,
        limits,
        lambda first, last: quietest_frame(quietness, meter.hop, first, last),
    )
    return cuts._replace(is_constant=meter.is_constant, findings=findings)


def resolve_method(config: SegmentationConfig) -> Method:
    """What "auto" stands for on this machine.

    Raises:
        ConfigError: a package that was asked for is not installed.
    """
    if config.method == "silero" and not has_silero():
        raise ConfigError(
            "method is silero, but the package silero-vad is not installed; install it with `pip install silero-vad`, "
            "or choose the method energy"
        )
    if config.method != "auto":
        return config.method
    return "silero" if has_silero() else "energy"


def frame_limits(config: SegmentationConfig, sample_rate: int) -> Limits:
    """The lengths of a configuration in frames."""
    return Limits(
        min_speech=math.ceil(config.min_speech_seconds * sample_rate),
        min_silence=math.ceil(config.min_silence_seconds * sample_rate),
        padding=round(config.padding_seconds * sample_rate),
        max_segment=max(1, int(config.max_seconds * sample_rate)),
        min_segment=math.ceil(config.min_seconds * sample_rate),
    )


def _listen(listeners: Sequence[_Listener], blocks: Iterator[np.ndarray]) -> int:
    """Read a recording once; how many frames it has."""
    found = 0
    for block in blocks:
        found += len(block)
        for listener in listeners:
            listener.add(block)
    return found


class LevelMeter:
    """Power of a recording in hops of 20 ms.

    Args:
        sample_rate: of the recording, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.hop = max(1, round(HOP_SECONDS * sample_rate))
        self._rest = np.empty(0, dtype=np.float32)
        self._powers: list[np.ndarray] = []
        self._lowest, self._highest = math.inf, -math.inf

    @property
    def is_constant(self) -> bool:
        """Whether all samples so far have one value."""
        return self._lowest >= self._highest

    def add(self, block: np.ndarray) -> None:
        """Take the next samples, (S,)."""
        if self._lowest >= self._highest and len(block):
            self._lowest = min(self._lowest, float(block.min()))
            self._highest = max(self._highest, float(block.max()))
        samples = np.concatenate([self._rest, block])
        whole = len(samples) // self.hop * self.hop
        self._powers.append(_power(samples[:whole].reshape(-1, self.hop)))
        self._rest = samples[whole:].copy()  # a view would keep the block

    def finish(self) -> np.ndarray:
        """Power of each hop, the last one however short, float64 (hops,)."""
        if len(self._rest):
            self._powers.append(_power(self._rest[None]))
        return np.concatenate([np.empty(0), *self._powers])


def _power(hops: np.ndarray) -> np.ndarray:
    """Variance of each hop, (hops, S) to (hops,): the power of what is not an offset."""
    return hops.astype(np.float64).var(axis=1)


def energy_scores(powers: np.ndarray) -> np.ndarray:
    """Level above the noise floor as a share of 12 dB, (hops,) to (hops,); volume and offset do not change it."""
    levels = _decibels(_smooth(powers, SMOOTHING_HOPS))
    return (levels - noise_floor(levels)) / SCORE_DB


def noise_floor(levels: np.ndarray) -> np.ndarray:
    """Tenth percentile of the levels in the 30 s around each hop, in dB, (hops,) to (hops,).

    Hops without any power are left out: between pieces that were joined, they say nothing of the noise in the pieces.
    """
    heard = levels[np.isfinite(levels)]
    if not len(heard):
        return np.zeros_like(levels)
    lowest = np.percentile(heard, LOUD_PERCENTILE) - FLOOR_DEPTH_DB
    centres = np.arange(0, len(levels), FLOOR_STRIDE)
    floors = np.full(len(centres), lowest)
    for i, centre in enumerate(centres):
        around = levels[max(0, centre - FLOOR_HOPS // 2) : centre + FLOOR_HOPS // 2]
        around = around[np.isfinite(around)]
        if len(around):
            floors[i] = max(lowest, np.percentile(around, FLOOR_PERCENTILE))
    return np.interp(np.arange(len(levels)), centres, floors)


def _decibels(powers: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 10 * np.log10(powers)


def _smooth(powers: np.ndarray, num_hops: int) -> np.ndarray:
    """Mean over so many hops around each, an odd number, (hops,) to (hops,); what lies outside is as the nearest."""
    if not len(powers):
        return powers
    padded = np.pad(powers, num_hops // 2, mode="edge")
    return np.convolve(padded, np.full(num_hops, 1 / num_hops), mode="valid")


def speech_runs(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Runs of hops that are not below 0.7 of the threshold and reach it somewhere.

    Args:
        scores: of each hop, (hops,).
        threshold: score of speech.

    Returns:
        First hop of each run and the one after its last, int64 (runs, 2).
    """
    inside = np.concatenate([[False], scores >= LOW_SHARE * threshold, [False]])
    runs = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    reached = np.concatenate([[0], np.cumsum(scores >= threshold)])
    return runs[reached[runs[:, 1]] > reached[runs[:, 0]]]


def join_runs(runs: np.ndarray, limits: Limits) -> list[Span]:
    """Join runs over short pauses, and leave out what holds too little speech; frames, (runs, 2)."""
    if not len(runs):
        return []
    pauses = runs[1:, 0] - runs[:-1, 1] >= limits.min_silence
    firsts = np.flatnonzero(np.concatenate([[True], pauses]))
    lasts = np.concatenate([firsts[1:] - 1, [len(runs) - 1]])
    speech = np.add.reduceat(runs[:, 1] - runs[:, 0], firsts)
    kept = speech >= max(1, limits.min_speech)
    starts, ends = runs[firsts[kept], 0].tolist(), runs[lasts[kept], 1].tolist()
    return list(zip(starts, ends, strict=True))


def quietest_frame(powers: np.ndarray, hop: int, first: int, last: int) -> int:
    """Middle of the quietest hop of which it lies between two frames; the last one of equals.

    Args:
        powers: of each hop, (hops,).
        hop: frames per hop.
        first, last: frames; the last is the answer if no middle lies between them.
    """
    middles = np.arange(max(0, first // hop - 1), min(len(powers), last // hop + 1)) * hop + hop // 2
    middles = middles[(middles >= first) & (middles <= last)]
    if not len(middles):
        return last
    return int(middles[::-1][powers[middles[::-1] // hop].argmin()])


def assemble(speech: Sequence[Span], info: AudioInfo, limits: Limits, choose_cut: Callable[[int, int], int]) -> Cuts:
    """Speech with margins, neither too short nor too long.

    Args:
        speech: where it is, in order.
        info: of the recording.
        limits: lengths in frames.
        choose_cut: the frame between two, both included, at which to cut what is too long.
    """
    pieces = _join_islands(_with_margins(speech, info.num_frames, limits.padding), limits.min_segment)
    kept = [piece for piece in pieces if piece.end - piece.start >= limits.min_segment]
    found, inside = (sum(piece.speech for piece in some) for some in (pieces, kept))
    segments = [segment for piece in kept for segment in _split(piece, limits, choose_cut)]
    return Cuts(segments, found / info.sample_rate, (found - inside) / info.sample_rate)


def _with_margins(speech: Sequence[Span], num_frames: int, padding: int) -> list[_Piece]:
    """Widen on both sides, up to the middle of a pause."""
    pieces = []
    for i, (start, end) in enumerate(speech):
        first = (speech[i - 1][1] + start) // 2 if i else 0
        last = (end + speech[i + 1][0]) // 2 if i + 1 < len(speech) else num_frames
        pieces.append(_Piece(max(first, start - padding), min(last, end + padding), end - start))
    return pieces


def _join_islands(pieces: Sequence[_Piece], min_segment: int) -> list[_Piece]:
    """Join a piece that is too short with the one before it, else with the one after, if that is near."""
    joined: list[_Piece] = []
    for piece in pieces:
        before = joined[-1] if joined else None
        if (
            before is not None
            and piece.start - before.end <= min_segment
            and min(before.end - before.start, piece.end - piece.start) < min_segment
        ):
            joined[-1] = _Piece(before.start, piece.end, before.speech + piece.speech)
        else:
            joined.append(piece)
    return joined


def _split(piece: _Piece, limits: Limits, choose_cut: Callable[[int, int], int]) -> list[Segment]:
    """Cut at a chosen place in the last third of what is allowed, and leave enough for the rest."""
    segments = []
    start = piece.start
    while piece.end - start > limits.max_segment:
        last = min(start + limits.max_segment, piece.end - limits.min_segment)
        first = min(last, start + limits.max_segment - limits.max_segment // 3)
        end = choose_cut(first, last)
        segments.append(Segment(start, end - start))
        start = end
    return [*segments, Segment(start, piece.end - start)]
