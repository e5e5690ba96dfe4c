"""The likeliest cause of outputs that are empty, equal or wrong, from what is known of the run that made them."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from speechssl.evaluation.diagnosis import Diagnosis, Why

MIN_MOVEMENT = 0.02
"""How far Adam must be able to move a weight of the head, rate times updates, to leave the plateau of blanks."""
LOW_RATE = 3e-5
HIGH_RATE, HIGH_HEAD_RATE = 3e-3, 3e-2
MIN_FRAMES_PER_LABEL = 2.0
"""CTC needs 1, and one more between equal labels; speech at 50 frames per second has 3 to 5."""
LONG_WARMUP = 0.5
"""Share of the updates."""
FEW_MINUTES = 30.0
"""Of labels, from which hardly anything is learned without a pretrained encoder."""
FEW_UPDATES = 1_000
COLLAPSED_RANK = 1.5
"""Effective rank of context vectors below which they all point one way."""
LEARNED_LOSS = 0.7
"""Nats per label below which the training set has been learned."""


class RunFacts(NamedTuple):
    """What a fine-tuning knows of itself."""

    has_init: bool
    learning_rate: float
    """Peak."""
    head_rate: float
    """Peak, of all that was not pretrained."""
    frozen_updates: int
    """In which only the head learns."""
    warmup_updates: int
    max_updates: int
    updates: int | None = None
    """That the weights have had; None of a run that has not ended."""
    minutes: float | None = None
    """Of transcribed audio that is learned from."""
    frames_per_label: float | None = None
    """Of the training set."""
    silent: Diagnosis | None = None
    """If its audio is."""
    train_loss: float | None = None
    """The newest, in nats per label."""
    dev_rates: Mapping[str, float] = MappingProxyType({})
    """Error rates on its dev set, by name."""

    def was_better(self, name: str, rate: float) -> bool:
        """Whether an error rate on its dev set is less than half of another."""
        return self.dev_rates.get(name.lower(), math.inf) < 0.5 * rate


def why_stuck(facts: RunFacts, *, rose: bool = False, rank: float | None = None) -> Why | None:
    """Why a run does not learn, if there is a sure sign of it; arguments as of ``why_empty``."""
    return _why_deaf(facts, rank) or _why_frozen(facts) or _why_rate(facts, rose=rose) or _why_frames(facts)


def why_empty(facts: RunFacts, *, rose: bool = False, rank: float | None = None) -> Why:
    """Why outputs are still empty after the plateau that every CTC training passes through.

    Args:
        facts: of the run.
        rose: whether its loss has risen far above its lowest.
        rank: effective rank of its context vectors.
    """
    if found := why_stuck(facts, rose=rose, rank=rank):
        return found
    all_learn = facts.max_updates - facts.frozen_updates
    if facts.warmup_updates >= LONG_WARMUP * facts.max_updates:
        return Why(
            f"the warm-up takes {facts.warmup_updates} of the {facts.max_updates} updates",
            "give a lower --schedule.warmup, or more --training.max_updates",
        )
    if not facts.has_init and facts.minutes is not None and facts.minutes < FEW_MINUTES:
        return Why(
            f"there is no --init, and {facts.minutes:.1f} minutes of labels teach random weights little",
            "give --init a pretrained encoder, or more transcripts",
        )
    if all_learn < FEW_UPDATES:
        return Why(
            f"too few updates: the whole model learns in {all_learn}",
            "give more --training.max_updates",
        )
    what = "an --init that learned nothing" if facts.has_init else "no --init"
    return Why(
        f"{what}, or transcripts that are not those of their audio",
        "compare a few transcripts with their audio; then try --optimizer.learning_rate three times higher and lower",
    )


def why_constant(facts: RunFacts, *, rose: bool = False, rank: float | None = None) -> Why:
    """Why a head writes the same whatever is said."""
    return (
        _why_deaf(facts, rank)
        or _why_rate(facts, rose=rose)
        or Why(
            "the transcripts are not those of their audio, or context vectors say nothing of it (look at the effective "
            "rank in the log)",
            "compare a few transcripts with their audio; then try another --init, or --optimizer.learning_rate three "
            "times lower",
        )
    )


def why_wrong(facts: RunFacts, name: str, rate: float) -> Why:
    """Why outputs are words, but wrong ones; by how well the run did on what it knows.

    Args:
        facts: of the run.
        name: of the error rate.
        rate: the hopeless one.
    """
    if facts.was_better(name, rate):
        return Why(
            f"the {name} on the run's dev set was {facts.dev_rates[name.lower()]:.1%}, so this audio or its text is "
            "unlike what it learned from",
            "listen to some; train further on a part of it (--init), or with --augmentation that is like it",
        )
    of = "" if facts.minutes is None else f"{facts.minutes:.1f} minutes of "
    begin = "a pretrained --init, " if not facts.has_init else ""
    loss = facts.train_loss
    if loss is not None and loss < LEARNED_LOSS:
        return Why(
            f"too few labels: the {of}training transcripts are learned (loss {loss:.2f} nats per label), and say too "
            "little of others",
            f"give more transcripts, {begin}or --augmentation and --masking",
        )
    if loss is not None:
        return Why(
            f"it has hardly learned yet: {loss:.2f} nats per label on its {of}training transcripts after "
            f"{facts.updates or facts.max_updates} updates" + ("" if facts.has_init else ", from random weights"),
            f"give {begin}more --training.max_updates, or more transcripts",
        )
    return Why("too few updates, too few labels, or unlike training audio", f"give {begin}more updates or transcripts")


def _why_deaf(facts: RunFacts, rank: float | None) -> Why | None:
    if facts.silent is not None:
        return Why(f"silent audio ({facts.silent.symptom})", facts.silent.remedy)
    if rank is not None and rank < COLLAPSED_RANK:
        return Why(
            f"context vectors are all alike (effective rank {rank:.1f}), so no output can depend on the audio",
            "give another --init, or --optimizer.learning_rate three times lower",
        )
    return None


def _why_frozen(facts: RunFacts) -> Why | None:
    if facts.frozen_updates < facts.max_updates:
        return None
    return Why(
        f"the encoder is frozen in all {facts.max_updates} updates (freeze_context_updates {facts.frozen_updates}), "
        "and the head alone did not get there",
        "give a lower --freeze_context_updates, such as 0, or more --training.max_updates",
    )


def _why_rate(facts: RunFacts, *, rose: bool) -> Why | None:
    """A learning rate of the head or the encoder that is too high, or too low for so few updates."""
    rates = f"optimizer.learning_rate {facts.learning_rate:g}, for the head {facts.head_rate:g}"
    if rose or facts.learning_rate > HIGH_RATE or facts.head_rate > HIGH_HEAD_RATE:
        which = "--head_learning_rate_scale" if facts.learning_rate <= HIGH_RATE / 10 else "--optimizer.learning_rate"
        threw = "threw the model back" if rose else "throws the model back"
        return Why(f"a learning rate that {threw} ({rates})", f"give a {which} ten times lower, or a longer warm-up")
    if facts.head_rate * facts.max_updates < MIN_MOVEMENT and facts.head_rate < LOW_RATE:
        return Why(
            f"a learning rate too low to move the head in {facts.max_updates} updates ({rates})",
            "give --optimizer.learning_rate 3e-5 to 1e-3, or a higher --head_learning_rate_scale",
        )
    return None


def _why_frames(facts: RunFacts) -> Why | None:
    ratio = facts.frames_per_label
    if ratio is None or ratio >= MIN_FRAMES_PER_LABEL:
        return None
    return Why(
        f"too few frames: {ratio:.1f} per label, which leaves CTC hardly a choice",
        "choose smaller strides in model.feature_encoder.conv_layers, or larger labels (--targets.name sentencepiece)",
    )
