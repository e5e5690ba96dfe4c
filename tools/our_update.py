"""An update by the loop's own functions, as benchmarks time it."""

from types import SimpleNamespace
from typing import Any, NamedTuple

from bench_models import RATE
from torch import Tensor

from speechssl.config import FinetuneConfig, PretrainConfig
from speechssl.config.reading import parse
from speechssl.data.batches import Batch
from speechssl.training.loop import Trainer
from speechssl.training.meter import Meter
from speechssl.training.processes import make_fabric
from speechssl.training.resume import RunData
from speechssl.training.task import Task


class Case(NamedTuple):
    """An update under some options."""

    options: tuple[str, ...]
    """As of `speechssl pretrain`."""
    batch: int
    """Utterances of a micro-batch."""
    seconds: float
    """Length of each."""

    @property
    def config(self) -> PretrainConfig:
        """Of the run."""
        return parse(PretrainConfig, list(self.options))


class OurUpdate:
    """Forward and backward pass, clipping and optimiser step on one batch, on one device or this process's of several.

    Args:
        config: of the run.
        task: with its weights.
        batch: that every update hears.
        num_streams: micro-batches of an update, one of which is this process's.
    """

    def __init__(
        self, config: PretrainConfig | FinetuneConfig, task: Task, batch: Batch, *, num_streams: int = 1
    ) -> None:
        fabric = make_fabric(config.training, num_streams, skips_parameters=False)
        fabric.launch()
        plan: Any = SimpleNamespace(num_streams=num_streams, sample_rate=RATE)
        self.task = task
        self.trainer = Trainer(config, task, RunData(plan), fabric, {})
        self.module, self.optimizer = self.trainer.set_up(None)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.meter = Meter()
        self.batch = batch
        self.update = 0

    def run(self) -> None:
        """One update."""
        self.step(self.backward())

    def backward(self) -> Tensor:
        """Gradients summed over the targets, whose number this returns, of all processes if they exchange them."""
        return self.trainer.backward(self.module, [self.batch], self.update, self.meter)

    def step(self, num_targets: Tensor) -> None:
        """Division by the number of targets, clipping, optimiser step."""
        self.trainer.normalize_gradients(self.parameters, num_targets)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.update += 1
