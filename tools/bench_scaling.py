"""Efficiency of several processes with a core each: their audio per second over as many times that of one on one core.

    python tools/bench_scaling.py                                  base, two processes, on this machine's CPU
    python tools/bench_scaling.py --model small --buckets 1 5 25   with gradients in buckets of several sizes
    python tools/bench_scaling.py --processes 4 --rounds 9 --json

In each round everyone has a turn, an update of one micro-batch per process, clipping and optimiser step:

    alone   one process
    apart   all at once, exchanging nothing: what sharing the memory costs
    after   all, with one exchange of all gradients when the backward pass is over
    ddp     all as `speechssl pretrain` makes it, with the exchange behind the backward pass
    bf16    gradients are sent in it; the arithmetic is as --precision says

"waits" is the time beyond that of apart; "hides" the share of after's that ddp does not wait. Exchanging takes time of
the core as well. --json ends with one line of JSON.
"""

import argparse
import json
import os
import socket
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from time import perf_counter
from typing import Any, Literal, NamedTuple

import torch
from bench_models import PRECISIONS, RATE, model_config
from contenders import describe_machine
from our_update import OurUpdate
from torch import Tensor

from speechssl.config import ContrastiveConfig, DropoutConfig, PretrainConfig, TrainingConfig
from speechssl.cores import num_cores
from speechssl.data.batches import Batch
from speechssl.objectives.contrastive import ContrastiveModel
from speechssl.tasks.pretraining import PretrainTask
from speechssl.training.machine import configure_cpu, peak_memory

# Nothing is skipped at random, or processes would wait for each other's luck.
DROPOUT = DropoutConfig(features=0.1, quantizer_input=0.1, layer_drop=0.0)


class Case(NamedTuple):
    """What is timed."""

    model: str
    precision: str
    batch: int
    seconds: float
    processes: int
    port: int
    """At which they find each other."""


class Way(NamedTuple):
    """How processes make an update."""

    exchange: Literal["alone", "apart", "after", "ddp"]
    in_bf16: bool = False
    bucket: float = 0.0
    """Megabytes; of ddp only."""

    def __str__(self) -> str:
        """As in the table."""
        size = f" {self.bucket:g} MB" if self.bucket else ""
        return f"{self.exchange}{size}{' bf16' if self.in_bf16 else ''}"


class Rank:
    """One of the processes: a model for all ways without ddp, and one for each with it.

    Args:
        case: what is timed.
        rank: which process this is; it has the core of that number to itself.
    """

    def __init__(self, case: Case, rank: int) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
        self.case, self.rank = case, rank
        self.training = TrainingConfig(accelerator="cpu", num_threads=1, precision=case.precision)  # type: ignore[arg-type]
        configure_cpu(self.training)
        self.single = self.update(self.training)
        variables = {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": case.processes, "LOCAL_WORLD_SIZE": case.processes,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": case.port, "TORCHELASTIC_RUN_ID": "bench",
        }  # fmt: skip
        os.environ.update({name: str(value) for name, value in variables.items()})
        torch.distributed.init_process_group("gloo")
        self.shared: dict[Way, OurUpdate] = {}

    def update(self, training: TrainingConfig) -> OurUpdate:
        """An update of a new model, with the same weights on every rank and other audio."""
        torch.manual_seed(0)
        config = PretrainConfig(model=model_config(self.case.model), dropout=DROPOUT, training=training)
        model = ContrastiveModel(config.model, ContrastiveConfig(), config.dropout)
        generator = torch.Generator().manual_seed(self.rank)
        audio = 0.1 * torch.randn(self.case.batch, round(self.case.seconds * RATE), generator=generator)
        batch = Batch([], audio, torch.full((self.case.batch,), audio.shape[1]), [], stream=self.rank)
        return OurUpdate(config, PretrainTask(config, model, None), batch, num_streams=int(training.devices))

    def run(self, way: Way) -> None:
        """One update."""
        match way.exchange:
            case "alone" | "apart":
                self.single.run()
            case "after":
                num_targets = self.single.backward()
                torch.distributed.all_reduce(num_targets)
                sum_gradients(self.single.parameters, in_bf16=way.in_bf16)
                self.single.step(num_targets)
            case "ddp":
                if way not in self.shared:
                    training = replace(self.training, devices=self.case.processes, reduce_in_bf16=way.in_bf16)
                    self.shared[way] = self.update(replace(training, gradient_bucket_megabytes=way.bucket))
                self.shared[way].run()


def sum_gradients(parameters: Sequence[torch.nn.Parameter], *, in_bf16: bool) -> None:
    """All gradients in one exchange."""
    gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    sent = flat.bfloat16() if in_bf16 else flat
    torch.distributed.all_reduce(sent)
    parts = sent.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(x) for part, x in zip(parts, gradients, strict=True)])


