"""The picture of a set: which samples it shows, and that what is wrong with audio is seen in it."""

from pathlib import Path

import librosa.filters
import numpy as np
import pytest
import soundfile
import soxr
from matplotlib.figure import Figure

from speechssl.config import ShardConfig
from speechssl.report.exhibits import NUM_HEARD, Exhibit, choose_exhibits
from speechssl.report.ingest import IngestReport, read_report
from speechssl.report.ingest_plots import mel_spectrogram, plot_exhibits, plot_ingest
from speechssl.verbs import shard as ingest

RATE = 16000
SIZES = {8000: 512, 16000: 1024, 48000: 2048}


def a_set(folder: Path, levels: list[float], seconds: list[float]) -> list[Path]:
    """Shards of noise of given levels in dB and lengths."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    for i, (level, length) in enumerate(zip(levels, seconds, strict=True)):
        samples = draws.normal(0, 10 ** (level / 20), round(length * RATE))
        soundfile.write(folder / f"u{i:02d}.wav", samples, RATE)
    report = ingest.run(ShardConfig([str(folder)], folder / "out", max_shard_megabytes=0.05, min_level_db=-90))
    return [folder / "out" / name for name in report.shards]


def test_the_quietest_the_median_the_loudest_and_the_longest_are_shown(tmp_path: Path) -> None:
    levels = [-30.0, -50.0, -20.0, -35.0, -25.0]
    shards = a_set(tmp_path / "audio", levels, [0.5, 0.5, 0.5, 0.9, 0.5])
    assert len(shards) > 1
    exhibits = choose_exhibits(shards)
    assert [(exhibit.role, exhibit.key) for exhibit in exhibits] == [
        ("quiet", "u01"), ("typical", "u00"), ("loud", "u02"), ("longest", "u03"),
    ]  # fmt: skip
    assert [exhibit.level_db for exhibit in exhibits] == pytest.approx([-50, -30, -20, -35], abs=0.3)
    assert [exhibit.seconds for exhibit in exhibits] == [0.5, 0.5, 0.5, 0.9]


def test_few_samples_are_shown_once_and_of_many_some_are_heard(tmp_path: Path) -> None:
    assert [(x.role, x.key) for x in choose_exhibits(a_set(tmp_path / "one", [-30.0], [0.5]))] == [("typical", "u00")]
    pair = choose_exhibits(a_set(tmp_path / "two", [-30.0, -40.0], [0.5, 0.4]))
    assert [(x.role, x.key) for x in pair] == [("quiet", "u01"), ("typical", "u00")]
    many = choose_exhibits(a_set(tmp_path / "many", [-30.0] * 2 * NUM_HEARD, [0.1] * (2 * NUM_HEARD - 2) + [0.3, 0.1]))
    assert many[-1].role == "longest"
    assert many[-1].key == f"u{2 * NUM_HEARD - 2}"  # though it is not one of those that lie evenly


@pytest.mark.parametrize("rate", SIZES)
def test_a_tone_of_full_scale_is_at_zero_in_its_band(rate: int) -> None:
    centre = librosa.mel_frequencies(82, fmin=0, fmax=rate / 2)[41]
    bands = mel_spectrogram(np.sin(2 * np.pi * centre * np.arange(rate) / rate), rate, rate // 100)
    assert bands.shape == (80, 101)
    assert bands.mean(1).argmax() == 40
    assert bands[40, 50] == pytest.approx(0, abs=2)
    assert bands[[20, 60], 50].max() < -60


def test_what_is_wrong_with_audio_shows() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE)
    telephone = soxr.resample(soxr.resample(noise, RATE, 8000), 8000, RATE)
    bands = mel_spectrogram(telephone, RATE, 160)[:, 50:-50]
    edges = librosa.mel_frequencies(82, fmin=0, fmax=RATE / 2)[1:-1]
    assert bands[edges > 4200].max() < -90
    assert bands[(edges > 100) & (edges < 3500)].mean() > -50
    offset = mel_spectrogram(np.full(4 * RATE, 0.3), RATE, 160)[:, 50:-50]
    assert offset[1:].max() < -90
    assert mel_spectrogram(np.zeros(RATE), RATE, 160).max() < -100


def test_samples_have_their_key_length_level_and_clipping_as_title() -> None:
    tone = np.sin(np.arange(RATE) / 10).astype(np.float32)
    exhibits = [
        Exhibit("quiet", "a", 1.0, tone / 100, RATE),
        Exhibit("loud", f"{'x' * 30}_end", 20.0, np.clip(tone * 2, -1, 1), RATE),
    ]
    figure = Figure()
    plot_exhibits(figure, exhibits)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [
        "quiet: a\n1.0 s, \u221243 dB",
        f"loud: {'x' * 12}\u2026{'x' * 8}_end\n20.0 s, \u22121 dB, 66.7% clipped",
    ]


def test_one_sample_of_a_rate_makes_a_picture_whatever_the_rate(tmp_path: Path) -> None:
    for rate in SIZES:
        exhibit = Exhibit("typical", "a", 1 / rate, np.zeros(1, dtype=np.float32), rate)
        plot_ingest(
            IngestReport("", rate, length_histogram={"0": 1}, level_histogram={"-90": 1}), [exhibit], tmp_path / "p"
        )
        assert (tmp_path / "p").read_bytes().startswith(b"\x89PNG")


def test_the_same_set_has_the_same_picture(tmp_path: Path) -> None:
    shards = a_set(tmp_path / "audio", [-30.0, -20.0], [0.5, 0.5])
    report = read_report(tmp_path / "audio" / "out")
    assert report is not None
    plot_ingest(report, choose_exhibits(shards), tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "audio" / "out" / "report.png").read_bytes()
