"""Speed and memory of a recogniser's forward pass, beside Hugging Face, torchaudio and onnxruntime with equal weights.

    python tools/bench_infer.py                                  base with a CTC head, 10 s and 60 s, alone
    python tools/bench_infer.py --peers huggingface torchaudio onnxruntime
    python tools/bench_infer.py --models large --seconds 30 --precisions bf16

Everyone hears one recording and gives its logits, of which the mean magnitude is printed. Peak memory is of the whole
process, weights and libraries included, and of no library that its contender does without.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contenders import Contender, compare, describe_machine, gemm_limit

# Contenders' processes import this file: what only some of them or none needs is imported in functions.

OURS = "speechssl"
PEERS = ("huggingface", "torchaudio", "onnxruntime")
LONG_SECONDS = 30.0
"""From here on a recording is warmed up to by one run; shorter ones by three."""


class Case(NamedTuple):
    """What is timed."""

    precision: str
    device: str
    threads: int
    folder: Path
    """Of the random weights, in everyone's form."""
    audio: Path
    """One recording, an array (1, S)."""


class OnnxRuntime:
    """onnxruntime's CPU provider on our export."""

    def __init__(self, case: Case) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        path = str(case.folder / "onnxruntime" / "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        audio = np.load(case.audio)
        values = (audio, np.array([audio.shape[1]], dtype=np.int64))
        self.inputs = {item.name: value for item, value in zip(self.session.get_inputs(), values, strict=True)}

    def run(self) -> None:
        self.session.run(None, self.inputs)

    def check(self) -> float:
        return float(np.abs(self.session.run(None, self.inputs)[0]).mean())


def make_contender(kind: str, case: Case) -> Contender:
    """A contender, in its own process."""
    if kind == "onnxruntime":
        return OnnxRuntime(case)
    import infer_torch

    kinds = {OURS: infer_torch.Ours, "huggingface": infer_torch.HuggingFace, "torchaudio": infer_torch.Torchaudio}
    return kinds[kind](case)


def bench(case: Case, model: str, seconds: float, peers: list[str], rounds: int) -> dict[str, Any]:
    """Time one length of recording in one precision, everyone in turns."""
    from bench_models import RATE, model_config
    from operations import encoder_operations

    takes_part = [OURS, *(peer for peer in peers if peer != "onnxruntime" or case.precision == "fp32")]
    print(f"\n{model}, {case.precision}, {seconds:g} s")
    outcomes = compare(
        {kind: partial(make_contender, kind, case) for kind in takes_part},
        device=case.device,
        audio_seconds=seconds,
        rounds=rounds,
        warmup=0 if seconds >= LONG_SECONDS else 2,
        figure="mean logit",
    )
    operations = sum(encoder_operations(model_config(model), 1, round(seconds * RATE)))
    share = operations / outcomes[OURS].seconds / gemm_limit(case.device, case.precision)
    print(f"  {share:.0%} of a large matrix product's speed")
    row: dict[str, Any] = {"model": model, "precision": case.precision, "seconds": seconds, "gemm_share": share}
    for kind, found in outcomes.items():
        row[kind] = {
            "audio_seconds_per_second": seconds / found.seconds,
            "peak_memory_bytes": found.peak_bytes,
            "ours_over_it": found.ratio._asdict(),
        }
    return row


def bench_model(model: str, arguments: argparse.Namespace, threads: int) -> list[dict[str, Any]]:
    """All cases of one model."""
    from bench_models import RATE, model_config
    from infer_weights import write_weights

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder, model_config(model), arguments.peers)
        for seconds in arguments.seconds:
            audio = np.random.default_rng(0).normal(0, 0.1, (1, round(seconds * RATE)))
            np.save(folder / f"{seconds:g}.npy", audio.astype(np.float32))
        for precision in arguments.precisions:
            for seconds in arguments.seconds:
                case = Case(precision, arguments.device, threads, folder, folder / f"{seconds:g}.npy")
                rows.append(bench(case, model, seconds, arguments.peers, arguments.rounds))
    return rows


def main() -> None:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["base"], choices=["base", "large", "small"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["bf16", "fp32"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", nargs="+", type=float, default=[10.0, 60.0], help="lengths of the recording")
    parser.add_argument("--peers", nargs="+", default=[], choices=PEERS, help="run these in turns with ours")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    machine = describe_machine(arguments.device)
    print(json.dumps(machine))
    rows = [row for model in arguments.models for row in bench_model(model, arguments, machine["threads"])]
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
