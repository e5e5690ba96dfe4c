"""Transcripts to the form in which they are learned and scored."""

import re
import unicodedata
from collections import Counter
from typing import Literal

from speechssl.config import TextConfig
from speechssl.text.characters import (
    APOSTROPHES,
    SPACELESS,
    is_spaceless,
    punctuation_as,
    script_of,
    straight_quotes,
)
from speechssl.text.numbers import NumberSpeller

Case = Literal["upper", "lower", "keep"]

# Unicode's Default_Ignorable_Code_Point, what shows as nothing; beside it the anchors of annotations, and controls but
# for those that separate words.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
)
_INVISIBLE_CHARACTER = re.compile(f"[{_INVISIBLE}]")
_INVISIBLE_RUN = re.compile(f"[{_INVISIBLE}]+")
_ZERO_WIDTH_SPACE, _NON_JOINER, _JOINER = "\u200b", "\u200c", "\u200d"
_MONGOLIAN_SELECTORS = "\u180b\u180c\u180d\u180e\u180f"
_VIRAMA = 9  # canonical combining class
# Scripts, as the names of their characters begin, in which joiners change the shape, and often the word.
_JOINING = frozenset(
    {"ADLAM", "ARABIC", "BENGALI", "DEVANAGARI", "GUJARATI", "GURMUKHI", "HANIFI", "KANNADA", "KHMER", "MALAYALAM"}
    | {"MANDAIC", "MONGOLIAN", "MYANMAR", "NKO", "ORIYA", "SINHALA", "SYRIAC", "TAMIL", "TELUGU", "TIBETAN"}
)


_TURKIC = frozenset({"tr", "az"})
_TURKIC_CAPITALS = str.maketrans("i\u0131", "\u0130I")
_TURKIC_SMALL = str.maketrans("\u0130I", "i\u0131")
_BRACKETED = re.compile(r"\[[^\[\]]*\]|<[^<>]*>|\{[^{}]*\}")
_NO_AM = re.compile("[^\u0e33\u0eb3]+")
"""All but sara am of Thai and Lao, which NFKC takes apart though it is one letter to every reader and keyboard."""


class Normalizer:
    """Writes transcripts, references and outputs in the one way that a configuration describes.

    What is normalised stays as it is when that is done again.

    Args:
        config: what is done.

    Raises:
        ConfigError: numbers are to be words, and the package that knows them or the language is not there.
    """

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self._numbers = NumberSpeller(config.language) if config.digits == "words" else None

    def __call__(self, text: str) -> str:
        """A transcript as it is learned and scored."""
        return self._words(self._speech(self._composed(text)))

    def by_word(self, text: str) -> list[str]:
        """What becomes of each word of a cleaned transcript: joined, they are the whole one as it is learned.

        A word may be nothing (of ``[door slams]``, both) or several (``twenty-one``).
        """
        composed = [self._composed(word) for word in clean_text(text).split()]
        speech = self._speech(" ".join(composed))
        written, start = [], 0
        for word in composed:
            stop = start + len(word)
            written.append(self._words(speech[start:stop]))
            start = stop + 1
        return written

    def _composed(self, text: str) -> str:
        """Cleaned characters in Unicode's form."""
        if self.config.unicode == "nfkc":
            text = _NO_AM.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)
        return clean_text(text)

    def _speech(self, text: str) -> str:
        """Without tags: the one thing that looks beyond a word."""
        return _without_bracketed(text) if self.config.brackets == "remove" else text

    def _words(self, text: str) -> str:
        """What is spoken in words, in their case, without marks."""
        config = self.config
        if self._numbers is not None:
            text = self._numbers.spell(text)
        text = change_case(text, config.case, config.language)
        if config.quotes == "straight":
            text = straight_quotes(text)
        if config.punctuation != "keep":
            text = _without_punctuation(text, keeps_apostrophes=config.punctuation == "remove_but_apostrophes")
        return clean_text(text)


def normalize_text(text: str, case: Case = "keep", language: str = "") -> str:
    """Clean a transcript, and change its case."""
    return change_case(clean_text(text), case, language)


