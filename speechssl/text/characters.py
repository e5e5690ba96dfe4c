"""Characters of transcripts: how they are shown, and how somebody who knows fewer of them would write them."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Set
from typing import Literal, NamedTuple

from speechssl.text.lexicon import is_missing

Kind = Literal[
    "other case",
    "typographic form",
    "look-alike",
    "accent",
    "punctuation",
    "digit",
    "symbol",
    "invisible",
    "undecodable",
    "other letter",
    "cluster",
    "word",
]

# Each stands for the others of its group; what comes first is asked for first.
_TYPOGRAPHIC = (
    "'\u2019\u2018\u02bc\u201b\u02bb\u02bd\u02c8\u2032`\u00b4\u02b9\ua78c\uff07\u05f3",  # apostrophes, single quotes
    '"\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u2033\u301d\u301e\uff02\u05f4',  # double quotes
    "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63\uff0d\u05be",  # hyphens and dashes
    "\u00b7\u2022\u2027\u2219\u22c5\u30fb\uff65",  # middle dots
    "\u0219\u015f",  # s and t with comma, or with cedilla as old fonts of Romanian have them
    "\u0218\u015e",
    "\u021b\u0163",
    "\u021a\u0162",
    "\u06cc\u064a\u0649",  # yeh and kaf of Persian and of Arabic
    "\u06a9\u0643",
)
# Of Latin, Cyrillic and Greek.
_LOOK_ALIKES = (
    "A\u0410\u0391", "B\u0412\u0392", "C\u0421\u03f9", "E\u0415\u0395", "H\u041d\u0397", "I\u0406\u0399\u04c0",
    "J\u0408\u037f", "K\u041a\u039a", "M\u041c\u039c", "N\u039d", "O\u041e\u039f", "P\u0420\u03a1", "S\u0405",
    "T\u0422\u03a4", "X\u0425\u03a7", "Y\u0423\u04ae\u03a5", "Z\u0396", "a\u0430\u03b1", "c\u0441\u03f2", "e\u0435",
    "h\u04bb", "i\u0456\u03b9", "j\u0458\u03f3", "o\u043e\u03bf", "p\u0440\u03c1", "s\u0455", "v\u03bd\u0475",
    "x\u0445", "y\u0443\u03b3",
)  # fmt: skip
_SPOKEN = frozenset("%&@#\u00a7\u2030\uff05\uff06\uff20\uff03")
"""Punctuation to Unicode, words to a speaker; beside it currencies and mathematics."""
_BETWEEN_WORDS = frozenset("/\\|_~" + _TYPOGRAPHIC[2])
"""Marks that stand between words, which a space takes the place of."""
_BEFORE_A_SPACE = frozenset(",;:!?\u2026\u060c\u061b\u061f\u0964\u0965\u3001\u3002\uff0c\uff01\uff1a\uff1b\uff1f")
"""Marks after which a word ends, also where the space was forgotten."""
APOSTROPHES = frozenset("'\u2019\u2018\u02bc\u201b\u02bb\u02bd`\u00b4\ua78c\uff07")
_FOLDED = str.maketrans({other: group[0] for group in _LOOK_ALIKES for other in group[1:]})
_STRAIGHT = str.maketrans(
    dict.fromkeys(set(_TYPOGRAPHIC[0]) - {"\u02c8", "\u02b9"}, "'") | dict.fromkeys(_TYPOGRAPHIC[1], '"')
)
_LEFT_OUT = frozenset("\u0640" + "".join(_TYPOGRAPHIC[i] for i in (0, 1, 3)))
"""Marks that Unicode has among the letters: Arabic's stretching line, apostrophes."""
SPACELESS = frozenset({"KHMER", "LAO", "MYANMAR", "NEW", "TAI", "THAI"})
"""Scripts, as the names of their characters begin, without spaces, where the zero-width space is between words."""
_CJK = frozenset({"BOPOMOFO", "CJK", "HIRAGANA", "KATAKANA"})
_VIRAMA = 9  # canonical combining class: no accent, but a part of the word


class Respelling(NamedTuple):
    """How a character is written with others."""

    kind: Kind
    """What is the matter with it."""
    text: str | None
    """Empty or a space: it is left out. None: there is no way."""


def can_write(character: str, known: Set[str]) -> bool:
    """Whether a character is known, or made up of known ones."""
    parts = unicodedata.normalize("NFD", character)
    return character in known or (len(parts) > 1 and all(part in known for part in parts))


