"""The figures of an evaluation: what ``metrics.json`` and ``hypotheses.jsonl`` hold of a scored set."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from speechssl.data.transcribed import Transcribed
from speechssl.evaluation.error_rates import diagnose, error_rates, respelled_wer
from speechssl.evaluation.headline import headline
from speechssl.evaluation.scoring import Scored
from speechssl.evaluation.stored import Utterance
from speechssl.text.characters import show_character
from speechssl.text.foreign import Foreign


class Figures(NamedTuple):
    """Of a scored set."""

    metrics: dict[str, Any]
    utterances: list[Utterance]
    """In order of their keys."""


def make_figures(checked: Transcribed, scored: Scored, foreign: Foreign, *, bootstrap_samples: int) -> Figures:
    """Error rates with their intervals, what was not scored, and what the model cannot write of the references."""
    hypotheses = {key: hypothesis.text for key, hypothesis in scored.hypotheses.items()}
    refs = map(checked.corpus.__getitem__, range(len(checked.corpus)))
    speakers = {ref.key: ref.speaker for ref in refs if ref.key in scored.references and ref.speaker}
    rates = error_rates(scored.references, hypotheses, speakers=speakers, bootstrap_samples=bootstrap_samples)
    head = headline(scored.references, hypotheses, speakers, bootstrap_samples=bootstrap_samples)
    unusual = [reason for reason in checked.counts() if reason != "no transcript"]
    metrics = {
        **asdict(rates),
        **head,
        "skipped": dict(Counter(scored.skipped.values())),
        "skipped_ids": sorted(scored.skipped),
        # Scored, though no model could be right.
        "unusual": {reason: checked.counts()[reason] for reason in unusual},
        "unusual_ids": {reason: checked.keys(reason) for reason in unusual},
        "characters": describe_characters(foreign, scored.references, hypotheses),
        "warning": diagnose(scored.references, hypotheses, asdict(rates)[head["headline"]], foreign),
    }
    utterances = [
        Utterance(key, text, hypotheses[key], scored.hypotheses[key].confidence, speakers.get(key))
        for key, text in sorted(scored.references.items())
    ]
    return Figures(metrics, utterances)


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
