"""A loss or gradient that is not finite is traced to the samples of its batch, long after the update."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from changing import with_values
from small_chain import pretrain_config

from speechssl.errors import HealthError
from speechssl.tasks.pretraining import PretrainTask
from speechssl.training.non_finite import MAX_NAMED, NonFinite, named
from speechssl.verbs import pretrain

Heard = dict[tuple[int, int], list[str]]


@pytest.fixture
def heard() -> Heard:
    """Keys of the micro-batches by update and stream, as the steps were given them."""
    return {}


def spoil(
    monkeypatch: pytest.MonkeyPatch, heard: Heard, spoilt: Callable[[torch.Tensor, Any], torch.Tensor], *when: Any
) -> None:
    """Change the loss of some micro-batches, given by update and stream."""
    original = PretrainTask.step

    def step(self: PretrainTask, batch: Any, update: int) -> Any:
        heard[update, batch.stream] = batch.keys
        output = original(self, batch, update)
        if (update, batch.stream) not in when:
            return output
        loss = spoilt(output.loss, self.model)
        return output._replace(loss=loss, sums={**output.sums, "loss": loss.detach()})

    monkeypatch.setattr(PretrainTask, "step", step)


def of_value(loss: torch.Tensor, model: Any) -> torch.Tensor:
    return loss * float("inf")


def of_gradient(loss: torch.Tensor, model: Any) -> torch.Tensor:
    """Finite, with a gradient that is not."""
    return loss + (next(p for p in model.parameters() if p.requires_grad) * 0.0).sum().sqrt()


def keys_in(message: str, heard: Heard) -> set[str]:
    return {key for keys in heard.values() for key in keys if key in message}


@pytest.mark.parametrize("when", [(1, 0), (1, 1), (5, 1)])
def test_the_samples_of_a_loss_are_named(
    when: tuple[int, int], shards: Path, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, heard, of_value, when, (6, 0))
    config = pretrain_config(shards, tmp_path / "run")
    config = with_values(config, {"training.log_every": 8, "training.checkpoint_every": 8})
    with pytest.raises(HealthError) as raised:
        pretrain.run(config)
    message = str(raised.value)
    assert f"The loss was first not finite at update {when[0] + 1}, in the micro-batch of {shards}" in message
    assert keys_in(message, heard) == set(heard[when][:MAX_NAMED])
    assert ("more" in message.splitlines()[-1]) == (len(heard[when]) > MAX_NAMED)


def test_the_samples_of_a_gradient_are_those_of_its_update(
    shards: Path, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, heard, of_gradient, (2, 1))
    config = pretrain_config(shards, tmp_path / "run")
    config = with_values(config, {"data.max_batch_seconds": 2})  # few samples each
    config = with_values(config, {"training.log_every": 8, "training.checkpoint_every": 8})
    with pytest.raises(HealthError) as raised:
        pretrain.run(config)
    message = str(raised.value)
    assert "The gradient was first not finite at update 3, which heard " in message
    assert keys_in(message, heard) == {*heard[2, 0], *heard[2, 1]}


def test_a_run_that_goes_on_regardless_names_them_once(
    shards: Path, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(monkeypatch, heard, of_value, (1, 0))
    config = pretrain_config(shards, tmp_path / "run")
    config = with_values(config, {"health.on_failure": "warn"})
    pretrain.run(config)
    found = [record for record in caplog.records if "first not finite" in record.getMessage()]
    assert [record.levelno for record in found] == [logging.WARNING]


def test_what_is_finite_has_no_origin(shards: Path) -> None:
    plan: Any = type("Plan", (), {"num_streams": 2})
    fabric: Any = type("Fabric", (), {"world_size": 1})
    found = NonFinite()
    assert found.describe(plan, fabric) == ""
    for update in range(3):
        found.add_loss(torch.tensor(1.0, requires_grad=True), plan, update, 0)
        found.add_gradient(torch.tensor(2.0), update)
    assert found.describe(plan, fabric) == ""


def test_no_more_samples_are_named_than_a_person_reads() -> None:
    refs: Any = [type("Ref", (), {"shard": f"s{i // 8}.tar", "key": f"u{i:02d}"}) for i in range(30)]
    text = named(refs)
    assert text.startswith("s0.tar: u00, u01")
    assert "; s1.tar: u08" in text
    assert text.endswith("u11 and 18 more")
