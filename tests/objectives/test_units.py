"""Units: one per frame of the encoder, the nearest entry of codebooks that k-means gives."""

import numpy as np
import pytest
import reference
import torch
import torchaudio
from sklearn.cluster import MiniBatchKMeans

from speechssl.config import ContextConfig, FeatureEncoderConfig, ModelConfig, UnitsConfig
from speechssl.errors import DataError
from speechssl.frames import num_frames, receptive_field_samples
from speechssl.objectives.units import EncoderLayer, LogMelChunks, Units

PUBLISHED = [(8, 10, 5), (8, 3, 2), (8, 3, 2), (8, 3, 2), (8, 3, 2), (8, 2, 2), (8, 2, 2)]
TINY = [(8, 400, 160), (8, 3, 2), (8, 2, 2)]
SMALL = ContextConfig(num_layers=2, dim=16, ffn_dim=32, num_heads=2, pos_conv_kernel=8, pos_conv_groups=2)


def model_of(layers: list[tuple[int, int, int]], sample_rate: int = 16_000) -> ModelConfig:
    return ModelConfig(sample_rate, feature_encoder=FeatureEncoderConfig(conv_layers=layers), context=SMALL)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layers", [PUBLISHED, TINY, [(8, 500, 333)], [(8, 201, 80)]])
@pytest.mark.parametrize("sample_rate", [48_000, 22_050, 16_000, 8_000])
def test_there_is_a_unit_for_every_frame(layers: list[tuple[int, int, int]], sample_rate: int) -> None:
    features = LogMelChunks(model_of(layers, sample_rate))
    for length in (receptive_field_samples(layers), 7_001, 16_000):
        found = features(noise(2, length))
        assert found.shape == (2, num_frames(length, layers), features.dim)


def test_chunks_are_the_log_mel_energies_of_what_a_frame_hears() -> None:
    features = LogMelChunks(model_of(TINY))
    audio = noise(1, 8_000)
    mel = torchaudio.transforms.MelSpectrogram(
        16_000, 400, hop_length=160, n_mels=80, center=False, norm="slaney", mel_scale="htk"
    )
    energies = (mel(audio)[0] + 1e-6).log().T  # a row every 10 ms
    assert features.dim == 80 * 5  # what a frame hears are 65 ms
    chunks = torch.stack([energies[4 * t : 4 * t + 5] for t in range(num_frames(8_000, TINY))])
    centred = chunks - chunks.mean((0, 1))
    expected = centred / (centred.square().mean((0, 1)).sqrt() + 1e-5)
    torch.testing.assert_close(features(audio)[0], expected.flatten(1), rtol=1e-3, atol=1e-3)


def test_a_frame_that_hears_less_than_a_window_stands_in_its_middle() -> None:
    layers = [(8, 200, 80)]
    narrow, wide = LogMelChunks(model_of(layers)), LogMelChunks(model_of([(8, 400, 80)]))
    audio = noise(1, 8_000)
    torch.testing.assert_close(narrow(audio), wide(torch.nn.functional.pad(audio, (100, 100))))


def test_a_louder_recording_has_the_same_units() -> None:
    units = Units(UnitsConfig(num_entries=[7], dim=8), LogMelChunks(model_of(TINY)))
    units.fit([noise(4, 32_000)], seed=0)
    audio = noise(1, 16_000, seed=1) * torch.linspace(0.5, 1, 16_000)
    assert (units(audio) == units(4 * audio)).float().mean() > 0.97


def test_units_of_audio_are_those_of_its_dumped_features() -> None:
    config = UnitsConfig(num_entries=[5, 9], dim=6)
    units = Units(config, LogMelChunks(model_of(TINY)))
    batches = [noise(3, 20_000, seed=seed) for seed in range(3)]
    units.fit(batches, seed=3)
    dumped = torch.cat([units.features(batch).flatten(0, 1) for batch in batches]).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(dumped.T, bias=True))
    points = ((dumped - dumped.mean(0)) @ (vectors[:, -6:] / np.sqrt(values[-6:]))).astype(np.float32)
    assert np.cov(points.T, bias=True) == pytest.approx(np.eye(6), abs=1e-2)
    for number, entries in enumerate(config.num_entries):
        means = MiniBatchKMeans(entries, batch_size=8192, n_init=3, max_iter=100, random_state=3).fit(points)
        found = torch.cat([units(batch)[..., number].flatten() for batch in batches]).numpy()
        # The sign of a principal component is nobody's choice, and k-means begins elsewhere on the other side.
        groups = np.zeros((entries, entries))
        np.add.at(groups, (found, means.labels_), 1)
        book = getattr(units, f"codebook_{number}")
        projected = units.project(torch.from_numpy(dumped).float())
        assert found[:50].tolist() == reference.nearest(projected[:50], book)
        inertia = float((projected - book[torch.from_numpy(found)]).square().sum())
        assert inertia == pytest.approx(means.inertia_, rel=0.05)


def test_random_projections_are_on_the_unit_sphere_and_as_drawn() -> None:
    config = UnitsConfig(clustering="random_projection", num_entries=[64], dim=4)
    first, again, other = (Units(config, LogMelChunks(model_of(PUBLISHED))) for _ in range(3))
    audio = noise(2, 64_000)
    for units, seed in ((first, 0), (again, 0), (other, 1)):
        units.fit([audio], seed)
    assert first.codebook_0.norm(dim=1).tolist() == pytest.approx([1] * 64)
    assert first.project(first.features(audio)).norm(dim=-1).flatten().tolist() == pytest.approx([1] * 398, rel=1e-5)
    assert first.project(first.mean).norm() == 0, "directions are those from the mean of the features"
    assert (first(audio) == again(audio)).all()
    assert not (first(audio) == other(audio)).all()


def test_a_layer_is_that_of_the_encoder_and_never_in_training() -> None:
    torch.manual_seed(0)
    features = EncoderLayer(model_of(PUBLISHED), 1)
    audio = noise(2, 8_000)
    expected = features.encoder.eval()(audio, keep_layers=True).layers[0]
    units = Units(UnitsConfig(features="layer", layer=1, num_entries=[4], dim=3), features).train()
    torch.testing.assert_close(units.features(audio), expected)
    assert not units.features.encoder.training
    assert not any(p.requires_grad for p in units.parameters())


def test_too_little_audio_is_an_error_that_says_how_much() -> None:
    units = Units(UnitsConfig(num_entries=[4, 100]), LogMelChunks(model_of(TINY)))
    with pytest.raises(DataError, match=r"num_entries is 100, but there are only 100 frames .* expected 10 for each"):
        units.fit([noise(4, 16_400)], seed=0)