def is_turkic(language: str) -> bool:
    """Whether a language has a dotless i beside the dotted one."""
    return language.partition("-")[0] in _TURKIC


def change_case(text: str, case: Case, language: str = "") -> str:
    """Letters in another case, after Unicode's rules, or those of Turkish and Azerbaijani, which have a dotless i."""
    if case == "keep":
        return text
    if is_turkic(language):
        text = unicodedata.normalize("NFC", text).translate(_TURKIC_CAPITALS if case == "upper" else _TURKIC_SMALL)
    return unicodedata.normalize("NFC", text.upper() if case == "upper" else text.lower())


def clean_text(text: str) -> str:
    """What changes no word: compose accents (Unicode NFC), drop what is invisible, put one space between words.

    Labels, references and hypotheses all pass through here, so that none of it becomes a label or an error. Invisible
    characters stay where a script needs them: joiners in Persian, Indic scripts and emoji, selectors in Mongolian. The
    zero-width space between words of Thai, Lao, Khmer or Burmese becomes a space.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    cleaned = unicodedata.normalize("NFC", text)
    before = ""
    while cleaned != before:  # composing may bring other neighbours together
        before = cleaned
        cleaned = unicodedata.normalize("NFC", _INVISIBLE_RUN.sub(_what_stays, cleaned))
    return " ".join(cleaned.split())


def removed_characters(text: str) -> Counter[str]:
    """Invisible characters that ``clean_text`` takes out."""
    found = () if text.isascii() and text.isprintable() else _INVISIBLE_CHARACTER.findall(text)
    return Counter(found) - Counter(clean_text(text)) if found else Counter()


def _without_bracketed(text: str) -> str:
    """A text with spaces in place of tags, innermost first; all else keeps its place."""
    before = None
    while text != before:
        before, text = text, _BRACKETED.sub(lambda tag: " " * len(tag[0]), text)
    return text


def _without_punctuation(text: str, *, keeps_apostrophes: bool) -> str:
    """A text of words alone; a mark that stands between two of them leaves a space."""
    written = []
    for position, character in enumerate(text):
        mark = punctuation_as(character)
        around = text[max(position - 1, 0) : position], text[position + 1 : position + 2]
        if mark is None or (keeps_apostrophes and character in APOSTROPHES and all(map(_is_of_a_word, around))):
            written.append(character)
        elif all(map(str.isdecimal, around)):
            written.append(" ")  # 3.5 is not 35
        elif mark and not any(map(is_spaceless, around)):
            written.append(mark)
    return "".join(written)


def _is_of_a_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM" if character else False


def _what_stays(run: re.Match[str]) -> str:
    """What a run of invisible characters is to be replaced with."""
    before, after = run.string[: run.start()][-1:], run.string[run.end() :][:1]
    if _ZERO_WIDTH_SPACE in run[0] and (script_of(before) in SPACELESS or script_of(after) in SPACELESS):
        return " "
    selectors = [c for c in run[0] if c in _MONGOLIAN_SELECTORS] if script_of(before) == "MONGOLIAN" else []
    joiners = [c for c in run[0] if c in (_NON_JOINER, _JOINER)]
    return "".join(selectors[:1] + [c for c in joiners[:1] if _is_needed(c, before, after)])


def _is_needed(joiner: str, before: str, after: str) -> bool:
    """Whether a joiner changes what is read: after RFC 5892 (appendix A), but between any letters of such scripts."""
    if not before:
        return False
    if joiner == _JOINER and unicodedata.combining(before) == _VIRAMA:
        return True  # at the end of a word too: a chillu of Malayalam
    if not after:
        return False
    if joiner == _JOINER and unicodedata.category(after) == "So":
        return unicodedata.category(before) in ("So", "Sk")  # emoji, Sk for tones of skin
    if any(unicodedata.category(c)[0] not in "LM" for c in (before, after)):
        return False
    near_virama = _VIRAMA in (unicodedata.combining(before), unicodedata.combining(after))
    return near_virama or (script_of(before) in _JOINING and script_of(after) in _JOINING)
