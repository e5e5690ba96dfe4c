"""References and the outputs of a system, brought together by the ids of the utterances."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from speechssl.errors import DataError
from speechssl.evaluation.error_rates import name_some
from speechssl.evaluation.transcripts.names import bare_ends, field_name, short_names
from speechssl.evaluation.transcripts.nist import words_in_files, words_in_segments
from speechssl.evaluation.transcripts.spoken import NAMES, Spoken, Transcripts, by_id


class Matched(NamedTuple):
    """A system's outputs for the references."""

    hypotheses: dict[str, str]
    """By utterance id."""
    notes: list[str]
    """What was taken for granted."""


def references_of(read: Transcripts) -> dict[str, Spoken]:
    """References by utterance id; those of a CTM are its files, or files and channels.

    Raises:
        DataError: an id is there more than once.
    """
    if read.format == "ctm":
        return {name: Spoken(name, text, 0) for name, text in words_in_files(read.words).items()}
    return by_id(read.path, with_short_ids(read.utterances))


def match(reference: Transcripts, references: Mapping[str, Spoken], output: Transcripts) -> Matched:
    """Outputs for references.

    Words of a CTM go to the segments of an STM by their times, and to other references by file and channel; an
    utterance without any is an empty output, for a CTM cannot say so otherwise.

    Raises:
        DataError: names utterances that one side lacks, with their number, or that are there more than once; files that
            seem to be swapped, or are one, with one text for both sides.
    """
    if (output.path, output.text_field) == (reference.path, reference.text_field):
        raise DataError(
            str(output.path),
            f"has one text for both sides{f' ({output.text_field})' if output.text_field else ''}, expected references "
            "and outputs",
            "give the outputs as a second file, or in a field called hypothesis or pred_text",
        )
    if reference.is_output and not output.is_output:
        raise DataError(
            f"{reference.path} holds a recogniser's output ({NAMES[reference.format]} with times or confidences) and "
            f"{output.path} does not: the two seem to be swapped; give the reference first"
        )
    notes: list[str] = []
    if output.format == "ctm":
        hypotheses = _words_of(reference, references, output)
        silent = references.keys() - hypotheses.keys()
        if silent and len(silent) < len(references):
            notes.append(
                f"{output.path}: no words for {len(silent)} utterances, such as {min(silent)}; a CTM does not tell "
                "silence from what was never transcribed, and they are scored as empty outputs"
            )
            hypotheses |= dict.fromkeys(silent, "")
    else:
        known = {name: item.text for name, item in by_id(output.path, with_short_ids(output.utterances)).items()}
        hypotheses = known if known.keys() == references.keys() else _by_paths(references, output) or known
    refuse_other_ids(reference, references, output, hypotheses)
    return Matched({name: hypotheses[name] for name in references}, notes)


def _words_of(reference: Transcripts, references: Mapping[str, Spoken], output: Transcripts) -> dict[str, str]:
    if reference.segments:
        return words_in_segments(output.words, reference.segments)
    known = {field_name(name): name for name in references}
    return {known.get(name, name): text for name, text in words_in_files(output.words, set(known)).items()}


def refuse_other_ids(
    reference: Transcripts, references: Mapping[str, Spoken], output: Transcripts, hypotheses: Mapping[str, str]
) -> None:
    """Raise DataError, in one line, if the two sides are not of the same utterances."""
    missing, extra = sorted(references.keys() - hypotheses.keys()), sorted(hypotheses.keys() - references.keys())
    if not missing and not extra:
        return
    if len(missing) == len(references):
        raise DataError(
            f"no utterance is in both {reference.shown}, with {name_some(sorted(references)[:3])}, and {output.shown}, "
            f"with {name_some(sorted(hypotheses)[:3])}; give both the same ids, or say what the files are with "
            "--reference_format and --hypothesis_format"
        )
    problems = [
        f"{len(ids)} of {len(known)} utterances of {there} are not in {elsewhere} ({name_some(ids)})"
        for ids, known, there, elsewhere in (
            (missing, references, reference.path, output.path),
            (extra, hypotheses, output.path, reference.path),
        )
        if ids
    ]
    raise DataError("; ".join(problems) + "; each side must have each utterance once")


def with_short_ids(utterances: Sequence[Spoken]) -> list[Spoken]:
    """Give utterances that are known by their audio the short name of its path."""
    names = iter(short_names([item.id for item in utterances if item.is_path]))
    return [item._replace(id=next(names)) if item.is_path else item for item in utterances]


def _by_paths(references: Mapping[str, Spoken], output: Transcripts) -> dict[str, str] | None:
    """Outputs by the ids of the references, where these need another part of the path to be told apart."""
    if not all(item.is_path for item in output.utterances):
        return None
    depth = max((name.count("/") for name in references), default=0) + 1
    names = bare_ends([item.id for item in output.utterances], depth)
    if names is None:
        return None
    return {name: item.text for name, item in zip(names, output.utterances, strict=True)}
