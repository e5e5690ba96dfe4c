"""What an audio file holds and how it is to be heard, decided once: length, channels, scale.

A header is enough where it can be trusted. What has to be decoded for it is: everything, where only that tells the
length, and of floating-point numbers, which know no full scale; and ten seconds of what has several channels.
"""

import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechssl.audio.channels import HOP_SECONDS, ChannelMeter, Judgement
from speechssl.audio.decoders import Decoder, opened
from speechssl.audio.findings import ROUNDING_SECONDS, AudioError, Finding
from speechssl.audio.sndfile import SKIPPED_FRAMES

logger = logging.getLogger(__name__)

JUDGED_HOPS = 40
"""Hops of 250 ms of which channels are judged, spread over the file. If their mean is doubted, all of it is heard."""
OVER_FULL_SCALE = 10 ** (1 / 20)
"""Peaks of floating-point numbers up to 1 dB above full scale are cut off, as they always were; what is louder is
divided by a power of two ..."""
LOSSY_OVER_FULL_SCALE = 2.0
"""... and what a lossy encoding has added to full scale is no more than this."""
INTEGER_PEAK = 256.0
"""Numbers above this are those of integers. Below, they are of something else, as of audio divided by its deviation."""
INTEGER_BITS = (15, 23, 31)
LARGEST_PEAK = 2.0**33


class AudioInfo(NamedTuple):
    """What a file holds."""

    sample_rate: int
    """Hz."""
    num_frames: int
    """As many as reading gives."""
    num_channels: int
    format: str
    """libsndfile's name of the container, as in "WAV"; "FFmpeg" for what only FFmpeg reads."""


class Choice(NamedTuple):
    """What of a file is heard."""

    channels: tuple[int, ...] = ()
    """The mean of these, from 0; empty for the mean of all."""
    gain: float = 1.0
    """Factor of the samples."""

    def of(self, samples: np.ndarray) -> np.ndarray:
        """Float32 (S, C) to (S,)."""
        if len(self.channels) == 1:
            mono = samples[:, self.channels[0]]
        elif samples.shape[1] == 1:
            mono = samples[:, 0]
        else:
            some = samples[:, list(self.channels)] if self.channels else samples
            mono = some.mean(axis=1, dtype=np.float32)
        return mono if self.gain == 1 else mono * np.float32(self.gain)


EVERYTHING = Choice()


class Inspection(NamedTuple):
    """All of it."""

    info: AudioInfo
    begin: np.ndarray
    """The first seconds that were asked for, float32 (S, C)."""
    choice: Choice
    findings: list[Finding]


def inspect(path: Path, *, begin_seconds: float = 0.0, judges_channels: bool = True) -> Inspection:
    """What a file holds, from its header where that can be trusted, else by decoding it once.

    Args:
        path: audio file of any format.
        begin_seconds: of the beginning, to be returned while the file is open anyway.
        judges_channels: whether several channels are compared with their mean.

    Raises:
        AudioError: missing, unreadable or empty; damaged, if it has to be decoded.
    """
    with opened(path) as decoder:
        begin = read_frames(decoder, path, round(begin_seconds * decoder.sample_rate))
        ear = _Ear(decoder, judges_channels=judges_channels)
        num_frames = decoder.num_frames
        if num_frames is None or decoder.is_float:
            num_frames = ear.hear_all(path, begin)
        elif ear.meter is not None:
            num_frames = ear.hear_parts(path, begin, num_frames)
        if num_frames == 0:
            raise AudioError(f"{path}: holds no samples")
        info = AudioInfo(decoder.sample_rate, num_frames, decoder.num_channels, decoder.format)
        findings = decoder.findings
    judgement = ear.meter.judge() if ear.meter is not None else Judgement()
    if judgement.kind:
        findings.append(Finding(judgement.kind, judgement.detail))
    gain, finding = scale_of(ear.peak, path, is_lossy=info.format == "FFmpeg")
    return Inspection(info, begin, Choice(judgement.channels, gain), findings + finding)


