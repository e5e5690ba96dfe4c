"""Runs of several processes: the same model, the same ends; Fabric starts them, or they are there already."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from forked_ranks import as_srun, run_ranks
from lightning_fabric.plugins.environments import LightningEnvironment
from small_runs import (
    CONSTANT,
    FINETUNE,
    PRETRAIN,
    changed,
    check_same_learning,
    command,
    losses,
    newest,
    newest_weights,
    run_as_user,
    shards_of_which_the_second_rank_fails,
    spread,
    train,
)

from speechssl.config import TrainingConfig
from speechssl.errors import LaunchError
from speechssl.training import processes
from speechssl.training.checkpoints import load_training_state
from speechssl.training.machine import configure_cpu
from speechssl.training.run_folder import run_lock

# A stream per process, and lines of the log that are means of two updates.
SMALL = changed(PRETRAIN, data={"num_streams": 2}, training={"log_every": 2})
SCORED = changed(SMALL, dev={"max_batch_seconds": 8})


@pytest.fixture(scope="module")
def one(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining run of one process."""
    output = tmp_path_factory.mktemp("processes") / "one"
    train(command("pretrain", SCORED, output, shards))
    return output


def test_tasks_of_srun_on_two_machines_are_one_run(shards: Path, one: Path, tmp_path: Path) -> None:
    ended = run_ranks(
        command("pretrain", SCORED, tmp_path / "two", shards, "--training.devices", "auto"), 2, launcher=as_srun
    )
    assert ended.statuses == [0, 0], ended.text
    assert ended.text.count("2 process(es)") == 1
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1
    check_same_learning(one, tmp_path / "two")


def test_processes_that_do_not_come_together_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")

    def launch() -> None:
        raise torch.distributed.DistNetworkError("no answer")

    fabric: Any = SimpleNamespace(launch=launch, world_size=2, strategy=SimpleNamespace(launcher=None))
    with pytest.raises(LaunchError, match=r"the 2 processes.* did not come together at 10\.0\.0\.1:.*no answer"):
        processes.launch(fabric)


def test_gradients_in_small_buckets_are_the_same(shards: Path, one: Path, tmp_path: Path) -> None:
    options = ("--training.gradient_bucket_megabytes", "0.001")
    train(command("pretrain", SCORED, tmp_path / "two", shards, *options), ranks=2)
    check_same_learning(one, tmp_path / "two")


@pytest.mark.slow
def test_gradients_in_bf16_are_those_of_one_process_to_its_accuracy(shards: Path, tmp_path: Path) -> None:
    # Two streams per process, whose sum is not to be rounded before it is sent.
    config = changed(SCORED, data={"num_streams": 4})
    train(command("pretrain", config, tmp_path / "one", shards))
    for strategy in ("ddp", "fsdp"):
        argv = command("pretrain", config, tmp_path / strategy, shards, "--training.reduce_in_bf16", "true")
        train(argv, ranks=2, strategy=strategy)
    expected = [(update, pytest.approx(loss, rel=1e-3)) for update, loss in losses(tmp_path / "one")]
    assert losses(tmp_path / "ddp") == expected
    # Numbers are rounded by 2**-9 at most, and to nothing coarser than float32's 2**-24 without the option.
    gradients, weights = (
        relative_difference(values(tmp_path / "one"), values(tmp_path / "ddp"))
        for values in (mean_gradients, all_weights)
    )
    assert 1e-4 < gradients < 2**-8
    assert 1e-6 < weights < 1e-3
    check_same_learning(tmp_path / "ddp", tmp_path / "fsdp")


def test_a_run_may_go_on_with_other_exchanges(shards: Path, one: Path) -> None:
    options = ("--training.gradient_bucket_megabytes", "2", "--training.reduce_in_bf16", "true")
    assert "was finished before, after 6 updates" in train(command("pretrain", SCORED, one, shards, *options))


def all_weights(run: Path) -> torch.Tensor:
    """Weights of the last checkpoint, all in one."""
    return torch.cat([value.flatten() for value in newest_weights(run).values()])


def mean_gradients(run: Path) -> torch.Tensor:
    """AdamW's running means of gradients in the last checkpoint, all in one."""
    state = load_training_state(newest(run))["optimizer"]["state"]
    return torch.cat([values["exp_avg"].flatten() for values in state.values()])


