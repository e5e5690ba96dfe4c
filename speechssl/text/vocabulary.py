"""Labels of a CTC recogniser: text <-> ids."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from speechssl.errors import CheckpointError, DataError
from speechssl.text.lexicon import Lexicon
from speechssl.text.segmenters import Characters, Graphemes, Phonemes, Segmenter, SentencePieces, read_segmenter

BLANK = "<blank>"
WORD_BOUNDARY = "|"
_SPECIAL = re.compile(r"<[^<>]+>|\[[A-Z]+\]")
"""Labels of recognisers from elsewhere that stand for no text, such as ``<unk>``."""


class Vocabulary:
    """Blank, word boundary, and what transcripts are cut into; recognisers from elsewhere may have any order.

    Args:
        labels: each stands for itself in a transcript, but for two: the blank, which is nothing, and the word boundary,
            which is a space.
        blank: position of CTC's blank.
        word_boundary: position of the word boundary; None if the space itself is a label, or part of some.
        segmenter: cuts transcripts into labels; absent, it is found out from them.
        lexicon: of labels that are phonemes, for transcripts in words.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        blank: int = 0,
        word_boundary: int | None = 1,
        segmenter: Segmenter | None = None,
        lexicon: Lexicon | None = None,
    ) -> None:
        self.labels = list(labels)
        self.blank = blank
        self.word_boundary = word_boundary
        self.lexicon = lexicon
        self._texts = list(labels)
        self._texts[blank] = ""
        if word_boundary is not None:
            self._texts[word_boundary] = " "
        self.segmenter = segmenter or read_segmenter(None, self.spelt)
        self._ids = {text: i for i, text in enumerate(self._texts) if text and not _SPECIAL.fullmatch(text)}

    @classmethod
    def of_characters(cls, characters: Iterable[str], segmenter: Segmenter | None = None) -> "Vocabulary":
        """Blank 0, word boundary 1, then characters, or clusters of them, other than the space."""
        return cls([BLANK, WORD_BOUNDARY, *characters], segmenter=segmenter)

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], segmenter: Segmenter | None = None, lexicon: Lexicon | None = None
    ) -> "Vocabulary":
        """Every character, cluster or phoneme that occurs, in code-point order, or every piece of SentencePiece's.

        Raises:
            DataError: there is none, or a text holds the character that marks word boundaries.
        """
        segmenter = segmenter or Characters()
        units: set[str] = set()
        for text in texts:
            if segmenter.name in ("characters", "graphemes"):
                refuse_boundary(text)
            units.update(segmenter.split(text))
        if not units - {" "}:
            raise DataError("the training transcripts hold no characters; check the text column of the manifest")
        match segmenter:
            case SentencePieces():
                pieces = dict.fromkeys([*segmenter.pieces, *sorted(units)])
                return cls([BLANK, *pieces], word_boundary=None, segmenter=segmenter)
            case Phonemes():
                return cls([BLANK, *sorted(units)], word_boundary=None, segmenter=segmenter, lexicon=lexicon)
        return cls.of_characters(sorted(units - {" "}), segmenter)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def characters(self) -> frozenset[str]:
        """What transcripts can be made of, spaces and special labels apart: characters, clusters, or phonemes."""
        match self.segmenter:
            case Graphemes():
                return frozenset(self.spelt) - {" "}
            case Phonemes():
                return frozenset(text.strip() for text in self.spelt)
        return frozenset("".join(self.spelt)) - {" "}

    def symbols(self, text: str) -> list[str]:
        """A transcript in the terms of ``characters``."""
        match self.segmenter:
            case Graphemes():
                return self.segmenter.split(text)
            case Phonemes():
                return text.split()
        return list(text)

    @property
    def longest_label(self) -> int:
        """Characters of the longest label: 1 but for recognisers from elsewhere, clusters, pieces and phonemes."""
        return max((len(text) for text in self.spelt), default=1)

    @property
    def spelt(self) -> list[str]:
        """Texts of the labels that stand for some."""
        return [text for text in self._texts if text and not _SPECIAL.fullmatch(text)]

    def encode(self, text: str) -> list[int]:
        """Text to label ids.

        Raises:
            DataError: names what is no label.
            ConfigError: labels are pieces of words, and SentencePiece is not installed.
        """
        units = self.segmenter.split(text)
        try:
            return [self._ids[unit] for unit in units]
        except KeyError:
            unknown = " ".join(sorted({repr(unit) for unit in units if unit not in self._ids}))
            known = "".join(text for text in self._ids if text != " ")
            raise DataError(f"transcript {text!r}: {unknown} not in the vocabulary ({known})") from None

    def label_of(self, unit: str) -> int | None:
        """The label of what one stands for, or of the space between words; None if there is none."""
        return self._ids.get(unit)

    def missing(self, texts: Iterable[str]) -> list[str]:
        """What transcripts hold that is no label, in order."""
        return sorted({unit for text in texts for unit in self.segmenter.split(text)} - self._ids.keys())

    def spell(self, ids: Iterable[int]) -> list[str]:
        """What each label stands for: nothing for the blank, a space for the word boundary."""
        return [self._texts[i] for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Label ids to text; blanks vanish, nothing is collapsed but spaces."""
        return " ".join("".join(self.spell(ids)).split())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        content = {"kind": "labels", "labels": self.labels, "blank": self.blank, "word_boundary": self.word_boundary}
        if self.segmenter.name not in ("characters", "longest match"):
            content["segmenter"] = self.segmenter.to_dict()
        if self.lexicon is not None:
            content["lexicon"] = self.lexicon.to_text()
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Vocabulary":
        """Inverse of :meth:`to_dict`.

        Raises:
            CheckpointError: a vocabulary of another kind.
        """
        if content.get("kind") != "labels":
            raise CheckpointError(
                f"the checkpoint's vocabulary is of kind {content.get('kind')!r}, expected 'labels'; fine-tune again"
            )
        told, lexicon = content.get("segmenter"), content.get("lexicon")
        return cls(
            content["labels"],
            blank=content["blank"],
            word_boundary=content["word_boundary"],
            segmenter=None if told is None else read_segmenter(told, ()),
            lexicon=None if lexicon is None else Lexicon.from_text(lexicon),
        )


def refuse_boundary(text: str) -> None:
    """Raise DataError if a transcript holds the character that marks word boundaries."""
    if WORD_BOUNDARY in text:
        raise DataError(
            f"the training transcript {text!r} holds {WORD_BOUNDARY!r}, which marks word boundaries; remove it "
            "(--text.punctuation remove_but_apostrophes does)"
        )
