"""Error rates of a fine-tuned model on transcribed shards."""

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from speechssl.config import EvaluateConfig
from speechssl.data.corpus import read_corpus
from speechssl.data.remote.store import make_store
from speechssl.errors import ConfigError, DataError
from speechssl.evaluation.error_rates import ErrorRates, diagnose, error_rates
from speechssl.evaluation.scoring import Scored, score
from speechssl.recogniser import Recogniser, load_recogniser
from speechssl.training.checkpoints import run_of
from speechssl.training.loop import SUMMARY_FILE, write_json
from speechssl.training.machine import resolve_accelerator, resolve_precision, settle_cpu

METRICS_FILE = "metrics.json"
HYPOTHESES_FILE = "hypotheses.jsonl"


def run(config: EvaluateConfig) -> ErrorRates:
    """Transcribe, score, write ``hypotheses.jsonl`` and ``metrics.json``.

    Raises:
        ConfigError: no shards are named.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: shards are missing or damaged, of another sample rate, or without transcripts.
    """
    if not config.data.shards:
        raise ConfigError("data.shards is empty; name shard files or folders that `speechssl shard` made")
    settle_cpu()
    device = torch.device(resolve_accelerator(config.accelerator))
    recogniser = load_recogniser(config.checkpoint, device)
    corpus = read_corpus(config.data.shards, with_texts=True, store=make_store(config.data))
    if corpus.sample_rate != recogniser.config.sample_rate:
        raise DataError(
            f"the shards hold {corpus.sample_rate} Hz audio, the model was trained on "
            f"{recogniser.config.sample_rate} Hz; make them again with --sample_rate {recogniser.config.sample_rate}"
        )
    precision = resolve_precision(config.precision, device.type)
    scored = score(
        recogniser.model,
        corpus,
        recogniser.vocabulary,
        max_batch_seconds=config.data.max_batch_seconds,
        autocast_dtype=torch.bfloat16 if precision == "bf16" else None,
        device=device,
        progress=lambda batches: track(batches, description="evaluating", console=Console(stderr=True)),
    )
    hypotheses = {key: hypothesis.text for key, hypothesis in scored.hypotheses.items()}
    rates = error_rates(scored.references, hypotheses, bootstrap_samples=config.bootstrap_samples)
    reason = diagnose(scored.references, hypotheses, rates.wer)
    save(config, recogniser, scored, rates, reason)
    print_rates(config, scored, rates, reason)
    return rates


def save(config: EvaluateConfig, recogniser: Recogniser, scored: Scored, rates: ErrorRates, reason: str | None) -> None:
    """Write both files, the figures last: they mark the evaluation as whole."""
    config.output.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "id": key,
            "reference": text,
            "hypothesis": scored.hypotheses[key].text,
            "confidence": scored.hypotheses[key].confidence,
        }
        for key, text in sorted(scored.references.items())
    ]
    with (config.output / HYPOTHESES_FILE).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    content: dict[str, Any] = {
        **asdict(rates),
        "checkpoint": str(recogniser.checkpoint.path),
        "update": recogniser.checkpoint.update,
        "init": "pretrained" if recogniser.checkpoint.config.get("init") else "scratch",
        "seed": recogniser.checkpoint.config["training"]["seed"],
        "skipped": dict(Counter(scored.skipped.values())),
        "skipped_ids": sorted(scored.skipped),
        "warning": reason,
        **training_summary(recogniser),
    }
    write_json(config.output / METRICS_FILE, content)


def training_summary(recogniser: Recogniser) -> dict[str, Any]:
    """Updates, seconds and label minutes of the run that the checkpoint belongs to, if it has finished."""
    path = run_of(recogniser.checkpoint.path) / SUMMARY_FILE
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: summary.get(name) for name in ("updates", "wall_seconds", "labels_minutes")}


def print_rates(config: EvaluateConfig, scored: Scored, rates: ErrorRates, reason: str | None) -> None:
    """The figures, what was left out, and why a rate is hopeless if it is."""
    console = Console()
    lines = [
        f"WER {rates.wer:.1%} ({rates.wer_low:.1%} to {rates.wer_high:.1%}, 95% interval), CER {rates.cer:.1%}",
        f"{rates.num_utterances} utterances, {rates.num_words} words: {rates.substitutions} substitutions, "
        f"{rates.deletions} deletions, {rates.insertions} insertions",
    ]
    lines += [f"left out, {why}: {count}" for why, count in sorted(Counter(scored.skipped.values()).items())]
    if reason:
        lines.append(f"WER is about 1: {reason}")
    lines.append(f"transcripts: {config.output / HYPOTHESES_FILE}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
