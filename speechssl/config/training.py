"""The loop of a run: optimiser, schedule, devices, and when it is named unhealthy."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from speechssl.config.limits import (
    BelowOne,
    Count,
    CountOrZero,
    Factor,
    FactorOrZero,
    Megabytes,
    Section,
    Seed,
    Share,
    UpToAThousand,
)


@dataclass(frozen=True)
class OptimizerConfig(Section):
    """AdamW."""

    learning_rate: Factor = 5e-4
    """Peak learning rate."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.98)
    """Decay rates of the first and second moment."""
    eps: Factor = 1e-6
    """Added to the root of the second moment."""
    weight_decay: FactorOrZero = 0.01
    """Decoupled weight decay; not applied to biases and norms."""
    max_grad_norm: FactorOrZero = 0.0
    """Gradients of a larger norm are scaled down to it; 0 never scales."""


@dataclass(frozen=True)
class ScheduleConfig(Section):
    """Learning rate over the updates: a rise, a hold and a decay, as shares of training.max_updates."""

    warmup: Share = 0.08
    """Share of updates with a linearly rising rate (32k of 400k as published)."""
    hold: Share = 0.0
    """Share of updates at the peak rate."""
    decay: Literal["linear", "exponential", "none"] = "linear"
    """Shape of the fall over the remaining updates; tri-stage fine-tuning decays exponentially."""
    final_scale: Share = 0.0
    """Share of the peak rate that is left at the end (0.05 in tri-stage fine-tuning)."""

    def problems(self) -> Iterator[str]:
        if self.warmup + self.hold > 1 + 1e-9:
            yield (
                f"warmup ({self.warmup:g}) and hold ({self.hold:g}) add up to more than 1, the whole of "
                "training.max_updates"
            )
        if self.decay == "exponential" and self.final_scale == 0:
            yield (
                "final_scale is 0, which an exponential decay never reaches; set it above 0 (0.05 is usual) or choose "
                "--schedule.decay linear"
            )


@dataclass(frozen=True)
class TrainingConfig(Section):
    """The loop."""

    max_updates: Count = 400_000
    """Optimiser updates."""
    checkpoint_every: Count = 5_000
    """Updates between checkpoints; the last update always makes one."""
    keep_checkpoints: CountOrZero = 2
    """Newest checkpoints kept; the best of fine-tuning, or of a pretraining's probe, is kept besides."""
    log_every: Count = 50
    """Updates between lines of the run log; figures are means over them."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of matrix products: bf16 autocast, or fp32; "auto" is bf16 where the hardware has it."""
    seed: Seed = 0
    """Seeds weights, order, crops, masks, negatives and dropout."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""
    devices: Count | Literal["auto"] = 1
    """Processes on this machine, one per device, which share the streams without changing what is learned; "auto": one
    for each GPU, or CPU core, as far as they divide num_streams."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """What several processes keep: "ddp", the whole model each; "fsdp", a part of its weights, gradients and optimiser
    state each, for models that do not fit one device; "auto": ddp. What is learned does not depend on it."""
    gradient_bucket_megabytes: Megabytes = 25.0
    """Gradients that ddp gathers before it sends them, in 2**20 bytes of float32. All buckets but the last travel while
    the backward pass goes on: smaller ones leave less to wait for at its end, larger ones have fewer delays. What is
    learned does not depend on it. fsdp sends each transformer block by itself and has no use for it."""
    reduce_in_bf16: bool = False
    """Send gradients between processes in bf16: half their traffic, for slow links; fsdp still sends weights round in
    float32. A process sums its own in float32; what it sends, and the sum over processes, is rounded to 8 significant
    bits, so several processes learn what one does to that accuracy only. One process sends and rounds nothing. A run
    may be resumed with another value."""
    compile: bool = False
    """Compile the model into one graph (torch.compile): minutes at the start, for faster updates on GPUs. On CPUs it
    does not pay. Noise inside the network is drawn otherwise; a block that layer drop skips is computed and left, and
    its weights still decay."""
    recompute: Literal["none", "context", "all"] = "none"
    """Activations that the backward pass computes again instead of keeping them: those inside the transformer blocks
    ("context"), or in the convolutions too ("all"). Less memory, a quarter to a third more time, the same results."""
    num_threads: UpToAThousand = 0
    """Threads of each process on a CPU; 0 leaves it to PyTorch, which takes all cores or shares them among the
    processes. Small models are fastest on one."""


@dataclass(frozen=True)
class HealthConfig(Section):
    """When a run is named unhealthy."""

    on_failure: Literal["stop", "warn"] = "stop"
    """"stop" ends the run with exit status 3 and keeps the checkpoint from before; "warn" goes on."""
    patience_updates: CountOrZero = 5_000
    """Updates a pretraining run may stay at chance, or its codebook collapsed, before it is named; and a fine-tuning,
    after its warm-up and frozen updates, with empty dev outputs or a dev WER of 100%."""
    min_accuracy_over_chance: FactorOrZero = 2.0
    """Accuracy of the pretext task, as a multiple of chance, below which a run is "at chance"; where chance is high,
    errors fewer by this factor are enough."""
    min_perplexity_share: Share = 0.05
    """Perplexity of the targets' codes, as a share of the entries of a codebook, below which it is "collapsed"."""
