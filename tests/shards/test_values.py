"""What values of lists mean: missing ones, identifiers, times and channels."""

import math
import unicodedata

import pytest

from speechssl.shards.values import (
    channel_from,
    identifier_from,
    is_missing,
    seconds_from,
    text_from,
)


def test_missing_values_in_all_their_spellings() -> None:
    for value in [
        None,
        math.nan,
        "",
        " ",
        "nan",
        "NaN",
        "NAN",
        "null",
        "NULL",
        "None",
        "NA",
        "N/A",
        "<NA>",
        "#N/A",
        "\\N",
        "-",
        "nil",
    ]:
        assert is_missing(value)
        assert identifier_from(value, "speaker") == ""


def test_values_that_are_none_of_them() -> None:
    for value in ["no", "anna", "Nana", "nano", "0", 0, False, "non", "n", "nanni", "nullius"]:
        assert not is_missing(value)


def test_nobody_is_no_speaker() -> None:
    for value in ["unknown", "Undefined", "<unk>"]:
        assert identifier_from(value, "speaker") == ""
        assert text_from(value, "text") == value


def test_spellings_that_look_the_same_are_one_identifier() -> None:
    for spellings in [
        ["p0", "p0 ", " p0", "p0\t", "p0\u00a0", "p\u200b0", "\ufeffp0", "p0\u200e", "p\u00ad0"],
        ["anna lee", "anna  lee", "anna\u00a0lee", "anna\u3000lee ", "anna lee\u200d"],
        ["7", 7, 7.0, "7.0", "7.00", " 7"],
        ["-1", -1, -1.0],
        ["caf\u00e9", "cafe\u0301"],
        [unicodedata.normalize(form, "가각 Ångström") for form in ("NFC", "NFD")],
    ]:
        (one,) = {identifier_from(value, "speaker") for value in spellings}
        assert one == unicodedata.normalize("NFC", str(spellings[0]))


def test_what_looks_different_stays_different() -> None:
    values = ["7", "07", "007", "7.5", "7.01", "a.0", "Anna", "anna", "ANNA", "p0", "p_0", "p 0", "café", "cafe", "七"]
    assert len({identifier_from(value, "speaker") for value in values}) == len(values)


def test_what_is_no_text() -> None:
    for value in [True, [], {}, ["a"], b"a"]:
        for rule in (text_from, identifier_from):
            with pytest.raises(ValueError, match=f"speaker is a {type(value).__name__}, expected text"):
                rule(value, "speaker")


def test_texts_are_left_as_they_are_but_for_white_space_around_them() -> None:
    assert text_from("  It's 7.0  km, \u201cno\u201d\n", "text") == "It's 7.0  km, \u201cno\u201d"
    assert text_from(5, "text") == "5"
    assert [text_from(value, "text") for value in (None, math.nan, "\u200b\ufeff", " \u00a0")] == [""] * 4


def test_seconds() -> None:
    for value, expected in [
        (0, 0.0),
        ("1.5", 1.5),
        (" 2 ", 2.0),
        ("", None),
        (None, None),
        ("NA", None),
        ("null", None),
        ("1e-3", 0.001),
    ]:
        assert seconds_from(value, "start", []) == expected


def test_milliseconds() -> None:
    assert seconds_from("1500", "start_ms", [], per_second=1000) == 1.5


def test_what_are_no_seconds() -> None:
    for value in [-1, "-0.1", "inf", math.nan, "nan", "soon", "1,5", True, [], 10**400]:
        with pytest.raises(ValueError, match=r"start is .*, expected seconds, a number from 0"):
            seconds_from(value, "start", [])


def test_channels() -> None:
    for value, expected in [
        *((value, 0) for value in (0, "0", 0.0, "0.0", "A", "a", "left", "L", "ch0", "channel 0", "channel_0")),
        *((value, 1) for value in (1, "1", "B", "Right", "r", "CH1", "1.0")),
        *((value, None) for value in (None, "", "nan", math.nan, "mono", "mix", "Both", "average")),
        (11, 11),
    ]:
        assert channel_from(value, "channel", []) == expected


def test_what_are_no_channels() -> None:
    for value in ["NPR", -1, 1.5, True, [0, 1], "0,1", "C"]:
        with pytest.raises(ValueError, match=r"channel is .*, expected a channel"):
            channel_from(value, "channel", [])
