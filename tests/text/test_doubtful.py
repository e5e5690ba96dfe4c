"""Labels that a model can hardly learn, or would learn twice."""

from speechssl.text.characters import count_characters
from speechssl.text.doubtful import Doubtful, find_doubtful


def doubtful(*texts: str) -> Doubtful:
    return find_doubtful(texts, [f"u{i}" for i in range(len(texts))], count_characters(texts))


def test_usual_transcripts_raise_no_doubt() -> None:
    assert doubtful("ONE TWO TOWN", "TWO ONE WENT", "WE WENT TO TOWN") == ([], [])


def test_rare_characters_are_noted_with_an_utterance() -> None:
    notes, warnings = doubtful("NO NO", "NO NO ZONQ", "ONZ")
    assert notes == [
        "characters that occur once or twice, too rarely to be learned: Q (U+0051 LATIN CAPITAL LETTER Q) once, as in "
        "u1; Z (U+005A LATIN CAPITAL LETTER Z) twice, as in u1. If they are slips, mend the transcripts."
    ]
    assert not warnings


def test_two_forms_of_one_mark_are_two_labels() -> None:
    _, warnings = doubtful(*["DON'T"] * 5, *["DON\u2019T"] * 3)
    (warning,) = warnings
    assert "\u2019 (U+2019 RIGHT SINGLE QUOTATION MARK) 3 times, as in u5, beside ' (U+0027 APOSTROPHE)" in warning
    _, warnings = doubtful(*["AAA"] * 5, *["\uff21"] * 3)
    assert "\uff21 (U+FF21 FULLWIDTH LATIN CAPITAL LETTER A) 3 times, as in u5, beside A (U+0041" in warnings[0]


def test_what_is_no_text_is_named() -> None:
    _, warnings = doubtful("CAF\ufffd CAF\ufffd CAF\ufffd")
    assert "characters that are no text: \ufffd (U+FFFD REPLACEMENT CHARACTER) 3 times, as in u0" in warnings[0]
