import errno
import json
import math
import os
import pickle
import resource
import signal
from pathlib import Path

import pytest
import torch
from changing import with_values

from speechssl import __version__, files
from speechssl.config import PretrainConfig, QuantizerConfig
from speechssl.config.reading import from_dict
from speechssl.errors import CheckpointError
from speechssl.model.loading import load_weights
from speechssl.training import checkpoints
from speechssl.training.checkpoints import (
    Best,
    find_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    load_training_state,
    mark_best,
    prune_checkpoints,
    read_best,
    save_checkpoint,
    set_metrics,
)


def save(run: Path, update: int = 600, **changes) -> Path:
    arguments = {
        "kind": "pretrain",
        "config": PretrainConfig(),
        "model_state": {"weight": torch.arange(6.0).reshape(2, 3)},
        "training_state": {"update": update},
    }
    return save_checkpoint(run, update=update, **(arguments | changes))


def test_everything_comes_back_as_it_was(tmp_path):
    config = PretrainConfig()
    config = with_values(config, {"objective.quantizer": QuantizerConfig(num_entries=17)})
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(module.parameters(), betas=(0.9, 0.98))
    module(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    path = save(
        tmp_path,
        kind="ctc",
        config=config,
        model_state=module.state_dict(),
        training_state={"optimizer": optimizer.state_dict(), "rng": torch.get_rng_state(), "seen": (3, None)},
        vocabulary={"labels": ["", "|", "É"]},
        metrics={"wer": 0.25},
    )
    assert path == tmp_path / "checkpoints" / "update_00000600"
    assert {item.name for item in path.iterdir()} == {
        "model.safetensors",
        "config.yaml",
        "training_state.pt",
        "checkpoint.json",
    }

    found = load_checkpoint(path)
    assert (found.kind, found.update, found.version) == ("ctc", 600, __version__)
    assert found.vocabulary == {"labels": ["", "|", "É"]}
    assert found.metrics == {"wer": 0.25}
    assert from_dict(PretrainConfig, found.config) == config
    for name, tensor in module.state_dict().items():
        assert torch.equal(found.model_state[name], tensor)
        assert found.model_state[name].dtype == tensor.dtype
    state = load_training_state(path)
    assert state["seen"] == (3, None)
    for index, moments in optimizer.state_dict()["state"].items():
        assert torch.equal(state["optimizer"]["state"][index]["exp_avg"], moments["exp_avg"])


def test_transposed_weights_are_saved_by_value(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(load_checkpoint(save(tmp_path, model_state={"w": weight})).model_state["w"], weight)


def test_a_run_gives_its_newest_checkpoint_until_one_is_marked_best(tmp_path):
    paths = {update: save(tmp_path, update) for update in (900, 1000, 10)}
    assert latest_checkpoint(tmp_path) == paths[1000]
    assert find_checkpoint(tmp_path) == paths[1000]
    mark_best(tmp_path, Best(900, "wer", 0.5))
    mark_best(tmp_path, Best(10, "wer", 0.4))
    assert json.loads((tmp_path / "best.json").read_text()) == {"update": 10, "wer": 0.4}
    assert find_checkpoint(tmp_path) == paths[10]
    assert find_checkpoint(paths[900]) == paths[900]
    assert load_checkpoint(tmp_path).update == 10


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    for update in (1, 2, 3, 4, 5):
        save(tmp_path, update)
    prune_checkpoints(tmp_path, 2, best_update=1)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        f"update_{update:08d}" for update in (1, 4, 5)
    ]
    prune_checkpoints(tmp_path, 0, best_update=None)
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoints" / "update_00000005"


def test_scores_come_to_a_checkpoint_whole_or_not_at_all(tmp_path, monkeypatch):
    path = save(tmp_path, 7)
    before = load_checkpoint(path)
    set_metrics(tmp_path, 7, {"wer": 0.25, "cer": math.inf})
    after = load_checkpoint(path)
    assert after.metrics == {"wer": 0.25, "cer": None}
    assert (after.vocabulary, after.update, after.version) == (before.vocabulary, before.update, before.version)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(CheckpointError, match="the disk is full"):
        set_metrics(tmp_path, 7, {"wer": 0.5})
    assert load_checkpoint(path).metrics == {"wer": 0.25, "cer": None}
    assert not list(path.glob(".*"))


def test_a_run_that_was_set_back_writes_the_same_update_again(tmp_path):
    save(tmp_path, model_state={"w": torch.zeros(1)})
    path = save(tmp_path, model_state={"w": torch.ones(1)})
    assert load_checkpoint(path).model_state["w"].item() == 1.0
    assert [item.name for item in (tmp_path / "checkpoints").iterdir()] == [path.name]


def test_what_a_kill_left_behind_is_never_read_and_is_cleared(tmp_path):
    whole = save(tmp_path, 1)
    partial = tmp_path / "checkpoints" / ".partial_update_00000002"
    partial.mkdir()
    (partial / "checkpoint.json").write_text("{}")
    (tmp_path / "checkpoints" / "update_00000003").mkdir()
    assert latest_checkpoint(tmp_path) == whole
    save(tmp_path, 4)
    assert not partial.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_as_the_system_does():
    with pytest.raises(OSError, match="No space left"):
        checkpoints._write_training_state(Path("/dev/full"), {"moments": torch.zeros(100_000)})


@pytest.mark.parametrize("call", [0, 2, 4])
def test_a_full_disk_leaves_the_checkpoint_before_and_nothing_partial(tmp_path, monkeypatch, call):
    before = save(tmp_path, 1)
    calls = []

    def full_disk(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > call:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CheckpointError) as caught:
        save(tmp_path, 2)
    for part in ("update_00000002", "the disk is full", "MiB left", "--training.keep_checkpoints", "same command"):
        assert part in str(caught.value)
    assert list((tmp_path / "checkpoints").iterdir()) == [before]
    assert latest_checkpoint(tmp_path) == before


@pytest.fixture
def small_files():
    """Let no file grow past 100 kB, so that the libraries meet a real failure of the operating system."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("part", ["model_state", "training_state"])
def test_a_write_that_fails_inside_the_libraries_is_named_too(tmp_path, small_files, part):
    with pytest.raises(CheckpointError, match="File too large"):
        save(tmp_path, **{part: {"w": torch.zeros(100_000)}})
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(CheckpointError, match=r"checkpoints.*cannot write the checkpoint: File exists"):
        save(tmp_path)


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_strangers_training_state_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path)
    for attack in (lambda file: torch.save({"x": Payload()}, file), lambda file: pickle.dump(Payload(), file)):
        with (path / "training_state.pt").open("wb") as file:
            attack(file)
        with pytest.raises(CheckpointError, match="damaged"):
            load_training_state(path)
        assert not Path("executed").exists()


def test_a_checkpoint_without_training_state_says_what_to_do(tmp_path):
    path = save(tmp_path, training_state=None)
    with pytest.raises(CheckpointError, match="--init"):
        load_training_state(path)


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.json"])
def test_a_damaged_file_is_named_with_its_checkpoint(tmp_path, name):
    path = save(tmp_path)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"update_00000600: damaged or incomplete checkpoint"):
        load_checkpoint(path)


def test_the_wrong_path_says_what_was_expected(tmp_path):
    save(tmp_path / "run", 1)
    mark_best(tmp_path / "run", Best(7, "wer", 0.5))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for path, found in (("nowhere", "no such folder"), ("empty", "no finished checkpoint"), ("file", "a file")):
        with pytest.raises(CheckpointError, match=f"{path}: .*{found}; expected a run folder"):
            find_checkpoint(tmp_path / path)
    with pytest.raises(CheckpointError, match=r"names update 7, but .*update_00000007 is missing"):
        find_checkpoint(tmp_path / "run")
    (tmp_path / "run" / "best.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"best\.json"):
        read_best(tmp_path / "run")


def test_figures_that_are_not_finite_stay_valid_json(tmp_path):
    path = save(tmp_path, metrics={"loss": float("nan")})
    assert "NaN" not in (path / "checkpoint.json").read_text()
    assert load_checkpoint(path).metrics == {"loss": None}


def test_weights_of_another_model_are_all_listed_and_none_is_copied():
    module = torch.nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(module, {"weight": torch.zeros(2, 4), "scale": torch.zeros(1)}, source=Path("exp/run"))
    for part in (
        "exp/run",
        "missing: bias (2,)",
        "not in the model: scale (1,)",
        "another shape: weight is (2, 4), the model's is (2, 3)",
    ):
        assert part in str(caught.value)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_matching_weights_are_copied():
    module = torch.nn.Linear(3, 2)
    state = {name: torch.full_like(tensor, 7.0) for name, tensor in module.state_dict().items()}
    load_weights(module, state, source=Path("exp/run"))
    assert torch.equal(module.weight, torch.full((2, 3), 7.0))


def test_a_model_that_differs_everywhere_does_not_fill_the_terminal():
    module = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(50)))
    with pytest.raises(CheckpointError, match="and 88 more") as caught:
        load_weights(module, {}, source=Path("exp/run"))
    assert len(str(caught.value).splitlines()) < 20