def respell(character: str, known: Set[str]) -> Respelling:
    """How a model that does not know a character would write it.

    Args:
        character: not one of ``known``.
        known: characters that it can write.
    """
    if len(character) > 1:
        return Respelling("word" if is_missing(character) else "cluster", None)
    bare = "".join(c for c in unicodedata.normalize("NFKD", character) if unicodedata.combining(c) in (0, _VIRAMA))
    tried: tuple[tuple[Kind, Iterable[str]], ...] = (
        ("other case", [character]),
        ("typographic form", typographic_forms(character)),
        ("look-alike", _equivalents(character, _LOOK_ALIKES)),
        ("accent", [unicodedata.normalize("NFC", bare)]),
    )
    for kind, candidates in tried:
        for text in candidates:
            for cased in (text, text.upper(), text.lower()):
                if cased.strip() and all(can_write(c, known) for c in cased if c != " "):
                    return Respelling(kind, cased)
    return _without_equivalent(character)


def punctuation_as(character: str) -> str | None:
    """What a mark leaves where words alone are wanted, nothing or a space; None of what belongs to a word."""
    category = unicodedata.category(character)
    if character in _BETWEEN_WORDS or character in _BEFORE_A_SPACE or category == "Pd":
        return " "
    if character in _SPOKEN or category in ("Sc", "Sm"):
        return None
    return "" if category[0] == "P" or category == "Sk" or character in APOSTROPHES | _LEFT_OUT else None


def straight_quotes(text: str) -> str:
    """Apostrophes and quotation marks as keyboards have them."""
    return text.translate(_STRAIGHT)


def fold_look_alikes(text: str) -> str:
    """Letters of Cyrillic and Greek as the Latin ones that look like them, to compare texts."""
    return text.translate(_FOLDED)


def typographic_forms(character: str) -> list[str]:
    """What a reader takes for the same: a straight and a curly apostrophe, a fullwidth letter, a digit."""
    dots = ["..."] if character == "\u2026" else []
    forms = [unicodedata.normalize("NFKC", character), str(unicodedata.decimal(character, ""))]
    return dots + _equivalents(character, _TYPOGRAPHIC) + [form for form in forms if form not in ("", character)]


def is_undecodable(character: str) -> bool:
    """Whether it is no character, but what is left of one in another encoding."""
    return any(c == "\ufffd" or unicodedata.category(c) in ("Co", "Cn", "Cs") for c in character)


def show_character(character: str) -> str:
    """A character with its code point and name, such as ``é (U+00E9 LATIN SMALL LETTER E WITH ACUTE)``."""
    if len(character) != 1:
        return f"{character} ({' '.join(f'U+{ord(c):04X}' for c in character)})" if len(character) < 5 else character
    name = unicodedata.name(character, "without a name")
    return f"{glyph(character)} (U+{ord(character):04X} {name})".lstrip()


def glyph(character: str) -> str:
    """A character as it can be seen: marks on a circle, nothing for what cannot be shown."""
    if len(character) == 1 and unicodedata.category(character)[0] == "M":
        return f"\u25cc{character}"
    return character if character.isprintable() else ""


def count_characters(texts: Iterable[str], symbols: Callable[[str], Iterable[str]] = list) -> Counter[str]:
    """How often each character but the space occurs, or whatever else texts are cut into."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(symbols(text))
    del counts[" "]
    return counts


def script_of(character: str) -> str:
    """First word of a character's name, which is the script of a letter; empty if there is none."""
    return unicodedata.name(character, "").partition(" ")[0] if character else ""


def is_spaceless(character: str) -> bool:
    """Whether a character's script is written without spaces between words."""
    script = script_of(character)
    return script in SPACELESS or script in _CJK


def list_characters(counts: Counter[str], limit: int = 100) -> str:
    """How many different characters there are, and which, in order of code points."""
    shown = [glyph(c) or " ".join(f"U+{ord(part):04X}" for part in c) for c in sorted(counts)[:limit]]
    more = f" and {len(counts) - limit} more" if len(counts) > limit else ""
    return f"{len(counts)} different characters: {' '.join(shown)}{more}"


def _equivalents(character: str, groups: Iterable[str]) -> list[str]:
    """The others of a character's group."""
    return [other for group in groups if character in group for other in group if other != character]


def _without_equivalent(character: str) -> Respelling:
    """What is the matter with a character that has none among the known ones."""
    category = unicodedata.category(character)
    if is_undecodable(character):
        return Respelling("undecodable", None)
    if category == "Cf":
        return Respelling("invisible", "")
    if character.isnumeric() and category[0] == "N":
        return Respelling("digit", None)
    if character in _BETWEEN_WORDS:
        return Respelling("punctuation", " ")
    if character in _SPOKEN or category in ("Sc", "Sm"):
        return Respelling("symbol", None)
    if category[0] in "PS" or character in _LEFT_OUT:
        return Respelling("punctuation", "")
    if category[0] == "M" and unicodedata.combining(character) not in (0, _VIRAMA):
        return Respelling("accent", "")
    return Respelling("other letter", None)
