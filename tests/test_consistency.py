"""Two views of each utterance that are drawn together."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from changing import with_values
from small_chain import MODEL, finetune_config, weights

from speechssl.config import ConsistencyConfig, DropoutConfig, HeadConfig, MaskingConfig
from speechssl.config.limits import check
from speechssl.data.batches import Batch
from speechssl.data.corpus import read_corpus
from speechssl.errors import ConfigError
from speechssl.model.ctc import CtcModel
from speechssl.tasks.consistency import consistency_loss
from speechssl.tasks.ctc import FinetuneTask
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.run_log import read_log
from speechssl.training.task import StepOutput
from speechssl.verbs import finetune

STILL = DropoutConfig(hidden=0.0, attention=0.0, layer_drop=0.0)
UNMASKED = MaskingConfig(time_prob=0.0, channel_prob=0.0)


def test_divergence_agrees_with_loops() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, 3, generator=rng, dtype=torch.float64)
    lengths = [5, 2]
    expected = 0.0
    for i, length in enumerate(lengths):
        for t in range(length):
            one, other = ([math.exp(x) for x in logits[row, t].tolist()] for row in (i, i + 2))
            p, q = ([x / sum(values) for x in values] for values in (one, other))
            expected += sum(a * math.log(a / b) + b * math.log(b / a) for a, b in zip(p, q, strict=True)) / 2
    assert float(consistency_loss(logits, torch.tensor(lengths))) == pytest.approx(expected, rel=1e-12)


def test_each_view_moves_towards_the_other_and_none_away() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    consistency_loss(logits, torch.tensor([2])).backward()  # type: ignore[no-untyped-call]
    first, second = logits.detach().softmax(-1)
    assert logits.grad is not None
    # With the other as a fixed target the gradient of a KL divergence is the difference of the distributions.
    torch.testing.assert_close(logits.grad[0, :2], (first - second)[:2] / 2)
    torch.testing.assert_close(logits.grad[1, :2], (second - first)[:2] / 2)
    assert not logits.grad[:, 2].any()  # padding


def step(shards: Path, weight: float, dropout: DropoutConfig = STILL, masking: MaskingConfig = UNMASKED) -> StepOutput:
    torch.manual_seed(0)
    dev = read_corpus([str(shards)], with_texts=True)
    config = replace(
        finetune_config(shards, Path("run"), None),
        consistency=ConsistencyConfig(weight),
        dropout=dropout,
        masking=masking,
    )
    model = CtcModel(MODEL, dropout, 5, HeadConfig()).train()
    task = FinetuneTask(config, model, Vocabulary.from_texts(["ab"]), dev)
    audio = torch.randn(2, 9000, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(3)
    return task.step(Batch([], audio, torch.tensor([9000, 6000]), ["ab", "b"], stream=0), 0)


def test_two_equal_views_cost_what_one_does(shards: Path) -> None:
    one, two = step(shards, 0.0), step(shards, 0.2)
    assert "divergence" not in one.sums
    assert float(two.sums["divergence"]) == pytest.approx(0, abs=1e-4)
    assert float(two.loss.detach()) == pytest.approx(float(one.loss.detach()), rel=1e-5)
    assert two.num_targets == one.num_targets
    assert float(two.sums["blank_share"]) == pytest.approx(float(one.sums["blank_share"]))


@pytest.mark.parametrize(
    ("dropout", "masking"),
    [
        (replace(STILL, output=0.3), UNMASKED),
        (STILL, MaskingConfig(time_prob=0.5, time_length=2)),
        (STILL, replace(UNMASKED, channel_prob=0.5, channel_length=4)),
    ],
)
def test_views_differ_by_dropout_and_by_masks(shards: Path, dropout: DropoutConfig, masking: MaskingConfig) -> None:
    output = step(shards, 0.5, dropout, masking)
    divergence = float(output.sums["divergence"])
    assert divergence > 1e-3
    assert float(output.loss.detach()) == pytest.approx(float(output.sums["loss"]) + 0.5 * divergence, rel=1e-5)


def test_views_that_nothing_tells_apart_are_refused(shards: Path) -> None:
    config = replace(
        finetune_config(shards, Path("run"), None), consistency=ConsistencyConfig(0.2), dropout=STILL, masking=UNMASKED
    )
    with pytest.raises(ConfigError, match=r"consistency.weight is 0.2, and the two views are one"):
        check(config)
    check(replace(config, dropout=replace(STILL, output=0.1)))


def test_a_run_with_two_views_is_resumed_to_the_bit(shards: Path, tmp_path: Path) -> None:
    config = with_values(finetune_config(shards, tmp_path / "run", None), {"consistency.weight": 0.2})
    finetune.run(config)
    assert "divergence" in next(line for line in read_log(tmp_path / "run" / "log.jsonl") if line["kind"] == "train")
    whole = weights(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "update_00000004")  # as if it had been killed before
    (tmp_path / "run" / "summary.json").unlink()
    finetune.run(config)
    resumed = weights(tmp_path / "run")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
