"""Transcripts to the form in which they are learned and scored."""

import re
import unicodedata
from collections import Counter
from typing import Literal

from speechssl.text.characters import script_of

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
# Scripts as the names of their characters begin: those that are written without spaces, where the zero-width space
# stands between words, and those in which joiners change the shape, and often the word.
_SPACELESS = frozenset({"KHMER", "LAO", "MYANMAR", "NEW", "TAI", "THAI"})
_JOINING = frozenset(
    {"ADLAM", "ARABIC", "BENGALI", "DEVANAGARI", "GUJARATI", "GURMUKHI", "HANIFI", "KANNADA", "KHMER", "MALAYALAM"}
    | {"MANDAIC", "MONGOLIAN", "MYANMAR", "NKO", "ORIYA", "SINHALA", "SYRIAC", "TAMIL", "TELUGU", "TIBETAN"}
)


def normalize_text(text: str, case: Case = "keep") -> str:
    """Clean a transcript, and change its case."""
    text = clean_text(text)
    match case:
        case "upper":
            return unicodedata.normalize("NFC", text.upper())
        case "lower":
            return unicodedata.normalize("NFC", text.lower())
        case _:
            return text


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


def _what_stays(run: re.Match[str]) -> str:
    """What a run of invisible characters is to be replaced with."""
    before, after = run.string[: run.start()][-1:], run.string[run.end() :][:1]
    if _ZERO_WIDTH_SPACE in run[0] and (script_of(before) in _SPACELESS or script_of(after) in _SPACELESS):
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
