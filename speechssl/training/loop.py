"""The training loop: the same for every task, on any number of devices.

An update sums the loss over the targets of all its micro-batches, on every rank, and divides once by their number; so
neither accumulation nor the number of processes changes what is learned.
"""

import logging
import math
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from functools import cached_property
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from speechssl.data.batches import Batch, BatchLoader
from speechssl.errors import HealthError, RunStopped
from speechssl.model.loading import load_weights
from speechssl.outputs import write_json
from speechssl.remote.failures import InterruptedFetchError
from speechssl.seeding import Purpose, seed_torch
from speechssl.training.checkpoints import (
    latest_checkpoint,
    load_checkpoint,
    load_training_state,
    read_best,
)
from speechssl.training.machine import resolve_precision
from speechssl.training.meter import Meter
from speechssl.training.non_finite import NonFinite
from speechssl.training.optimizers import build_optimizer, learning_rate_scale
from speechssl.training.processes import announce, is_broken_connection
from speechssl.training.resume import RunData, carry_on, check_same_run, describe_run
from speechssl.training.run_log import SUMMARY_FILE, RunLog, read_summary, show_figure
from speechssl.training.saving import Progress, Saved, Saver
from speechssl.training.sharding import ShardedStrategy, shard_optimizer_state
from speechssl.training.stopping import PATIENCE_SECONDS, Agreement, Interrupted, StopSignals
from speechssl.training.task import RunConfig, Task

logger = logging.getLogger(__name__)


