"""A known transcript, with the time of each word and character, and how well the audio bears it out."""

import itertools
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from speechssl.config import TextConfig
from speechssl.data.transcribed import frames_needed
from speechssl.decoding.alignment import best_positions
from speechssl.decoding.hypothesis import Word
from speechssl.errors import DataError
from speechssl.text.lexicon import Lexicon
from speechssl.text.normalisation import Normalizer, clean_text
from speechssl.text.vocabulary import Vocabulary
from speechssl.transcripts.formats import Interval
from speechssl.transcripts.transcript import Clock, TimedWord


class AlignedWord(NamedTuple):
    """A word of a transcript, as it is written there."""

    text: str
    start_seconds: float
    stop_seconds: float
    """As of :class:`TimedWord`."""
    score: float | None
    """Nats per label by which the best path through the transcript is less probable, in the word's frames, than the
    best path of all: 0 where the recogniser would write the same, below 0 elsewhere. None of a word without a character
    that the recogniser knows, as 1984: it is put between its neighbours."""
    characters: tuple[Interval, ...]
    """Those that the recogniser knows."""


class Aligned(NamedTuple):
    """A transcript with times."""

    words: tuple[AlignedWord, ...]
    score: float
    """The same over all frames, those between words too, in which something was said that the transcript lacks."""
    num_unknown: int
    """Characters of the transcript that the recogniser cannot write, and that were passed over."""
    seconds: float
    """Length of the recording."""

    def timed_words(self) -> list[TimedWord]:
        """For formats that know confidence: e to the score, 0 to 1."""
        return [
            TimedWord(word.text, word.start_seconds, word.stop_seconds, math.exp(word.score or 0.0))
            for word in self.words
        ]

    def tiers(self) -> dict[str, Sequence[Interval]]:
        """For a TextGrid."""
        words = [Interval(word.start_seconds, word.stop_seconds, word.text) for word in self.words]
        return {"words": words, "characters": [item for word in self.words for item in word.characters]}


class Spelling(NamedTuple):
    """A transcript in labels."""

    words: list[str]
    labels: list[int]
    owners: list[tuple[int, str]]
    """Of each label: the number of its word, -1 for a word boundary, and what is written there."""
    num_unknown: int


class _Unit(NamedTuple):
    """What a transcript is cut into."""

    written: str
    """What stands for it in the transcript; empty of a space."""
    labels: list[int]
    """None if the vocabulary lacks it; of a letter that is several in another case, several."""


def spell(text: str, vocabulary: Vocabulary, normalizer: Normalizer | None = None) -> Spelling:
    """Labels of a transcript, cut as for training; letters of the other case stand for those that there is no label of.

    Args:
        text: the transcript.
        vocabulary: of the labels.
        normalizer: writes it as the transcripts were that the recogniser learned from; absent, it is cleaned alone.
    """
    spelling = Spelling(clean_text(text).split(), [], [], 0)
    num_unknown = 0
    for number, written in enumerate((normalizer or Normalizer(TextConfig())).by_word(text)):
        units = _units(written, vocabulary, is_first=not spelling.labels)
        num_unknown += sum(not unit.labels for unit in units if unit.written)
        if any(unit.labels for unit in units if unit.written):
            spelling.labels.extend(label for unit in units for label in unit.labels)
            owners = ((number, unit.written) if unit.written else (-1, " ") for unit in units for _ in unit.labels)
            spelling.owners.extend(owners)
    return spelling._replace(num_unknown=num_unknown)


def _units(words: str, vocabulary: Vocabulary, *, is_first: bool) -> list[_Unit]:
    """Units of what a word of the transcript is written as, and of the space before it."""
    segmenter = vocabulary.segmenter
    if vocabulary.lexicon is not None:
        phonemes = segmenter.split(_pronounced(words, vocabulary.lexicon))
        return [_Unit(phoneme.strip(), _labels_of(phoneme, vocabulary)) for phoneme in phonemes]
    # A letter is looked up by itself; which pieces a word has depends on all of its letters, and on their case.
    changes = (str,) if segmenter.name in ("characters", "graphemes") else (str, str.upper, str.lower)
    variants = [[change(letter) for letter in words] for change in changes]
    cuts = [segmenter.split(" " * (not is_first) + "".join(letters)) for letters in variants]
    fewest = min(range(len(cuts)), key=lambda i: sum(vocabulary.label_of(unit) is None for unit in cuts[i]))
    # Where each letter that is no space comes from: in another case, one may be two.
    sources = [place for place, letter in enumerate(variants[fewest]) for _ in letter.strip()]
    units, now = [], 0
    for unit in cuts[fewest]:
        places = sources[now : now + len(unit.replace(" ", ""))]
        now += len(places)
        written = words[places[0] : places[-1] + 1] if places else ""
        units.append(_Unit(written, _labels_of(unit, vocabulary)))
    return units


