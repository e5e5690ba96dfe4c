"""Which process of a run this one is, by the variables of everything that starts processes."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_runs import PRETRAIN, command

from speechssl.cli import main
from speechssl.config import TrainingConfig
from speechssl.errors import ConfigError, LaunchError
from speechssl.training import processes
from speechssl.training.processes import count_devices
from speechssl.training.ranks import ALONE, find_place, first_host, is_first_rank

Variables = dict[str, str]


def torchrun(rank: int, per_node: int, nodes: int) -> Variables:
    """As torchrun sets them."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    values = (rank, per_node * nodes, rank % per_node, per_node, rank // per_node)
    return {**dict(zip(names, map(str, values), strict=True)), "TORCHELASTIC_RUN_ID": "none", **MEETING}


def srun(rank: int, per_node: int, nodes: int) -> Variables:
    """As srun sets them for a task, in a job of a batch script."""
    spread = str(per_node) if nodes == 1 else f"{per_node}(x{nodes})"
    return {
        **batch_script(per_node, nodes),
        "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % per_node), "SLURM_NODEID": str(rank // per_node),
        "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(per_node * nodes), "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_STEP_NODELIST": "node[03-04,09]", "SLURM_STEP_TASKS_PER_NODE": spread,
    }  # fmt: skip


def batch_script(per_node: int, nodes: int) -> Variables:
    """As sbatch sets them for the script itself."""
    return {
        "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "pretrain", "SLURM_NTASKS": str(per_node * nodes),
        "SLURM_NTASKS_PER_NODE": str(per_node), "SLURM_NNODES": str(nodes), "SLURM_NODELIST": "node[03-04,09]",
        "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
    }  # fmt: skip


def azure_ml(rank: int, per_node: int, nodes: int) -> Variables:
    """Both ranks for each process, as Ray's workers and DeepSpeed's launcher have them too."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK")
    values = (rank, per_node * nodes, rank % per_node, per_node, rank // per_node)
    return {**dict(zip(names, map(str, values), strict=True)), **MEETING}


def own(rank: int, size: int) -> Variables:
    """As the first process has them for those that it starts with Fabric, and then itself."""
    return {"WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "NODE_RANK": "0", **MEETING}


MEETING = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29533"}
POD = {"RANK": "1", "WORLD_SIZE": "3", **MEETING}
AUTO = TrainingConfig(devices="auto", accelerator="cpu")
LAUNCHERS = {launcher.__name__: launcher for launcher in (torchrun, srun, azure_ml)}


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables of whatever started the tests."""
    for name in (*torchrun(0, 1, 1), *srun(0, 1, 1), *azure_ml(0, 1, 1)):
        monkeypatch.delenv(name, raising=False)


def draw_spread() -> Iterator[tuple[str, int, int]]:
    draws = random.Random(0)
    for name in LAUNCHERS:
        yield name, 1, 2
        yield name, 2, 1
        for _ in range(3):
            yield name, draws.randint(2, 8), draws.randint(2, 5)


@pytest.mark.parametrize(("name", "per_node", "nodes"), list(draw_spread()))
def test_each_process_of_a_launcher_knows_its_place(name: str, per_node: int, nodes: int) -> None:
    places = [find_place(LAUNCHERS[name](rank, per_node, nodes)) for rank in range(per_node * nodes)]
    assert [place.rank for place in places] == list(range(per_node * nodes))
    assert [place.local_rank for place in places] == [*range(per_node)] * nodes
    assert {(place.world_size, place.local_world_size, place.num_nodes) for place in places} == {
        (per_node * nodes, per_node, nodes)
    }
    assert len({(place.address, place.port) for place in places}) == 1
    for place in places:
        assert count_devices(AUTO, 2 * per_node * nodes, place) == per_node


def test_the_processes_that_one_has_started_know_their_place() -> None:
    places = [find_place(own(rank, 3)) for rank in range(3)]
    assert [(place.launcher, place.rank, place.world_size, place.num_nodes) for place in places] == [
        ("speechssl", rank, 3, 1) for rank in range(3)
    ]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WORLD_SIZE": "1"},
        {"RANK": "", "WORLD_SIZE": ""},
        {"RANK": "0", "WORLD_SIZE": "1"},
        MEETING,
        {"NODE_RANK": "0"},
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
        {"PMI_RANK": "0", "PMI_SIZE": "1"},
        srun(0, 1, 1),
        # A shell that srun or salloc has given, in which a command starts what it needs.
        {**srun(0, 1, 1), "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "bash"},
        {**batch_script(4, 2), "SLURM_JOB_NAME": "interactive"},
        {**batch_script(4, 2), "SLURM_JOB_NAME": "interactive", "SLURM_STEP_ID": str(0xFFFFFFFA)},
    ],
    ids=str,
)
def test_a_process_that_nothing_has_started_with_others_is_alone(variables: Variables) -> None:
    assert find_place(variables) == ALONE


def test_torchrun_in_a_job_of_slurm_decides() -> None:
    assert find_place({**srun(1, 1, 2), **torchrun(5, 4, 2)}).rank == 5


def test_srun_decides_where_a_script_repeats_what_it_says() -> None:
    repeated = {"RANK": "5", "WORLD_SIZE": "8", "MASTER_ADDR": "node03", "MASTER_PORT": "29500"}
    place = find_place({**srun(5, 4, 2), **repeated})
    assert (place.launcher, place.local_rank, place.num_nodes) == ("srun", 1, 2)
    assert (place.address, place.port) == ("node03", 29500)
    with pytest.raises(LaunchError, match="RANK is 4, but it is 5 by what srun says"):
        find_place({**srun(5, 4, 2), **repeated, "RANK": "4"})


