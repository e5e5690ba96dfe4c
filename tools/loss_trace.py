"""The loss of every update of a short pretraining, to hold two versions or two ways of computing beside each other.

    python tools/loss_trace.py record TRACE.json --config CONFIG --data.shards SHARDS [--KEY VALUE ...]
    python tools/loss_trace.py compare TRACE.json OTHER.json [--tolerance 0.02]

A change that should not change numbers gives the same trace to the digit; bf16 and other fast ways stay within a
tolerance, as a share of the loss, of which means over 50 updates are judged. The exit status of compare says whether.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from speechssl.training.run_log import LOG_FILE, read_log

WINDOW = 50


def record(trace: Path, options: list[str], updates: int) -> None:
    """Run `speechssl pretrain` and keep its losses."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "speechssl", "pretrain", *options, "--output", name]
        command += ["--training.max_updates", str(updates), "--training.log_every", "1"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        losses = [line["loss"] for line in read_log(Path(name) / LOG_FILE) if line["kind"] == "train"]
    trace.write_text(json.dumps({"options": options, "loss": losses}) + "\n", encoding="utf-8")
    print(f"{trace}: {len(losses)} updates, loss {losses[0]:.4f} to {losses[-1]:.4f}")


def compare(first: Path, second: Path, tolerance: float) -> bool:
    """Print how far two traces lie apart; whether that is within the tolerance."""
    a, b = (np.array(json.loads(path.read_text(encoding="utf-8"))["loss"]) for path in (first, second))
    count = min(len(a), len(b))
    if count == 0:
        sys.exit("a trace is empty")
    a, b = a[:count], b[:count]
    same = int((a == b).sum())
    print(f"{count} updates, {same} with the same loss to the digit")
    apart = np.abs(a - b) / np.abs(a)
    print(f"single updates: {apart.mean():.2%} apart in the mean, {apart.max():.2%} at most")
    size = min(WINDOW, count)
    means = [x[: count // size * size].reshape(-1, size).mean(1) for x in (a, b)]
    worst = float((np.abs(means[0] - means[1]) / np.abs(means[0])).max())
    print(f"means over {size} updates: {worst:.2%} apart at most, {tolerance:.2%} allowed")
    return worst <= tolerance


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record", help="run a short pretraining")
    recording.add_argument("trace", type=Path)
    recording.add_argument("--updates", type=int, default=500)
    comparing = verbs.add_parser("compare", help="hold two traces beside each other")
    comparing.add_argument("traces", type=Path, nargs=2)
    comparing.add_argument("--tolerance", type=float, default=0.02)
    arguments, options = parser.parse_known_args()
    if arguments.verb == "record":
        record(arguments.trace, options, arguments.updates)
        return 0
    first, second = arguments.traces
    return 0 if compare(first, second, arguments.tolerance) else 1


if __name__ == "__main__":
    sys.exit(main())
