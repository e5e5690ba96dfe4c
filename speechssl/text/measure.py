"""Whether errors of words or of characters say how well a language is recognised."""

from collections.abc import Iterable
from typing import Literal

from speechssl.text.characters import is_spaceless
from speechssl.text.graphemes import split_graphemes

Measure = Literal["wer", "cer"]
LONG_WORD = 12
"""Letters of the mean word above which what stands between spaces is whole clauses, whatever the script."""


def choose_measure(texts: Iterable[str]) -> Measure:
    """The error rate that chooses checkpoints and heads results.

    It is that of characters where most of them are of scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer,
    Burmese), or where what stands between spaces is too long for a word: one wrong letter then makes a clause wrong.
    """
    num_words = num_letters = num_spaceless = 0
    for text in texts:
        letters = [cluster[0] for cluster in split_graphemes(text) if cluster != " "]
        num_words += len(text.split())
        num_letters += len(letters)
        num_spaceless += 0 if text.isascii() else sum(map(is_spaceless, letters))
    return "cer" if 2 * num_spaceless > num_letters or num_letters > LONG_WORD * num_words else "wer"
