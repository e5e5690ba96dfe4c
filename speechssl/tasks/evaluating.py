"""An evaluation of a recogniser: where its figures come from, and the figures."""

import logging
from typing import Any

from speechssl import __version__
from speechssl.config import EvaluateConfig, TextConfig
from speechssl.config.reading import to_dict
from speechssl.data.corpus import Corpus
from speechssl.data.transcribed import check_foreign, say_how_scored
from speechssl.decoding.decoder import build_decoder, describe_decoding
from speechssl.errors import ConfigError
from speechssl.evaluation.figures import make_figures
from speechssl.evaluation.hopeless import Circumstances
from speechssl.evaluation.levels import find_faults
from speechssl.evaluation.stored import write_evaluation
from speechssl.held_out import check_held_out
from speechssl.model.loading import weights_digest
from speechssl.recogniser import Recogniser
from speechssl.tasks.facts import facts_of_checkpoint
from speechssl.training.checkpoints import run_of
from speechssl.training.machine import resolve_precision
from speechssl.training.run_log import read_summary

logger = logging.getLogger(__name__)


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
    """How references and outputs are written: as was asked for, or else as in the recogniser's training.

    Raises:
        ConfigError: otherwise than the words of the lexicon through which references become phonemes.
    """
    own = recogniser.text
    if config.text is EvaluateConfig.text:
        return own
    if recogniser.vocabulary.lexicon is not None and config.text != own:
        differing = [
            f"text.{name} is {value!r}, expected {getattr(own, name)!r}"
            for name, value in to_dict(config.text).items()
            if value != getattr(own, name)
        ]
        raise ConfigError(
            f"{', '.join(differing)}: the recogniser writes phonemes, and finds those of references in its lexicon, "
            "whose words are written so; leave --text out"
        )
    return config.text


def evaluate(config: EvaluateConfig, recogniser: Recogniser, corpus: Corpus, origin: dict[str, Any]) -> dict[str, Any]:
    """Check, transcribe and score; writes the files, and returns the content of ``metrics.json``."""
    vocabulary = recogniser.vocabulary
    held_out = check_held_out(recogniser, config.data, corpus, text_of(config, recogniser))
    checked = held_out.checked
    say_how_scored(checked)
    logger.info("%s", checked.describe_characters(symbols=vocabulary.symbols))
    foreign = check_foreign(checked, vocabulary, held_out.writer)
    decoder = build_decoder(config.decoding, vocabulary)
    scored = held_out.hear(decoder, precision=origin["made_of"]["precision"], doing="evaluating")
    facts = facts_of_checkpoint(recogniser.checkpoint, origin["labels_minutes"])
    known = Circumstances(facts=facts, hear=lambda: find_faults(checked.corpus, checked.name))
    figures = make_figures(config.output, checked, scored, foreign, known, bootstrap_samples=config.bootstrap_samples)
    metrics = figures.metrics | origin
    write_evaluation(config.output, figures.utterances, figures.score, metrics)
    return metrics
