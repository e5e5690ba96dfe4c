"""What of a transcript a recogniser's labels are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speechssl.config.limits import Section, Size


@dataclass(frozen=True)
class CharacterTargets(Section):
    """Labels are characters."""

    name: Literal["characters"] = "characters"
    """What of a transcript a label is."""


@dataclass(frozen=True)
class GraphemeTargets(Section):
    """Labels are grapheme clusters, what a reader takes for one letter: with its vowel signs and tone marks."""

    name: Literal["graphemes"] = "graphemes"
    """What of a transcript a label is."""


@dataclass(frozen=True)
class SentencePieceTargets(Section):
    """Labels are pieces of words, found in the training transcripts by SentencePiece (extra sentencepiece)."""

    name: Literal["sentencepiece"] = "sentencepiece"
    """What of a transcript a label is."""
    num_pieces: Size = 200
    """Pieces at most: fewer where the transcripts do not have as many. Long pieces need fewer
    frames, which helps fast speech and large strides; few transcripts cannot teach many."""
    algorithm: Literal["unigram", "bpe"] = "unigram"
    """How they are found: unigram language model (Kudo 2018), or byte-pair encoding (Sennrich et al. 2016)."""


@dataclass(frozen=True)
class PhonemeTargets(Section):
    """Labels are the phonemes that a lexicon has for each word; references become phonemes too, and a "word" is one."""

    lexicon: Path
    """Text file: a word, a tab or spaces, its phonemes with spaces between them; the first line of a word counts, and
    CMUdict's WORD(2) does not. Words are normalised as transcripts are. Checkpoints hold it."""
    name: Literal["phonemes"] = "phonemes"
    """What of a transcript a label is."""


AnyTargets = CharacterTargets | GraphemeTargets | SentencePieceTargets | PhonemeTargets
