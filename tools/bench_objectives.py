"""What a pretext task costs: updates of each in turns with contrastive ones, on the same seconds of audio.

    python tools/bench_objectives.py
    python tools/bench_objectives.py --model base --batch 2 --seconds 10 --rounds 5

Every task is configured as in recipes/an4/conf, but for the encoder if --model names another; an update has two
micro-batches, as there, and is all that the loop does: its draws, targets, teacher and codebooks too. Audio is noise
that is loaded already; two views are two halves of it, so that a view is half as long.
"""

import argparse
import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_models import PRECISIONS, RATE
from contenders import Process, describe_machine, ratio, take_turns
from our_update import Case, OurUpdate
from torch import Tensor

from speechssl.config import PretrainConfig
from speechssl.data.batches import Batch
from speechssl.objectives.build import build_objective, units_config
from speechssl.tasks.pretraining import PretrainTask
from speechssl.training.machine import configure_cpu

CONF = Path(__file__).parents[1] / "recipes"
REFERENCE = "contrastive"
LAYER = ("--objective.units.features", "layer", "--objective.units.layer", "4")
TASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    REFERENCE: ("pretrain_contrastive.yaml", ()),
    "masked prediction": ("pretrain_masked_prediction.yaml", ()),
    "masked prediction of a layer": ("pretrain_masked_prediction.yaml", (*LAYER, "--objective.units.checkpoint", ".")),
    "self-distillation and masked prediction": ("pretrain_self_distillation.yaml", ()),
    "self-distillation": ("pretrain_self_distillation.yaml", ("--objective.anchor.weight", "0")),
    "self-distillation, regression": (
        "pretrain_self_distillation.yaml",
        ("--objective.anchor.weight", "0", "--objective.targets", "regression"),
    ),
    "two views": ("two_view.yaml", ()),
}
"""Configuration and what differs from it."""
STREAMS = 2


class Ours(OurUpdate):
    """An update as `speechssl pretrain` makes it, from random weights; units are fitted on the noise."""

    def __init__(self, case: Case) -> None:
        config = case.config
        configure_cpu(config.training)
        torch.manual_seed(0)
        units_of = config.model if layer_of_units(config) else None
        model: Any = build_objective(config.model, config.objective, config.dropout, units_of)
        audio = 0.1 * torch.randn(STREAMS, case.batch, round(case.seconds * RATE))
        if units_config(config.objective) is not None:
            model.units.fit(0.1 * torch.randn(10, 1, 10 * RATE), seed=0)
        self.batches = [make_batch(config, part, stream) for stream, part in enumerate(audio)]
        super().__init__(config, PretrainTask(config, model, None), self.batches[0], num_streams=STREAMS)

    def backward(self) -> Tensor:
        return self.trainer.backward(self.module, self.batches, self.update, self.meter)

    def step(self, num_targets: Tensor) -> None:
        super().step(num_targets)
        self.task.after_update(self.update)

    def check(self) -> float:
        """Parameters, those of a teacher and of the units' encoder too."""
        return float(sum(p.numel() for p in self.module.parameters()))


def layer_of_units(config: PretrainConfig) -> bool:
    """Whether units are of a layer of an encoder."""
    units = units_config(config.objective)
    return units is not None and units.features == "layer"


def make_batch(config: PretrainConfig, audio: Tensor, stream: int) -> Batch:
    """A micro-batch of waveforms (B, S), cut in two if the task wants two views."""
    first, second = audio.chunk(2, dim=1) if config.two_views else (audio, None)
    lengths = torch.full((len(first),), first.shape[1])
    keys = [f"{stream}-{number}" for number in range(len(first))]
    return Batch(keys, first, lengths, [None] * len(first), stream=stream, second=second)


def cases(model: str, precision: str, device: str, batch: int, seconds: float) -> dict[str, Case]:
    """What takes part, the reference first."""
    common = ["--data.shards", ".", "--output", ".", "--training.precision", precision]
    common += ["--training.accelerator", device, "--training.devices", "1"]
    common += ["--training.num_threads", str(torch.get_num_threads())]
    if model != "tiny":
        common += ["--model", str(CONF / "conf" / f"{model}.yaml")]
    return {
        name: Case(("--config", str(CONF / "an4" / "conf" / file), *common, *options), batch, seconds)
        for name, (file, options) in TASKS.items()
    }


def bench(name: str, case: Case, reference: Case, device: str, rounds: int) -> dict[str, Any]:
    """Time one beside the reference, print and return what it costs."""
    contenders = {kind: Process(partial(Ours, item), device) for kind, item in ((REFERENCE, reference), (name, case))}
    parameters = contenders[name].check()
    seconds = take_turns(contenders, rounds=rounds, warmup=2)
    memory = contenders[name].peak_bytes()
    for contender in contenders.values():
        contender.close()
    cost = ratio(seconds[REFERENCE], seconds[name])
    audio = STREAMS * case.batch * case.seconds / statistics.median(seconds[name])
    print(
        f"  {name:40s} {audio:8.1f} audio-s/s  {cost.median:.2f} times contrastive's time ({cost.low:.2f} to "
        f"{cost.high:.2f})  {memory / 2**30:5.2f} GiB  {parameters / 1e6:.1f} M parameters",
        flush=True,
    )
    return {"name": name, "audio_seconds_per_second": audio, **cost._asdict(), "peak_memory_bytes": memory}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", choices=["base", "large", "tiny"])
    parser.add_argument("--precision", default="bf16", choices=PRECISIONS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=4, help="utterances of a micro-batch")
    parser.add_argument("--seconds", type=float, default=2.5, help="length of each")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    print(json.dumps(describe_machine(arguments.device)))
    print(f"{arguments.model}, {arguments.precision}, {STREAMS} x {arguments.batch} x {arguments.seconds:g} s")
    found = cases(arguments.model, arguments.precision, arguments.device, arguments.batch, arguments.seconds)
    rows = [
        bench(name, case, found[REFERENCE], arguments.device, arguments.rounds)
        for name, case in found.items()
        if name != REFERENCE
    ]
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
