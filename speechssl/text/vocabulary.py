"""Labels of a CTC recogniser: text <-> ids."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from speechssl.errors import CheckpointError, DataError

BLANK = "<blank>"
WORD_BOUNDARY = "|"
_SPECIAL = re.compile(r"<[^<>]+>|\[[A-Z]+\]")
"""Labels of recognisers from elsewhere that stand for no text, such as ``<unk>``."""


class Vocabulary:
    """Blank, word boundary, characters; recognisers from elsewhere may have more labels, in any order.

    Args:
        labels: each stands for itself in a transcript, but for two: the blank, which is nothing, and the word boundary,
            which is a space.
        blank: position of CTC's blank.
        word_boundary: position of the word boundary; None if the space itself is a label.
    """

    def __init__(self, labels: Sequence[str], *, blank: int = 0, word_boundary: int | None = 1) -> None:
        self.labels = list(labels)
        self.blank = blank
        self.word_boundary = word_boundary
        self._texts = list(labels)
        self._texts[blank] = ""
        if word_boundary is not None:
            self._texts[word_boundary] = " "
        self._ids = {text: i for i, text in enumerate(self._texts) if len(text) == 1}

    @classmethod
    def of_characters(cls, characters: Iterable[str]) -> "Vocabulary":
        """Blank 0, word boundary 1, then characters other than the space."""
        return cls([BLANK, WORD_BOUNDARY, *characters])

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "Vocabulary":
        """Every character that occurs, in code-point order.

        Raises:
            DataError: there is none, or a text holds the character that marks word boundaries.
        """
        characters: set[str] = set()
        for text in texts:
            if WORD_BOUNDARY in text:
                raise DataError(
                    f"the training transcript {text!r} holds {WORD_BOUNDARY!r}, which marks word boundaries; remove it"
                )
            characters.update(text)
        if not characters - {" "}:
            raise DataError("the training transcripts hold no characters; check the text column of the manifest")
        return cls.of_characters(sorted(characters - {" "}))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def characters(self) -> frozenset[str]:
        """What transcripts can be made of; spaces and special labels apart."""
        return frozenset("".join(self._spelt())) - {" "}

    @property
    def longest_label(self) -> int:
        """Characters of the longest label: 1 but for recognisers from elsewhere."""
        return max((len(text) for text in self._spelt()), default=1)

    def _spelt(self) -> list[str]:
        return [text for text in self._texts if text and not _SPECIAL.fullmatch(text)]

    def encode(self, text: str) -> list[int]:
        """Text to label ids.

        Raises:
            DataError: names the characters that are no labels.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            unknown = " ".join(sorted({repr(c) for c in text if c not in self._ids}))
            known = "".join(character for character in self._ids if character != " ")
            raise DataError(f"transcript {text!r}: {unknown} not in the vocabulary ({known})") from None

    def label_of(self, character: str) -> int | None:
        """The label of one character, or of the space between words; None if it has none."""
        return self._ids.get(character)

    def spell(self, ids: Iterable[int]) -> list[str]:
        """What each label stands for: nothing for the blank, a space for the word boundary."""
        return [self._texts[i] for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Label ids to text; blanks vanish, nothing is collapsed but spaces."""
        return " ".join("".join(self.spell(ids)).split())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"kind": "labels", "labels": self.labels, "blank": self.blank, "word_boundary": self.word_boundary}

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
        return cls(content["labels"], blank=content["blank"], word_boundary=content["word_boundary"])
