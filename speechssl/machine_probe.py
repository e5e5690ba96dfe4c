"""Pretraining updates on a few real batches, timed: what a run would cost is known before it is begun."""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch

from speechssl.config import PretrainConfig
from speechssl.data.batches import Batch, load_batch
from speechssl.data.corpus import Corpus
from speechssl.data.streams import StreamPlan
from speechssl.errors import DataError
from speechssl.objectives.contrastive import ContrastiveModel
from speechssl.pretrain import PretrainTask
from speechssl.training.loop import Meter, Trainer
from speechssl.training.machine import peak_memory, reset_peak_memory, resolve_accelerator, settle_cpu
from speechssl.training.processes import make_fabric

REPEATS = 20
"""Most runs of one size."""


class Probed(NamedTuple):
    """What micro-batches of one size take on one device, while every device of the machine is at work."""

    batch_seconds: float
    """Limit on padded audio."""
    audio_seconds: float
    """Audio that they really have, in the middle."""
    micro_seconds: float
    """Forward and backward pass of one."""
    step_seconds: float
    """Clipping and optimiser step."""
    peak_bytes: int
    """Of the device, or of the process on a CPU."""


class Limits(NamedTuple):
    """What a probe may use."""

    seconds: float
    """In all."""
    memory_bytes: float
    """Of one process, on a CPU; a GPU knows its own."""


def probe_machine(
    config: PretrainConfig, corpus: Corpus, sizes: Sequence[float], *, devices: int, limits: Limits
) -> list[Probed]:
    """Try sizes of micro-batches, smallest first, in a process per device.

    Args:
        config: of the run.
        corpus: what it would learn from.
        sizes: padded audio of the micro-batches, in seconds, ascending.
        devices: processes that work at the same time; of several GPUs one is tried, which the others do not slow.
        limits: time and memory.

    Returns:
        Means over the devices, of those sizes that fit.
    """
    processes = devices if resolve_accelerator(config.training.accelerator) == "cpu" else 1
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        found = list(pool.map(_probe, *zip(*[(config, corpus, sizes, limits)] * processes, strict=True)))
    return [mean_of(same) for same in zip(*found, strict=False)]


def mean_of(same: Sequence[Probed]) -> Probed:
    """One size on several devices; the highest memory."""
    size, audio, micro, step, memory = zip(*same, strict=True)
    return Probed(size[0], statistics.mean(audio), statistics.mean(micro), statistics.mean(step), max(memory))


def _probe(config: PretrainConfig, corpus: Corpus, sizes: Sequence[float], limits: Limits) -> list[Probed]:
    """The same on this process's device."""
    update = OneUpdate(config)
    found: list[Probed] = []
    for number, size in enumerate(sizes):
        if found and size / found[-1].batch_seconds * found[-1].peak_bytes > limits.memory_bytes:
            break
        try:
            found.append(update.measure(corpus, size, limits.seconds / len(sizes)))
        except torch.OutOfMemoryError:
            break
        except DataError:
            # Samples longer than the batch: this size is too small for the corpus.
            if number == len(sizes) - 1:
                raise
    return found


class OneUpdate:
    """The parts of an update, on one device."""

    def __init__(self, config: PretrainConfig) -> None:
        training = replace(config.training, devices=1, num_nodes=1, strategy="auto")
        self.config = replace(config, training=training, data=replace(config.data, num_streams=1))
        settle_cpu(training)
        # The launcher's variables speak of the whole run, not of this process.
        for name in ("LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
            os.environ.pop(name, None)
        self.fabric = make_fabric(training, 1, skips_parameters=False)
        self.fabric.launch()
        self.task = PretrainTask(
            self.config, ContrastiveModel(config.model, config.objective, config.dropout), dev=None
        )
        self.trainer: Trainer | None = None
        self.module: Any = None
        self.optimizer: Any = None

    def prepare(self, plan: StreamPlan) -> Trainer:
        """The loop's own functions, for batches of another size."""
        trainer = Trainer(self.config, self.task, plan, self.fabric, {})
        if self.optimizer is None:
            self.module, self.optimizer = trainer.set_up(None)
        return trainer

    def measure(self, corpus: Corpus, size: float, budget: float) -> Probed:
        """Time some micro-batches of one size.

        Args:
            corpus: what they come from.
            size: limit on their padded audio, in seconds.
            budget: seconds to spend.
        """
        plan = StreamPlan(
            corpus, replace(self.config.data, max_batch_seconds=size), seed=self.config.training.seed, crop=True
        )
        trainer = self.prepare(plan)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        reset_peak_memory(self.fabric.device.type)
        audio, micro, step = [], [], []
        ends = time.perf_counter() + budget
        for update, batch in enumerate(batches_of(plan)):
            started = self.now()
            num_targets = trainer.backward(self.module, [batch], update, Meter())
            passed = self.now()
            trainer.normalize_gradients(parameters, num_targets)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            stepped = self.now()
            if update > 0:  # the first one prepares kernels and the optimiser's state
                audio.append(float(batch.lengths.sum()) / plan.sample_rate)
                micro.append(passed - started)
                step.append(stepped - passed)
            if len(micro) == REPEATS or (micro and stepped >= ends):
                break
        peak = peak_memory(self.fabric.device.type)
        return Probed(size, statistics.median(audio), statistics.median(micro), statistics.median(step), peak)

    def now(self) -> float:
        """Time at which everything asked of the device is done."""
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def batches_of(plan: StreamPlan) -> Iterator[Batch]:
    """Micro-batches of the only stream."""
    for update in count():
        yield load_batch(plan.batch(update, 0), plan.sample_rate)