@cache
def this_rank(case: Case, rank: int) -> Rank:
    """What this process keeps from turn to turn."""
    return Rank(case, rank)


def turn(case: Case, rank: int, way: Way) -> float:
    """Seconds of an update, in the process of a rank."""
    runner = this_rank(case, rank)
    started = perf_counter()
    runner.run(way)
    return perf_counter() - started


def take_turns(case: Case, ways: Sequence[Way], *, rounds: int, warmup: int) -> dict[Way, list[float]]:
    """Seconds of an update of the slowest process, for each way in each round; prints what memory they had."""
    pools = [ProcessPoolExecutor(1, get_context("spawn")) for _ in range(case.processes)]

    def together(way: Way) -> float:
        working = pools[:1] if way.exchange == "alone" else pools
        turns = [pool.submit(turn, case, rank, way) for rank, pool in enumerate(working)]
        return max(item.result() for item in turns)

    together(Way("apart"))  # all are there before one is alone
    rows = [[together(way) for way in ways] for _ in range(warmup + rounds)]
    memory = sum(pool.submit(peak_memory, "cpu").result() for pool in pools)
    print(f"at most {memory / 1e9:.1f} GB in all processes, for all ways together")
    for pool in pools:
        pool.shutdown()
    return dict(zip(ways, map(list, zip(*rows[warmup:], strict=True)), strict=True))


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """Median, lowest, highest."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[0], ordered[-1]


def report(case: Case, seconds: dict[Way, list[float]]) -> list[dict[str, Any]]:
    """Print the table; the same as rows, each spread as median, lowest and highest of the rounds."""
    alone, apart = seconds[Way("alone")], seconds[Way("apart")]
    rows = []
    for way, values in seconds.items():
        processes = 1 if way.exchange == "alone" else case.processes
        speed = processes * case.batch * case.seconds / statistics.median(values)
        row: dict[str, Any] = {"way": str(way), "seconds": spread(values), "audio_seconds_per_second": speed}
        line = f"  {way!s:16}{1000 * row['seconds'][0]:8.0f} ms {speed:8.2f} audio-s/s"
        if processes > 1:
            row["efficiency"] = spread(a / b for a, b in zip(alone, values, strict=True))
            line += ", efficiency {:.3f} ({:.3f} to {:.3f})".format(*row["efficiency"])
        if way.exchange in ("after", "ddp"):
            row["waits"] = spread(a - b for a, b in zip(values, apart, strict=True))
            line += ", waits {:.0f} ms ({:.0f} to {:.0f})".format(*(1000 * value for value in row["waits"]))
        if way.exchange == "ddp":
            exchange = [a - b for a, b in zip(seconds[Way("after", way.in_bf16)], apart, strict=True)]
            # Where many rounds saw nothing of the exchange, a share of it would be one of noise.
            seen = statistics.quantiles(exchange, n=4)[0] > 0
            row["hides"] = 1 - row["waits"][0] / statistics.median(exchange) if seen else None
            line += f", hides {row['hides']:.0%}" if seen else ", hides: lost in noise"
        print(line)
        rows.append(row)
    return rows


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", choices=["base", "small", "large", "tiny"])
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument("--processes", type=int, default=2, help="each has a core (default: 2)")
    parser.add_argument("--batch", type=int, default=4, help="utterances of a micro-batch (default: 4)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each (default: 5)")
    parser.add_argument(
        "--buckets", type=float, nargs="+", default=[25.0], help="megabytes, a model each (default: 25)"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warmup", type=int, default=3, help="rounds before that")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    if not 2 <= arguments.processes <= num_cores():
        parser.error(f"--processes is {arguments.processes}, expected 2 to {num_cores()}, the cores that are here")
    case = Case(
        arguments.model, arguments.precision, arguments.batch, arguments.seconds, arguments.processes, free_port()
    )
    ways = [Way("alone"), Way("apart")]
    for in_bf16 in (False, True):
        ways += [Way("after", in_bf16), *(Way("ddp", in_bf16, size) for size in arguments.buckets)]
    machine = describe_machine("cpu") | {"threads": 1, "processes": case.processes}
    print(json.dumps(machine))
    print(f"\n{case.model}, {case.precision}, {case.batch} x {case.seconds:g} s per process, {arguments.rounds} rounds")
    rows = report(case, take_turns(case, ways, rounds=max(2, arguments.rounds), warmup=arguments.warmup))
    if arguments.json:
        print(json.dumps({"machine": machine, "case": case._asdict(), "rows": rows}))


if __name__ == "__main__":
    main()
