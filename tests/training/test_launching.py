"""Runs whose processes torchrun or SLURM starts, on one machine and on several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from forked_ranks import free_port, run_ranks
from test_fsdp import PRETRAIN

from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint

SPEECHSSL = ["-m", "speechssl"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def pretraining(output: Path, shards: Path, *options: str) -> list[str]:
    """The command after ``speechssl``."""
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(PRETRAIN))
    return ["pretrain", "--config", str(path), "--output", str(output), "--data.shards", str(shards), *options]


def check_same_weights(expected: Path, found: Path) -> None:
    a, b = (latest_checkpoint(run) for run in (expected, found))
    assert a is not None
    assert b is not None
    assert a.name == b.name
    found_weights = load_checkpoint(b).model_state
    for name, value in load_checkpoint(a).model_state.items():
        torch.testing.assert_close(found_weights[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def one(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    output = tmp_path_factory.mktemp("one") / "run"
    assert run_ranks(pretraining(output, shards), 1, output.with_suffix(".txt")) == [0]
    return output


def start(argv: list[str], **environment: str) -> subprocess.Popen[str]:
    # gloo looks up the machine's name to find the way to other machines; here they are all this one.
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", **environment}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(started: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What each command wrote to standard output and error; all must end well."""
    try:
        written = [process.communicate(timeout=180) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * len(started), "".join(err for _, err in written)
    return written


def test_torchrun_starts_the_processes_of_one_machine(shards: Path, one: Path, tmp_path: Path) -> None:
    options = ("--training.devices", "2", "--training.strategy", "fsdp")
    argv = [*TORCHRUN, "--standalone", "--nproc_per_node", "2", *SPEECHSSL]
    [(output, _)] = finish([start([*argv, *pretraining(tmp_path / "run", shards, *options)])])
    assert output.count("2 process(es)") == 1
    check_same_weights(one, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "per_node"), [("ddp", 1), ("ddp", 2), ("fsdp", 2)])
def test_torchrun_starts_the_processes_of_two_machines(
    shards: Path, one: Path, tmp_path: Path, strategy: str, per_node: int
) -> None:
    options = ("--training.devices", str(per_node), "--training.num_nodes", "2", "--training.strategy", strategy)
    argv = [*TORCHRUN, "--nproc_per_node", str(per_node), "--nnodes", "2", "--master_addr", "127.0.0.1"]
    argv += ["--master_port", str(free_port())]
    command = [*SPEECHSSL, *pretraining(tmp_path / "run", shards, *options)]
    outputs = finish([start([*argv, "--node_rank", str(node), *command]) for node in (0, 1)])
    assert [f"{2 * per_node} process(es)" in output for output, _ in outputs] == [True, False]
    check_same_weights(one, tmp_path / "run")


@pytest.mark.slow
def test_the_variables_that_slurm_sets_are_enough(shards: Path, one: Path, tmp_path: Path) -> None:
    options = ("--training.devices", "auto", "--training.num_nodes", "2")
    argv = [sys.executable, *SPEECHSSL, *pretraining(tmp_path / "run", shards, *options)]
    job = {  # Fabric takes the port from the last four digits of the job's number
        "SLURM_JOB_ID": str(free_port()), "SLURM_JOB_NAME": "pretrain", "SLURM_NTASKS": "2", "SLURM_NNODES": "2",
        "SLURM_NTASKS_PER_NODE": "1", "SLURM_NODELIST": "127.0.0.1", "SLURM_LOCALID": "0",
    }  # fmt: skip
    tasks = [start(argv, **job, SLURM_PROCID=str(task), SLURM_NODEID=str(task)) for task in (0, 1)]
    outputs = finish(tasks)
    assert ["2 process(es)" in output for output, _ in outputs] == [True, False]
    check_same_weights(one, tmp_path / "run")
