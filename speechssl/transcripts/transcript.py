"""What was said in a recording, and when."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from speechssl.config import ModelConfig
from speechssl.decoding.confidence import Calibration
from speechssl.decoding.hypothesis import Hypothesis, Word
from speechssl.frames import frame_seconds

LEAD_SECONDS = 0.08
TAIL_SECONDS = 0.24
"""CTC says a letter in a frame or two, while or after it is heard, and blank or space around it. So a word begins at
most so long before the first frame of its first letter, and ends at most so long behind the last one of its last. Of
AN4's dev set both leave the least mean distance to the words of an aligner by hidden Markov models."""


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

    def spans(self, frames: Sequence[Word], seconds: float) -> list[tuple[float, float]]:
        """Begin and end of words, in seconds.

        The space between two words is said where one goes over into the other: neither lasts beyond its first frame.
        Without a space they share what is between them.

        Args:
            frames: of the words, in order.
            seconds: length of the recording.
        """
        found, before = [], 0.0  # where the word before ends at the latest, and this one begins at the earliest
        for word, following in zip(frames, [*frames[1:], None], strict=False):
            begin, end = self.edge(word.first_frame), self.edge(word.stop_frame)
            behind = seconds if following is None else self._boundary(word, following)
            found.append(
                (max(0.0, min(begin, max(before, begin - LEAD_SECONDS))), max(end, min(behind, end + TAIL_SECONDS)))
            )
            before = behind
        return found

    def _boundary(self, word: Word, following: Word) -> float:
        if word.boundary_frame is not None:
            return self.edge(word.boundary_frame)
        end, begin = self.edge(word.stop_frame), self.edge(following.first_frame)
        return end + (begin - end) * TAIL_SECONDS / (LEAD_SECONDS + TAIL_SECONDS)


def time_words(words: Sequence[Word], clock: Clock, calibration: Calibration, seconds: float) -> tuple[TimedWord, ...]:
    """Words in seconds, with what confidence in them is worth."""
    spans = clock.spans(words, seconds)
    return tuple(
        TimedWord(word.text, *span, calibration.of(word.confidence)) for word, span in zip(words, spans, strict=True)
    )


def make_transcript(
    path: Path | None, found: Hypothesis, clock: Clock, calibration: Calibration, seconds: float
) -> Transcript:
    """A decoded recording of so many seconds."""
    return Transcript(path, found.text, time_words(found.words, clock, calibration, seconds), found.confidence, seconds)
