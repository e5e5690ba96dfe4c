"""References and outputs side by side, word by word or character by character, as jiwer aligns them.

Of alignments with as few errors, jiwer takes one and NIST's sclite, which weighs a substitution as 4 and a deletion or
an insertion as 3, may take another: what is one substitution more here is a deletion and an insertion there.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple

import jiwer
from rich.cells import cell_len

from speechssl.text.graphemes import as_characters, split_graphemes

Kind = Literal["hit", "substitution", "deletion", "insertion"]
Of = Literal["words", "characters"]
_KINDS: dict[str, Kind] = {
    "equal": "hit",
    "substitute": "substitution",
    "delete": "deletion",
    "insert": "insertion",
}
_HEADS = ("REF: ", "HYP: ", "     ")
_MARKS: dict[Kind, str] = {"hit": "", "substitution": "S", "deletion": "D", "insertion": "I"}


class Pair(NamedTuple):
    """A word of the reference and what stands for it."""

    kind: Kind
    reference: str
    """Empty for an insertion."""
    hypothesis: str
    """Empty for a deletion."""


class Edits(NamedTuple):
    """What an alignment comes to."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def in_reference(self) -> int:
        """Words of the reference."""
        return self.hits + self.substitutions + self.deletions


class Aligned(NamedTuple):
    """An utterance."""

    reference: Sequence[str]
    hypothesis: Sequence[str]
    chunks: Sequence[jiwer.AlignmentChunk]
    """Stretches of one kind."""
    edits: Edits

    @property
    def pairs(self) -> Iterator[Pair]:
        """Word by word, or character by character."""
        for chunk in self.chunks:
            said = self.reference[chunk.ref_start_idx : chunk.ref_end_idx]
            heard = self.hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
            for one, other in zip_longest(said, heard, fillvalue=""):
                yield Pair(_KINDS[chunk.type], one, other)


def align(references: Sequence[str], hypotheses: Sequence[str], of: Of = "words") -> list[Aligned]:
    """Align each reference with its output, with as few errors as there can be.

    Args:
        references: with one space between words; an empty one is silence.
        hypotheses: of the same utterances.
        of: what is aligned; characters are grapheme clusters, and spaces are some.
    """
    if not references:
        return []
    if of == "words":
        found = jiwer.process_words(list(references), list(hypotheses))
        return _put_together(found.references, found.hypotheses, found.alignments)
    said, heard = as_characters(references, hypotheses)
    chunks = jiwer.process_characters(said, heard).alignments
    return _put_together(map(split_graphemes, references), map(split_graphemes, hypotheses), chunks)


def _put_together(
    references: Iterable[Sequence[str]],
    hypotheses: Iterable[Sequence[str]],
    alignments: Iterable[Sequence[jiwer.AlignmentChunk]],
) -> list[Aligned]:
    return [Aligned(*item, _edits(item[-1])) for item in zip(references, hypotheses, alignments, strict=True)]


def _edits(chunks: Sequence[jiwer.AlignmentChunk]) -> Edits:
    counts = dict.fromkeys(_KINDS.values(), 0)
    for chunk in chunks:
        # A stretch of substitutions is as long on either side.
        counts[_KINDS[chunk.type]] += max(
            chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        )
    return Edits(counts["hit"], counts["substitution"], counts["deletion"], counts["insertion"])


def show_aligned(aligned: Aligned, width: int = 100) -> list[str]:
    """Reference, output and marks of errors, a line each; columns are as wide as a terminal shows their words.

    Args:
        aligned: utterance.
        width: of a terminal; what does not fit goes on in three more lines.
    """
    lines: list[str] = []
    rows = list(_HEADS)
    for pair in aligned.pairs:
        column = max(cell_len(pair.reference), cell_len(pair.hypothesis), 1)
        if cell_len(rows[0]) + column > width and rows != list(_HEADS):
            lines += rows
            rows = list(_HEADS)
        cells = (pair.reference or "*" * column, pair.hypothesis or "*" * column, _MARKS[pair.kind])
        rows = [row + cell + " " * (column - cell_len(cell) + 1) for row, cell in zip(rows, cells, strict=True)]
    return [line.rstrip() for line in (*lines, *rows)]