def _pronounced(words: str, lexicon: Lexicon) -> str:
    """Phonemes of words, in their own case or another, and without what is no letter around them."""
    found = []
    for word in words.split():
        bare = word.strip("".join(c for c in word if not c.isalnum()))
        variants = [change for form in (word, bare) for change in (form, form.upper(), form.lower())]
        found.append(lexicon.pronounce(next((x for x in variants if x in lexicon.pronunciations), word)))
    return " ".join(found)


def _labels_of(unit: str, vocabulary: Vocabulary) -> list[int]:
    """Labels of what one of them stands for, in its own case or another; none if it has none."""
    for variant in (unit, unit.upper(), unit.lower()):
        if (whole := vocabulary.label_of(variant)) is not None:
            return [whole]
        labels = [label for c in variant if (label := vocabulary.label_of(c)) is not None]
        if len(labels) == len(variant):
            return labels
    return []


def align_transcript(
    log_probs: Tensor,
    text: str,
    vocabulary: Vocabulary,
    clock: Clock,
    seconds: float,
    normalizer: Normalizer | None = None,
) -> Aligned:
    """Align a transcript with the emissions of its recording.

    Args:
        log_probs: in nats, float32 (T, labels), on the CPU.
        text: the transcript.
        vocabulary: of the labels.
        clock: of the frames.
        seconds: length of the recording.
        normalizer: as of ``spell``.

    Raises:
        DataError: it is empty, the recogniser knows none of its characters, or it is too long for the audio.
    """
    spelling = spell(text, vocabulary, normalizer)
    if not spelling.labels:
        raise DataError("no transcript" if not spelling.words else "the recogniser can write none of its characters")
    needed = frames_needed(spelling.labels)
    if needed > len(log_probs):
        raise DataError(f"transcript needs {needed} frames, the audio has {len(log_probs)}")
    try:
        path = best_positions(log_probs, spelling.labels, blank=vocabulary.blank).numpy()
    except ValueError as error:
        raise DataError(f"transcript and audio hardly fit ({error})") from error
    own = log_probs.numpy()[np.arange(len(path)), np.append(spelling.labels, vocabulary.blank)[path]]
    deficit = own - log_probs.amax(1).numpy()  # at most 0
    words = _words(spelling, path, deficit, clock, seconds)
    return Aligned(words, float(deficit.sum() / len(spelling.labels)), spelling.num_unknown, seconds)


def _words(
    spelling: Spelling, path: np.ndarray, deficit: np.ndarray, clock: Clock, seconds: float
) -> tuple[AlignedWord, ...]:
    """Words with the frames of their labels."""
    firsts, stops = np.full(len(spelling.labels), -1), np.full(len(spelling.labels), -1)
    said = np.flatnonzero(path >= 0)
    stops[path[said]] = said + 1  # the last of several stays
    firsts[path[said[::-1]]] = said[::-1]
    places: list[list[int]] = [[] for _ in spelling.words]
    for place, (number, _) in enumerate(spelling.owners):
        if number >= 0:
            places[number].append(place)
    said_words = [
        Word(text, int(firsts[own[0]]), int(stops[own[-1]]), boundary_frame=_space_behind(own[-1], spelling, firsts))
        for text, own in zip(spelling.words, places, strict=True)
        if own
    ]
    spans = iter(zip(said_words, clock.spans(said_words, seconds), strict=True))
    words, now = [], 0.0
    for text, own in zip(spelling.words, places, strict=True):
        if not own:
            words.append(AlignedWord(text, now, now, None, ()))
            continue
        frames, (start, now) = next(spans)
        characters = _characters([(spelling.owners[i][1], int(firsts[i])) for i in own], clock, start, now)
        score = float(deficit[frames.first_frame : frames.stop_frame].sum() / len(own))
        words.append(AlignedWord(text, start, now, score, characters))
    return tuple(words)


def _space_behind(place: int, spelling: Spelling, firsts: np.ndarray) -> int | None:
    """First frame of the word boundary behind a label; None if another word's label comes next, or nothing."""
    is_space = place + 1 < len(spelling.owners) and spelling.owners[place + 1][0] < 0
    return int(firsts[place + 1]) if is_space else None


def _characters(begins: Sequence[tuple[str, int]], clock: Clock, start: float, stop: float) -> tuple[Interval, ...]:
    """Characters of a word: each lasts until the next one begins."""
    edges = [start, *(clock.edge(frame) for _, frame in begins[1:]), stop]
    return tuple(Interval(*edge, text) for (text, _), edge in zip(begins, itertools.pairwise(edges), strict=True))


def aligned_line(key: str, path: str, item: Aligned) -> str:
    """A JSON object of an aligned transcript."""
    content = {
        "key": key,
        "path": path,
        "text": " ".join(word.text for word in item.words),
        "seconds": round(item.seconds, 3),
        "score": round(item.score, 4),
        "words": [
            {
                "word": word.text,
                "start": round(word.start_seconds, 3),
                "end": round(word.stop_seconds, 3),
                "score": None if word.score is None else round(word.score, 4),
                "characters": [[c.text, round(c.start_seconds, 3), round(c.stop_seconds, 3)] for c in word.characters],
            }
            for word in item.words
        ],
    }
    return json.dumps(content, ensure_ascii=False)
