"""Characters of training transcripts that are doubtful as labels: too rare to be learned, doubled, or no text."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from speechssl.text.characters import is_undecodable, show_character, typographic_forms
from speechssl.text.foreign import times

MAX_SHOWN = 8
"""Characters that one message names."""
MAX_RARE = 2
"""Occurrences that are too few to learn from."""


class Doubtful(NamedTuple):
    """What to know about the labels of a training set, in sentences."""

    notes: list[str]
    """That need no action."""
    warnings: list[str]


def find_doubtful(
    texts: Sequence[str],
    keys: Sequence[str],
    counts: Mapping[str, int],
    symbols: Callable[[str], Sequence[str]] = list,
) -> Doubtful:
    """Look for rare, doubled and undecodable characters.

    Args:
        texts: transcripts, cleaned.
        keys: of their utterances.
        counts: how often each character occurs in the texts, or cluster or phoneme if those are labels.
        symbols: cuts texts into those.
    """
    rare = {c for c, count in counts.items() if count <= MAX_RARE}
    twins = {c: twin for c in counts if (twin := _twin(c, counts))}
    damaged = {c for c in counts if is_undecodable(c)}
    examples = _find_examples(texts, keys, rare | damaged | twins.keys(), symbols)

    def listed(characters: Sequence[str]) -> str:
        shown = [f"{show_character(c)} {times(counts[c])}, as in {examples[c]}" for c in characters[:MAX_SHOWN]]
        more = [f"and {len(characters) - MAX_SHOWN} more"] if len(characters) > MAX_SHOWN else []
        return "; ".join(shown + more)

    notes, warnings = [], []
    if rare:
        notes.append(
            f"characters that occur once or twice, too rarely to be learned: {listed(sorted(rare))}. If they are "
            "slips, mend the transcripts."
        )
    if twins:
        pairs = "; ".join(
            f"{listed([c])}, beside {show_character(twin)}" for c, twin in list(twins.items())[:MAX_SHOWN]
        )
        warnings.append(
            f"characters that are one to a reader and two labels to the model: {pairs}. Write them in one way."
        )
    if damaged:
        warnings.append(
            f"characters that are no text: {listed(sorted(damaged))}. Save the list as UTF-8: it was written in "
            "another encoding than it was read in."
        )
    return Doubtful(notes, warnings)


def _twin(character: str, counts: Mapping[str, int]) -> str | None:
    """A more frequent character of the set that is another form of this one."""
    forms = typographic_forms(character) if len(character) == 1 else []
    return next((form for form in forms if (counts.get(form, 0), form) > (counts[character], character)), None)


def _find_examples(
    texts: Sequence[str], keys: Sequence[str], wanted: set[str], symbols: Callable[[str], Sequence[str]]
) -> dict[str, str]:
    """The first utterance that holds each character."""
    missing, found = set(wanted), {}
    for key, text in zip(keys, texts, strict=True):
        if not missing:
            break
        for character in missing.intersection(symbols(text)):
            found[character] = key
            missing.remove(character)
    return found
