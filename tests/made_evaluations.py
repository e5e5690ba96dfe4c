"""Evaluations as files, of models that were never trained."""

import json
from dataclasses import asdict
from pathlib import Path

from speechssl.evaluation.error_rates import error_rates

NUM = 40


def evaluated(
    folder: Path, arm: str, minutes: int, num_wrong: int, *, word: str = "TWO", seed: int = 0, num: int = NUM
) -> None:
    """One evaluation with so many wrong among twice as many words as there are utterances."""
    references = {f"u{i}": f"ONE {word}" for i in range(num)}
    hypotheses = {f"u{i}": "ONE SIX" if i < num_wrong else f"ONE {word}" for i in range(num)}
    voices = {f"u{i}": f"s{i % 20}" for i in range(num)}
    path = folder / f"seed{seed}" / f"finetune_{arm}_{minutes}min" / "evaluate_test"
    path.mkdir(parents=True)
    lines = [{"id": i, "reference": references[i], "hypothesis": hypotheses[i], "speaker": voices[i]} for i in voices]
    (path / "hypotheses.jsonl").write_text("\n".join(map(json.dumps, lines)))
    init = "scratch" if arm in ("scratch", "log_mel") else "pretrained"
    known = {"init": init, "seed": seed, "labels_minutes": float(minutes), "updates": 500, "wall_seconds": 61.5}
    (path / "metrics.json").write_text(
        json.dumps({**asdict(error_rates(references, hypotheses, speakers=voices)), **known})
    )
