"""The files of a tuning: the search that was found, for ``--config``, all that was tried, and its picture."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.console import Console

from speechssl.config import BeamConfig
from speechssl.config.reading import to_dict
from speechssl.decoding.decoder import describe_decoding, file_digest
from speechssl.evaluation.tuning import Trial, best_of, edges
from speechssl.outputs import Recogniser, has_json, is_plot, write_json, write_whole
from speechssl.report.tuning import make_table, plot_sweep
from speechssl.text.measure import Measure

logger = logging.getLogger(__name__)

DECODING_FILE, TRIALS_FILE, PLOT_FILE = "decoding.yaml", "tune.json", "tune.png"
_DIGEST = "decoding_sha256"


class Tuning(NamedTuple):
    """What was tried, on what, and what it gave."""

    checkpoint: Path
    shards: str
    decoding: BeamConfig
    """The search, but for what was tuned."""
    trials: Sequence[Trial]
    greedy: float
    """Error rate without a search."""
    measure: Measure

    @property
    def best(self) -> Trial:
        """The best trial."""
        return best_of(self.trials, self.measure)


def tuning_files(folder: Path) -> dict[str, Recogniser]:
    """Files of a tuning, and how to know those of an earlier one: ``decoding.yaml`` if it is as it was written, which
    earlier versions did not note."""

    def is_decoding(path: Path) -> bool:
        earlier = _read(folder)
        return "trials" in earlier and earlier.get(_DIGEST) in (None, file_digest(path))

    return {DECODING_FILE: is_decoding, TRIALS_FILE: has_json("trials"), PLOT_FILE: is_plot}


def write_tuning(folder: Path, tuning: Tuning) -> None:
    """Write the files, and say what they replace."""
    best, earlier = tuning.best, _read(folder)
    names = {"language_model", "word_list"}
    found = {name: value for name, value in to_dict(tuning.decoding).items() if value is not None}
    found |= {name: str(Path(found[name]).resolve()) for name in names & found.keys()}
    found |= {"weight": best.weight, "word_score": best.word_score}
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"decoding": found}, sort_keys=False, allow_unicode=True)
    content = {
        "checkpoint": str(tuning.checkpoint),
        "shards": tuning.shards,
        "decoding": describe_decoding(tuning.decoding),
        _DIGEST: hashlib.sha256(text.encode()).hexdigest(),
        f"greedy_{tuning.measure}": tuning.greedy,
        "best": best._asdict(),
        "trials": [trial._asdict() for trial in tuning.trials],
    }
    (folder / DECODING_FILE).unlink(missing_ok=True)  # one that tune.json does not know would seem to be another's
    write_json(folder / TRIALS_FILE, content)
    write_whole(folder / DECODING_FILE, text)
    plot_sweep(tuning.trials, tuning.measure, tuning.greedy, folder / PLOT_FILE)
    if earlier and earlier != json.loads(json.dumps(content)):
        logger.warning("%s: replaced an earlier tuning, %s", folder, _told(earlier))


def show_tuning(folder: Path, tuning: Tuning, weights: Sequence[float], word_scores: Sequence[float]) -> None:
    """Tell the error rates and the best setting, and where a better one may lie."""
    best, measure = tuning.best, tuning.measure
    console = Console(highlight=False, soft_wrap=True)
    console.print(make_table(tuning.trials, measure))
    console.print(
        f"{measure.upper()}: greedy {tuning.greedy:.2%}; best {getattr(best, measure):.2%} with weight {best.weight:g} "
        f"and word_score {best.word_score:g}"
    )
    for what in edges(best, weights, word_scores):
        logger.warning("the best is at %s; try more with --weights and --word_scores", what)
    console.print(f"for evaluate and transcribe: --config {folder / DECODING_FILE}", markup=False)


def _read(folder: Path) -> dict[str, Any]:
    """What an earlier tuning has written; empty if there is none."""
    path = folder / TRIALS_FILE
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and path.stat().st_size else {}
    return content if isinstance(content, dict) else {}


def _told(earlier: dict[str, Any]) -> str:
    """An earlier tuning in words."""
    best, decoding = earlier.get("best", {}), earlier.get("decoding", {})
    rates = ", ".join(f"{name.upper()} {best[name]:.2%}" for name in ("wer", "cer") if name in best)
    return (
        f"weight {best.get('weight')} and word_score {best.get('word_score')}: {rates} with "
        f"{decoding.get('language_model')} on {earlier.get('shards')}"
    )
