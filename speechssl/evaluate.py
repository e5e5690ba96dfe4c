"""Error rates of a fine-tuned model on transcribed shards."""

import json
from collections import Counter
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track

from speechssl import __version__
from speechssl.config import EvaluateConfig
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.reading import read_speaker
from speechssl.data.remote.store import make_store
from speechssl.errors import ConfigError, DataError
from speechssl.evaluation.error_rates import ErrorRates, diagnose, error_rates
from speechssl.evaluation.intervals import name_units
from speechssl.evaluation.scoring import Scored, score
from speechssl.evaluation.stored import EVALUATION_FILES, HYPOTHESES_FILE, Utterance, read_metrics, write_evaluation
from speechssl.outputs import check_output_folder
from speechssl.recogniser import Recogniser, load_recogniser
from speechssl.training.checkpoints import run_of, weights_digest
from speechssl.training.machine import resolve_accelerator, resolve_precision, settle_cpu
from speechssl.training.run_log import SUMMARY_FILE


class Subject(NamedTuple):
    """What is evaluated, and on what."""

    recogniser: Recogniser
    corpus: Corpus
    device: torch.device
    precision: str


def run(config: EvaluateConfig) -> ErrorRates:
    """Transcribe, score, write ``hypotheses.jsonl`` and ``metrics.json``; what is there of the same is left alone.

    Raises:
        ConfigError: no shards are named.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: shards are missing or damaged, of another sample rate, or without transcripts.
    """
    check_output_folder(config.output, ours=EVALUATION_FILES)
    if not config.data.shards:
        raise ConfigError("data.shards is empty; name shard files or folders that `speechssl shard` made")
    settle_cpu()
    subject = load_subject(config)
    origin = describe(config, subject)
    metrics = read_metrics(config.output)
    if metrics is None or any(metrics.get(name) != value for name, value in origin.items()):
        metrics = evaluate(config, subject, origin)
        print_metrics(config, metrics)
    else:
        print_metrics(config, metrics, note="evaluated before, with the same weights and data; nothing was repeated")
    return ErrorRates(**{item.name: metrics[item.name] for item in fields(ErrorRates)})


def load_subject(config: EvaluateConfig) -> Subject:
    """Model and shards.

    Raises:
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: shards are missing, or of another sample rate.
    """
    device = torch.device(resolve_accelerator(config.accelerator))
    recogniser = load_recogniser(config.checkpoint, device)
    corpus = read_corpus(config.data.shards, with_texts=True, store=make_store(config.data))
    if corpus.sample_rate != recogniser.config.sample_rate:
        raise DataError(
            f"the shards hold {corpus.sample_rate} Hz audio, the model was trained on "
            f"{recogniser.config.sample_rate} Hz; make them again with --sample_rate {recogniser.config.sample_rate}"
        )
    return Subject(recogniser, corpus, device, resolve_precision(config.precision, device.type))


def describe(config: EvaluateConfig, subject: Subject) -> dict[str, Any]:
    """All that decides the figures, for metrics.json: an evaluation of the same need not be repeated."""
    checkpoint = subject.recogniser.checkpoint
    made_of = {
        "weights": weights_digest(checkpoint.model_state),
        "data": subject.corpus.digest(),
        "precision": subject.precision,
        "bootstrap_samples": config.bootstrap_samples,
        "version": __version__,
    }
    return {
        "checkpoint": str(checkpoint.path),
        "update": checkpoint.update,
        "init": "pretrained" if checkpoint.config.get("init") else "scratch",
        "seed": checkpoint.config["training"]["seed"],
        "made_of": made_of,
        **training_summary(subject.recogniser),
    }


def training_summary(recogniser: Recogniser) -> dict[str, Any]:
    """Updates, seconds and label minutes of the run that the checkpoint belongs to; None until it has finished."""
    path = run_of(recogniser.checkpoint.path) / SUMMARY_FILE
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: summary.get(name) for name in ("updates", "wall_seconds", "labels_minutes")}


def evaluate(config: EvaluateConfig, subject: Subject, origin: dict[str, Any]) -> dict[str, Any]:
    """Transcribe and score; writes both files, and returns the content of ``metrics.json``."""
    scored = score(
        subject.recogniser.model,
        subject.corpus,
        subject.recogniser.vocabulary,
        max_batch_seconds=config.data.max_batch_seconds,
        autocast_dtype=torch.bfloat16 if subject.precision == "bf16" else None,
        device=subject.device,
        progress=lambda batches: track(batches, description="evaluating", console=Console(stderr=True)),
    )
    hypotheses = {key: hypothesis.text for key, hypothesis in scored.hypotheses.items()}
    speakers = read_speakers(subject.corpus, scored)
    rates = error_rates(scored.references, hypotheses, speakers=speakers, bootstrap_samples=config.bootstrap_samples)
    metrics = {
        **asdict(rates),
        **origin,
        "skipped": dict(Counter(scored.skipped.values())),
        "skipped_ids": sorted(scored.skipped),
        "warning": diagnose(scored.references, hypotheses, rates.wer),
    }
    utterances = [
        Utterance(key, text, hypotheses[key], scored.hypotheses[key].confidence, speakers.get(key))
        for key, text in sorted(scored.references.items())
    ]
    write_evaluation(config.output, utterances, metrics)
    return metrics


def read_speakers(corpus: Corpus, scored: Scored) -> dict[str, str]:
    """Speakers of the scored utterances, of those whose shard knows."""
    chosen = (ref for ref in map(corpus.__getitem__, range(len(corpus))) if ref.key in scored.references)
    found = {ref.key: read_speaker(ref) for ref in chosen}
    return {key: speaker for key, speaker in found.items() if speaker is not None}


def print_metrics(config: EvaluateConfig, metrics: dict[str, Any], note: str = "") -> None:
    """The figures, what was left out, and why a rate is hopeless if it is."""
    rates = ErrorRates(**{item.name: metrics[item.name] for item in fields(ErrorRates)})
    units = name_units(rates.interval_unit, rates.num_speakers, rates.num_utterances)
    lines = [
        f"WER {rates.wer:.1%} ({rates.wer_low:.1%} to {rates.wer_high:.1%}), CER {rates.cer:.1%}",
        f"95% interval over {units}",
        f"{rates.num_utterances} utterances, {rates.num_words} words: {rates.substitutions} substitutions, "
        f"{rates.deletions} deletions, {rates.insertions} insertions",
    ]
    lines += [f"left out, {why}: {count}" for why, count in sorted(metrics["skipped"].items())]
    if metrics["warning"]:
        lines.append(f"WER is about 1: {metrics['warning']}")
    lines.append(f"transcripts: {config.output / HYPOTHESES_FILE}")
    if note:
        lines.append(note)
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
