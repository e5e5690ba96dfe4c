"""Transcribed sets: the same checks for what is learned from, what a checkpoint is chosen on and what is scored."""

import itertools
import logging
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil
from typing import Literal, NamedTuple

import numpy as np

from speechssl.data.corpus import Corpus
from speechssl.errors import DataError
from speechssl.frames import ConvLayers, num_frames, receptive_field_samples
from speechssl.shards.table import StringColumn
from speechssl.text.characters import count_characters, list_characters, show_character
from speechssl.text.doubtful import find_doubtful
from speechssl.text.foreign import Foreign, find_foreign, times
from speechssl.text.lexicon import is_missing
from speechssl.text.normalisation import removed_characters
from speechssl.text.vocabulary import Vocabulary
from speechssl.text.writing import Writer

logger = logging.getLogger(__name__)

Reason = Literal[
    "no transcript", "word without a pronunciation", "shorter than a frame", "transcript longer than its frames"
]
REASONS: tuple[Reason, ...] = typing.get_args(Reason)
MAX_SHOWN = 10
"""Utterances that a message names."""
_SCORED: dict[Reason, str] = {
    "no transcript": "left out of the score",
    "word without a pronunciation": "scored, and such a word is an error whatever is heard",
    "shorter than a frame": "scored as an empty output",
    "transcript longer than its frames": "scored, though no output can be right",
}


class Unusual(NamedTuple):
    """An utterance that cannot be learned from."""

    row: int
    """Of the corpus."""
    reason: Reason
    detail: str
    """What was found and what was expected."""


class Transcribed(NamedTuple):
    """A set with cleaned transcripts, and what is wrong with some of them."""

    name: str
    """Of the set, for messages."""
    corpus: Corpus
    unusual: list[Unusual]
    removed: Counter[str]
    """Invisible characters that cleaning took out of the transcripts."""

    def counts(self) -> dict[Reason, int]:
        """How many there are for each reason that occurs."""
        found = Counter(item.reason for item in self.unusual)
        return {reason: found[reason] for reason in REASONS if found[reason]}

    def keys(self, reason: Reason) -> list[str]:
        """Of the utterances with a reason, in order."""
        return sorted(self.corpus[item.row].key for item in self.unusual if item.reason == reason)

    def without_unusual(self) -> Corpus:
        """Those that can be learned from."""
        if not self.unusual:
            return self.corpus
        return self.corpus.subset(np.delete(np.arange(len(self.corpus)), [item.row for item in self.unusual]))

    def describe_characters(
        self, texts: Iterable[str] | None = None, symbols: Callable[[str], Iterable[str]] = list
    ) -> str:
        """How many different ones some or all of the transcripts hold, which, and what was taken out of all."""
        counts = count_characters(texts or self.corpus.texts or (), symbols)
        shown = [f"{show_character(c)} {times(count)}" for c, count in self.removed.most_common(MAX_SHOWN)]
        taken = f"; taken out, since they cannot be seen: {', '.join(shown)}" if shown else ""
        return f"{self.name}: {list_characters(counts)}{taken}"

    def describe(self) -> str:
        """Counts by reason, then the first utterances."""
        counted = ", ".join(f"{reason}: {count}" for reason, count in self.counts().items())
        lines = [f"{len(self.unusual)} of {len(self.corpus)} utterances ({counted}):"]
        for item in self.unusual[:MAX_SHOWN]:
            ref = self.corpus[item.row]
            lines.append(f"{ref.shard}: {ref.key}: {item.detail}")
        if len(self.unusual) > MAX_SHOWN:
            lines.append(f"and {len(self.unusual) - MAX_SHOWN} more")
        return "\n  ".join(lines)


