"""What the options that make pretraining cheaper save: updates of one model under each, in turns with plain ones.

    python tools/bench_cheaper.py
    python tools/bench_cheaper.py --model tiny --seconds 4 --batch 8

Every contender hears the same seconds of audio per update: with a squeezed context, and in crops of a quarter, half and
twice the length, which is all that a curriculum over lengths could save. What squeezing does to word error rates is in
docs/experiments.md.
"""

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_models import PRECISIONS, RATE
from contenders import Process, describe_machine, ratio, take_turns
from operations import pretraining_operations
from our_update import Case, OurUpdate

from speechssl.config import ContrastiveConfig
from speechssl.data.batches import Batch
from speechssl.frames import num_frames
from speechssl.seeding import Purpose, torch_generator
from speechssl.tasks.pretraining import PretrainTask, make_model
from speechssl.training.machine import configure_cpu


class Ours(OurUpdate):
    """An update as `speechssl pretrain` makes it, on noise, from random weights."""

    def __init__(self, case: Case) -> None:
        config = case.config
        configure_cpu(config.training)
        torch.manual_seed(0)
        model = make_model(config)
        audio = 0.1 * torch.randn(case.batch, round(case.seconds * RATE))
        lengths = torch.full((case.batch,), audio.shape[1])
        frames = num_frames(audio.shape[1], config.model.feature_encoder.conv_layers)
        self.num_masked = model.draw(case.batch, frames, torch_generator(0, Purpose.MASKS, 0, 0)).positions.numel()
        super().__init__(config, PretrainTask(config, model, None), Batch([], audio, lengths, [], stream=0))

    def check(self) -> float:
        """Masked frames of the first update."""
        return float(self.num_masked)


def cases(model: str, precision: str, device: str, batch: int, seconds: float, folder: Path) -> dict[str, Case]:
    """What takes part, the plain update first."""
    path = Path(__file__).parents[1] / "recipes" / "conf" / f"{model}.yaml"
    common = ["--model", str(path), "--output", str(folder), "--dropout.layer_drop", "0"]
    common += ["--training.precision", precision, "--training.accelerator", device]
    plain = Case(tuple(common), batch, seconds)
    context = plain.config.model.context
    squeeze = ("--model.context.squeeze", "2", "--model.context.pos_conv_kernel", str(context.pos_conv_kernel // 2))
    return {
        "plain": plain,
        "squeeze 2": plain._replace(options=(*common, *squeeze)),
        f"crops of {seconds / 4:g} s": Case(plain.options, 4 * batch, seconds / 4),
        f"crops of {seconds / 2:g} s": Case(plain.options, 2 * batch, seconds / 2),
        f"crops of {seconds * 2:g} s": Case(plain.options, batch // 2, seconds * 2),
    }


def operations(case: Case, masked: float) -> float:
    """Floating-point operations of an update."""
    config = case.config
    assert isinstance(config.objective, ContrastiveConfig)
    samples = round(case.seconds * RATE)
    return pretraining_operations(config.model, config.objective, case.batch, samples, round(masked / case.batch))


def bench(name: str, case: Case, plain: Case, device: str, rounds: int) -> dict[str, Any]:
    """Time one beside the plain update, print and return what it saves."""
    contenders = {kind: Process(partial(Ours, item), device) for kind, item in (("plain", plain), (name, case))}
    masked = {kind: contender.check() for kind, contender in contenders.items()}
    seconds = take_turns(contenders, rounds=rounds, warmup=1)
    memory = contenders[name].peak_bytes()
    for contender in contenders.values():
        contender.close()
    speed = ratio(seconds[name], seconds["plain"])
    share = operations(case, masked[name]) / operations(plain, masked["plain"])
    audio = case.batch * case.seconds / statistics.median(seconds[name])
    print(
        f"  {name:22s} {audio:8.1f} audio-s/s  {speed.median:.2f} times plain ({speed.low:.2f} to {speed.high:.2f})  "
        f"{share:4.0%} of its operations  {memory / 2**30:5.2f} GiB  {masked[name]:.0f} masked frames",
        flush=True,
    )
    return {"name": name, "audio_seconds_per_second": audio, **speed._asdict(), "operations": share}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", choices=["base", "large", "tiny"])
    parser.add_argument("--precision", default="bf16", choices=PRECISIONS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=2, help="utterances, even")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    if arguments.batch < 2 or arguments.batch % 2:
        parser.error(f"--batch is {arguments.batch}, expected an even number: longer crops are half as many")
    print(json.dumps(describe_machine(arguments.device)))
    print(f"{arguments.model}, {arguments.precision}, {arguments.batch} x {arguments.seconds:g} s")
    with tempfile.TemporaryDirectory() as folder:
        found = cases(
            arguments.model, arguments.precision, arguments.device, arguments.batch, arguments.seconds, Path(folder)
        )
        rows = [
            bench(name, case, found["plain"], arguments.device, arguments.rounds)
            for name, case in found.items()
            if name != "plain"
        ]
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
