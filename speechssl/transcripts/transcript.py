"""What was said in a recording, and when."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from speechssl.config import ModelConfig
from speechssl.decoding.confidence import Calibration
from speechssl.decoding.hypothesis import Hypothesis, Word
from speechssl.frames import frame_seconds

TAIL_SECONDS = 0.06
"""A word goes on for so long behind the last frame of its last letter, at most for half of what is between it and the
next word. CTC says a letter near its begin: by their energy, words before a pause of AN4's dev set end 0.087 s
behind the letter, in the median, and utterances 0.048 s."""


class TimedWord(NamedTuple):
    """A word, and when it was said."""

    text: str
    start_seconds: float
    stop_seconds: float
    confidence: float = 0.0
    """0 to 1: the share of such words that are right, if the recogniser is calibrated."""


class Transcript(NamedTuple):
    """What was said in a recording."""

    path: Path | None
    """None of an array."""
    text: str
    words: tuple[TimedWord, ...]
    """Those of the text."""
    confidence: float
    """0 to 1, as of :class:`Hypothesis`."""
    seconds: float
    """Length of the recording."""


class Clock(NamedTuple):
    """Frames as seconds."""

    model: ModelConfig
    """Whose frames they are."""

    def edge(self, frame: int) -> float:
        """Where a frame's share of the audio begins."""
        return frame_seconds(frame - 0.5, self.model.feature_encoder.conv_layers, self.model.sample_rate)

    def spans(self, frames: Sequence[tuple[int, int]], seconds: float) -> list[tuple[float, float]]:
        """Begin and end of words, in seconds.

        Args:
            frames: first frame of each, and the one after its last, in order.
            seconds: length of the recording.
        """
        begins = [self.edge(first) for first, _ in frames]
        found = []
        for (_, stop), begin, following in zip(frames, begins, [*begins[1:], None], strict=False):
            end = self.edge(stop)
            free = (following - end) / 2 if following is not None else seconds - end
            found.append((max(begin, 0.0), end + max(0.0, min(TAIL_SECONDS, free))))
        return found


def time_words(words: Sequence[Word], clock: Clock, calibration: Calibration, seconds: float) -> tuple[TimedWord, ...]:
    """Words in seconds, with what confidence in them is worth."""
    spans = clock.spans([(word.first_frame, word.stop_frame) for word in words], seconds)
    return tuple(
        TimedWord(word.text, *span, calibration.of(word.confidence)) for word, span in zip(words, spans, strict=True)
    )


def make_transcript(
    path: Path | None, found: Hypothesis, clock: Clock, calibration: Calibration, seconds: float
) -> Transcript:
    """A decoded recording of so many seconds."""
    return Transcript(path, found.text, time_words(found.words, clock, calibration, seconds), found.confidence, seconds)
