"""Pretraining updates on a few real batches, timed: what a run would cost is known before it is begun."""

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch

from speechssl.config import PretrainConfig
from speechssl.cores import num_cores
from speechssl.data.augmented import make_augmenter
from speechssl.data.batches import Batch, Quarantine, load_batch
from speechssl.data.streams import StreamPlan
from speechssl.errors import DataError
from speechssl.remote.store import make_store
from speechssl.tasks.pretraining import PretrainTask, make_model
from speechssl.tasks.sets import load_corpus
from speechssl.training.loop import Trainer
from speechssl.training.machine import configure_cpu, peak_memory, reset_peak_memory, resolve_accelerator
from speechssl.training.memory import available_memory
from speechssl.training.meter import Meter
from speechssl.training.processes import make_fabric
from speechssl.training.ranks import ALONE
from speechssl.training.resume import RunData

SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Micro-batches that are tried, as multiples of the configuration's."""
MEMORY_SHARE = 0.8
"""Of what is free, that the processes may take up."""
REPEATS = 20
"""Most runs of one size."""


class Probed(NamedTuple):
    """What micro-batches of one size take on one device, while every device of the machine is at work."""

    batch_seconds: float
    """Limit on padded audio."""
    audio_seconds: float
    """Audio that they really have, in the middle."""
    micro_batch_seconds: float
    """Forward and backward pass of one."""
    step_seconds: float
    """Clipping and optimiser step."""
    read_seconds: float
    """Reading, decoding and augmenting one, in one worker."""
    peak_bytes: int
    """Of the device, or of the process on a CPU."""


def probe_machine(config: PretrainConfig, devices: int, seconds: float) -> list[Probed]:
    """Try micro-batches around the configured size in a process per device; means over them, of those that fit.

    On a CPU the processes may take up what is free of memory. A GPU knows its own, and of several one is tried, which
    the others do not slow.

    Raises:
        DataError: a sample is damaged, nothing fits, or the system ended a process, most likely for want of memory.
    """
    sizes = [config.data.max_batch_seconds * factor for factor in SIZES]
    tried = f"{', '.join(f'{size:g}' for size in sizes)} s"
    memory = MEMORY_SHARE * available_memory() / devices
    on_cpu = resolve_accelerator(config.training.accelerator) == "cpu"
    processes = devices if on_cpu else 1
    if on_cpu and not config.training.num_threads:
        config = replace(config, training=replace(config.training, num_threads=max(1, num_cores() // devices)))
    try:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            found = list(pool.map(_probe, *zip(*[(config, sizes, seconds, memory)] * processes, strict=True)))
    except BrokenProcessPool as error:
        raise DataError(
            f"the system ended a process that tried micro-batches of {tried}, most likely for want of memory; give "
            "smaller ones with data.max_batch_seconds, or fewer devices"
        ) from error
    if not min(found, key=len):
        raise DataError(
            f"no micro-batch of {tried} has room for the longest sample and fits into the memory of this machine"
        )
    return [mean_of(same) for same in zip(*found, strict=False)]


def mean_of(same: Sequence[Probed]) -> Probed:
    """One size on several devices; the highest memory."""
    means = Probed(*map(statistics.mean, zip(*same, strict=True)))
    return means._replace(peak_bytes=max(item.peak_bytes for item in same))


def _probe(config: PretrainConfig, sizes: Sequence[float], seconds: float, memory_bytes: float) -> list[Probed]:
    """The same on this process's device."""
    update = OneUpdate(config)
    found: list[Probed] = []
    for size in sizes:
        if found and size / found[-1].batch_seconds * found[-1].peak_bytes > memory_bytes:
            break
        plan = update.plan(size)
        if plan is None:
            continue
        try:
            found.append(update.measure(plan, seconds / len(sizes)))
        except (torch.OutOfMemoryError, MemoryError):
            break
        except RuntimeError as error:
            if "allocate memory" not in str(error):
                raise
            break
    return found


class OneUpdate:
    """The parts of an update, on one device."""

    def __init__(self, config: PretrainConfig) -> None:
        training = replace(config.training, devices=1, strategy="auto")
        self.config = replace(config, training=training, data=replace(config.data, num_streams=1))
        configure_cpu(training)
        # A launcher's variables speak of a whole run, not of this process.
        self.fabric = make_fabric(training, 1, skips_parameters=False, place=ALONE)
        self.fabric.launch()
        store = make_store(config.data)
        self.corpus = load_corpus(config.data.shards, config.model, store=store)
        model = make_model(config)
        keeps_clean = model.views == "heard and clean"
        self.augment = make_augmenter(
            config.augmentation, self.corpus, training.seed, store=store, keeps_clean=keeps_clean
        )
        self.task = PretrainTask(self.config, model, dev=None)
        self.module: Any = None
        self.optimizer: Any = None

    def plan(self, size: float) -> StreamPlan | None:
        """Micro-batches of one size, limit on their padded audio in seconds; None if a sample does not fit in them."""
        data = replace(self.config.data, max_batch_seconds=size)
        try:
            seed, two_views = self.config.training.seed, self.config.two_views
            return StreamPlan(self.corpus, data, seed=seed, crop=True, two_views=two_views)
        except DataError:
            return None

    def batches(self, plan: StreamPlan) -> Iterator[Batch]:
        """Micro-batches of the only stream, as they are heard."""
        quarantine = Quarantine(int(plan.config.max_bad_share * plan.num_samples + 1e-9), plan.num_samples)
        for update in count():
            batch = load_batch(plan.batch(update, 0), plan.sample_rate, quarantine=quarantine)
            yield batch if self.augment is None else self.augment(batch, update)

    def measure(self, plan: StreamPlan, budget: float) -> Probed:
        """Time some micro-batches of one size; ``budget`` is in seconds.

        Raises:
            DataError: a damaged sample.
        """
        trainer = Trainer(self.config, self.task, RunData(plan), self.fabric, {})
        if self.optimizer is None:
            self.module, self.optimizer = trainer.set_up(None)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        reset_peak_memory(self.fabric.device.type)
        audio, micro, step, read = [], [], [], []
        asked = time.perf_counter()
        ends = asked + budget
        for update, batch in enumerate(self.batches(plan)):
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
                read.append(started - asked)
            asked = stepped
            if len(micro) == REPEATS or (micro and stepped >= ends):
                break
        median, peak = statistics.median, peak_memory(self.fabric.device.type)
        size = plan.config.max_batch_seconds
        return Probed(size, median(audio), median(micro), median(step), median(read), peak)

    def now(self) -> float:
        """Time at which everything asked of the device is done."""
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()
