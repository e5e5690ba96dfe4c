"""Errors that are differences of case or of punctuation: no recognition, but how either side is written."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence

from speechssl.evaluation.aligned import align
from speechssl.evaluation.error_rates import sum_edits
from speechssl.text.measure import choose_measure
from speechssl.text.normalisation import Case, clean_text, normalize_text

MUCH = 0.1
"""Share of the errors from which it is said."""


def prepare(texts: Mapping[str, str], case: Case) -> dict[str, str]:
    """Texts as they are scored; references and outputs both pass through here, and nowhere else.

    Args:
        texts: by utterance id.
        case: that all letters are given.
    """
    return {name: normalize_text(text, case) for name, text in texts.items()}


def differences_of_spelling(references: Mapping[str, str], hypotheses: Mapping[str, str], num_errors: int) -> list[str]:
    """What is said of differences of case and of punctuation that make up much of the errors.

    Args:
        references: as scored.
        hypotheses: of the same ids.
        num_errors: words in error between them.
    """
    sides = [references[i] for i in references], [hypotheses[i] for i in references]
    found = []
    saved = num_errors - _num_errors(*sides, str.casefold)
    if saved > MUCH * num_errors:
        written = " and the outputs ".join(_case_of(side) for side in sides)
        found.append(
            f"{saved} of the {num_errors} errors are differences of case: the references are {written}; "
            "--case lower writes both alike"
        )
    saved = num_errors - _num_errors(*sides, without_punctuation)
    if saved > MUCH * num_errors:
        marks = " and the outputs ".join(_marks_of(side) for side in sides)
        found.append(
            f"{saved} of the {num_errors} errors are differences of punctuation: the references hold {marks}; "
            "take it out of both sides, or leave it in both"
        )
    return found


def words_without_spaces(references: Mapping[str, str]) -> list[str]:
    """What is said of references in which what stands between spaces is no word, as in Chinese, Japanese or Thai."""
    if choose_measure(references.values()) == "wer":
        return []
    return ["the references are written without spaces, or with few: go by the CER"]


def _num_errors(references: Sequence[str], hypotheses: Sequence[str], change: Callable[[str], str]) -> int:
    changed, written = ([clean_text(change(text)) for text in side] for side in (references, hypotheses))
    return sum_edits(align(changed, written)).errors


def without_punctuation(text: str) -> str:
    """A text without what Unicode has among the punctuation, as between words."""
    return "".join(character for character in text if unicodedata.category(character)[0] != "P")


def _case_of(texts: Sequence[str]) -> str:
    whole = " ".join(texts)
    letters = [character for character in whole if character.upper() != character.lower()]
    upper = sum(character.isupper() for character in letters)
    if not letters:
        return "without case"
    return "upper case" if upper > 0.9 * len(letters) else "lower case" if upper < 0.01 * len(letters) else "mixed case"


def _marks_of(texts: Sequence[str]) -> str:
    marks = {character for text in texts for character in text if unicodedata.category(character)[0] == "P"}
    return "".join(sorted(marks)[:10]) or "none"
