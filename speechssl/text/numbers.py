"""Numbers in digits as the words that are spoken."""

import re
import unicodedata
from decimal import Decimal

from speechssl.errors import ConfigError
from speechssl.text.characters import is_spaceless

_NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f']\d{3}(?!\d))*(?:[.,]\d+)?")
_POINTS = frozenset({"en", "ja", "ko", "th", "he", "bn", "te", "kn", "fa", "ar", "am"})
"""Languages that have a point before decimals and a comma between thousands; others have them the other way round."""


class NumberSpeller:
    """Writes whole numbers and decimals as words, by num2words.

    A number is read as an amount: 1984 is one thousand nine hundred and eighty four, 007 is seven.

    Args:
        language: code, such as "en", "de" or "pt_BR".

    Raises:
        ConfigError: num2words is not installed, or does not know the language.
    """

    def __init__(self, language: str) -> None:
        try:
            import num2words
        except ImportError as error:
            raise ConfigError(
                "text.digits is words, which needs num2words: pip install 'speechssl[numbers]', or --text.digits keep"
            ) from error
        known = num2words.CONVERTER_CLASSES
        self._language = next((name for name in (language, language[:2]) if name in known), "")
        if not self._language:
            raise ConfigError(
                f"text.language is {language!r}, whose numbers num2words does not know (it knows "
                f"{', '.join(sorted(known))}); write them as words in the transcripts, and give --text.digits keep"
            )
        self._say = num2words.num2words

    def spell(self, text: str) -> str:
        """A text without digits; what is too large to have words stays."""
        return _NUMBER.sub(self._spelt, text) if any(map(str.isdecimal, text)) else text

    def _spelt(self, found: re.Match[str]) -> str:
        digits = "".join(str(unicodedata.decimal(c, c)) for c in found[0])
        try:
            said = self._say(self._value(digits), lang=self._language)
        except (OverflowError, NotImplementedError, ArithmeticError):
            return found[0]
        words = re.sub(r"[-\u2010,]", " ", said)
        before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
        return f"{' ' * _needs_space(before)}{words}{' ' * _needs_space(after)}"

    def _value(self, digits: str) -> int | Decimal:
        """The number that is meant; the language says which mark is between thousands and which before decimals."""
        point, comma = (".", ",") if self._language[:2] in _POINTS else (",", ".")
        grouped = re.sub(rf"[{re.escape(comma)}\u00a0\u202f'](?=\d{{3}}(?!\d))", "", digits)
        plain = grouped.replace(point, ".").replace(comma, ".")
        return Decimal(plain) if "." in plain else int(plain)


def _needs_space(neighbour: str) -> bool:
    """Whether a word would run into what is beside a number."""
    return neighbour.isalpha() and not is_spaceless(neighbour)
