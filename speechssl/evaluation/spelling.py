"""Errors that are differences of how either side is written: case, punctuation, forms of letters, digits, spaces."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from speechssl.config import TextConfig
from speechssl.evaluation.aligned import Aligned, align
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.evaluation.error_rates import sum_edits
from speechssl.text.characters import fold_look_alikes, script_of
from speechssl.text.measure import choose_measure
from speechssl.text.normalisation import Case, Normalizer, clean_text, normalize_text

MUCH = 0.1
"""Share of the errors from which it is said."""
NEARLY_ALL = 0.95
"""Of what all changes save together; a change that is not needed for so much is not named."""
_MAX_MARKS = 10


class Difference(NamedTuple):
    """Errors that are none of recognition."""

    diagnosis: Diagnosis
    saved: int
    """Errors that vanish."""


class _Change(NamedTuple):
    """A way to write both sides alike."""

    name: str
    apply: Callable[[str], str]
    describe: Callable[[Sequence[str]], str]
    """How a side is written."""
    remedy: str


def prepare(texts: Mapping[str, str], case: Case) -> dict[str, str]:
    """Texts as they are scored; references and outputs both pass through here, and nowhere else.

    Args:
        texts: by utterance id.
        case: that all letters are given.
    """
    return {name: normalize_text(text, case) for name, text in texts.items()}


def differences_of_spelling(
    references: Mapping[str, str], hypotheses: Mapping[str, str], words: Sequence[Aligned]
) -> list[Difference]:
    """Differences of how texts are written that make up much of the errors.

    Args:
        references: as scored.
        hypotheses: of the same ids.
        words: both as aligned, in order of ids.
    """
    ids = sorted(references)
    sides = [references[i] for i in ids], [hypotheses[i] for i in ids]
    num_errors = sum_edits(words).errors
    found = (_forms(*sides, num_errors), _digits(*sides, words, num_errors), _spaces(*sides, words, num_errors))
    return [difference for difference in found if difference is not None]


def words_without_spaces(references: Mapping[str, str]) -> list[str]:
    """What is said of references in which what stands between spaces is no word, as in Chinese, Japanese or Thai."""
    if choose_measure(references.values()) == "wer":
        return []
    return ["the references are written without spaces, or with few: go by the CER"]


def without_accents(text: str) -> str:
    """A text without marks on its letters."""
    parts = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in parts if unicodedata.category(c) != "Mn"))


def _forms(references: Sequence[str], hypotheses: Sequence[str], num_errors: int) -> Difference | None:
    """Errors that vanish if both sides are written alike, and the fewest changes that are needed for it."""
    changes = [change for change in _CHANGES if change.name != "accents" or _is_one_sided(references, hypotheses)]
    saved = num_errors - _num_errors(references, hypotheses, changes)
    if not num_errors or saved <= MUCH * num_errors:
        return None
    for change in tuple(changes):
        fewer = [other for other in changes if other is not change]
        kept = num_errors - _num_errors(references, hypotheses, fewer) if fewer else 0
        if kept >= NEARLY_ALL * saved:
            changes, saved = fewer, kept
    names = " and ".join(change.name for change in changes)
    said = " and the outputs ".join(
        ", ".join(change.describe(side) for change in changes) for side in (references, hypotheses)
    )
    remedies = " ".join(change.remedy for change in changes)
    return Difference(
        Diagnosis(
            f"differences of {names}",
            f"{saved} of the {num_errors} errors vanish if differences of {names} are ignored",
            f"the references are {said}",
            f"write both alike ({remedies})",
        ),
        saved,
    )


def _is_one_sided(references: Sequence[str], hypotheses: Sequence[str]) -> bool:
    """Whether one side has accents and the other none: where both have them, one that is wrong was misheard."""
    return len({any(text != without_accents(text) for text in side) for side in (references, hypotheses)}) == 2


def _digits(
    references: Sequence[str], hypotheses: Sequence[str], words: Sequence[Aligned], num_errors: int
) -> Difference | None:
    """Errors at numbers that one side writes in digits and the other never."""
    sides = [any(map(_has_digit, side)) for side in (references, hypotheses)]
    if sides[0] == sides[1]:
        return None
    at_digits = sum(
        pair.kind != "hit" and (_has_digit(pair.reference) or _has_digit(pair.hypothesis))
        for item in words
        for pair in item.pairs
    )
    if at_digits <= MUCH * num_errors:
        return None
    written = ("in digits", "in words") if sides[0] else ("in words", "in digits")
    return Difference(
        Diagnosis(
            "differences of digits",
            f"{at_digits} of the {num_errors} errors are at numbers in digits",
            f"the references write numbers {written[0]} and the outputs {written[1]}",
            "write both alike (--text.digits words --text.language ...)",
        ),
        at_digits,
    )


def _spaces(
    references: Sequence[str], hypotheses: Sequence[str], words: Sequence[Aligned], num_errors: int
) -> Difference | None:
    """Errors in utterances that are right but for their spaces."""
    saved = sum(
        item.edits.errors
        for reference, hypothesis, item in zip(references, hypotheses, words, strict=True)
        if reference.replace(" ", "") == hypothesis.replace(" ", "")
    )
    if not num_errors or saved <= MUCH * num_errors:
        return None
    num = [sum(text.count(" ") for text in side) for side in (references, hypotheses)]
    few = "few" if num[1] < num[0] else "many" if num[1] > num[0] else "other"
    return Difference(
        Diagnosis(
            "differences of spaces",
            f"{saved} of the {num_errors} errors vanish if differences of spaces are ignored",
            f"the outputs have too {few} spaces ({num[1]}, and the references {num[0]})"
            if few != "other"
            else f"both have {num[0]} spaces, at other places",
            "look how compounds and letters are written in the training transcripts, or go by the CER",
        ),
        saved,
    )


def _has_digit(text: str) -> bool:
    return any(map(str.isdecimal, text))


def _num_errors(references: Sequence[str], hypotheses: Sequence[str], changes: Sequence[_Change]) -> int:
    def changed(text: str) -> str:
        for change in changes:
            text = change.apply(text)
        return clean_text(text)

    return sum_edits(align([*map(changed, references)], [*map(changed, hypotheses)])).errors


def _case_of(texts: Sequence[str]) -> str:
    whole = " ".join(texts)
    letters = [character for character in whole if character.upper() != character.lower()]
    upper = sum(character.isupper() for character in letters)
    if not letters:
        return "without case"
    return "upper case" if upper > 0.9 * len(letters) else "lower case" if upper < 0.01 * len(letters) else "mixed case"


def _with(what: str, change: Callable[[str], str]) -> Callable[[Sequence[str]], str]:
    """Describes a side by whether it has what a change takes away."""

    def describe(texts: Sequence[str]) -> str:
        return f"with {what}" if any(text != change(text) for text in texts) else f"without {what}"

    return describe


def _marks_of(texts: Sequence[str]) -> str:
    marks = {character for text in texts for character in text if unicodedata.category(character)[0] == "P"}
    return f"with {''.join(sorted(marks)[:_MAX_MARKS])}" if marks else "without punctuation"


def _forms_of(texts: Sequence[str]) -> str:
    forms = {character for text in texts for character in text if _straight(character) not in (character, "")}
    return f"with {''.join(sorted(forms)[:_MAX_MARKS])}" if forms else "with plain forms alone"


def _scripts_of(texts: Sequence[str]) -> str:
    scripts = {script_of(character).capitalize() for text in texts for character in text if character.isalpha()}
    return f"in {', '.join(sorted(scripts))}" if scripts else "without letters"


_straight = Normalizer(TextConfig(quotes="straight", unicode="nfkc"))
_unbracketed = Normalizer(TextConfig(brackets="remove"))
_unpunctuated = Normalizer(TextConfig(punctuation="remove"))
# What comes first is first found to be needless: folding case undoes ligatures, and taking punctuation out its forms.
# Brackets go before the punctuation that they are.
_CHANGES = (
    _Change("accents", without_accents, _with("accents", without_accents), "with or without them"),
    _Change("look-alike letters", fold_look_alikes, _scripts_of, "in one script"),
    _Change("tags in brackets", _unbracketed, _with("tags in brackets", _unbracketed), "--text.brackets remove"),
    _Change("case", str.casefold, _case_of, "--text.case lower, or --case lower of `speechssl score`"),
    _Change("punctuation", _unpunctuated, _marks_of, "--text.punctuation remove"),
    _Change("typographic forms", _straight, _forms_of, "--text.quotes straight --text.unicode nfkc"),
)