def check_transcripts(
    corpus: Corpus,
    conv_layers: ConvLayers,
    *,
    name: str,
    speed: float = 1.0,
    characters_per_label: int = 1,
    writer: Writer | None = None,
    split: Callable[[str], Sequence[str]] | None = None,
) -> Transcribed:
    """Write the transcripts of a set as labels are, and find the utterances that cannot be learned from.

    Args:
        corpus: read with its texts.
        conv_layers: of the feature encoder.
        name: of the set, for messages.
        speed: the fastest at which it is heard.
        characters_per_label: most that one of the model's labels stands for.
        writer: how transcripts are written; absent, they are cleaned alone.
        split: cuts a transcript into labels; absent, it needs as many as ``characters_per_label`` tells at least.

    Raises:
        DataError: no utterance has a transcript.
    """
    write = (writer or Writer()).reference
    removed: Counter[str] = Counter()
    texts = []
    for text in corpus.texts or ():
        texts.append(write(text))
        removed.update(removed_characters(text))
    if not any(texts):
        raise DataError(
            f"{name}: none of the {len(corpus)} utterances has a transcript; make the shards from a list with a text "
            "column (`speechssl shard --require_text` leaves out the recordings that have none)"
        )
    unusual: list[Unusual] = []
    shortest = receptive_field_samples(conv_layers)
    frames = num_frames((corpus.num_samples / speed).astype(np.int64), conv_layers)
    for row, (text, available) in enumerate(zip(texts, frames.tolist(), strict=True)):
        if split is not None or characters_per_label == 1:
            needed = frames_needed(text if split is None else split(text))
        else:
            needed = ceil(len(text) / characters_per_label)
        unspoken = dict.fromkeys(filter(is_missing, text.split())) if writer and writer.lexicon else ()
        if needed == 0:
            unusual.append(Unusual(row, "no transcript", "no transcript"))
        elif unspoken:
            found = f"the lexicon lacks {', '.join(word[1:-1] for word in unspoken)}"
            unusual.append(Unusual(row, "word without a pronunciation", found))
        elif available == 0:
            found = f"{corpus.num_samples[row]} audio samples, expected at least {shortest}, one frame"
            unusual.append(Unusual(row, "shorter than a frame", found))
        elif needed > available:
            found = f"transcript needs {needed} frames, the audio has {available}"
            unusual.append(Unusual(row, "transcript longer than its frames", found))
    if list(corpus.texts or ()) != texts:
        corpus = replace(corpus, texts=StringColumn.of(texts))
    return Transcribed(name, corpus, unusual, removed)


def say_how_scored(checked: Transcribed) -> None:
    """Warn of the unusual utterances of a set that is scored, and say how they count."""
    if checked.unusual:
        how = "; ".join(f"{reason}: {_SCORED[reason]}" for reason in checked.counts())
        logger.warning("%s: %s\n%s.", checked.name, checked.describe(), how.capitalize())


def check_labels(checked: Transcribed, symbols: Callable[[str], Sequence[str]] = list) -> list[str]:
    """Warn of characters of a training set that should not become labels; returns what else to know of them all."""
    chosen = checked.without_unusual()
    texts = list(chosen.texts or ())
    doubtful = find_doubtful(texts, list(chosen.keys), count_characters(texts, symbols), symbols)
    for warning in doubtful.warnings:
        logger.warning("%s: %s", checked.name, warning)
    return [checked.describe_characters(texts, symbols), *(f"{checked.name}: {note}" for note in doubtful.notes)]


def check_foreign(checked: Transcribed, vocabulary: Vocabulary, writer: Writer | None = None) -> Foreign:
    """Find, and warn of, characters of a set that is scored which are not among those that the model can write.

    Args:
        checked: the set.
        vocabulary: of the model.
        writer: how its outputs are written, if otherwise than the transcripts that it learned from.
    """
    texts = [text for text in checked.corpus.texts or () if text]
    known = vocabulary.characters
    if writer is not None:
        known |= {symbol for text in known for symbol in vocabulary.symbols(writer.output(text))}
    foreign = find_foreign(texts, known, vocabulary.symbols)
    if foreign.characters:
        logger.warning("%s: %s", checked.name, foreign.describe())
    return foreign


def frames_needed(labels: Sequence[object]) -> int:
    """Fewest frames that CTC can spread labels over: one each, and a blank between equal neighbours."""
    return len(labels) + sum(a == b for a, b in itertools.pairwise(labels))
