"""What decoders give."""

from typing import NamedTuple


class Word(NamedTuple):
    """A word, and the frames in which it was read."""

    text: str
    first_frame: int
    """Of its first letter."""
    stop_frame: int
    """The one after the last of its last letter."""
    confidence: float = 0.0
    """Probability of this spelling in these frames, 0..1, as :func:`speechssl.decoding.words.spelling_probabilities`
    has it."""
    boundary_frame: int | None = None
    """In which the space behind it is first read; None where none is."""


class Hypothesis(NamedTuple):
    """One transcript."""

    text: str
    """The words, with a space between each two."""
    confidence: float
    """Geometric mean of the best label's probability over the utterance's frames, 0..1."""
    words: tuple[Word, ...] = ()
