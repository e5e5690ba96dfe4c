"""Labels of a character recogniser: text <-> ids, blank 0."""

from collections.abc import Iterable, Sequence
from typing import Any

from speechssl.errors import CheckpointError, DataError

BLANK = 0
WORD_BOUNDARY = "|"


class CharacterVocabulary:
    """Blank, word boundary, then characters.

    Args:
        characters: each a single character other than the space, which the word boundary stands for.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = list(characters)
        self._labels = ["<blank>", WORD_BOUNDARY, *self.characters]
        self._ids = {character: i for i, character in enumerate(self._labels) if i != BLANK}
        self._ids[" "] = self._ids.pop(WORD_BOUNDARY)

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "CharacterVocabulary":
        """Every character that occurs, in code-point order.

        Raises:
            DataError: there is none, or a text holds the character that marks word boundaries.
        """
        characters = sorted({character for text in texts for character in text} - {" "})
        if not characters:
            raise DataError("the training transcripts hold no characters; check the text column of the manifest")
        if WORD_BOUNDARY in characters:
            raise DataError(f"a training transcript holds {WORD_BOUNDARY!r}, which marks word boundaries; remove it")
        return cls(characters)

    def __len__(self) -> int:
        return len(self._labels)

    def encode(self, text: str) -> list[int]:
        """Text to label ids.

        Raises:
            DataError: names the characters that are no labels.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            unknown = " ".join(sorted({repr(c) for c in text if c not in self._ids}))
            raise DataError(
                f"transcript {text!r}: {unknown} not in the vocabulary ({''.join(self.characters)})"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Label ids to text; blanks vanish, nothing is collapsed."""
        text = "".join(" " if i == 1 else self._labels[i] for i in ids if i != BLANK)
        return " ".join(text.split())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"kind": "characters", "characters": self.characters}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "CharacterVocabulary":
        """Inverse of :meth:`to_dict`.

        Raises:
            CheckpointError: a vocabulary of another kind.
        """
        if content.get("kind") != "characters":
            raise CheckpointError(
                f"the checkpoint's vocabulary is of kind {content.get('kind')!r}, expected 'characters'"
            )
        return cls(content["characters"])
