"""Features of a probe: the same as one utterance at a time gives, and in time with the encoder's frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_chain import MODEL

from speechssl.config import BASE_CONV_LAYERS, EvaluationSetConfig, FeatureEncoderConfig, ModelConfig
from speechssl.data.samples import read_sample_audio
from speechssl.embedder import load_encoder
from speechssl.errors import ConfigError
from speechssl.frames import frame_seconds, num_frames
from speechssl.probing.baselines import SpectralLayers, random_encoder
from speechssl.probing.features import EncoderLayers, LayerFrames, write_layers
from speechssl.probing.sets import read_set


def test_layers_are_those_of_each_utterance_alone(shards: Path, pretrained: Path, tmp_path: Path) -> None:
    embedder = load_encoder(pretrained, "cpu")
    samples = read_set(EvaluationSetConfig([str(shards)], max_batch_seconds=4), MODEL, name="train")
    source = EncoderLayers(embedder.encoder, ["block_1", "context"])
    layers = list(write_layers(source, {"train": samples}, tmp_path))
    assert [(layer.name, layer.dim) for layer in layers] == [("block_1", 16), ("context", 16)]
    for layer in layers:
        parts = layer.frames("train", samples.bounds).split()
        assert len(parts) == 24
        for i in (0, 7, 23):
            alone = embedder.embed(read_sample_audio(samples.corpus[i], 16000), 16000)[layer.name]
            torch.testing.assert_close(parts[i], alone, atol=2e-5, rtol=1e-4)


def test_a_layer_that_is_not_there_is_named(pretrained: Path) -> None:
    with pytest.raises(ConfigError, match="block_3; expected some of features, block_1, block_2, context"):
        EncoderLayers(load_encoder(pretrained, "cpu").encoder, ["block_3"])


@pytest.mark.parametrize("name", ["log_mel", "mfcc"])
@pytest.mark.parametrize(
    ("conv_layers", "windows"), [([(8, 400, 160), (8, 3, 2), (8, 3, 2)], 4), (BASE_CONV_LAYERS, 2)]
)
def test_a_click_is_where_the_encoder_hears_it(name: str, conv_layers: list, windows: int) -> None:
    source = SpectralLayers(ModelConfig(feature_encoder=FeatureEncoderConfig(conv_layers=conv_layers)), name)
    audio = torch.zeros(2, 16000)
    audio[0, 8000] = audio[1, 3000] = 1.0
    lengths = torch.tensor([16000, 9000])
    found = source.layers(audio, lengths)[0]
    sizes = num_frames(lengths, conv_layers).tolist()
    assert found.shape == (2, sizes[0], source.dims[0])
    for row, sample in ((0, 8000), (1, 3000)):
        by_window = found[row, : sizes[row]].unflatten(1, (windows, -1))
        energy = (by_window[..., 0] if name == "mfcc" else by_window.mean(2)).mean(1)
        times = frame_seconds(torch.arange(len(energy)).double(), conv_layers, 16000)
        assert abs(float(times[energy.argmax()]) - sample / 16000) <= 0.005 * windows + 0.005
    alone = source.layers(audio[1:, :9000], lengths[1:])[0][0]
    assert torch.equal(found[1, : sizes[1]], alone)
    assert not found[1, sizes[1] :].any()


def test_random_weights_are_those_of_the_seed() -> None:
    one, same, other = (random_encoder(MODEL, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_pooling_and_scaling_agree_with_loops() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (7, 2))
    frames = LayerFrames(torch.from_numpy(values), np.array([0, 3, 7]))
    expected = []
    for start, stop in ((0, 3), (3, 7)):
        means = [sum(values[start:stop, d]) / (stop - start) for d in range(2)]
        deviations = [
            (sum((v - means[d]) ** 2 for v in values[start:stop, d]) / (stop - start)) ** 0.5 for d in range(2)
        ]
        expected.append(means + deviations)
    np.testing.assert_allclose(frames.pooled(), expected, rtol=1e-12)
    other = LayerFrames(torch.from_numpy(rng.normal(0, 1, (5, 2))), np.array([0, 5]))
    scaled = other.standardized(frames).x.numpy()
    for d in range(2):
        mean = sum(values[:, d]) / 7
        deviation = (sum((v - mean) ** 2 for v in values[:, d]) / 7) ** 0.5
        np.testing.assert_allclose(scaled[:, d], [(v - mean) / deviation for v in other.x[:, d].tolist()], rtol=1e-9)