class Trainer:
    """Runs a task from its last checkpoint to ``training.max_updates``.

    Args:
        config: resolved configuration of the run.
        task: what to train; its module is still on the CPU, unwrapped.
        data: what it learns from, and with which weights it begins.
        fabric: launched devices.
        extra_summary: figures for summary.json.
    """

    def __init__(
        self,
        config: RunConfig,
        task: Task,
        data: RunData,
        fabric: Fabric,
        extra_summary: Mapping[str, float],
    ) -> None:
        self.config = config
        self.training = config.training
        self.task = task
        self.data = data
        self.plan = data.plan
        self.fabric = fabric
        self.extra_summary = extra_summary
        self.sharded = fabric.strategy if isinstance(fabric.strategy, ShardedStrategy) else None
        self.streams = own_streams(self.plan.num_streams, fabric.global_rank, fabric.world_size)
        self.progress = Progress()
        self.saver = Saver(config, task, fabric, lambda: self.fingerprint)
        self.stop = StopSignals(speaks=fabric.is_global_zero)
        self.agreement = Agreement(fabric, self.stop)
        self.non_finite = NonFinite()

    def run(self) -> None:
        """Train; write checkpoints, log and summary.

        Raises:
            RunStopped: a signal has ended the run.
        """
        with self.stop:
            try:
                was_finished = not self.run_on()
            except Interrupted:
                raise self.stopped() from None
        self.task.health.warn_at_end(self.progress.update)
        self.finish(was_finished=was_finished)

    def run_on(self) -> bool:
        """All that is left to be done; False if that is nothing."""
        with self.stop.interruptible():
            optimizer_state = self.resume()
            if self.is_over and not self.saver.newest.unscored:
                return False
            if optimizer_state is None and not self.data.origin:
                self.task.begin(self.plan, self.fabric)
            module, optimizer = self.set_up(optimizer_state)
        start = self.progress.update
        if self.fabric.is_global_zero:
            (self.config.output / SUMMARY_FILE).unlink(missing_ok=True)  # of a run that had ended, and goes on
        loader = BatchLoader(
            self.plan,
            self.streams,
            start_update=start,
            max_updates=self.training.max_updates,
            num_workers=self.plan.config.num_workers,
            pin=self.fabric.device.type == "cuda",
            augment=self.data.augment,
        )
        log = RunLog(
            self.config.output,
            self.training.max_updates,
            start_update=start,
            scored=not self.saver.newest.unscored,
            enabled=self.fabric.is_global_zero,
        )
        with log:
            try:
                self.updates(module, optimizer, loader, log)
            except Exception as error:
                alone = isinstance(error, InterruptedFetchError) or is_broken_connection(error)
                if not (alone and self.stop.requested):
                    raise
                self.leave_alone(optimizer, log)
        return True

    @property
    def is_over(self) -> bool:
        """Whether all updates are done, or the task has had enough."""
        return self.progress.update >= self.training.max_updates or bool(self.task.enough)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the result besides the configuration, as plain values."""
        device = self.fabric.device
        return describe_run(self.data, resolve_precision(self.training.precision, device.type), device)

    def set_up(self, optimizer_state: dict[str, Any] | None) -> tuple[Any, Any]:
        """Module and optimizer on the devices; the optimizer comes second, because shards are new parameters."""
        if self.training.compile:
            # Micro-batches differ in shape, and a graph for each would take minutes.
            self.task.module.compile(dynamic=True)
        module = self.fabric.setup_module(self.task.module)
        self.task.set_module(module)
        optimizer = build_optimizer(self.task.parameter_groups(), self.config.optimizer)
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
        goes_on = checkpoint.update < self.training.max_updates
        check_same_run(self.config, checkpoint, now=self.fingerprint, before=state, goes_on=goes_on)
        self.fingerprint = carry_on(self.fingerprint, state)
        load_weights(self.task.module, checkpoint.model_state, source=path)
        self.task.health.load_state_dict(state["health"])
        self.progress = Progress(checkpoint.update, state["wall_seconds"])
        self.saver.newest = Saved(checkpoint.update, unscored=state.get("unscored", False) and not checkpoint.metrics)
        scores = {name: math.nan if value is None else value for name, value in checkpoint.metrics.items()}
        self.saver.keep_best(scores)  # the run may have been killed between scoring a checkpoint and marking it
        self.task.health.check_scores(checkpoint.update, scores)
        if not self.is_over:
            announce(self.fabric, f"{self.config.output}: resuming after update {checkpoint.update}")
        return state["optimizer"]

    def updates(self, module: Any, optimizer: Any, loader: BatchLoader, log: RunLog) -> None:
        """All updates that are left; before them the scores that an interruption has cost."""
        meter = Meter()
        parameters = [p for p in module.parameters() if p.requires_grad]
        module.train()
        if self.saver.newest.unscored:
            self.score(module, log)
            self.saver.prune()
        elif self.progress.update == 0 and self.task.scores_start:
            self.validate(module, 0, log)
        stopping = self.agreement.now()
        with closing(iter(loader)) as loading:
            while not self.is_over and not stopping:
                batches = self.next_batches(loading)
                if batches is not None:
                    self.update(module, optimizer, parameters, batches, meter)
                    log.advance(self.progress.update)
                stopping = batches is None or self.agreement.reached()
                done = self.progress.update
                at_line = done % self.training.log_every == 0 or done == 1
                if meter.norms and (at_line or self.at_mark or stopping):
                    self.report(meter, loader, log)
                if done != self.saver.newest.update and (self.at_mark or stopping):
                    self.save(optimizer, log)
                    if self.at_mark and not stopping:
                        self.score(module, log)
                    self.saver.prune()
                    stopping = self.agreement.now()
                    meter.restart_clock(loader.wait_seconds)
        if stopping:
            raise self.stopped()

    def update(
        self, module: Any, optimizer: Any, parameters: list[nn.Parameter], batches: list[Batch], meter: Meter
    ) -> None:
        """One update from this rank's micro-batches."""
        update = self.progress.update
        scale = self.learning_rate_scale(update)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * scale
        num_targets = self.backward(module, batches, update, meter)
        norm = self.normalize_gradients(parameters, num_targets)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.add_update(norm)
        self.non_finite.add_gradient(norm, update)
        self.progress.update = update + 1
        self.task.after_update(update + 1)

    def next_batches(self, loading: Iterator[list[Batch]]) -> list[Batch] | None:
        """Micro-batches of the next update; None if a signal has come, and no other rank waits for this one.

        Raises:
            InterruptedFetchError: one has come, and others do.
        """
        alone = self.fabric.world_size == 1
        if alone and self.stop.requested:
            return None
        nothing_lost = alone or self.progress.update == self.saver.newest.update
        try:
            with self.stop.waiting(0.0 if nothing_lost else PATIENCE_SECONDS):
                return next(loading)
        except InterruptedFetchError:
            if alone:
                return None
            raise

    def report(self, meter: Meter, loader: BatchLoader, log: RunLog) -> None:
        """Write a line of the log, and judge it.

        Raises:
            HealthError: the run is not learning; a loss that is not finite is told with the samples of its batch.
        """
        update = self.progress.update
        figures = meter.figures(self.fabric, loader.wait_seconds, len(loader.quarantine.problems))
        scale = self.learning_rate_scale(update - 1)
        figures["learning_rate"] = self.config.optimizer.learning_rate * scale
        log.log(update, figures)
        broken = not all(math.isfinite(figures.get(name, 0.0)) for name in ("loss", "gradient_norm"))
        origin = self.non_finite.describe(self.plan, self.fabric) if broken else ""
        try:
            self.task.health.check(update, figures)
        except HealthError as error:
            raise HealthError(f"{error}\n{origin}" if origin else str(error)) from None
        if origin:
            logger.warning("%s", origin)

    def learning_rate_scale(self, update: int) -> float:
        """Factor on the learning rates at an update, counted from 0."""
        return learning_rate_scale(self.config.schedule, update, self.training.max_updates)

    def validate(self, module: Any, update: int, log: RunLog) -> dict[str, float] | None:
        """Score held-out data and log it; every rank gets the scores, or None if a signal has come."""
        module.eval()
        scores: dict[str, float] | None = {}
        try:
            # Ranks that have the module in parts compute together, and one cannot leave the others.
            with self.stop.interruptible(enabled=not self.sharded):
                if self.fabric.is_global_zero or self.sharded:
                    scores = self.task.validate(update)
        except Interrupted:
            scores = None
        module.train()
        if scores:
            log.log(update, scores, kind="dev")
        return scores if self.fabric.world_size == 1 else self.fabric.broadcast(scores)

    def score(self, module: Any, log: RunLog) -> None:
        """Score the newest checkpoint on held-out data, unless a signal comes."""
        update = self.progress.update
        scores = self.validate(module, update, log)
        if scores is not None:
            self.saver.add_scores(scores)
            self.task.health.check_scores(update, scores)

    def backward(self, module: Any, batches: list[Batch], update: int, meter: Meter) -> Tensor:
        """Accumulate the gradients of this rank's micro-batches; returns the number of targets on all ranks."""
        num_targets = 0
        self.task.before_update(batches, update, self.fabric)
        for i, batch in enumerate(batches):
            seed_torch(self.training.seed, Purpose.NOISE, update, batch.stream)
            with self.fabric.no_backward_sync(module, enabled=i + 1 < len(batches)):
                output = self.task.step(batch, update)
                self.fabric.backward(output.loss)
            num_targets += output.num_targets
            meter.add_step(output, batch, self.plan.sample_rate)
            self.non_finite.add_loss(output.loss, self.plan, update, batch.stream)
        # Stays on the device: the host does not wait for the backward pass.
        return self.agreement.sum_of(float(num_targets))

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

    @property
    def at_mark(self) -> bool:
        """Whether a checkpoint is due."""
        done = self.progress.update
        return done % self.training.checkpoint_every == 0 or done == self.training.max_updates

    def save(self, optimizer: torch.optim.Optimizer, log: RunLog) -> None:
        """Write a checkpoint of the last update."""
        self.progress.wall_seconds = log.wall_seconds
        self.saver.write(optimizer, self.progress, due=self.at_mark)

    def leave_alone(self, optimizer: torch.optim.Optimizer, log: RunLog) -> None:
        """Stop without the other ranks, who wait, or have ended; the first saves its last update if it has it whole.

        Raises:
            RunStopped: always.
        """
        is_saved = self.progress.update == self.saver.newest.update
        if self.fabric.is_global_zero and not self.sharded and not is_saved:
            self.save(optimizer, log)
            self.saver.prune()
        raise self.stopped()

    def stopped(self) -> RunStopped:
        """What ends a run after a signal; the first rank says where it stands, before others may end it."""
        done, saved, total = self.progress.update, self.saver.newest.update, self.training.max_updates
        if done == 0:
            where = "before its first update; the same command begins it"
        elif done == saved:
            where = f"after update {done} of {total}, which is saved; the same command goes on from there"
        else:
            last = f"goes on from update {saved}, the last one saved" if saved else "begins anew, since none was saved"
            where = f"after update {done} of {total}; the same command {last}"
        message = f"{self.config.output}: interrupted {where}"
        if self.fabric.is_global_zero:
            with suppress(OSError):  # a terminal that is gone
                print(f"speechssl: {message}", file=sys.stderr, flush=True)
        return RunStopped(message, self.stop.number or signal.SIGTERM)

    def finish(self, *, was_finished: bool) -> None:
        """Write summary.json, the mark of a finished run, and say what it came to."""
        if self.fabric.is_global_zero:
            summary: dict[str, Any] = {
                "updates": self.progress.update,
                "wall_seconds": round(self.progress.wall_seconds, 1),
                **self.extra_summary,
            }
            early = self.task.enough if self.progress.update < self.training.max_updates else ""
            if early:
                summary["stopped"] = early
            summary |= self.diagnose(was_finished=was_finished)
            write_json(self.config.output / SUMMARY_FILE, summary)
            score, best = self.task.score, read_best(self.config.output)
            told = ""
            if score is not None and best is not None:
                shown = show_figure(best.score, best.value)
                end = "lowest" if score.lower_is_better else "highest"
                told = f", {end} {score.data}{shown} after update {best.update}"
            done = f"{self.progress.update} update{'' if self.progress.update == 1 else 's'}"
            what = f"was finished before, after {done}" if was_finished else f"trained for {done}"
            why = f"; ended before its {self.training.max_updates} updates: {early}" if early else ""
            announce(self.fabric, f"{self.config.output}: {what}{told}{why}")

    def diagnose(self, *, was_finished: bool) -> dict[str, Any]:
        """What was wrong with the run, for its summary, and a warning of what is wrong in the end."""
        found = [] if was_finished else list(map(str, self.task.diagnose()))
        for diagnosis in found:
            logger.warning("%s: %s.", self.config.output, diagnosis)
        told = [*self.task.health.memory.told.values(), *found]
        if was_finished:
            told = read_summary(self.config.output).get("diagnoses", told)
        return {"diagnoses": told} if told else {}


def own_streams(num_streams: int, rank: int, world_size: int) -> range:
    """Logical streams that a rank reads; the ranks divide their number."""
    share = num_streams // world_size
    return range(rank * share, (rank + 1) * share)
