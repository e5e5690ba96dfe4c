"""Heads: what they are given decides what they learn, to the bit, and padding does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechssl.config import HeadTrainingConfig
from speechssl.probing.heads import (
    HEADS,
    Examples,
    Head,
    HeadKind,
    apply_head,
    batches_for,
    class_loss,
    ctc_loss,
    cut,
    learning_rate_scale,
    train_head,
)

CONFIG = HeadTrainingConfig(lstm_dim=8, updates=60, max_batch_frames=120, learning_rate=2e-2)


def spoken(num: int, seed: int) -> Examples:
    """Label 1 or 2 in each of four stretches of frames, whose first dimension says which."""
    rng = torch.Generator().manual_seed(seed)
    frames, targets = [], []
    for _ in range(num):
        labels = torch.randint(1, 3, (4,), generator=rng)
        x = 0.3 * torch.randn(4, 5, 3, generator=rng)
        x[:, :2, 0] += 4 * labels[:, None] - 6
        x[:, :2, 1] += 3
        frames.append(x.flatten(0, 1)[: 18 + int(torch.randint(3, (), generator=rng))])
        targets.append(labels)
    return Examples(frames, targets)


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_learns_what_the_frames_say(kind: HeadKind) -> None:
    config = replace(CONFIG, updates=250, learning_rate=5e-2, max_batch_frames=400)
    head = train_head(Head(3, 3, kind, config), spoken(60, 0), ctc_loss, config, seed=0)
    test = spoken(10, 1)
    wrong = 0
    for scores, labels in zip(apply_head(head, test.frames, CONFIG), test.targets, strict=True):
        path = torch.unique_consecutive(scores.argmax(1))
        wrong += path[path > 0].tolist() != labels.tolist()
    assert wrong <= 1


def test_the_same_seed_gives_the_same_bits_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    weights = [
        train_head(
            Head(3, 3, "recurrent", CONFIG), spoken(8, 0), ctc_loss, replace(CONFIG, updates=4), seed
        ).state_dict()
        for seed in (0, 0, 1)
        if torch.set_rng_state(before) is None
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["output.weight"], weights[2]["output.weight"])
    torch.set_rng_state(before)
    head = Head(3, 3, "linear", CONFIG)
    state = torch.get_rng_state()
    train_head(head, spoken(8, 0), ctc_loss, replace(CONFIG, updates=2), 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("pooled", [False, True])
def test_what_is_beside_a_sample_does_not_change_its_scores(kind: HeadKind, *, pooled: bool) -> None:
    torch.manual_seed(0)
    head = Head(3, 4, kind, CONFIG, pooled=pooled).eval()
    frames = [torch.randn(size, 3) for size in (3, 9, 40)]
    together = apply_head(head, frames, CONFIG)
    for x, scores in zip(frames, together, strict=True):
        torch.testing.assert_close(scores, apply_head(head, [x], CONFIG)[0])
        assert scores.shape == ((4,) if pooled else (len(x), 4))


def test_losses_are_sums_over_samples() -> None:
    torch.manual_seed(0)
    scores, lengths = torch.randn(2, 6, 3), torch.tensor([6, 4])
    labels = [torch.tensor([1, 2]), torch.tensor([2])]
    one_by_one = [ctc_loss(scores[i : i + 1, : lengths[i]], lengths[i : i + 1], labels[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(ctc_loss(scores, lengths, labels), sum(one_by_one))
    classes = [torch.tensor(2), torch.tensor(0)]
    expected = sum(-float(torch.log_softmax(scores[i, 0], 0)[classes[i]]) for i in (0, 1))
    assert float(class_loss(scores[:, 0], lengths, classes)) == pytest.approx(expected, rel=1e-5)


def test_every_sample_is_learned_from_as_often() -> None:
    lengths = np.array([5, 60, 7, 30, 200, 12])
    batches = list(batches_for(40, lengths, CONFIG, seed=3))
    assert len(batches) == 40
    assert all(len(b) * max(lengths[b]) <= 120 or len(b) == 1 for b in batches)
    counts = np.bincount(np.concatenate(batches), minlength=6)
    assert counts.max() - counts.min() <= 1
    assert batches == list(batches_for(40, lengths, CONFIG, seed=3))
    assert batches != list(batches_for(40, lengths, CONFIG, seed=4))
    assert cut(np.arange(3), np.array([200, 1, 1]), 120) == [[0], [1, 2]]


def test_the_learning_rate_rises_falls_and_is_never_zero_or_above_its_peak() -> None:
    scales = [learning_rate_scale(i, 100) for i in range(100)]
    assert scales[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert scales[10:] == pytest.approx([(100 - i) / 90 for i in range(10, 100)])
    assert learning_rate_scale(0, 1) == 1


def test_heads_of_few_samples_begin_at_zero_and_mix_lengths() -> None:
    config = HeadTrainingConfig(updates=1, max_batch_frames=60, learning_rate=1e-12)
    frames = [torch.randn(length, 4) for length in range(5, 25)]
    examples = Examples(frames, [torch.tensor([1, 2])] * len(frames))
    weights = {
        few: train_head(Head(4, 3, "linear", config), examples, ctc_loss, config, 0, few=few).output.weight.detach()
        for few in (False, True)
    }
    assert float(weights[False].abs().max()) > 0.1
    assert float(weights[True].abs().max()) < 1e-9
    lengths = np.array([len(x) for x in frames])
    spans = {
        mixed: np.mean([np.ptp(lengths[batch]) for batch in batches_for(8, lengths, config, 0, mixed=mixed)])
        for mixed in (False, True)
    }
    assert spans[True] > 1.5 * spans[False]