def test_srun_in_a_shell_of_slurm_starts_processes() -> None:
    """Lightning takes them for as many runs of one process."""
    assert find_place({**srun(3, 4, 1), "SLURM_JOB_NAME": "interactive"}).world_size == 4


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node003", "node003"), ("a1,b2", "a1"), ("n[003-006,009],x1", "n003"), ("n[7]", "n7"), ("a1 b2", "a1")],
)
def test_the_first_machine_of_slurms_list_is_where_processes_meet(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_two_steps_of_a_job_meet_at_two_ports() -> None:
    assert find_place(srun(0, 2, 1)).port != find_place({**srun(0, 2, 1), "SLURM_STEP_ID": "1"}).port


def without(variables: Variables, name: str) -> Variables:
    return {key: value for key, value in variables.items() if key != name}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "3"}, "RANK is 3, but not set: WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE."),
        ({"RANK": "0"}, "RANK is 0, but not set"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK is 1, but not set"),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, "but not set: RANK, LOCAL_WORLD_SIZE"),
        ({"WORLD_SIZE": "8"}, "WORLD_SIZE is 8, but not set"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x', expected a whole number"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is '-1', expected a whole number"),
        (POD, "RANK is 1 and WORLD_SIZE is 3, but not set: LOCAL_RANK, LOCAL_WORLD_SIZE. Start"),
        ({"NODE_RANK": "1", **MEETING}, "NODE_RANK is 1, but not set: RANK"),
        ({"RANK": "3", "WORLD_SIZE": "1"}, "RANK is 3 and WORLD_SIZE is 1, but not set: LOCAL_RANK"),
        (without(torchrun(1, 2, 2), "WORLD_SIZE"), "but not set: WORLD_SIZE"),
        ({**torchrun(1, 2, 2), "RANK": "9"}, "rank 9 of 4"),
        ({**torchrun(1, 2, 2), "LOCAL_WORLD_SIZE": "3"}, "each machine must have as many"),
        ({**torchrun(1, 2, 2), "LOCAL_WORLD_SIZE": "0"}, "number 1 of 0 on its machine"),
        ({**azure_ml(1, 2, 2), "LOCAL_RANK": "2"}, "number 2 of 2 on its machine"),
        (without(azure_ml(1, 2, 2), "MASTER_ADDR"), "meet: MASTER_ADDR."),
        ({**azure_ml(1, 2, 2), "MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        (without(srun(5, 4, 2), "SLURM_LOCALID"), "SLURM_LOCALID is None"),
        ({**srun(1, 4, 2), "SLURM_STEP_TASKS_PER_NODE": "5,3"}, "8 tasks on 2 machines, 5,3"),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, "MPI has started this process"),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, "PMI_SIZE is 2: MPI has started this process"),
        (batch_script(4, 2), "put `srun` before the command"),
        (without(without(batch_script(1, 2), "SLURM_NTASKS"), "SLURM_NTASKS_PER_NODE"), "SLURM_NNODES is 2, and this"),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_named_by_whoever_meets_it(
    variables: Variables, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LaunchError) as raised:
        find_place(variables)
    assert message in str(raised.value)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_rank(), "or the message would reach nobody"


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        (torchrun(0, 8, 2), True),
        (torchrun(8, 8, 2), False),
        (own(0, 2), True),
        (own(1, 2), False),
        (srun(3, 4, 1), False),
        ({**srun(0, 1, 1), **own(1, 2)}, False),
    ],
)
def test_one_rank_speaks_for_the_run(monkeypatch: pytest.MonkeyPatch, environment: Variables, first: bool) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_rank() is first


@pytest.mark.parametrize(("cores", "num_streams", "expected"), [(1, 8, 1), (6, 8, 4), (2, 3, 1)])
def test_as_many_processes_as_cores_and_streams_allow(
    monkeypatch: pytest.MonkeyPatch, cores: int, num_streams: int, expected: int
) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: cores)
    assert count_devices(AUTO, num_streams, ALONE) == expected


def test_processes_that_were_not_configured_are_named() -> None:
    place = find_place(torchrun(0, 4, 2))
    with pytest.raises(ConfigError, match=r"4 processes were started.*give --training\.devices 4, or auto"):
        count_devices(TrainingConfig(accelerator="cpu"), 8, place)
    with pytest.raises(ConfigError, match="num_streams is 12, but 8 processes share the streams"):
        count_devices(AUTO, 12, place)


def test_more_gpus_than_there_are_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"training\.devices is 3, but 2 GPUs are available"):
        count_devices(TrainingConfig(devices=3), 6, ALONE)
    assert count_devices(TrainingConfig(devices="auto"), 6, ALONE) == 2


@pytest.mark.parametrize("variables", [{"RANK": "3"}, torchrun(5, 4, 2), POD], ids=["left over", "torchrun", "pod"])
def test_commands_that_do_not_train_speak_whatever_the_variables_say(
    variables: Variables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["transcribe", "/nowhere", "talk.wav"]) == 2
    assert "speechssl: error: /nowhere: no such folder" in capsys.readouterr().err


def test_a_left_over_variable_ends_a_training_before_it_begins(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "3")
    assert main(command("pretrain", PRETRAIN, tmp_path / "run", shards)) == 2
    assert "RANK is 3, but not set: WORLD_SIZE" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
