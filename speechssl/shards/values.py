"""What values of lists and of JSON mean: missing ones in any spelling, texts, identifiers, times, channels."""

import json
import math
import re
import unicodedata
from typing import Any

_NO_WORDS = frozenset({"", "n/a", "<na>", "#n/a", "#na", "<nan>", "-nan", "\\n", "-", "--", "1.#qnan", "1.#ind"})
"""Missing values that nobody says."""
_WORDS = frozenset({"nan", "null", "none", "na", "nil"})
"""Missing values that may be somebody's words: null is German for zero, nan a grandmother, none an answer."""
_NOBODY = frozenset({"unknown", "undefined", "unspecified", "<unk>", "?"})
"""Missing values of identifiers: to take them as a name would make one voice of all of them."""
_MISSING = _NO_WORDS | _WORDS
_WHOLE_FLOAT = re.compile(r"(0|-?[1-9][0-9]*)\.0+")
_CHANNEL = re.compile(r"(?:ch(?:an(?:nel)?)?[ _-]?)?([0-9]{1,3})(?:\.0+)?")
_SIDES = {"a": 0, "l": 0, "left": 0, "b": 1, "r": 1, "right": 1}
_ALL_CHANNELS = frozenset({"mono", "mix", "mixed", "both", "all", "average", "mean", "stereo"})


def read_json(text: str) -> Any:
    """A value in JSON; raises ValueError if it is damaged, or an object has a key twice, of which one would be lost."""
    return _DECODER.decode(text)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"the key {repeated!a} is there twice")
    return values


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats)


def is_utf8(text: str) -> bool:
    """Whether a text can be written; one that was read from another encoding holds surrogates, and cannot."""
    try:
        return text.isascii() or bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def is_missing(value: Any) -> bool:
    """Whether a value says that there is none, in JSON or in any of the spellings of it."""
    if isinstance(value, str):
        return value.strip().casefold() in _MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_from(value: Any, column: str) -> str:
    """A text without white space around it; empty for JSON's null and NaN, and for what cannot be seen.

    Raises:
        ValueError: no text, or not in UTF-8.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{column} is a {type(value).__name__}, expected text")
    text = str(value).strip()
    if text.isascii():
        return text
    if not is_utf8(text):
        raise ValueError(f"{column} {text!a} is not UTF-8; convert the file, for instance with iconv")
    return text if _visible(text).strip() else ""


def identifier_from(value: Any, column: str) -> str:
    """Name of a speaker, a language, a part, a recording: the same for all spellings that look the same.

    Those are Unicode's composed and decomposed letters, white space around it or more of it inside, characters that
    cannot be seen, and whole numbers as integers, floats and their texts. Missing values are empty.

    Raises:
        ValueError: no text or number, or not in UTF-8.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = text_from(value, column)
    if not (text.isascii() and text.isprintable() and "  " not in text):
        text = " ".join(_visible(unicodedata.normalize("NFC", text)).split())
    short = text.casefold()
    if short in _MISSING or short in _NOBODY:
        return ""
    return text.partition(".")[0] if _WHOLE_FLOAT.fullmatch(text) else text


def _visible(text: str) -> str:
    """The text without control characters but white space, and without those of format, as zero-width spaces."""
    return "".join(char for char in text if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf"))


def seconds_from(value: Any, column: str, missing: list[tuple[str, str]], *, per_second: float = 1.0) -> float | None:
    """A time in seconds, of a value in units of which a second has ``per_second``; None if there is none.

    A missing value in words is added to ``missing``, with its column.

    Raises:
        ValueError: not a number from 0; NaN is none either, as it hides a begin or end that something depends on.
    """
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        if is_missing(value):
            missing.append((column, value))
            return None
        number = math.nan
    if not 0 <= number < math.inf:
        unit = {1.0: "seconds", 1000.0: "milliseconds"}.get(per_second, "samples")
        raise ValueError(f"{column} is {value!a}, expected {unit}, a number from 0")
    return number / per_second


def channel_from(value: Any, column: str, missing: list[tuple[str, str]]) -> int | None:
    """A channel from 0, of a number or a side (A and B, left and right); None for the mix of all and if there is none.

    A missing value in words is added to ``missing``, with its column.

    Raises:
        ValueError: neither of these.
    """
    if value is None or value == "":
        return None
    if is_missing(value):
        missing.append((column, str(value)))
        return None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        word = str(value).strip().casefold()
        if word in _ALL_CHANNELS:
            return None
        if word in _SIDES:
            return _SIDES[word]
        if match := _CHANNEL.fullmatch(word):
            return int(match[1])
    raise ValueError(f"{column} is {value!a}, expected a channel: a number from 0, A or B, left or right")
