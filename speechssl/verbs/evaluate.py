"""``speechssl evaluate``: error rates of a fine-tuned model on transcribed shards."""

import logging
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from speechssl import __version__
from speechssl.config import EvaluateConfig, TextConfig
from speechssl.config.limits import check
from speechssl.config.reading import to_dict
from speechssl.data.corpus import Corpus
from speechssl.data.transcribed import check_foreign, check_transcripts, say_how_scored
from speechssl.decoding.decoder import build_decoder, describe_decoding
from speechssl.evaluation.error_rates import ErrorRates
from speechssl.evaluation.figures import make_figures
from speechssl.evaluation.hopeless import Circumstances
from speechssl.evaluation.levels import find_faults
from speechssl.evaluation.scoring import score
from speechssl.evaluation.showing import rates_of, show_metrics
from speechssl.evaluation.stored import EVALUATION_FILES, lacks_figures, read_metrics, write_evaluation
from speechssl.model.loading import weights_digest
from speechssl.outputs import check_output_folder
from speechssl.recogniser import Recogniser, load_recogniser
from speechssl.shards.addresses import redact_all
from speechssl.tasks.facts import facts_of_checkpoint
from speechssl.text.writing import Writer
from speechssl.training.checkpoints import run_of
from speechssl.training.machine import configure_cpu, resolve_precision
from speechssl.training.run_log import read_summary

logger = logging.getLogger(__name__)


def run(config: EvaluateConfig) -> ErrorRates:
    """Transcribe, score, and write the files of an evaluation; what is there of the same is left alone.

    Raises:
        ConfigError: no shards are named.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: shards are missing or damaged, of another sample rate, or without transcripts.
    """
    check(config)
    check_output_folder(config.output, ours=EVALUATION_FILES)
    configure_cpu()
    recogniser = load_recogniser(config.checkpoint, config.accelerator)
    corpus = recogniser.read_held_out(config.data, config.decoding)
    origin = describe(config, recogniser, corpus)
    metrics = read_metrics(config.output)
    note = "evaluated before, with the same weights and data; nothing was repeated"
    if metrics is None or lacks_figures(metrics) or any(metrics.get(name) != origin[name] for name in origin):
        metrics, note = evaluate(config, recogniser, corpus, origin), ""
    show_metrics(config.output, metrics, note)
    return rates_of(metrics)


def describe(config: EvaluateConfig, recogniser: Recogniser, corpus: Corpus) -> dict[str, Any]:
    """All that decides the figures, for metrics.json: an evaluation of the same need not be repeated."""
    checkpoint = recogniser.checkpoint
    summary = read_summary(run_of(checkpoint.path))
    return {
        "checkpoint": str(checkpoint.path),
        "update": checkpoint.update,
        "init": "pretrained" if checkpoint.config.get("init") else "scratch",
        "seed": checkpoint.config["training"]["seed"],
        "made_of": {
            "weights": weights_digest(checkpoint.model_state),
            "data": corpus.digest(),
            "precision": resolve_precision(config.precision, recogniser.model.head.weight.device.type),
            "bootstrap_samples": config.bootstrap_samples,
            "version": __version__,
        },
        "decoding": describe_decoding(config.decoding),
        "text": to_dict(text_of(config, recogniser)),
        "num_samples": len(corpus),
        **{name: summary.get(name) for name in ("updates", "wall_seconds", "labels_minutes")},
    }


def text_of(config: EvaluateConfig, recogniser: Recogniser) -> TextConfig:
    """How references and outputs are written: as was asked for, or else as in the recogniser's training."""
    return config.text if config.text is not EvaluateConfig.text else recogniser.text


def evaluate(config: EvaluateConfig, recogniser: Recogniser, corpus: Corpus, origin: dict[str, Any]) -> dict[str, Any]:
    """Check, transcribe and score; writes the files, and returns the content of ``metrics.json``."""
    vocabulary = recogniser.vocabulary
    writer = Writer(text_of(config, recogniser), vocabulary.lexicon)
    checked = check_transcripts(
        corpus,
        recogniser.config.feature_encoder.conv_layers,
        name=redact_all(config.data.shards),
        characters_per_label=vocabulary.longest_label,
        writer=writer,
    )
    say_how_scored(checked)
    logger.info("%s", checked.describe_characters(symbols=vocabulary.symbols))
    foreign = check_foreign(checked, vocabulary, writer)
    scored = score(
        recogniser.model,
        checked.corpus,
        build_decoder(config.decoding, vocabulary),
        max_batch_seconds=config.data.max_batch_seconds,
        autocast_dtype=torch.bfloat16 if origin["made_of"]["precision"] == "bf16" else None,
        device=recogniser.model.head.weight.device,
        writer=writer,
        progress=lambda batches: track(batches, description="evaluating", console=Console(stderr=True)),
    )
    facts = facts_of_checkpoint(recogniser.checkpoint, origin["labels_minutes"])
    known = Circumstances(facts=facts, hear=lambda: find_faults(checked.corpus, checked.name))
    figures = make_figures(config.output, checked, scored, foreign, known, bootstrap_samples=config.bootstrap_samples)
    metrics = figures.metrics | origin
    write_evaluation(config.output, figures.utterances, figures.score, metrics)
    return metrics
