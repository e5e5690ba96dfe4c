"""The training loop: the same for every task, on any number of devices.

An update sums the loss over the targets of all its micro-batches, on every rank, and divides once by their number; so
neither accumulation nor the number of processes changes what is learned.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from speechssl.config import FinetuneConfig, OptimizerConfig, PretrainConfig
from speechssl.config_files import to_dict
from speechssl.data.augmented import BatchAugmenter
from speechssl.data.batches import Batch, BatchLoader
from speechssl.data.corpus import Corpus
from speechssl.data.remote.addresses import without_credentials
from speechssl.data.streams import StreamPlan
from speechssl.training.checkpoints import (
    CheckpointKind,
    latest_checkpoint,
    load_checkpoint,
    load_training_state,
    load_weights,
    prune_checkpoints,
    read_best,
    save_checkpoint,
)
from speechssl.training.fingerprint import describe_arithmetic, describe_corpus, describe_plan, describe_set
from speechssl.training.health import Watch
from speechssl.training.machine import resolve_precision, to_device
from speechssl.training.meter import Meter, StepOutput
from speechssl.training.processes import announce
from speechssl.training.resume import check_same_run
from speechssl.training.run_log import SUMMARY_FILE, RunLog
from speechssl.training.schedules import check_schedule, learning_rate_scale
from speechssl.training.seeding import seed_noise
from speechssl.training.sharding import ShardedStrategy, WholeState, gather_state, shard_optimizer_state


class Task(Protocol):
    """What the loop must know of pretraining or fine-tuning."""

    kind: CheckpointKind
    module: nn.Module
    vocabulary: dict[str, Any] | None

    def set_module(self, module: nn.Module) -> None:
        """Take the module as wrapped for the devices; steps must go through it."""

    def step(self, batch: Batch, update: int) -> StepOutput:
        """Forward pass of one micro-batch at an update, counted from 0."""

    @property
    def health(self) -> Watch:
        """Raises HealthError if the run is not learning."""

    @property
    def scores_start(self) -> bool:
        """Whether held-out data is also scored before the first update."""

    def validate(self, update: int) -> dict[str, float]:
        """Score held-out data before the checkpoint of an update is written; {} if there is none.

        Called on the first rank, or on every rank if each has only a part of the module.
        """

    def after_checkpoint(self, update: int, scores: Mapping[str, float]) -> None:
        """Called when a checkpoint is on disk."""


@dataclass
class Progress:
    """Where a run stands."""

    update: int = 0
    """Updates done."""
    wall_seconds: float = 0.0
    """Training time so far, interrupted parts included."""


class Trainer:
    """Runs a task from its last checkpoint to ``training.max_updates``.

    Args:
        config: resolved configuration of the run.
        task: what to train; its module is still on the CPU, unwrapped.
        plan: which samples make up which micro-batch.
        fabric: launched devices.
        extra_summary: figures for summary.json.
        origin: digest of the weights that ``init`` brought; empty if they are random.
        augment: what happens to the micro-batches before they are heard.
        train: what is learned from.
        dev: what the best checkpoint is chosen on; None if none is chosen.
    """

    def __init__(
        self,
        config: PretrainConfig | FinetuneConfig,
        task: Task,
        plan: StreamPlan,
        fabric: Fabric,
        extra_summary: Mapping[str, float],
        origin: str = "",
        augment: BatchAugmenter | None = None,
        train: Corpus | None = None,
        dev: Corpus | None = None,
    ) -> None:
        self.config = config
        self.training = config.training
        self.task = task
        self.plan = plan
        self.fabric = fabric
        self.extra_summary = extra_summary
        self.origin = origin
        self.augment = augment
        self.train = train
        self.dev = dev
        check_schedule(config.schedule)
        self.sharded = fabric.strategy if isinstance(fabric.strategy, ShardedStrategy) else None
        self.streams = own_streams(plan.num_streams, fabric.global_rank, fabric.world_size)
        self.progress = Progress()

    def run(self) -> None:
        """Train; write checkpoints, log and summary."""
        optimizer_state = self.resume()
        if self.progress.update >= self.training.max_updates:
            self.finish()
            return
        module, optimizer = self.set_up(optimizer_state)
        start = self.progress.update
        loader = BatchLoader(
            self.plan,
            self.streams,
            start_update=start,
            max_updates=self.training.max_updates,
            num_workers=self.stream_config().num_workers,
            pin=self.fabric.device.type == "cuda",
            augment=self.augment,
        )
        enabled = self.fabric.is_global_zero
        log = RunLog(self.config.output, self.training.max_updates, start_update=start, enabled=enabled)
        with log:
            self.updates(module, optimizer, loader, log)
        self.task.health.warn_at_end(self.progress.update)
        self.finish()

    def head_scale(self) -> float:
        """Factor on the learning rate of the CTC head."""
        return self.config.head_learning_rate_scale if isinstance(self.config, FinetuneConfig) else 1.0

    def stream_config(self):  # type: ignore[no-untyped-def]
        """Stream configuration of the training data."""
        return self.config.train if isinstance(self.config, FinetuneConfig) else self.config.data

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the result besides the configuration, as plain values."""
        pools = self.augment.pools if self.augment is not None else {}
        precision = resolve_precision(self.training.precision, self.fabric.device.type)
        return {
            "plan": describe_plan(self.plan),
            "train": None if self.train is None else describe_set(self.train),
            "dev": None if self.dev is None else describe_set(self.dev),
            "pools": {stage: describe_corpus(pool, in_order=True) for stage, pool in pools.items()},
            "origin": self.origin,
            "arithmetic": describe_arithmetic(precision, self.fabric.device),
        }

    def set_up(self, optimizer_state: dict[str, Any] | None) -> tuple[Any, Any]:
        """Module and optimizer on the devices; the optimizer comes second, because shards are new parameters."""
        if self.training.compile:
            # Micro-batches differ in shape, and a graph for each would take minutes.
            self.task.module.compile(dynamic=True)
        module = self.fabric.setup_module(self.task.module)
        self.task.set_module(module)
        optimizer = build_optimizer(self.task.module, self.config.optimizer, self.head_scale())
        if optimizer_state is not None:
            whole = self.sharded is None
            optimizer.load_state_dict(optimizer_state if whole else shard_optimizer_state(optimizer_state, optimizer))
        return module, self.fabric.setup_optimizers(optimizer)

    def resume(self) -> dict[str, Any] | None:
        """Take up the newest checkpoint of the run folder, if there is one; returns its optimiser state."""
        path = latest_checkpoint(self.config.output)
        if path is None:
            return None
        checkpoint = load_checkpoint(path)
        state = load_training_state(path)
        check_same_run(self.config, checkpoint, self.config.output, now=self.fingerprint, before=state)
        load_weights(self.task.module, checkpoint.model_state, source=path)
        self.task.health.load_state_dict(state["health"])
        self.progress = Progress(checkpoint.update, state["wall_seconds"])
        if self.fabric.is_global_zero and checkpoint.metrics:
            # A run that was killed between writing a checkpoint and acting on its scores acts on them now.
            self.task.after_checkpoint(checkpoint.update, finite(checkpoint.metrics))
        self.task.health.check_scores(checkpoint.update, finite(checkpoint.metrics))
        if checkpoint.update < self.training.max_updates:
            announce(self.fabric, f"{self.config.output}: resuming after update {checkpoint.update}")
        return state["optimizer"]

    def updates(self, module: Any, optimizer: Any, loader: BatchLoader, log: RunLog) -> None:
        """All updates that are left."""
        meter = Meter()
        parameters = [p for p in module.parameters() if p.requires_grad]
        module.train()
        if self.progress.update == 0 and self.task.scores_start:
            self.validate(module, 0, log)
        for update, batches in enumerate(loader, start=self.progress.update):
            scale = learning_rate_scale(self.config.schedule, update, self.training.max_updates)
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * scale
            num_targets = self.backward(module, batches, update, meter)
            norm = self.normalize_gradients(parameters, num_targets)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            meter.add_update(norm)
            done = update + 1
            self.progress.update = done
            log.advance(done)
            at_checkpoint = done % self.training.checkpoint_every == 0 or done == self.training.max_updates
            if at_checkpoint or done % self.training.log_every == 0 or done == 1:
                figures = meter.figures(self.fabric, loader.wait_seconds, len(loader.quarantine.problems))
                log.log(done, {**figures, "learning_rate": self.config.optimizer.learning_rate * scale})
                self.task.health.check(done, figures)
            if at_checkpoint:
                scores = self.validate(module, done, log)
                self.checkpoint(optimizer, scores, log.wall_seconds)
                self.task.health.check_scores(done, scores)
                meter.restart_clock(loader.wait_seconds)

    def validate(self, module: Any, update: int, log: RunLog) -> dict[str, float]:
        """Score held-out data and log it; every rank gets the scores."""
        module.eval()
        scores = self.task.validate(update) if self.fabric.is_global_zero or self.sharded else {}
        module.train()
        if scores:
            log.log(update, scores, kind="dev")
        return scores if self.fabric.world_size == 1 else self.fabric.broadcast(scores)

    def backward(self, module: Any, batches: list[Batch], update: int, meter: "Meter") -> Tensor:
        """Accumulate the gradients of this rank's micro-batches; returns the number of targets on all ranks."""
        num_targets = 0
        for i, batch in enumerate(batches):
            seed_noise(self.training.seed, update, batch.stream)
            with self.fabric.no_backward_sync(module, enabled=i + 1 < len(batches)):
                output = self.task.step(batch, update)
                self.fabric.backward(output.loss)
            num_targets += output.num_targets
            meter.add_step(output, batch, self.plan.sample_rate)
        # Stays on the device: the host does not wait for the backward pass.
        total = to_device(torch.tensor(float(num_targets)), self.fabric.device)
        return total if self.fabric.world_size == 1 else self.fabric.all_reduce(total, reduce_op="sum")  # type: ignore[return-value]

    def normalize_gradients(self, parameters: list[nn.Parameter], num_targets: Tensor) -> Tensor:
        """Divide the summed gradients by the number of targets, clip them, return their norm before clipping."""
        if self.sharded:
            self.sharded.forget_skipped()
        gradients = [p.grad for p in parameters if p.grad is not None]
        parts = [grad.to_local() if isinstance(grad, DTensor) else grad for grad in gradients]
        # Data parallelism averages over ranks what is a sum here.
        torch._foreach_mul_(parts, self.fabric.world_size / num_targets.clamp(min=1.0))
        limit = self.config.optimizer.max_grad_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def checkpoint(self, optimizer: torch.optim.Optimizer, scores: Mapping[str, float], wall_seconds: float) -> None:
        """Write a checkpoint, then let the task act on it, then prune old ones."""
        update = self.progress.update
        self.progress.wall_seconds = wall_seconds
        if self.sharded:
            state = gather_state(self.task.module, optimizer)
        else:
            state = WholeState(self.task.module.state_dict(), optimizer.state_dict())
        if self.fabric.is_global_zero:
            save_checkpoint(
                self.config.output,
                kind=self.task.kind,
                update=update,
                config=without_credentials(to_dict(self.config)),
                model_state=state.model,
                training_state={
                    **self.fingerprint,
                    "optimizer": state.optimizer,
                    "wall_seconds": wall_seconds,
                    "health": self.task.health.state_dict(),
                },
                vocabulary=self.task.vocabulary,
                metrics=dict(scores),
            )
            self.task.after_checkpoint(update, scores)
            best = read_best(self.config.output)
            prune_checkpoints(self.config.output, self.training.keep_checkpoints, best.update if best else None)
        self.fabric.barrier()

    def finish(self) -> None:
        """Write summary.json, the mark of a finished run, and say what it came to."""
        if self.fabric.is_global_zero:
            summary = {
                "updates": self.progress.update,
                "wall_seconds": round(self.progress.wall_seconds, 1),
                **self.extra_summary,
            }
            write_json(self.config.output / SUMMARY_FILE, summary)
            best = read_best(self.config.output)
            score = f", lowest dev WER {best.wer:.1%} after update {best.update}" if best else ""
            announce(self.fabric, f"{self.config.output}: trained for {self.progress.update} updates{score}")


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Scores of a checkpoint; one that was not finite is the worst."""
    return {name: math.inf if value is None else value for name, value in metrics.items()}


def build_optimizer(module: nn.Module, config: OptimizerConfig, head_scale: float) -> torch.optim.Optimizer:
    """AdamW; biases, norms and other vectors are not decayed. The CTC head has a factor on its rate."""
    groups = []
    for is_head, named in _by_head(module):
        for decayed in (True, False):
            parameters = [p for _, p in named if (p.ndim > 1) == decayed]
            if parameters:
                rate = config.learning_rate * (head_scale if is_head else 1.0)
                decay = config.weight_decay if decayed else 0.0
                groups.append({"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=True)


def _by_head(module: nn.Module) -> Iterator[tuple[bool, list[tuple[str, nn.Parameter]]]]:
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    head = ("head.", "recurrent.", "normalize.")
    yield False, [(name, p) for name, p in named if not name.startswith(head)]
    yield True, [(name, p) for name, p in named if name.startswith(head)]


def own_streams(num_streams: int, rank: int, world_size: int) -> range:
    """Logical streams that a rank reads; the ranks divide their number."""
    share = num_streams // world_size
    return range(rank * share, (rank + 1) * share)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    partial = path.with_name(f".partial_{path.name}")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)  # noqa: PTH105
