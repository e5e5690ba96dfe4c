"""The promise of the streams holds for shards from elsewhere, as they come and as they are evicted."""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import write_corpus
from http_server import FaultyServer
from killing import Forked, kill_often, start_as_user
from small_runs import PRETRAIN, changed, command, losses, newest_weights, spread, train

from speechssl.config import ShardConfig
from speechssl.training.checkpoints import latest_checkpoint
from speechssl.verbs import shard as ingest

# Windows of a few utterances, whose shards come, are evicted and come again.
CONFIG = changed(
    PRETRAIN,
    data={"num_streams": 2, "max_batch_seconds": 2, "max_seconds": 1, "shuffle_hours": 1.5 / 3600},
    augmentation={"noise": {"prob": 0.5}, "speed": {"prob": 0.5}},
    training={"max_updates": 8, "checkpoint_every": 5},
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dozen shards, of which a few are in use at a time."""
    root = tmp_path_factory.mktemp("many")
    manifest = write_corpus(root / "audio", [8000 + 800 * i for i in range(24)])
    ingest.run(ShardConfig(sources=[str(manifest)], output=root / "set", max_shard_megabytes=0.045))
    assert len(list((root / "set").glob("*.tar"))) >= 10
    return root / "set"


@pytest.fixture
def slow_server(many: Path) -> Iterator[FaultyServer]:
    """Takes its time over each shard, so that a kill hits it."""
    with FaultyServer(many.parent) as server:
        server.piece_seconds = 0.02
        yield server


def elsewhere(server: FaultyServer, many: Path, cache: Path) -> list[str]:
    """Options for the same shards on the server, and a cache in which not all of them fit."""
    gigabytes = 3.5 * max(path.stat().st_size for path in many.glob("*.tar")) / 1e9
    return [
        *("--data.shards", f"{server.url}/{many.name}/"),
        *("--data.cache", str(cache), "--data.cache_gigabytes", f"{gigabytes:.9f}"),
    ]


def check_killed_fetching(
    server: FaultyServer, many: Path, folder: Path, updates: int, num_kills: int, *, as_user: bool
) -> None:
    """A run that is killed while it fetches and while it trains must end as one on local shards, left alone."""
    options = ["--training.max_updates", str(updates)]
    train(command("pretrain", CONFIG, folder / "local", many, *options))
    argv = command("pretrain", CONFIG, folder / "killed", many, *options)
    argv += elsewhere(server, many, folder / "cache")
    draws = random.Random(0)

    def start() -> object:
        return start_as_user(argv) if as_user else Forked(argv, folder / "printed.txt")

    def checkpoint() -> object:
        return latest_checkpoint(folder / "killed")

    def on_its_way() -> bool:
        with suppress(FileNotFoundError):  # one that has arrived since
            return any(path.stat().st_size for path in (folder / "cache").glob(".partial_*.tar"))
        return False

    for _ in range(num_kills):
        kill_often(start, on_its_way, 1, draws, most_seconds=0.02)
        kill_often(start, checkpoint, 1, draws, most_seconds=0.2)
    assert "resuming after update" in train(argv)
    assert any(request.range for request in server.requests), "a kill has hit no shard on its way"
    assert losses(folder / "killed") == losses(folder / "local")
    expected, found = newest_weights(folder / "local"), newest_weights(folder / "killed")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_killed_while_it_fetches_ends_bit_equal(slow_server: FaultyServer, many: Path, tmp_path: Path) -> None:
    check_killed_fetching(slow_server, many, tmp_path, 25, 1, as_user=False)


@pytest.mark.slow
def test_a_run_killed_twenty_times_on_shards_elsewhere_ends_bit_equal(
    slow_server: FaultyServer, many: Path, tmp_path: Path
) -> None:
    check_killed_fetching(slow_server, many, tmp_path, 400, 10, as_user=True)


def check_same_losses(server: FaultyServer, many: Path, folder: Path, ways: list[tuple[int, int]]) -> None:
    """Numbers of processes and workers, on shards from elsewhere, must learn what one process learns on local ones."""
    train(command("pretrain", CONFIG, folder / "local", many, "--data.num_workers", "0"))
    expected = losses(folder / "local")
    for devices, workers in ways:
        name = f"{devices}x{workers}"
        argv = command("pretrain", CONFIG, folder / name, many, "--data.num_workers", str(workers))
        train([*argv, *elsewhere(server, many, folder / "cache"), *spread(devices)], devices)
        found = losses(folder / name)
        assert [update for update, _ in found] == [update for update, _ in expected]
        assert [loss for _, loss in found] == pytest.approx([loss for _, loss in expected], rel=1e-5)


def test_two_processes_on_shards_elsewhere_learn_the_same(
    slow_server: FaultyServer, many: Path, tmp_path: Path
) -> None:
    check_same_losses(slow_server, many, tmp_path, [(2, 1)])


@pytest.mark.slow
def test_processes_and_workers_change_nothing_on_shards_elsewhere(
    slow_server: FaultyServer, many: Path, tmp_path: Path
) -> None:
    check_same_losses(slow_server, many, tmp_path, [(1, 0), (1, 1), (2, 0), (2, 1)])
