"""One system's outputs, and two systems side by side: all that ``score.json`` says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechssl.evaluation.breakdown import Breakdown, Columns, break_down
from speechssl.evaluation.comparison import Difference, SegmentTest, matched_pairs, paired_bootstrap
from speechssl.evaluation.confusions import Confusions, Worst, find_confusions, find_worst
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.evaluation.error_rates import ErrorRates, ScoredSet, align_set, rates_of_set
from speechssl.evaluation.hopeless import Circumstances, diagnose
from speechssl.evaluation.intervals import RelativeReduction, relative_reduction
from speechssl.evaluation.spelling import words_without_spaces


class Output(NamedTuple):
    """One file of a system's outputs, scored."""

    path: Path
    hypotheses: Mapping[str, str]
    scored: ScoredSet
    rates: ErrorRates


@dataclass(frozen=True)
class Details:
    """What one output says beyond its rates."""

    breakdowns: list[Breakdown]
    confusions: Confusions
    character_confusions: Confusions
    worst: list[Worst]
    notes: list[str]
    diagnoses: list[Diagnosis]
    """What is wrong with the set, the model or either side's writing."""


class System(NamedTuple):
    """Outputs of one system, of each seed if there are several."""

    outputs: Sequence[Output]
    details: Details
    """Of the first output."""


@dataclass(frozen=True)
class Comparison:
    """Two systems, of the same utterances."""

    reduction: RelativeReduction
    """Of the second system's mean rate against the first's."""
    difference: Difference | None
    """None of several seeds: it is of two outputs."""
    segments: SegmentTest | None
    """Likewise."""


def score_output(
    path: Path,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    speakers: Mapping[str, str],
    bootstrap_samples: int,
) -> Output:
    """Align an output with the references, and count.

    Raises:
        DataError: the ids differ, or no reference has a word.
    """
    scored = align_set(references, hypotheses, speakers)
    return Output(path, hypotheses, scored, rates_of_set(scored, bootstrap_samples=bootstrap_samples))


def detail(
    scored: ScoredSet,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    columns: Columns,
    by: Sequence[str] = (),
    known: Circumstances | None = None,
) -> Details:
    """Break down, find confusions and the worst utterances, and say what is no error of recognition.

    Raises:
        DataError: there is no column of a name in ``by``.
    """
    return Details(
        break_down(scored, columns, by),
        find_confusions(scored.words),
        find_confusions(scored.characters),
        find_worst(scored),
        words_without_spaces(references),
        diagnose(scored, references, hypotheses, known),
    )


def compare(first: Sequence[Output], second: Sequence[Output], bootstrap_samples: int) -> Comparison:
    """Compare two systems, each with one output or with one of each seed."""
    counts = [[output.scored.counts for output in outputs] for outputs in (first, second)]
    reduction = relative_reduction(*counts, bootstrap_samples=bootstrap_samples)
    if len(first) > 1 or len(second) > 1:
        return Comparison(reduction, None, None)
    return Comparison(
        reduction,
        paired_bootstrap(counts[0][0], counts[1][0], samples=bootstrap_samples),
        matched_pairs(first[0].scored.words, second[0].scored.words),
    )


def plain_details(details: Details) -> dict[str, Any]:
    """Details as plain values."""
    return {
        "breakdown": {item.column: [asdict(group) for group in item.groups] for item in details.breakdowns},
        "confusions": _plain_confusions(details.confusions),
        "character_confusions": _plain_confusions(details.character_confusions),
        "worst": [asdict(item) for item in details.worst],
        "notes": details.notes,
        "diagnoses": [item._asdict() for item in details.diagnoses],
    }


def _plain_confusions(confusions: Confusions) -> dict[str, Any]:
    return {kind: [asdict(item) for item in items] for kind, items in confusions._asdict().items()}


def mean_wer(outputs: Sequence[Output]) -> float:
    """Mean word error rate of a system's outputs."""
    return sum(output.rates.wer for output in outputs) / len(outputs)


def plain_score(
    reference: Path, case: str, systems: Sequence[System], comparison: Comparison | None, notes: Sequence[str]
) -> dict[str, Any]:
    """The content of ``score.json``; rates are shares, not percent."""
    return {
        "reference": str(reference),
        "case": case,
        "systems": [
            {
                "outputs": [{"hypothesis": str(output.path), **asdict(output.rates)} for output in system.outputs],
                "mean_wer": mean_wer(system.outputs),
                **plain_details(system.details),
            }
            for system in systems
        ],
        "comparison": None if comparison is None else plain_comparison(comparison),
        "notes": list(notes),
    }


def plain_utterances(output: Output, references: Mapping[str, str], columns: Columns) -> list[dict[str, Any]]:
    """A line for each utterance, in order of id, that ``score`` reads again; its names win over those of columns."""
    return [
        {
            **{name: value for name, value in columns.get(key, {}).items() if name not in _OURS},
            "id": key,
            "reference": references[key],
            "hypothesis": output.hypotheses[key],
            "num_words": words.edits.in_reference,
            "substitutions": words.edits.substitutions,
            "deletions": words.edits.deletions,
            "insertions": words.edits.insertions,
            "character_errors": characters.edits.errors,
            "num_characters": characters.edits.in_reference,
        }
        for key, words, characters in zip(output.scored.ids, output.scored.words, output.scored.characters, strict=True)
    ]


_COUNTS = ("num_words", "substitutions", "deletions", "insertions", "character_errors", "num_characters")
_OURS = frozenset({"id", "reference", "hypothesis", *_COUNTS})


def plain_comparison(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values."""
    return {
        "relative_reduction": asdict(comparison.reduction),
        "paired_bootstrap": asdict(comparison.difference) if comparison.difference else None,
        "matched_pairs": asdict(comparison.segments) if comparison.segments else None,
    }
