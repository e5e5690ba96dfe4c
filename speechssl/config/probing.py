"""Probing: what the layers of an encoder know."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from speechssl.config.limits import Amount, BelowOne, Count, CountOrZero, Factor, Section, Seed, Size
from speechssl.config.streams import NO_SHARDS, EvaluationSetConfig


@dataclass(frozen=True)
class HeadTrainingConfig(Section):
    """Heads on frozen frames."""

    lstm_dim: Size = 64
    """Units per direction of the recurrent head's LSTM layer."""
    dropout: BelowOne = 0.2
    """On what enters each layer of a head."""
    updates: Count = 200
    """Updates of a head that PyTorch trains."""
    max_batch_frames: Count = 2_000
    """Frames per update, padding included."""
    learning_rate: Factor = 5e-3
    """Peak learning rate of Adam."""
    max_grad_norm: Factor = 1.0
    """Gradients of a larger norm are scaled down to it."""


ProbeTask = Literal["ctc", "speaker", "verification", "language", "units", "abx", "rank", "cka"]


@dataclass(frozen=True)
class ProbeConfig(Section):
    """Say what each layer of an encoder knows, beside log-mel energies, MFCC and random weights."""

    checkpoint: Path
    """Run folder (its best checkpoint, or else its newest) or one checkpoint; its encoder stays as it is."""
    train: EvaluationSetConfig
    """Audio that heads learn from, with what the shards say of it."""
    test: EvaluationSetConfig
    """Audio that is scored."""
    output: Path
    """Folder for probe.json and probe.png."""
    tasks: list[ProbeTask] = field(
        default_factory=lambda: ["ctc", "speaker", "verification", "language", "units", "abx", "rank", "cka"]
    )
    """"ctc": characters and words; "speaker": who speaks, in held-out utterances of train; "verification": whether two
    utterances of test are of one speaker, whom train does not have; "language": of test; without any training, "units"
    and "abx": how far k-means units and distances follow the aligned characters; "rank": directions in use; "cka": what
    layers have in common. What the shards cannot tell is left out, and named."""
    layers: list[str] = field(default_factory=list)
    """Some of "features" (what the transformer gets), "block_1" and so on, "context"; if absent, all but the last."""
    baselines: list[Literal["log_mel", "mfcc", "random"]] = field(default_factory=lambda: ["log_mel", "mfcc", "random"])
    """What is scored in the same way: spectral features at the encoder's frame rate, and the first and last of the
    layers with random weights."""
    aligner: Path | None = None
    """Fine-tuning run whose recogniser says when the characters of test were said, for "units" and "abx"."""
    heads: HeadTrainingConfig = HeadTrainingConfig()
    """How heads are trained."""
    num_seeds: Count = 3
    """Heads, held-out utterances and k-means of each layer, whose mean and spread are told."""
    num_units: Size = 100
    """Entries of k-means."""
    bootstrap_samples: Size = 10_000
    """Resamples behind 95% intervals: of speakers if the shards know all, and at least 10; else of utterances."""
    seed: Seed = 0
    """Of the first of the heads."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""

    def problems(self) -> Iterator[str]:
        """Nothing to do, and sets without shards."""
        if not self.tasks:
            yield "tasks is empty, expected at least one"
        for name, data in (("train", self.train), ("test", self.test)):
            if not data.shards:
                yield f"{name}.shards {NO_SHARDS}"


@dataclass(frozen=True)
class TrainingProbeConfig(Section):
    """Whether the representation still improves: the character error rate of linear heads on the frozen encoder of a
    checkpoint, which chooses the best checkpoint. No probe if train and test name no shards. Nothing of it reaches the
    encoder: the losses of a run are the same with it and without."""

    train: EvaluationSetConfig = EvaluationSetConfig()
    """Transcribed audio that the heads learn from; the encoder never sees the transcripts."""
    test: EvaluationSetConfig = EvaluationSetConfig()
    """Transcribed audio of other people, on which the heads are scored."""
    every: CountOrZero = 0
    """Updates between probes, a multiple of training.checkpoint_every; 0 probes every checkpoint. The last update is
    probed too."""
    layers: list[str] = field(default_factory=list)
    """Some of "features", "block_1" and so on, "context"; the best of them counts, and each takes as long as the first.
    If absent, the middle block (block_3 of 4, block_7 of 12), or the features of an encoder without blocks."""
    seconds: Amount = 120.0
    """Audio that is taken of train, and of test: utterances drawn from all speakers in turn, the same in every run."""
    updates: Count = 100
    """Updates of each head."""
    num_heads: Count = 2
    """Heads per layer, that differ in the order of their samples and in dropout. Their mean is the score, and their
    spread its noise."""
    stop_after: Count | None = None
    """Ends the run when so many probes in a row were no better than the best before them, by more than their noise;
    never if absent. The learning rate is then still that of a longer run."""

    @property
    def is_on(self) -> bool:
        """Whether there is anything to probe with."""
        return bool(self.train.shards and self.test.shards)

    def problems(self) -> Iterator[str]:
        """Half a probe, and noise that nobody measures."""
        for name, data, other in (("train", self.train, self.test), ("test", self.test, self.train)):
            if other.shards and not data.shards:
                yield f"{name}.shards {NO_SHARDS}, with transcripts"
        if self.stop_after and not (self.train.shards or self.test.shards):
            yield "stop_after is given, but nothing to probe with; give train.shards and test.shards too"
        if self.stop_after and self.num_heads == 1:
            yield "num_heads is 1, whose noise is not known, which stop_after needs; give 2 or more"
