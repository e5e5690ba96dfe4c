"""Pronunciations of words."""

import base64
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from speechssl.errors import CheckpointError, DataError

_VARIANT = re.compile(r"\(\d+\)$")
_COMMENT = ";;;"
MAX_SHOWN = 10
"""Lines or words that a message names."""


class Lexicon:
    """Phonemes of words.

    Args:
        pronunciations: phonemes, with spaces between them, by word.
    """

    def __init__(self, pronunciations: Mapping[str, str]) -> None:
        self.pronunciations = dict(pronunciations)

    @classmethod
    def read(cls, path: Path, normalize: Callable[[str], str]) -> "Lexicon":
        """Read lines of a word, a tab or spaces, and its phonemes; of several lines of a word the first counts.

        Args:
            path: of the file, in UTF-8; lines that begin with ;;; are comments, WORD(2) is WORD.
            normalize: writes words as transcripts are.

        Raises:
            DataError: it cannot be read, or lines of it have no phonemes.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeError) as error:
            raise DataError(f"targets.lexicon is {path}, which cannot be read as UTF-8 text ({error})") from error
        found: dict[str, str] = {}
        problems = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith(_COMMENT):
                continue
            word, _, phonemes = line.partition("\t") if "\t" in line else line.strip().partition(" ")
            word, spoken = normalize(_VARIANT.sub("", word.strip())), " ".join(phonemes.partition(" #")[0].split())
            if not spoken or len(word.split()) > 1:
                problems.append(
                    f"{path}, line {number}: {line.strip()[:60]!r}, expected a word, a tab, and its phonemes"
                )
            elif word:
                found.setdefault(word, spoken)
        if problems or not found:
            more = [f"and {len(problems) - MAX_SHOWN} more"] if len(problems) > MAX_SHOWN else []
            raise DataError("\n".join(problems[:MAX_SHOWN] + more) or f"{path}: holds no words")
        return cls(found)

    def missing(self, texts: Iterable[str]) -> Counter[str]:
        """Words that have no pronunciation, with how often they occur."""
        return Counter(word for text in texts for word in text.split() if word not in self.pronunciations)

    def pronounce(self, text: str) -> str:
        """Phonemes of a text with spaces between them; a word without stays in angle brackets, which no label is."""
        return " ".join(self.pronunciations.get(word, f"<{word}>") for word in text.split())

    def to_text(self) -> str:
        """As one text for a checkpoint."""
        lines = "\n".join(f"{word}\t{phonemes}" for word, phonemes in self.pronunciations.items())
        return base64.b64encode(zlib.compress(lines.encode("utf-8"))).decode("ascii")

    @classmethod
    def from_text(cls, content: str) -> "Lexicon":
        """Inverse of :meth:`to_text`.

        Raises:
            CheckpointError: it is damaged.
        """
        try:
            lines = zlib.decompress(base64.b64decode(content)).decode("utf-8").split("\n")
        except (ValueError, zlib.error) as error:
            raise CheckpointError(f"the checkpoint's lexicon is damaged ({error}); fine-tune again") from error
        return cls(dict(line.split("\t", 1) for line in lines))


def is_missing(symbol: str) -> bool:
    """Whether a symbol of a pronounced text is a word without pronunciation."""
    return len(symbol) > 2 and symbol[0] == "<" and symbol[-1] == ">"
