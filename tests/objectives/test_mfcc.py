"""HuBERT's first iteration: cepstra as features of units, clustered as they are."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans
from test_units import PUBLISHED, TINY, model_of, noise

from speechssl.config import UnitsConfig
from speechssl.config.limits import check
from speechssl.errors import ConfigError
from speechssl.frames import num_frames, receptive_field_samples
from speechssl.objectives.mfcc import MfccChunks
from speechssl.objectives.units import EncoderLayer, Units


def cepstra_of(window: list[float]) -> list[float]:
    """Kaldi's 13 cepstra of 400 samples at 16 kHz, in plain loops: 23 triangles over the mel scale from 20 Hz up."""
    mean = sum(window) / len(window)
    x = [sample - mean for sample in window]
    emphasised = [x[i] - 0.97 * x[max(0, i - 1)] for i in range(len(x))]
    shape = [(0.5 - 0.5 * math.cos(2 * math.pi * i / (len(x) - 1))) ** 0.85 for i in range(len(x))]
    power = np.abs(np.fft.rfft(np.multiply(emphasised, shape), 512)) ** 2

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    edges = [mel(20) + k * (mel(8000) - mel(20)) / 24 for k in range(25)]
    bands = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        energy = 0.0
        for k in range(256):
            place = mel(k * 16_000 / 512)
            energy += power[k] * max(0.0, min((place - low) / (middle - low), (high - place) / (high - middle)))
        bands.append(math.log(energy))
    found = []
    for c in range(13):
        scale = math.sqrt((2 if c else 1) / 23)
        total = sum(bands[k] * math.cos(math.pi * c * (k + 0.5) / 23) for k in range(23))
        found.append(scale * total * (1 + 11 * math.sin(math.pi * c / 22)))
    return found


def slopes_of(rows: list[list[float]]) -> list[list[float]]:
    """Least-squares slopes over two rows on each side; the first and last rows go on beyond the ends."""

    def row(t: int) -> list[float]:
        return rows[min(max(t, 0), len(rows) - 1)]

    return [
        [sum(n * (row(t + n)[c] - row(t - n)[c]) for n in (1, 2)) / 10 for c in range(len(rows[0]))]
        for t in range(len(rows))
    ]


def test_they_are_kaldis_cepstra_of_what_a_frame_hears_with_their_slopes() -> None:
    audio = noise(2, 3_000)
    found = MfccChunks(model_of(PUBLISHED))(audio)
    assert found.shape == (2, num_frames(3_000, PUBLISHED), 39)
    for b in range(2):
        waveform = audio[b].double().tolist()
        rows = [cepstra_of(waveform[160 * t : 160 * t + 400]) for t in range(17)]
        slopes = slopes_of(rows)
        expected = [a + b + c for a, b, c in zip(rows, slopes, slopes_of(slopes), strict=True)]
        # A frame every 20 ms, hence every second row.
        torch.testing.assert_close(found[b].double(), torch.tensor(expected[::2]).double(), rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("layers", [PUBLISHED, TINY, [(8, 500, 333)], [(8, 201, 80)], [(8, 100, 50)]])
@pytest.mark.parametrize("sample_rate", [48_000, 22_050, 16_000, 8_000])
def test_there_is_a_row_for_every_frame(layers: list[tuple[int, int, int]], sample_rate: int) -> None:
    features = MfccChunks(model_of(layers, sample_rate))
    for length in (receptive_field_samples(layers), 7_001, 16_000):
        found = features(noise(2, length))
        assert found.shape == (2, num_frames(length, layers), features.dim)
        assert found.isfinite().all()


def test_a_long_frame_has_all_its_windows() -> None:
    published, wide = MfccChunks(model_of([(8, 400, 160)])), MfccChunks(model_of(TINY))
    audio = noise(1, 8_000)
    windows = published(audio)[0]  # a row every 10 ms
    assert wide.dim == 39 * 5
    expected = torch.stack([windows[4 * t : 4 * t + 5].flatten() for t in range(num_frames(8_000, TINY))])
    torch.testing.assert_close(wide(audio)[0], expected)


def test_silence_has_cepstra() -> None:
    assert MfccChunks(model_of(PUBLISHED))(torch.zeros(1, 4_000)).isfinite().all()


@pytest.mark.parametrize("features", ["mfcc", "layer"])
def test_without_a_dimension_the_features_are_clustered_as_they_are(features: str) -> None:
    model = model_of(PUBLISHED)
    torch.manual_seed(0)
    chunks = MfccChunks(model) if features == "mfcc" else EncoderLayer(model, 1)
    units = Units(UnitsConfig(num_entries=[5], dim=0), chunks)
    batches = [noise(3, 20_000, seed=seed) for seed in range(3)]
    units.fit(batches, seed=3)
    dumped = torch.cat([units.features(batch).flatten(0, 1) for batch in batches]).numpy()
    means = MiniBatchKMeans(5, batch_size=8192, n_init=3, max_iter=100, random_state=3).fit(dumped)
    found = torch.cat([units(batch).flatten() for batch in batches])
    assert np.mean(found.numpy() == means.predict(dumped)) > 0.999
    assert units.codebook_0.numpy() == pytest.approx(means.cluster_centers_, rel=1e-4, abs=1e-4)


def test_a_random_projection_needs_a_dimension() -> None:
    with pytest.raises(ConfigError, match=r"dim is 0 with clustering random_projection, expected .*16 in BEST-RQ"):
        check(UnitsConfig(clustering="random_projection", dim=0))


def test_a_checkpoint_is_for_layers() -> None:
    with pytest.raises(ConfigError, match="features is mfcc; give it with features layer"):
        check(UnitsConfig(features="mfcc", checkpoint="exp/run"))
