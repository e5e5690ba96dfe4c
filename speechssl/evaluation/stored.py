"""The files of an evaluation: ``hypotheses.jsonl``, one object per utterance, ``score.json``, what its errors are, and
``metrics.json``, written last."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from speechssl.config import TextConfig
from speechssl.config.reading import to_dict
from speechssl.evaluation.error_rates import ErrorRates, count_words
from speechssl.evaluation.headline import count_characters
from speechssl.evaluation.intervals import WordCounts
from speechssl.outputs import has_json, has_json_lines, write_json, write_whole
from speechssl.text.measure import Measure

METRICS_FILE = "metrics.json"
HYPOTHESES_FILE = "hypotheses.jsonl"
SCORE_FILE = "score.json"
UTTERANCES_FILES = ("utterances.jsonl", "other_utterances.jsonl")
"""Of a score, of one system and of another."""
_IS_SCORE = has_json("systems", "notes")
EVALUATION_FILES = {
    METRICS_FILE: has_json("wer", "cer"),
    HYPOTHESES_FILE: has_json_lines("id", "reference", "hypothesis"),
    SCORE_FILE: _IS_SCORE,
}
"""Files of an evaluation, and how to know those of an earlier one."""
SCORE_FILES = {
    SCORE_FILE: _IS_SCORE,
    **dict.fromkeys(UTTERANCES_FILES, has_json_lines("id", "reference", "hypothesis", "substitutions")),
}
"""Files of a score, likewise."""


class Utterance(NamedTuple):
    """One line of ``hypotheses.jsonl``."""

    id: str
    reference: str
    hypothesis: str
    confidence: float
    speaker: str | None
    """None if the shards do not know."""
    language: str | None
    """Likewise."""
    seconds: float
    """Length of its audio."""

    @property
    def columns(self) -> dict[str, str | float]:
        """What error rates can be broken down by."""
        known = {"speaker": self.speaker, "language": self.language, "seconds": self.seconds}
        return {name: value for name, value in known.items() if value is not None}


def write_evaluation(
    folder: Path, utterances: Iterable[Utterance], score: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    """Write the files, whole or not at all; figures are there only beside the transcripts that they are of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS_FILE).unlink(missing_ok=True)
    lines = (json.dumps(utterance._asdict(), ensure_ascii=False) + "\n" for utterance in utterances)
    write_whole(folder / HYPOTHESES_FILE, "".join(lines))
    write_json(folder / SCORE_FILE, score)
    write_json(folder / METRICS_FILE, metrics)


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """Figures of a whole evaluation; None if there is none, or one that cannot be read."""
    try:
        content = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or not (folder / HYPOTHESES_FILE).is_file():
        return None
    # Earlier versions knew no other way, and do not say so.
    return {"decoding": {"name": "greedy"}, "text": to_dict(TextConfig()), **content}


def lacks_figures(metrics: Mapping[str, Any]) -> bool:
    """Whether figures of an earlier version are without some that are shown now."""
    return not {"notes", "diagnoses", *(item.name for item in fields(ErrorRates))} <= metrics.keys()


def read_counts(folder: Path, measure: Measure = "wer") -> WordCounts:
    """Edits and words per utterance, and their speakers, which evaluations of earlier versions do not have.

    Args:
        folder: of the evaluation.
        measure: "cer" counts characters instead of words.

    Raises:
        OSError, ValueError, KeyError, TypeError: missing or damaged.
    """
    lines = [json.loads(line) for line in (folder / HYPOTHESES_FILE).read_text(encoding="utf-8").split("\n") if line]
    speakers = {x["id"]: x["speaker"] for x in lines if x.get("speaker")}
    count = count_words if measure == "wer" else count_characters
    return count({x["id"]: x["reference"] for x in lines}, {x["id"]: x["hypothesis"] for x in lines}, speakers)
