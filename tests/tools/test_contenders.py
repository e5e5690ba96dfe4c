"""What a contender of a benchmark has in its process, and what is printed about it."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import contenders


class Waiting:
    """Does nothing, in a process of its own."""

    def __init__(self, figure: float) -> None:
        self.figure = figure
        self.memory = b"" if figure < 2 else os.urandom(200 * 2**20)

    def run(self) -> None:
        pass

    def check(self) -> float:
        return self.figure


def test_each_contender_has_its_own_memory_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    makes = {"ours": partial(Waiting, 1.0), "theirs": partial(Waiting, 2.0)}
    outcomes = contenders.compare(makes, device="cpu", audio_seconds=10, rounds=3, warmup=0, figure="loss")
    assert [outcome.figure for outcome in outcomes.values()] == [1.0, 2.0]
    assert outcomes["ours"].ratio == (1.0, 1.0, 1.0)
    assert outcomes["theirs"].peak_bytes - outcomes["ours"].peak_bytes > 190 * 2**20
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ours", "theirs"]
    assert "loss 2.000000   ours is" in lines[1]
    assert "times as fast" not in lines[0]


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("bench_embed", {"torch", "transformers", "yaml"}),
        ("bench_infer", {"torch", "transformers", "onnxruntime", "yaml"}),
        ("infer_torch", {"transformers", "torchaudio", "onnxruntime", "speechssl.model.encoder", "torch._dynamo"}),
    ],
)
def test_processes_that_hear_a_recording_import_nobody_elses_libraries(module: str, without: set[str]) -> None:
    tools = str(Path(contenders.__file__).parent)
    code = f"import sys; sys.path.insert(0, {tools!r}); import {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert not without & set(done.stdout.split())
