"""Characters that a model cannot write: which they are, what they cost, what they stand for."""

from speechssl.text.characters import can_write, count_characters, list_characters, respell, show_character
from speechssl.text.foreign import find_foreign

CAPITALS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")


def test_how_a_model_would_write_it() -> None:
    for character, known, kind, text in [
        ("a", CAPITALS, "other case", "A"),
        ("A", "abc", "other case", "a"),
        ("ß", CAPITALS, "other case", "SS"),
        ("я", "АБЯ", "other case", "Я"),
        ("\u2019", CAPITALS, "typographic form", "'"),
        ("\u2018", CAPITALS, "typographic form", "'"),
        ("\u02bc", CAPITALS, "typographic form", "'"),
        ("'", "ab\u2019", "typographic form", "\u2019"),
        ("\u201c", 'ab"', "typographic form", '"'),
        ("\u2014", "ab-", "typographic form", "-"),
        ("\u2026", "ab.", "typographic form", "..."),
        ("\u0163", "a\u021b", "typographic form", "\u021b"),
        ("ي", "\u06ccا", "typographic form", "\u06cc"),
        ("\uff21", CAPITALS, "typographic form", "A"),
        ("\uff41", CAPITALS, "typographic form", "A"),
        ("ｱ", "アイ", "typographic form", "ア"),
        ("٣", "123", "typographic form", "3"),
        ("\u0410", CAPITALS, "look-alike", "A"),
        ("\u0430", CAPITALS, "look-alike", "A"),
        ("o", "або", "look-alike", "о"),
        ("É", CAPITALS, "accent", "E"),
        ("ё", "еж", "accent", "е"),
        ("\u0301", CAPITALS, "accent", ""),
        ("\u064e", "اب", "accent", ""),
        (",", CAPITALS, "punctuation", ""),
        ("\u201d", CAPITALS, "punctuation", ""),
        ("\u2019", "ABC", "punctuation", ""),
        ("-", CAPITALS, "punctuation", " "),
        ("\u2013", CAPITALS, "punctuation", " "),
        ("|", CAPITALS, "punctuation", " "),
        ("\u0640", "اب", "punctuation", ""),
        ("7", CAPITALS, "digit", None),
        ("½", CAPITALS, "digit", None),
        ("%", CAPITALS, "symbol", None),
        ("€", CAPITALS, "symbol", None),
        ("\u200c", "اب", "invisible", ""),
        ("\ufffd", CAPITALS, "undecodable", None),
        ("\ue000", CAPITALS, "undecodable", None),
        ("日", CAPITALS, "other letter", None),
        ("\u093f", "क", "other letter", None),  # a vowel of Devanagari is a mark, and no accent
    ]:
        assert respell(character, frozenset(known)) == (kind, text)


def test_composed_characters_are_written_in_parts() -> None:
    assert can_write("é", frozenset("e\u0301"))
    assert can_write("한", frozenset("\u1112\u1161\u11ab"))
    assert not can_write("é", frozenset("e"))


def test_what_they_cost_is_counted() -> None:
    texts = ["DON\u2019T STOP", "IT\u2019S \u2019TIS\u2019", "STOP", "Go 7"]
    foreign = find_foreign(texts, CAPITALS)
    assert (foreign.num_words, foreign.total_words) == (5, 7)
    assert (foreign.num_utterances, foreign.total_utterances) == (3, 4)
    assert foreign.characters[0] == ("\u2019", "typographic form", "'", 4, 3, 2)
    assert {item.character for item in foreign.characters[1:]} == {"o", "7"}
    assert [foreign.respell(text) for text in texts] == ["DON'T STOP", "IT'S 'TIS'", "STOP", "GO 7"]
    assert find_foreign(["STOP"], CAPITALS) == ([], 0, 0, 1, 1)


def test_the_message_names_them_and_what_to_do() -> None:
    message = find_foreign(["DON\u2019T go", "TWENTY\u2014ONE", "5"], CAPITALS).describe()
    assert message.startswith("4 of 4 words, in 3 of 3 utterances, hold characters that the model cannot write")
    assert "\u2019 (U+2019 RIGHT SINGLE QUOTATION MARK) once for '" in message
    assert "\u2014 (U+2014 EM DASH) once" in message
    assert "g (U+0067 LATIN SMALL LETTER G) once for G" in message
    assert "--text_case upper" in message
    assert "write numbers as words" in message
    assert "--text_case lower" in find_foreign(["STOP"], frozenset("stop")).describe()


def test_letters_of_another_language_are_no_slips_of_the_keyboard() -> None:
    russian = find_foreign(["СОВА И МИР"], CAPITALS)
    assert {item.kind for item in russian.characters} == {"other letter"}
    slip = find_foreign(["\u0421AT"], CAPITALS)
    assert [(item.kind, item.respelled) for item in slip.characters] == [("look-alike", "C")]


def test_characters_are_shown_so_that_they_can_be_seen() -> None:
    assert show_character("é") == "é (U+00E9 LATIN SMALL LETTER E WITH ACUTE)"
    assert show_character("\u0301") == "\u25cc\u0301 (U+0301 COMBINING ACUTE ACCENT)"
    assert show_character("\u200c") == "(U+200C ZERO WIDTH NON-JOINER)"
    assert list_characters(count_characters(["BA A", "C"])) == "3 different characters: A B C"
    many = list_characters(count_characters([chr(0x4E00 + i) for i in range(120)]))
    assert many.startswith("120 different characters: 一 丁")
    assert many.endswith(" and 20 more")
