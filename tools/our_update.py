"""An update by the loop's own functions, as benchmarks time it."""

from types import SimpleNamespace
from typing import Any

from bench_models import RATE

from speechssl.config import FinetuneConfig, PretrainConfig
from speechssl.data.batches import Batch
from speechssl.training.loop import Meter, Task, Trainer
from speechssl.training.processes import make_fabric


class OurUpdate:
    """Forward and backward pass, clipping and optimiser step on one batch, on one device.

    Args:
        config: of the run.
        task: with its weights.
        batch: that every update hears.
    """

    def __init__(self, config: PretrainConfig | FinetuneConfig, task: Task, batch: Batch) -> None:
        fabric = make_fabric(config.training, 1, skips_parameters=False)
        fabric.launch()
        plan: Any = SimpleNamespace(num_streams=1, sample_rate=RATE)
        self.task = task
        self.trainer = Trainer(config, task, plan, fabric, {})
        self.module, self.optimizer = self.trainer.set_up(None)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.meter = Meter()
        self.batch = batch
        self.update = 0

    def run(self) -> None:
        """One update."""
        num_targets = self.trainer.backward(self.module, [self.batch], self.update, self.meter)
        self.trainer.normalize_gradients(self.parameters, num_targets)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.update += 1
