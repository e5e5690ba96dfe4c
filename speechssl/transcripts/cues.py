"""Words to subtitles: cues that can be read in the time that they are shown."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from speechssl.transcripts.transcript import TimedWord

LINE_COLUMNS = 42
MAX_LINES = 2
MAX_SECONDS = 7.0
"""Longest cue."""
MIN_SECONDS = 1.0
"""Shortest cue, where nothing follows so soon."""
PAUSE_SECONDS = 0.7
"""A longer pause ends a cue."""
COLUMNS_PER_SECOND = 17.0
"""Reading speed: a cue is shown for as long as it takes, where nothing follows so soon."""


class Cue(NamedTuple):
    """What is shown at once."""

    start_seconds: float
    stop_seconds: float
    lines: tuple[str, ...]
    """At most ``MAX_LINES``, of at most ``LINE_COLUMNS``."""


def make_cues(words: Sequence[TimedWord], seconds: float) -> list[Cue]:
    """Cues of the words of a recording.

    Args:
        words: in order.
        seconds: length of the recording.
    """
    groups = list(_groups([part for word in words for part in _parts(word)]))
    begins = [group[0].start_seconds for group in groups]
    cues: list[Cue] = []
    if not groups:
        return cues
    for group, following in zip(groups, [*begins[1:], max(seconds, 0.0)], strict=True):
        lines = _lines([word.text for word in group])
        start, end = group[0].start_seconds, group[-1].stop_seconds
        wanted = max(MIN_SECONDS, sum(map(columns, lines)) / COLUMNS_PER_SECOND)
        cues.append(Cue(start, max(end, min(start + wanted, following)), lines))
    return cues


def columns(text: str) -> int:
    """How wide a text is: two for each of the wide letters of East Asia, none for marks upon others."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _parts(word: TimedWord) -> Iterator[TimedWord]:
    """A word that is longer than a line, as in scripts without spaces, in parts; their times by their widths."""
    total = columns(word.text)
    if total <= LINE_COLUMNS:
        yield word
        return
    length, done = word.stop_seconds - word.start_seconds, 0
    for piece in _pieces(word.text):
        start = word.start_seconds + length * done / total
        done += columns(piece)
        yield word._replace(text=piece, start_seconds=start, stop_seconds=word.start_seconds + length * done / total)


def _pieces(text: str) -> Iterator[str]:
    """A text cut where a line is full, never before a mark that belongs to the letter before it."""
    letters: list[str] = []  # each with its marks
    for character in text:
        if letters and unicodedata.category(character).startswith("M"):
            letters[-1] += character
        else:
            letters.append(character)
    piece = ""
    for letter in letters:
        if piece and columns(piece + letter) > LINE_COLUMNS:
            yield piece
            piece = ""
        piece += letter
    yield piece


def _groups(words: Sequence[TimedWord]) -> Iterator[list[TimedWord]]:
    """Words that are shown together."""
    group: list[TimedWord] = []
    for word in words:
        if group and (
            word.start_seconds - group[-1].stop_seconds > PAUSE_SECONDS
            or word.stop_seconds - group[0].start_seconds > MAX_SECONDS
            or len(_filled([*(item.text for item in group), word.text], LINE_COLUMNS)) > MAX_LINES
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    """Words in as few lines as hold them, of like lengths."""
    fewest = len(_filled(texts, LINE_COLUMNS))
    narrowest = next(
        width for width in range(1, LINE_COLUMNS + 1)
        if len(lines := _filled(texts, width)) == fewest and max(map(columns, lines)) <= LINE_COLUMNS
    )  # fmt: skip
    return tuple(_filled(texts, narrowest))


def _filled(texts: Sequence[str], width: int) -> list[str]:
    """Words in lines, each as full as it can be."""
    lines = [texts[0]]
    for text in texts[1:]:
        if columns(lines[-1]) + 1 + columns(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return lines