class _Ear:
    """Hears a file, or parts of it."""

    def __init__(self, decoder: Decoder, *, judges_channels: bool) -> None:
        self._decoder = decoder
        self.peak = 0.0
        """Of floating-point numbers."""
        self.meter: ChannelMeter | None = None
        if judges_channels and decoder.num_channels > 1:
            self.meter = ChannelMeter(decoder.num_channels, decoder.sample_rate)

    def hear_all(self, path: Path, begin: np.ndarray) -> int:
        """Everything, of which the beginning was read; how many frames there are."""
        decoder, position, block = self._decoder, len(begin), begin
        while True:
            if decoder.is_float and block.size:
                self.peak = max(self.peak, float(block.max()), -float(block.min()))
            if self.meter is not None:
                self.meter.add(block)
            block = read_frames(decoder, path, SKIPPED_FRAMES)
            if not len(block):
                break
            position += len(block)
        note_early_end(decoder, position)
        return position

    def hear_parts(self, path: Path, begin: np.ndarray, num_frames: int) -> int:
        """Some hops, spread over the file; all of it if it is short, or if that would leave channels out.

        Of an MP3 all is heard too: libmpg123 writes on the terminal what it lacks where it is made to begin.
        """
        decoder, hop = self._decoder, round(HOP_SECONDS * self._decoder.sample_rate)
        if num_frames <= JUDGED_HOPS * hop or decoder.format == "MP3":
            return self.hear_all(path, begin)
        assert self.meter is not None
        try:
            for i in range(JUDGED_HOPS):
                decoder.seek(i * (num_frames - hop) // (JUDGED_HOPS - 1))
                self.meter.add(decoder.read(hop))
        except RuntimeError as error:  # what is damaged is named when all is read
            logger.debug("%s: channels are judged by a part: %s", path, error)
        if not self.meter.judge().channels:
            return num_frames
        self.meter = ChannelMeter(decoder.num_channels, decoder.sample_rate)
        decoder.seek(0)
        return self.hear_all(path, begin[:0])


def scale_of(peak: float, path: Path, *, is_lossy: bool) -> tuple[float, list[Finding]]:
    """Factor for samples of a peak, a power of two, and what is to be said of it.

    Raises:
        AudioError: numbers that no sound has.
    """
    if peak <= (LOSSY_OVER_FULL_SCALE if is_lossy else OVER_FULL_SCALE):
        return 1.0, []
    if peak > LARGEST_PEAK:
        raise AudioError(
            f"{path}: its samples reach {peak:.3g}, expected -1 to 1; its bytes are in another order or of another "
            "kind than its header says, correct the header"
        )
    exponent = math.ceil(math.log2(peak))
    kind = "louder than full scale"
    if peak > INTEGER_PEAK:
        kind = "floats of integer scale"
        bits = next(bits for bits in INTEGER_BITS if peak <= 2.0 ** (bits + 1) or bits == INTEGER_BITS[-1])
        exponent = max(bits, exponent)
    detail = f"its samples reach {peak:.6g}, full scale is 1; they are divided by {2**exponent}"
    return 2.0**-exponent, [Finding(kind, detail)]


def note_early_end(decoder: Decoder, found: int) -> None:
    """Say that a file has fewer frames than its header states, if it has, and if that is not said yet."""
    expected, rate = decoder.num_frames, decoder.sample_rate
    is_said = any(finding.kind == "cut off" or finding.missing_seconds == math.inf for finding in decoder.findings)
    if expected is None or found >= expected - ROUNDING_SECONDS * rate or is_said:
        return
    detail = f"its header says {expected / rate:.2f} s, {found / rate:.2f} s can be decoded"
    decoder.findings.append(Finding("cut off", detail, (expected - found) / rate, found / rate))


def read_frames(decoder: Decoder, path: Path, num_frames: int) -> np.ndarray:
    """Next frames, float32 (num_frames, C), fewer at the end.

    Raises:
        AudioError: with more audio behind its end, or with samples that are not finite.
    """
    if not num_frames:
        return np.empty((0, decoder.num_channels), np.float32)
    samples = decoder.read(num_frames)
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds samples that are not finite numbers")
    return samples
