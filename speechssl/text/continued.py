"""Labels of a recogniser that is trained further, on transcripts that may need others."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from speechssl.text.characters import glyph
from speechssl.text.vocabulary import WORD_BOUNDARY, Vocabulary, refuse_boundary

MAX_SHOWN = 40
"""Labels that a sentence names."""
Policy = Literal["auto", "keep", "drop"]


class Continued(NamedTuple):
    """Labels, and what became of the earlier ones."""

    vocabulary: Vocabulary
    kept: list[str]
    """Texts of earlier labels that stay."""
    new: list[str]
    gone: list[str]

    def describe(self) -> str:
        """What became of them, in one sentence."""
        total = len(self.kept) + len(self.gone)
        if not self.new and not self.gone:
            return f"--init: all {total} labels of the recogniser are kept"
        return (
            f"--init: kept {len(self.kept)} of {total} labels of the recogniser; new: {_listed(self.new)}; gone: "
            + (f"{_listed(self.gone)} (--init_labels keep keeps them)" if self.gone else "none")
        )


def continue_vocabulary(old: Vocabulary, texts: Sequence[str], policy: Policy) -> Continued:
    """Labels for transcripts, as far as there are with those of a recogniser, in its order and with its blank.

    Args:
        old: of the recogniser.
        texts: training transcripts, normalised.
        policy: of labels that the transcripts do not need: "keep", "drop"; "auto" drops them where the recogniser has
            fewer than half of those that are needed, which is another language.

    Raises:
        DataError: a new text holds the character that marks word boundaries.
    """
    needed = {unit for text in texts for unit in old.segmenter.split(text)}
    new = sorted(needed.difference(old.spelt))
    if WORD_BOUNDARY in new and old.word_boundary is not None:
        for text in texts:
            refuse_boundary(text)
    drops = policy == "drop" or (policy == "auto" and 2 * len(new) > len(needed))
    gone = [text for text in old.spelt if text not in needed and text != " "] if drops else []
    positions = [i for i, text in enumerate(old.spell(range(len(old)))) if text not in gone or not text]
    labels = [old.labels[i] for i in positions]
    boundary = None if old.word_boundary is None else positions.index(old.word_boundary)
    if " " in new:
        boundary = len(labels)
    labels += [WORD_BOUNDARY if unit == " " else unit for unit in sorted(new, key=lambda unit: unit != " ")]
    vocabulary = Vocabulary(
        labels,
        blank=positions.index(old.blank),
        word_boundary=boundary,
        segmenter=None if old.segmenter.name in ("characters", "longest match") else old.segmenter,
        lexicon=old.lexicon,
    )
    return Continued(vocabulary, [text for text in old.spelt if text not in gone], new, gone)


def compare_vocabularies(old: Vocabulary, new: Vocabulary) -> Continued:
    """What becomes of the labels of a recogniser whose transcripts are now cut in another way."""
    kept = [text for text in old.spelt if text in new.spelt]
    gone = [text for text in old.spelt if text not in new.spelt]
    return Continued(new, kept, [text for text in new.spelt if text not in old.spelt], gone)


def matching_rows(old: Vocabulary, new: Vocabulary) -> list[tuple[int, int]]:
    """Positions of the labels that both have, in the new and in the old; the blank is one, whatever it is called."""
    places = {text: i for i, text in reversed(list(enumerate(old.spell(range(len(old))))))}
    return [(i, places[text]) for i, text in enumerate(new.spell(range(len(new)))) if text in places]


def _listed(texts: Sequence[str]) -> str:
    shown = [repr(text) if text != text.strip() or not text.isprintable() else glyph(text) if len(text) == 1 else text
             for text in texts[:MAX_SHOWN]]  # fmt: skip
    more = [f"and {len(texts) - MAX_SHOWN} more"] if len(texts) > MAX_SHOWN else []
    return " ".join(shown + more) or "none"
