"""All that is scored: the references, what is known of them, and the outputs of one or two systems."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from speechssl.errors import DataError
from speechssl.evaluation.breakdown import Columns
from speechssl.evaluation.spelling import prepare
from speechssl.evaluation.transcripts.lines import read_speakers
from speechssl.evaluation.transcripts.matching import match, references_of
from speechssl.evaluation.transcripts.reading import read_transcripts
from speechssl.evaluation.transcripts.spoken import Format, Spoken
from speechssl.text.normalisation import Case

Item = TypeVar("Item")


class Heard(NamedTuple):
    """One file of outputs."""

    path: Path
    hypotheses: dict[str, str]


class Gathered(NamedTuple):
    """Texts as they are scored."""

    references: dict[str, str]
    """By utterance id."""
    columns: Columns
    systems: list[list[Heard]]
    notes: list[str]
    """What was taken for granted."""

    @property
    def speakers(self) -> dict[str, str]:
        """By utterance id, of those that are known."""
        return {key: str(values["speaker"]) for key, values in self.columns.items() if "speaker" in values}


def gather(
    reference: Path,
    systems: Sequence[Sequence[Path]],
    *,
    reference_format: Format | None = None,
    hypothesis_format: Format | None = None,
    speakers: Path | None = None,
    case: Case = "keep",
) -> Gathered:
    """Read all files, and give each reference its outputs.

    Args:
        reference: file of the references.
        systems: files of outputs of each.
        reference_format: None to know it by the content.
        hypothesis_format: of all outputs, likewise.
        speakers: file of ids and speakers.
        case: of all letters.

    Raises:
        DataError: says what is wrong with each of the files.
    """
    problems: list[str] = []
    files = {path: _try(read_transcripts, problems, path, "hypothesis", hypothesis_format) for path in chain(*systems)}
    read = _try(read_transcripts, problems, reference, "reference", reference_format)
    spoken = _try(references_of, problems, read) if read else None
    stated = _try(read_speakers, problems, speakers) if speakers else {}
    notes: list[str] = []
    heard: list[list[Heard]] = [[] for _ in systems]
    for outputs, paths in zip(heard, systems, strict=True):
        for path in paths:
            matched = _try(match, problems, read, spoken, files[path]) if spoken and files[path] else None
            if matched is not None:
                outputs.append(Heard(path, prepare(matched.hypotheses, case)))
                notes += matched.notes
    if problems or spoken is None:
        raise DataError("\n".join(dict.fromkeys(problems)))
    texts = prepare({key: item.text for key, item in spoken.items()}, case)
    return Gathered(texts, _columns(spoken, stated or {}), heard, notes + _silence(texts))


def _try(do: Callable[..., Item], problems: list[str], *arguments: Any) -> Item | None:
    """What a function gives; None, and its message among the problems, if it raises DataError."""
    try:
        return do(*arguments)
    except DataError as error:
        problems.append(str(error))
        return None


def _columns(spoken: dict[str, Spoken], speakers: dict[str, str]) -> dict[str, dict[str, str | float]]:
    return {
        key: {**item.columns, **({"speaker": speakers[key]} if key in speakers else {})} for key, item in spoken.items()
    }


def _silence(texts: dict[str, str]) -> list[str]:
    silent = sum(not text for text in texts.values())
    return [f"{silent} references are empty: silence, in which each word is an insertion"] if silent else []
