"""Many recordings heard at once are represented as each alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import speechssl
from speechssl.decoding import hearing
from speechssl.decoding.long_form import Recording, open_recording
from speechssl.embedder import Embedder, Embedding
from speechssl.embedding.representation import Representation
from speechssl.errors import ConfigError, DataError
from speechssl.remote.failures import UnreachableError

RATE = 16000
LENGTHS = (9000, 20000, 325, 70 * RATE, 12000, 9000, 36 * RATE + 5, 30000)
"""Samples; two are longer than a window."""


@pytest.fixture(scope="module")
def encoder(pretrained: Path) -> Embedder:
    return speechssl.load_encoder(pretrained, "cpu")


@pytest.fixture(scope="module")
def arrays() -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [draws.normal(0, 0.1, length).astype(np.float32) for length in LENGTHS]


@pytest.fixture(scope="module")
def alone(encoder: Embedder, arrays: list[np.ndarray]) -> list[Embedding]:
    return [encoder.embed(array, RATE) for array in arrays]


def mean_and_deviation(frames: Sequence[Sequence[float]]) -> list[float]:
    """Of each dimension: means, then deviations; in loops."""
    means, deviations = [], []
    for d in range(len(frames[0])):
        mean = sum(float(frame[d]) for frame in frames) / len(frames)
        means.append(mean)
        deviations.append((sum((float(frame[d]) - mean) ** 2 for frame in frames) / len(frames)) ** 0.5)
    return means + deviations


@pytest.mark.parametrize("seconds", [2.0, 8.0, 80.0])
def test_batches_change_nothing(
    seconds: float, encoder: Embedder, arrays: list[np.ndarray], alone: list[Embedding]
) -> None:
    shapes = []
    hook = encoder.encoder.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    together = list(encoder.embed_many(iter(arrays), RATE, max_batch_seconds=seconds))
    hook.remove()
    assert len(together) == len(alone)
    for one, other in zip(together, alone, strict=True):
        assert one.names == other.names
        torch.testing.assert_close(one.layers, other.layers, rtol=1e-4, atol=1e-5)
        assert torch.equal(one.times, other.times)
    assert any(num_rows > 1 for num_rows, _ in shapes)
    assert all(num_rows == 1 or num_rows * length <= seconds * RATE for num_rows, length in shapes)


def test_recordings_of_like_lengths_share_a_batch(encoder: Embedder) -> None:
    shapes = []
    hook = encoder.encoder.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    draws = np.random.default_rng(0)
    lengths = [RATE, 10 * RATE] * 8
    found = list(encoder.embed_many([draws.normal(0, 0.1, n) for n in lengths], RATE, max_batch_seconds=22))
    hook.remove()
    assert [len(item.times) for item in found] == [(n - 325) // 320 + 1 for n in lengths]
    assert len(shapes) == 5, "four pairs of long ones, and all short ones at once"
    assert sum(rows * length for rows, length in shapes) < 1.1 * sum(lengths)


@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_pooled_over_all_windows(
    pooling: str, encoder: Embedder, arrays: list[np.ndarray], alone: list[Embedding]
) -> None:
    found = list(encoder.embed_many(arrays, RATE, layers=["context", "block_1"], pooling=pooling, max_batch_seconds=8))  # type: ignore[arg-type]
    width = 16 if pooling == "mean" else 32
    for one, other in zip(found, alone, strict=True):
        assert one.layers.shape == (2, width)
        assert torch.equal(one.times, other.times)
        for name in ("context", "block_1"):
            expected = torch.tensor(mean_and_deviation(other[name].tolist())[:width])
            torch.testing.assert_close(one[name], expected, rtol=1e-4, atol=1e-5)


def test_a_mix_is_a_weighted_mean(encoder: Embedder, arrays: list[np.ndarray], alone: list[Embedding]) -> None:
    mixed = encoder.embed(arrays[0], RATE, layers=["block_1", "context"], mix_weights=[3, 1])
    assert mixed.names == ("mix",)
    expected = 0.75 * alone[0]["block_1"].double() + 0.25 * alone[0]["context"].double()
    torch.testing.assert_close(mixed["mix"].double(), expected, rtol=1e-4, atol=1e-5)


def test_only_the_context_keeps_no_blocks(encoder: Embedder, arrays: list[np.ndarray], alone: list[Embedding]) -> None:
    kept = []
    hook = encoder.encoder.register_forward_hook(lambda _, inputs, output: kept.append(len(output.layers)))
    found = encoder.embed(arrays[0], RATE, layers=["context"])
    hook.remove()
    assert kept == [0]
    torch.testing.assert_close(found["context"], alone[0]["context"])


def test_what_cannot_be_heard_is_told_in_its_turn(encoder: Embedder, arrays: list[np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    for bad, rate, message in (
        (tmp_path / "bad.wav", None, "bad.wav"),
        (tmp_path / "gone.wav", None, "gone.wav"),
        (arrays[0][:100], RATE, "100 samples at 16000 Hz, expected at least 325, one frame"),
        (np.zeros(9000, np.int16), RATE, "divide int16 by 32768"),
    ):
        soundfile.write(tmp_path / "good.wav", arrays[0], RATE)
        good = tmp_path / "good.wav" if rate is None else arrays[0]
        found = encoder.embed_many([good, good, bad, good], rate)
        assert [len(next(found).times) for _ in range(2)] == [28, 28]
        with pytest.raises(DataError, match=message):
            next(found)


def test_a_recording_that_breaks_off_leaves_the_others_as_they_are(
    encoder: Embedder, arrays: list[np.ndarray], alone: list[Embedding], tmp_path: Path
) -> None:
    broken = np.zeros(100 * RATE, np.float32)
    broken[-1] = np.nan
    paths = []
    for i, samples in enumerate((arrays[0], broken, arrays[1])):
        paths.append(tmp_path / f"{i}.wav")
        soundfile.write(paths[-1], samples, RATE, subtype="FLOAT")
    representation = Representation(encoder.layer_names, encoder.layer_names)
    opened = (open_recording(path, None, encoder.encoder.config) for path in paths)
    first, second, third = encoder.hear(opened, representation, max_batch_seconds=1)
    assert "1.wav" in second.problem
    assert (first.problem, third.problem) == ("", "")
    for heard, expected in ((first, alone[0]), (third, alone[1])):
        torch.testing.assert_close(representation.joined(heard.in_order()), expected.layers, rtol=1e-4, atol=1e-5)


def test_a_shard_that_cannot_be_had_is_no_damaged_recording(encoder: Embedder) -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield np.zeros(9000, np.float32)
        raise UnreachableError("s3://gone: cannot be had")

    with pytest.raises(UnreachableError):
        list(encoder.hear([Recording(None, blocks())], Representation(encoder.layer_names, ("context",))))


def test_none_are_none(encoder: Embedder) -> None:
    assert list(encoder.embed_many([], RATE)) == []


def test_mistakes_are_told_before_anything_is_heard(encoder: Embedder) -> None:
    with pytest.raises(ConfigError, match="layers: block_9; expected some of block_1, block_2, context"):
        encoder.embed_many([], RATE, layers=["block_9"])
    with pytest.raises(ConfigError, match="expected each once"):
        encoder.embed_many([], RATE, layers=["context", "context"])
    with pytest.raises(ConfigError, match="mix_weights has 1 numbers for 2 layers"):
        encoder.embed_many([], RATE, layers=["block_1", "context"], mix_weights=[1])


def test_reading_goes_no_further_than_a_pool_ahead() -> None:
    made = []
    items = hearing.ahead(iter(made.append(i) or i for i in range(9)))  # type: ignore[func-returns-value]
    assert [next(items), next(items)] == [0, 1]
    items.close()
    assert len(made) <= 3
