"""Transcribing audio while it comes, in memory that does not grow with it but for the words."""

import json
import sys
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechssl.audio.standard_input import live_blocks, standard_input
from speechssl.config import TranscribeConfig
from speechssl.decoding.decoder import build_decoder
from speechssl.decoding.long_form import Window, shape_of
from speechssl.decoding.running import Cut
from speechssl.errors import DataError
from speechssl.frames import hop_samples, num_frames, receptive_field_samples
from speechssl.recogniser import Recogniser
from speechssl.transcripts.sources import STDIN
from speechssl.transcripts.transcript import Clock, Transcript, make_transcript

STREAM_SECONDS = 1.0
"""A stream is heard again when so much more of it has come."""


class Progress(NamedTuple):
    """What is known of a stream so far."""

    seconds: float
    """Heard."""
    settled: str
    """Text that will not change any more, behind that of the last time. Where there was no space to settle it at, as in
    scripts without, it may go on in the word that the last one ended with."""
    partial: str
    """Words behind them, which more audio may change."""


class LiveTranscriber:
    """A stream is heard in a window that grows until it is as long as one of ``speechssl transcribe``. Then it is
    decoded up to its longest pause, no nearer to its end than a margin; these words are settled, and their audio is
    forgotten but for a margin.

    Args:
        recogniser: transcribes.
        config: how.
    """

    def __init__(self, recogniser: Recogniser, config: TranscribeConfig) -> None:
        model = recogniser.config
        layers = model.feature_encoder.conv_layers
        self._recogniser = recogniser
        self._config = config
        self._layers = layers
        self._shape = shape_of(
            config.window_seconds, config.margin_seconds, model.sample_rate, layers, squeeze=model.context.squeeze
        )
        self._running = recogniser.running_decoder(build_decoder(config.decoding, recogniser.vocabulary))
        self._samples = np.empty(0, np.float32)
        self._begin = 0  # frame of the stream at which they begin
        self._num_samples = 0
        self._most_samples = max(self._shape.margin_frames * hop_samples(layers), model.sample_rate)
        self._num_told = 0  # characters of the settled text

    def hear(self, samples: np.ndarray) -> Progress:
        """Go on by some samples at the model's rate, float32 (S,)."""
        log_probs = torch.empty(0, 0)
        for start in range(0, len(samples), self._most_samples):  # what came at once may be longer than a window
            self._take(samples[start : start + self._most_samples])
            log_probs = self._emissions()
            if len(log_probs) >= self._shape.kept_frames:
                log_probs = self._settle(log_probs)
        partial = ""
        if len(log_probs):
            partial = self._running.preview(log_probs)
        text = " ".join(word.text for word in self._running.words)  # a word that was cut grows
        settled, self._num_told = text[self._num_told :].strip(), len(text)
        return Progress(self._num_samples / self._recogniser.config.sample_rate, settled, partial)

    def finish(self) -> Transcript:
        """The transcript of the whole stream.

        Raises:
            DataError: it is shorter than a frame.
        """
        if num_frames(self._num_samples, self._layers) == 0:
            raise DataError(
                f"standard input: {self._num_samples} samples at {self._recogniser.config.sample_rate} Hz, expected at "
                f"least {receptive_field_samples(self._layers)}, one frame"
            )
        self._running.add(self._emissions())
        seconds = self._num_samples / self._recogniser.config.sample_rate
        calibration = self._recogniser.calibration(self._config.decoding)
        clock = Clock(self._recogniser.config)
        return make_transcript(STDIN, self._running.finish(), clock, calibration, seconds)

    def _take(self, samples: np.ndarray) -> None:
        self._samples = np.concatenate([self._samples, samples])
        self._num_samples += len(samples)

    def _emissions(self) -> Tensor:
        """Of the frames that are not settled, (T, labels)."""
        first, stop = self._running.num_frames - self._begin, num_frames(len(self._samples), self._layers)
        if stop <= first:
            return torch.empty(0, len(self._recogniser.vocabulary))
        [found] = self._recogniser.emissions([Window(self._samples, first, stop, is_last=True)])
        return found

    def _settle(self, log_probs: Tensor) -> Tensor:
        """Decode up to a pause, and give what is behind it."""
        certain = log_probs[: max(0, len(log_probs) - self._shape.margin_frames)]
        cut = self._running.find_cut(certain) or Cut(len(certain), is_between_words=False)
        self._running.decode(log_probs[: cut.frame], ends_word=cut.is_between_words)
        squeeze = self._recogniser.config.context.squeeze
        begin = max(0, self._running.num_frames - self._shape.margin_frames) // squeeze * squeeze
        self._samples = self._samples[(begin - self._begin) * hop_samples(self._layers) :].copy()
        self._begin = begin
        return log_probs[cut.frame :]


def transcribe_stream(recogniser: Recogniser, config: TranscribeConfig) -> Transcript:
    """Transcribe raw audio on standard input until it ends, and say in between what is heard."""
    live = LiveTranscriber(recogniser, config)
    rate = config.stream or recogniser.config.sample_rate
    for block in live_blocks(standard_input(), rate, recogniser.config.sample_rate, STREAM_SECONDS):
        _show(live.hear(block), config)
    return live.finish()


def _show(progress: Progress, config: TranscribeConfig) -> None:
    """Say what is heard so far: as JSON lines on standard output, or on a terminal in one line that changes."""
    if config.format == "jsonl" and config.output is None:
        print(json.dumps(progress._asdict() | {"seconds": round(progress.seconds, 3)}, ensure_ascii=False), flush=True)
    elif sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\x1b[2K{progress.seconds:.0f} s {progress.partial[-70:]}", end="", file=sys.stderr, flush=True)