def relative_difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Norm of the difference over that of what is expected."""
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize(("megabytes", "sizes"), [(25.0, [7 * 2**20, 2**20]), (2.0, [2**20] + [2**21] * 3 + [2**20])])
def test_gradients_are_exchanged_in_buckets_of_the_configured_size(megabytes: float, sizes: list[int]) -> None:
    strategy = processes.build_strategy(TrainingConfig(gradient_bucket_megabytes=megabytes), 2, skips_parameters=True)
    assert isinstance(strategy, processes.ReplicatedStrategy)
    strategy.parallel_devices = [torch.device("cpu")]
    strategy.cluster_environment = LightningEnvironment()
    layers = [torch.nn.Linear(512, 512, bias=False) for _ in range(8)]  # 1 MiB each
    wrapped = strategy.setup_module(torch.nn.Sequential(*layers))
    assert wrapped._get_ddp_logging_data()["bucket_sizes"] == ", ".join(str(size) for size in sizes)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes_that_fabric_starts(shards: Path, tmp_path: Path) -> None:
    config = changed(SCORED, schedule=CONSTANT)
    train(command("pretrain", config, tmp_path / "straight", shards))
    train(command("pretrain", config, tmp_path / "parts", shards, "--training.max_updates", "3"))
    rest = run_as_user([*command("pretrain", config, tmp_path / "parts", shards), *spread(2)])
    assert rest.returncode == 0, rest.stderr
    assert rest.stdout.count("2 process(es)") == 1
    assert rest.stdout.count("resuming after update 3") == 1
    assert "Warning" not in rest.stderr
    assert "RANK" not in rest.stderr
    check_same_learning(tmp_path / "straight", tmp_path / "parts")


def test_two_processes_finetune_as_one_does(shards: Path, tmp_path: Path) -> None:
    train(command("pretrain", SMALL, tmp_path / "pretrain", shards, "--training.max_updates", "2"))
    config = changed(
        FINETUNE,
        init=str(tmp_path / "pretrain"),
        train={"num_streams": 2},
        freeze_feature_encoder="never",
        freeze_context_updates=2,
        training={"max_updates": 4, "checkpoint_every": 2},
    )
    for ranks in (1, 2):
        train(command("finetune", config, tmp_path / str(ranks), shards), ranks=ranks)
    check_same_learning(tmp_path / "1", tmp_path / "2")


def test_a_feature_encoder_without_gradients_trains_in_two_processes(shards: Path, tmp_path: Path) -> None:
    train(command("pretrain", SMALL, tmp_path / "run", shards, "--objective.feature_grad_scale", "0"), ranks=2)


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_what_goes_wrong_in_one_process_is_told_once_and_ends_all(tmp_path: Path, strategy: str) -> None:
    shards = shards_of_which_the_second_rank_fails(tmp_path)
    argv = command("pretrain", SMALL, tmp_path / "run", shards, "--training.num_threads", "0")
    done = run_as_user([*argv, *spread(2, strategy)])
    assert done.returncode == 2
    assert done.stderr.count("u007") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_goes_wrong_in_every_process_that_fabric_starts_is_told_once(shards: Path, tmp_path: Path) -> None:
    options = ("--training.num_threads", "0", "--optimizer.learning_rate", "1e30")
    done = run_as_user([*command("pretrain", SMALL, tmp_path / "run", shards, *options), *spread(2)])
    assert done.returncode == 3
    assert done.stderr.count("speechssl: error:") == 1
    assert "finite" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "ranks", "status", "message"),
    [
        (["--optimizer.learning_rate", "1e30"], 2, 3, "was first not finite at update"),
        (["--optimizer.learning_rate", "2e-3"], 2, 2, "optimizer.learning_rate was"),
        (["--data.num_streams", "3"], 2, 2, "choose a number of streams"),
        (["--data.num_streams", "3"], 1, 2, "choose a number of streams"),
    ],
    ids=["not learning", "other configuration", "streams", "streams, before processes are started"],
)
def test_what_goes_wrong_in_every_process_is_told_once(
    shards: Path, tmp_path: Path, options: list[str], ranks: int, status: int, message: str
) -> None:
    argv = command("pretrain", SMALL, tmp_path / "run", shards)
    if message.startswith("optimizer"):
        train([*argv, "--training.max_updates", "2"])
    ended = run_ranks([*argv, *spread(2), *options], ranks)
    assert ended.statuses == [status] * ranks, ended.text
    assert ended.text.count("speechssl: error:") == 1
    assert message in ended.text
    assert "Traceback" not in ended.text


def test_two_runs_do_not_share_a_folder(shards: Path, tmp_path: Path) -> None:
    argv = command("pretrain", SMALL, tmp_path / "run", shards)
    with run_lock(tmp_path / "run"):
        ended = run_ranks(argv, 1)
        assert ended.statuses == [2]
        assert "another process is training in this folder" in ended.text
    with run_lock(tmp_path / "run"):
        pass


def test_the_number_of_threads_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = torch.get_num_threads()
    try:
        configure_cpu(TrainingConfig(num_threads=3, accelerator="cpu"))
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "3")
    finally:
        torch.set_num_threads(before)
