"""What a fine-tuning knows of itself, from which the cause of what goes wrong in it is told."""

import math
from collections.abc import Sequence

import numpy as np

from speechssl.config import FinetuneConfig
from speechssl.config.reading import from_dict
from speechssl.data.corpus import Corpus
from speechssl.errors import ConfigError
from speechssl.evaluation.causes import RunFacts
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.evaluation.levels import SILENT_AUDIO
from speechssl.frames import num_frames
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import Checkpoint, run_of
from speechssl.training.run_log import LOG_FILE, read_log

ENCODER_FROZEN_UPDATES = 10_000
"""In which only the head learns above a pretrained encoder (wav2vec 2.0, section 4.3); the head of a recogniser can."""
MAX_COUNTED = 1_000
"""Utterances whose frames and labels are counted, spread over the set."""


def frozen_updates(config: FinetuneConfig) -> int:
    """Updates in which only the head learns."""
    if config.init is None:
        return 0
    frozen = config.freeze_context_updates
    return ENCODER_FROZEN_UPDATES if frozen == "auto" else frozen


def facts_of(config: FinetuneConfig) -> RunFacts:
    """What a configuration says of its run."""
    rate, updates = config.optimizer.learning_rate, config.training.max_updates
    return RunFacts(
        has_init=config.init is not None,
        learning_rate=rate,
        head_rate=rate * config.head_learning_rate_scale,
        frozen_updates=frozen_updates(config),
        warmup_updates=round(config.schedule.warmup * updates),
        max_updates=updates,
    )


def gather_facts(
    config: FinetuneConfig, train: Corpus, vocabulary: Vocabulary, minutes: float, doubts: Sequence[Diagnosis]
) -> RunFacts:
    """What is known when a run begins.

    Args:
        config: as it runs.
        train: what is learned from.
        vocabulary: of the run.
        minutes: of labels.
        doubts: what ``examine`` found.
    """
    silent = next((doubt for doubt in doubts if doubt.name == SILENT_AUDIO), None)
    ratio = frames_per_label(config, train, vocabulary)
    return facts_of(config)._replace(minutes=minutes, silent=silent, frames_per_label=ratio)


def frames_per_label(config: FinetuneConfig, train: Corpus, vocabulary: Vocabulary) -> float | None:
    """Frames for each label in the training set; None if that has no labels."""
    rows = np.unique(np.linspace(0, len(train) - 1, MAX_COUNTED).astype(int))
    texts = train.texts or ()
    # Cut, not encoded: transcripts of a run that goes on may hold what is no label of it, which is refused elsewhere.
    labels = sum(len(vocabulary.segmenter.split(texts[row])) for row in rows.tolist())
    frames = num_frames(train.num_samples[rows], config.model.feature_encoder.conv_layers)
    return float(frames.sum()) / labels if labels else None


def facts_of_checkpoint(checkpoint: Checkpoint, minutes: float | None) -> RunFacts | None:
    """What a recogniser's run says of itself, from its configuration, dev scores and log; None of another toolkit's.

    Args:
        checkpoint: of the recogniser.
        minutes: of labels, if its run has finished.
    """
    try:
        facts = facts_of(from_dict(FinetuneConfig, checkpoint.config, source=str(checkpoint.path)))
    except ConfigError:
        return None
    lines = [line for line in read_log(run_of(checkpoint.path) / LOG_FILE) if line["update"] <= checkpoint.update]
    losses = [line["loss"] for line in lines if line["kind"] == "train" and line.get("loss") is not None]
    rates = {name: value for name, value in checkpoint.metrics.items() if value is not None and math.isfinite(value)}
    return facts._replace(
        updates=checkpoint.update, minutes=minutes, train_loss=losses[-1] if losses else None, dev_rates=rates
    )
