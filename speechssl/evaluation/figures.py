"""The figures of an evaluation: what ``metrics.json`` and ``hypotheses.jsonl`` hold of a scored set."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from speechssl.data.corpus import SampleRef
from speechssl.data.transcribed import Transcribed
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.evaluation.error_rates import respelled_wer
from speechssl.evaluation.headline import headline
from speechssl.evaluation.hopeless import Circumstances
from speechssl.evaluation.scoring import Scored
from speechssl.evaluation.stored import Utterance
from speechssl.evaluation.system import System, detail, plain_score, score_output
from speechssl.text.characters import show_character
from speechssl.text.foreign import Foreign


class Figures(NamedTuple):
    """Of a scored set."""

    metrics: dict[str, Any]
    utterances: list[Utterance]
    """In order of their keys."""
    score: dict[str, Any]
    """What the errors are, as ``speechssl score`` says it."""


def make_figures(
    output: Path,
    checked: Transcribed,
    scored: Scored,
    foreign: Foreign,
    circumstances: Circumstances | None = None,
    *,
    bootstrap_samples: int,
) -> Figures:
    """Error rates with their intervals, what was not scored, and what the model cannot write of the references.

    Args:
        output: where the evaluation is written, for its name.
        checked: the set.
        scored: its references and outputs.
        foreign: what the model cannot write of the references.
        circumstances: for the causes of what is wrong.
        bootstrap_samples: resamples behind the intervals.
    """
    circumstances = (circumstances or Circumstances())._replace(foreign=foreign)
    hypotheses = scored.outputs()
    refs = map(checked.corpus.__getitem__, range(len(checked.corpus)))
    known = {ref.key: ref for ref in refs if ref.key in scored.references}
    speakers = {key: ref.speaker for key, ref in known.items() if ref.speaker}
    found = score_output(output, scored.references, hypotheses, speakers, bootstrap_samples)
    utterances = [
        make_utterance(ref, checked.corpus.sample_rate, scored.references[key], scored.hypotheses[key])
        for key, ref in sorted(known.items())
    ]
    columns = {item.id: item.columns for item in utterances}
    details = detail(found.scored, scored.references, hypotheses, columns, known=circumstances)
    head = headline(scored.references, found.scored, bootstrap_samples=bootstrap_samples)
    unusual = [reason for reason in checked.counts() if reason != "no transcript"]
    metrics = {
        **asdict(found.rates),
        **head,
        "skipped": dict(Counter(scored.skipped.values())),
        "skipped_ids": sorted(scored.skipped),
        # Scored, though no model could be right.
        "unusual": {reason: checked.counts()[reason] for reason in unusual},
        "unusual_ids": {reason: checked.keys(reason) for reason in unusual},
        "characters": describe_characters(foreign, scored.references, hypotheses),
        "notes": details.notes,
        "diagnoses": [item._asdict() for item in details.diagnoses],
    }
    return Figures(metrics, utterances, plain_score(output, "keep", [System([found], details)], None, []))


def make_utterance(ref: SampleRef, sample_rate: int, reference: str, hypothesis: Hypothesis) -> Utterance:
    """A line of ``hypotheses.jsonl``."""
    return Utterance(
        id=ref.key,
        reference=reference,
        hypothesis=hypothesis.text,
        confidence=hypothesis.confidence,
        speaker=ref.speaker or None,
        language=ref.language or None,
        seconds=round(ref.num_samples / sample_rate, 3),
    )


def describe_characters(
    foreign: Foreign, references: Mapping[str, str], hypotheses: Mapping[str, str]
) -> dict[str, Any]:
    """What the model cannot write of the references, and the error rate if they were spelt as it writes."""
    return {
        "foreign": [item._asdict() | {"shown": show_character(item.character)} for item in foreign.characters],
        "foreign_words": foreign.num_words,
        "foreign_utterances": foreign.num_utterances,
        "remedies": foreign.remedies(),
        "wer_respelled": respelled_wer(references, hypotheses, foreign),
    }
