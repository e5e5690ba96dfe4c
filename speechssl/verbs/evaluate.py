"""``speechssl evaluate``: error rates of a fine-tuned model on transcribed shards."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track

from speechssl import __version__
from speechssl.config import EvaluateConfig
from speechssl.config.limits import check
from speechssl.config.reading import to_dict
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.transcribed import Transcribed, check_foreign, check_transcripts, say_how_scored
from speechssl.decoding.decoder import build_decoder
from speechssl.errors import DataError
from speechssl.evaluation.error_rates import ErrorRates, diagnose, error_rates, respelled_wer
from speechssl.evaluation.scoring import Scored, score
from speechssl.evaluation.showing import rates_of, show_metrics
from speechssl.evaluation.stored import EVALUATION_FILES, Utterance, read_metrics, write_evaluation
from speechssl.model.loading import weights_digest
from speechssl.outputs import check_output_folder
from speechssl.recogniser import Recogniser, load_recogniser
from speechssl.remote.store import make_store
from speechssl.shards.addresses import redact_all
from speechssl.text.characters import show_character
from speechssl.text.foreign import Foreign
from speechssl.training.checkpoints import run_of
from speechssl.training.machine import configure_cpu, resolve_accelerator, resolve_precision
from speechssl.training.run_log import SUMMARY_FILE

logger = logging.getLogger(__name__)


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
    check(config)
    check_output_folder(config.output, ours=EVALUATION_FILES)
    configure_cpu()
    subject = load_subject(config)
    origin = describe(config, subject)
    metrics, note = (
        read_metrics(config.output),
        "evaluated before, with the same weights and data; nothing was repeated",
    )
    if metrics is None or any(metrics.get(name) != value for name, value in origin.items()):
        metrics, note = evaluate(config, subject, origin), ""
    show_metrics(config.output, metrics, note)
    return rates_of(metrics)


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
        "decoding": to_dict(config.decoding),
        "num_samples": len(subject.corpus),
        **training_summary(subject.recogniser),
    }


def training_summary(recogniser: Recogniser) -> dict[str, Any]:
    """Updates, seconds and label minutes of the run that the checkpoint belongs to; None until it has finished."""
    path = run_of(recogniser.checkpoint.path) / SUMMARY_FILE
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: summary.get(name) for name in ("updates", "wall_seconds", "labels_minutes")}


def evaluate(config: EvaluateConfig, subject: Subject, origin: dict[str, Any]) -> dict[str, Any]:
    """Check, transcribe and score; writes both files, and returns the content of ``metrics.json``."""
    vocabulary = subject.recogniser.vocabulary
    checked = check_transcripts(
        subject.corpus,
        subject.recogniser.config.feature_encoder.conv_layers,
        name=redact_all(config.data.shards),
        characters_per_label=vocabulary.longest_label,
    )
    say_how_scored(checked)
    logger.info("%s", checked.describe_characters())
    foreign = check_foreign(checked, vocabulary.characters)
    scored = score(
        subject.recogniser.model,
        checked.corpus,
        build_decoder(config.decoding, vocabulary),
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
        **counted(checked, scored),
        "characters": describe_characters(foreign, scored.references, hypotheses),
        "warning": diagnose(scored.references, hypotheses, rates.wer, foreign),
    }
    utterances = [
        Utterance(key, text, hypotheses[key], scored.hypotheses[key].confidence, speakers.get(key))
        for key, text in sorted(scored.references.items())
    ]
    write_evaluation(config.output, utterances, metrics)
    return metrics


def counted(checked: Transcribed, scored: Scored) -> dict[str, Any]:
    """What became of the samples: those that are not scored, and those that are, though no model could be right."""
    unusual = [reason for reason in checked.counts() if reason != "no transcript"]
    return {
        "skipped": dict(Counter(scored.skipped.values())),
        "skipped_ids": sorted(scored.skipped),
        "unusual": {reason: checked.counts()[reason] for reason in unusual},
        "unusual_ids": {reason: checked.keys(reason) for reason in unusual},
    }


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


def read_speakers(corpus: Corpus, scored: Scored) -> dict[str, str]:
    """Speakers of the scored utterances, of those whose shard knows."""
    refs = map(corpus.__getitem__, range(len(corpus)))
    return {ref.key: ref.speaker for ref in refs if ref.key in scored.references and ref.speaker}
