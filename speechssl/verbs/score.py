"""``speechssl score``: error rates of any recogniser's output, and two systems compared."""

import json
from pathlib import Path
from typing import Any

from speechssl.config import ScoreConfig
from speechssl.config.limits import check
from speechssl.errors import ConfigError
from speechssl.evaluation.stored import METRICS_FILE, SCORE_FILE, SCORE_FILES, UTTERANCES_FILES
from speechssl.evaluation.system import (
    System,
    compare,
    detail,
    plain_score,
    plain_utterances,
    score_output,
)
from speechssl.evaluation.system_showing import show_score
from speechssl.evaluation.transcripts.gathering import Gathered, gather
from speechssl.outputs import check_output_folder, write_json, write_whole


def run(config: ScoreConfig) -> list[System]:
    """Score each output, break its errors down, and compare two systems if there are two.

    Raises:
        ConfigError: the output cannot be written, or would mix with an evaluation.
        DataError: says what is wrong with each of the files, or which utterances are not in both.
    """
    check(config)
    if config.output is not None:
        check_output_folder(config.output, ours=SCORE_FILES)
        if (config.output / METRICS_FILE).exists():
            raise ConfigError(f"output is {config.output}, which holds an evaluation; choose another folder")
    gathered = gather(
        config.reference,
        [config.hypothesis or [config.reference], *([config.other] if config.other else [])],
        reference_format=None if config.reference_format == "auto" else config.reference_format,
        hypothesis_format=None if config.hypothesis_format == "auto" else config.hypothesis_format,
        speakers=config.speakers,
        case=config.case,
    )
    systems = [score_system(gathered, number, config) for number in range(len(gathered.systems))]
    outputs = [system.outputs for system in systems]
    comparison = compare(outputs[0], outputs[1], config.bootstrap_samples) if len(outputs) > 1 else None
    show_score(systems, comparison, gathered.notes, config.show)
    if config.output is not None:
        content = plain_score(config.reference, config.case, systems, comparison, gathered.notes)
        write(config.output, gathered, systems, content)
    return systems


def score_system(gathered: Gathered, number: int, config: ScoreConfig) -> System:
    """One system's outputs, and the details of the first."""
    references = gathered.references
    outputs = [
        score_output(path, references, hypotheses, gathered.speakers, config.bootstrap_samples)
        for path, hypotheses in gathered.systems[number]
    ]
    first = outputs[0]
    return System(outputs, detail(first.scored, references, first.hypotheses, gathered.columns, config.by))


def write(folder: Path, gathered: Gathered, systems: list[System], content: dict[str, Any]) -> None:
    """Write the utterances of each system's first output, and then the score."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, system in zip(UTTERANCES_FILES, systems, strict=False):
        utterances = plain_utterances(system.outputs[0], gathered.references, gathered.columns)
        write_whole(folder / name, "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in utterances))
    write_json(folder / SCORE_FILE, content)
