"""What every pretext task is to those who train, watch and report it."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from speechssl.config import HealthConfig
from speechssl.errors import ConfigError
from speechssl.model.encoder import Encoder

_NEAR_ONE = 0.95  # accuracy that no speech gives honestly where the targets are one code
_NEAR_SINGLE_ENTRY = 1.5  # mean perplexity at which codebooks in effect have one entry


class PretextOutput(NamedTuple):
    """Of one micro-batch; divide sums by the update's number of targets."""

    loss: Tensor
    """Summed over the targets, a scalar with a graph."""
    num_targets: int
    """Masked frames, or views, that the loss is over."""
    figures: Mapping[str, Tensor]
    """For the log, each summed over the targets, without a graph. ``loss`` is the task's own part in nats, without
    penalties; ``accuracy`` and ``chance`` count targets; ``perplexity_0`` ... are of the targets' codebooks."""
    context: Tensor
    """Context vectors (B, T, D), without a graph."""


class Symptom(NamedTuple):
    """What a failure of a task looks like, and whether it does now."""

    key: str
    """Its identity: two codebooks can be ill apart."""
    name: str
    """As a person knows it: "at chance", "collapsed codebook"."""
    present: bool
    text: str
    """The figures, and what they should be."""
    advice: str
    """Usual causes and remedies."""


class Objective(Protocol):
    """A pretext task: an ``nn.Module`` that holds the encoder and all else that learns with it."""

    encoder: Encoder
    """What fine-tuning takes."""
    views: Literal["heard", "heard and clean", "two"]
    """Audio that it takes: as augmentation leaves it, or beside that as it was before, or two crops of each recording,
    each with an augmentation of its own: rows i and B + i of a batch of (2 B, S)."""

    def draw(self, batch: int, num_frames: int, rng: torch.Generator, *, update: int) -> Any:
        """The random choices of a micro-batch, on the CPU: a tuple of tensors, numbers and None.

        Args:
            batch: utterances.
            num_frames: of each.
            rng: seeded by (seed, update, stream), so that no process matters.
            update: optimiser updates done.
        """

    def __call__(self, audio: Tensor, draw: Any, *, clean: Tensor | None = None) -> PretextOutput:
        """Loss of one micro-batch of equally long crops.

        Args:
            audio: waveforms, (B, S).
            draw: on their device.
            clean: waveforms for the targets, (B, S), if the audio was augmented.
        """

    def after_update(self, update: int) -> None:
        """Called once after each optimiser step, on every rank; ``update`` counts those done.

        What it changes follows from the weights and the update alone, and lies in buffers: a resumed run goes on as if
        nothing had been.
        """

    def symptoms(self, figures: Mapping[str, float], limits: HealthConfig) -> list[Symptom]:
        """What can be said of its health from means per target; nothing of what the figures lack."""


def refuse_others(asked: Mapping[str, object], earlier: Mapping[str, object], usual: Mapping[str, object]) -> None:
    """Refuse to go on with other values than the weights of ``init`` were made with; defaults count as left open.

    Args:
        asked: what decides which weights a task has, or what they mean, by its key below ``objective``.
        earlier: the same of the run of ``init``.
        usual: the defaults.

    Raises:
        ConfigError: names all that differs, with both values.
    """
    problems = [
        f"objective.{name} is {value!r}, and {earlier[name]!r} in the run of --init, which brings its own; leave it out"
        for name, value in asked.items()
        if value not in (earlier[name], usual[name])
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def at_chance(figures: Mapping[str, float], limits: HealthConfig, *, text: str, advice: str) -> list[Symptom]:
    """Accuracy that guessing reaches; ``text`` is added to the figures."""
    if "accuracy" not in figures or "chance" not in figures:
        return []
    accuracy, chance, factor = figures["accuracy"], figures["chance"], limits.min_accuracy_over_chance
    # A guess that is right more often than not cannot be beaten by a factor; its errors can be made fewer by one.
    least = min(factor * chance, 1 - (1 - chance) / factor) if factor > 1 else factor * chance
    found = (
        f"the model is not learning: accuracy is {accuracy:.4f}, guessing gives {chance:.4f}, and {least:.4f} "
        f"(health.min_accuracy_over_chance {factor:g}) was not reached. {text}"
    )
    return [Symptom("at chance", "at chance", not accuracy >= least, found.rstrip(), advice)]


def collapsed_codebooks(
    figures: Mapping[str, float], limits: HealthConfig, num_entries: list[int], *, advice: str
) -> list[Symptom]:
    """Codebooks of which hardly any entry is in use, given the entries of each."""
    found = []
    for number, entries in enumerate(num_entries):
        value = figures.get(f"perplexity_{number}")
        if value is None:
            continue
        least = limits.min_perplexity_share * entries
        text = (
            f"codebook {number} is at perplexity {value:.1f} of {entries} entries, below {least:.1f} "
            f"(health.min_perplexity_share {limits.min_perplexity_share:g}), and its targets carry little of the speech"
        )
        found.append(Symptom(f"collapsed group {number}", "collapsed codebook", not value >= least, text, advice))
    return found


def trivial_targets(figures: Mapping[str, float], num_codebooks: int, *, advice: str) -> list[Symptom]:
    """Targets that have become all but one code: the task is solved, and nothing is learned."""
    values = [figures[name] for name in map("perplexity_{}".format, range(num_codebooks)) if name in figures]
    if "accuracy" not in figures or not values:
        return []
    present = figures["accuracy"] >= _NEAR_ONE and sum(values) / len(values) <= _NEAR_SINGLE_ENTRY
    summed = " + ".join(f"{value:.2f}" for value in values)
    text = (
        f"accuracy is {figures['accuracy']:.3f} with code perplexities {summed} = {sum(values):.2f}; a single code per "
        f"codebook would give {len(values)}"
    )
    return [Symptom("collapse", "collapse", present, text, advice)]
