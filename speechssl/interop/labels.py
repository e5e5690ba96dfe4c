"""Labels of a recogniser in a file beside its weights: lines, a vocab.json, or fairseq's dictionary."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from speechssl.errors import CheckpointError
from speechssl.text.vocabulary import BLANK, WORD_BOUNDARY, Vocabulary

FAIRSEQ_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
"""Before the lines of a fairseq dictionary, whose CTC takes the first of them for the blank."""
_COUNTED = re.compile(r"(\S+) \d+")
"""A line of a fairseq dictionary: symbol and count."""
_PADDINGS = ("<pad>", "[PAD]")


def read_labels(path: Path | None, num_outputs: int, *, source: str) -> Vocabulary:
    """The labels of a model's outputs.

    Args:
        path: what the user gave as ``labels``.
        num_outputs: labels that the weights have.
        source: of the weights, for messages.

    Raises:
        CheckpointError: no file, an unreadable one, or not one label for each output.
    """
    if path is None:
        raise CheckpointError(
            f"{source}: a recogniser of {num_outputs} labels, which the file does not name; give them with --labels "
            "FILE (one per line, a vocab.json, or fairseq's dict.ltr.txt)"
        )
    try:
        text = path.read_text(encoding="utf-8")
        vocabulary = (
            _from_json(text)
            if path.suffix == ".json"
            else _from_lines([line.rstrip("\r") for line in text.split("\n")])
        )
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no list of labels ({error}); expected one per line, or a vocab.json") from error
    if len(vocabulary) != num_outputs:
        raise CheckpointError(
            f"{path}: {len(vocabulary)} labels, expected one for each of the {num_outputs} outputs of {source}; give "
            "the labels that belong to these weights"
        )
    return vocabulary


def make_vocabulary(labels: Sequence[str], *, blank: int = 0) -> Vocabulary:
    """A vocabulary of labels in the order of the outputs, with ``|`` between words if it is one of them.

    Raises:
        ValueError: two equal labels, or none.
    """
    if not labels or len(set(labels)) != len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ValueError(f"{', '.join(map(repr, twice[:5]))} more than once" if twice else "it is empty")
    boundary = labels.index(WORD_BOUNDARY) if WORD_BOUNDARY in labels else None
    return Vocabulary(labels, blank=blank, word_boundary=boundary)


def write_labels(path: Path, vocabulary: Vocabulary) -> None:
    """One label per line, the blank as ``<blank>``, what is between words as ``|``; ``read_labels`` reads them back."""
    lines = list(vocabulary.labels)
    lines[vocabulary.blank] = BLANK
    if vocabulary.word_boundary is not None:
        lines[vocabulary.word_boundary] = WORD_BOUNDARY
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _from_lines(lines: list[str]) -> Vocabulary:
    """Lines of labels; the first is the blank unless another one is called so."""
    while lines and not lines[-1]:
        lines.pop()
    counted = [_COUNTED.fullmatch(line) for line in lines]
    if lines and all(counted):
        return make_vocabulary(FAIRSEQ_SPECIALS + [match[1] for match in counted if match])
    return make_vocabulary(lines, blank=lines.index(BLANK) if BLANK in lines else 0)


def _from_json(text: str) -> Vocabulary:
    """Hugging Face's vocab.json: numbers by label; they call the blank the padding."""
    ids = json.loads(text)
    if not isinstance(ids, dict) or sorted(map(str, ids.values())) != sorted(map(str, range(len(ids)))):
        raise ValueError("its labels are not numbered from 0")
    labels = sorted(ids, key=lambda label: int(ids[label]))
    blank = next((labels.index(name) for name in (BLANK, *_PADDINGS) if name in labels), 0)
    return make_vocabulary(labels, blank=blank)
