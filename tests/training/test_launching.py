"""Runs whose processes torchrun or SLURM starts, on one machine and on several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked_ranks import FIRST_PORT, free_port
from small_runs import SKIPPING, SPEECHSSL, check_same_learning, command, spread, train

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture(scope="module")
def one(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    output = tmp_path_factory.mktemp("one") / "run"
    train(command("pretrain", SKIPPING, output, shards))
    return output


def pretraining(output: Path, shards: Path, *options: str) -> list[str]:
    """The command as torchrun takes it."""
    return [*SPEECHSSL[1:], *command("pretrain", SKIPPING, output, shards, *options)]


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


@pytest.mark.slow
def test_torchrun_starts_the_processes_of_one_machine(shards: Path, one: Path, tmp_path: Path) -> None:
    argv = [*TORCHRUN, "--standalone", "--nproc_per_node", "2"]
    [(output, _)] = finish([start([*argv, *pretraining(tmp_path / "run", shards, *spread(2, "fsdp"))])])
    assert output.count("2 process(es)") == 1
    check_same_learning(one, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "per_node"), [("ddp", 1), ("ddp", 2), ("fsdp", 2)])
def test_torchrun_starts_the_processes_of_two_machines(
    shards: Path, one: Path, tmp_path: Path, strategy: str, per_node: int
) -> None:
    options = spread(per_node, strategy)
    argv = [*TORCHRUN, "--nproc_per_node", str(per_node), "--nnodes", "2", "--master_addr", "127.0.0.1"]
    argv += ["--master_port", str(free_port())]
    trained = pretraining(tmp_path / "run", shards, *options)
    outputs = finish([start([*argv, "--node_rank", str(node), *trained]) for node in (0, 1)])
    assert [f"{2 * per_node} process(es)" in output for output, _ in outputs] == [True, False]
    check_same_learning(one, tmp_path / "run")


@pytest.mark.slow
def test_the_variables_that_slurm_sets_are_enough(shards: Path, one: Path, tmp_path: Path) -> None:
    options = ("--training.devices", "auto")
    argv = [sys.executable, *pretraining(tmp_path / "run", shards, *options)]
    job = {  # the last four digits of the job's number are added to the first port
        "SLURM_JOB_ID": str(free_port() - FIRST_PORT), "SLURM_JOB_NAME": "pretrain",
        "SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS_PER_NODE": "1", "SLURM_NODELIST": "127.0.0.1", "SLURM_LOCALID": "0",
    }  # fmt: skip
    tasks = [start(argv, **job, SLURM_PROCID=str(task), SLURM_NODEID=str(task)) for task in (0, 1)]
    outputs = finish(tasks)
    assert ["2 process(es)" in output for output, _ in outputs] == [True, False]
    check_same_learning(one, tmp_path / "run")
