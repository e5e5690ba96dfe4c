"""What is done to every transcript, against Unicode's own tables and texts written by hand."""

import random
import unicodedata

import pytest

from speechssl.text.normalisation import clean_text, normalize_text


def test_accents_spaces_and_case() -> None:
    assert normalize_text("  e\u0301t\u0065\u0301 \t la ", "upper") == "ÉTÉ LA"
    assert normalize_text("Ab  c", "keep") == "Ab c"
    assert normalize_text("one\u00a0two\u3000three\u2028four\x1ffive\r\n", "keep") == "one two three four five"
    # The capital of ΐ has no character of its own, but that of its first two parts does.
    assert normalize_text("\u0390", "upper") == "\u03aa\u0301"


def test_what_cannot_be_seen_is_no_part_of_a_word() -> None:
    for invisible in [
        "\u200b",
        "\ufeff",
        "\u00ad",
        "\u200c",
        "\u200d",
        "\u200e",
        "\u200f",
        "\u202a",
        "\u202e",
        "\u2060",
        "\u2063",
        "\u2066",
        "\u2069",
        "\u061c",
        "\u180e",
        "\u034f",
        "\ufe0f",
        "\u3164",
        "\U000e0041",
        "\ufff9",
        "\x00",
        "\x08",
        "\x7f",
        "\x9f",
        "\u200b\ufeff\u00ad",
    ]:
        assert clean_text(f"{invisible}O{invisible}NE {invisible} TWO{invisible}") == "ONE TWO"
        assert clean_text(f"{invisible} {invisible}") == ""
        assert clean_text(f"e{invisible}\u0301") == "é"


def test_what_a_script_needs_stays() -> None:
    for text, expected in [
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian: "I want", of two parts in one word
        ("می\u200c\u200cخواهم", "می\u200cخواهم"),
        ("ها\u200c ها", "ها ها"),
        ("\u200cها", "ها"),
        ("क\u094d\u200dष", "क\u094d\u200dष"),  # Hindi: half a letter in place of a ligature
        ("ർ നന\u0d4d\u200d", "ർ നന\u0d4d\u200d"),  # Malayalam: a chillu at the end of a word
        ("ක\u0dca\u200dර", "ක\u0dca\u200dර"),
        ("র\u200d\u09cdয", "র\u200d\u09cdয"),  # Bengali: the joiner before the virama
        ("क\u200bख", "कख"),
        ("ไทย\u200bคำ", "ไทย คำ"),
        ("ខ្មែរ\u200b\u200bភាសា\u200b", "ខ្មែរ ភាសា"),
        ("မြန်မာ\u200bစာ", "မြန်မာ စာ"),
        ("ລາວ\u2060ພາສາ", "ລາວພາສາ"),
        ("ᠮᠣᠩᠭᠣᠯ\u180eᠠ", "ᠮᠣᠩᠭᠣᠯ\u180eᠠ"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("👩🏽\u200d🚀", "👩🏽\u200d🚀"),
        ("❤\ufe0f\u200d🔥 ❤\ufe0f", "❤\u200d🔥 ❤"),
        ("A\u200dB \u200d👩", "AB 👩"),
        ("\u0600\u06dd", "\u0600\u06dd"),  # of the category of invisible characters, and visible
    ]:
        assert clean_text(text) == expected


def test_the_invisible_are_those_of_unicode() -> None:
    ignorable = pytest.importorskip("regex").compile(r"\p{Default_Ignorable_Code_Point}")
    every = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    dropped = {c for c in every if clean_text(f"a{c}a") == "aa"}
    assert {c for c in every if ignorable.match(c)} <= dropped
    assert {unicodedata.category(c) for c in dropped if not ignorable.match(c)} == {"Cc", "Cf"}


def test_cleaning_again_changes_nothing() -> None:
    draws = random.Random(0)
    pool = [
        *"aé e\u0301\u0323\u0338=\u1100\u1161\u11a8\t\n\x00\u200b\u200c\u200d\u200e\ufeff\u00ad\u180b\u180e",
        *("ᠠ", "ก", "ั", "م", "ی", "क", "\u094d", "ष", "\u034f", "👩", "❤", "\ufe0f", "🏽", "ក", "\u17d2"),
    ]
    for _ in range(20_000):
        text = "".join(draws.choices(pool, k=draws.randint(0, 8)))
        cleaned = clean_text(text)
        assert clean_text(cleaned) == cleaned, ascii(text)
        assert unicodedata.is_normalized("NFC", cleaned)
        assert cleaned.split() == cleaned.split(" ") or not cleaned
