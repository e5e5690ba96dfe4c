"""How transcripts are written."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from speechssl.config.limits import Section


@dataclass(frozen=True)
class TextConfig(Section):
    """How transcripts are written: those that are learned from, references and outputs alike.

    Whatever is chosen, accents are composed, what is invisible is taken out, and one space is between words.
    """

    unicode: Literal["nfc", "nfkc"] = "nfc"
    """Unicode's form: "nfc" composes; "nfkc" also takes compatible characters for one: fullwidth letters, ligatures and
    Arabic's presentation forms. Thai and Lao am stay whole, which NFKC by itself takes apart."""
    case: Literal["keep", "upper", "lower"] = "keep"
    """Case of letters."""
    punctuation: Literal["keep", "remove", "remove_but_apostrophes"] = "keep"
    """What is no part of a word. Of apostrophes, those between two letters stay if they are to: DON'T, L'EAU. What is
    spoken stays (%, &, @, #, currencies, mathematics)."""
    quotes: Literal["keep", "straight"] = "keep"
    """"straight": apostrophes and quotation marks of all forms become ' and "."""
    brackets: Literal["keep", "remove"] = "keep"
    """"remove": what stands in square, angle or curly brackets goes, as in [noise], <unk>, {laughs}."""
    digits: Literal["keep", "words"] = "keep"
    """"words": whole numbers and decimals as the words of language, by num2words (extra speechssl[numbers]); years,
    dates and times are read as plain numbers."""
    language: str = ""
    """Code of the language for digits, and for letters' case: in tr and az, i and ı are two letters, of which İ and I
    are the capitals."""

    def problems(self) -> Iterator[str]:
        if self.digits == "words" and not self.language:
            yield "language is empty, expected that of the numbers (en, de, tr), since digits is words"
