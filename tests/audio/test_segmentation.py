"""Where speech is found and how it is cut, against borders that are known and oracles that loop."""

import importlib.util
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.audio.blocks import AudioInfo, probe
from speechssl.audio.segmentation import (
    Cuts,
    LevelMeter,
    Limits,
    Segment,
    assemble,
    cut,
    frame_limits,
    join_runs,
    noise_floor,
    quietest_frame,
    resolve_method,
    speech_runs,
)
from speechssl.audio.silero import SileroNetwork
from speechssl.config import SegmentationConfig
from speechssl.config.limits import problems_of
from speechssl.errors import ConfigError, DataError

RATE = 8000
BURSTS = [(2.0, 3.5), (6.0, 6.8), (9.3, 13.3), (20.0, 21.1)]
AN4 = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "an4" / "audio"
needs_silero = pytest.mark.skipif(importlib.util.find_spec("silero_vad") is None, reason="needs silero-vad")
EXACT = {"padding_seconds": 0.0, "min_seconds": 0.0, "max_seconds": 1000.0}
"""Options with which the segments are the speech that was found."""


def bursts_in_noise(rate: int = RATE, *, seconds: float = 24.0, snr_db: float = 10.0) -> np.ndarray:
    """Noise of the telephone band with the rhythm of syllables as speech, in white noise 10 dB below it."""
    draws = np.random.default_rng(3)
    times = np.arange(round(seconds * rate)) / rate
    spectrum = np.fft.rfft(draws.normal(0, 1, len(times)))
    frequencies = np.fft.rfftfreq(len(times), 1 / rate)
    spectrum[(frequencies < 300) | (frequencies > 3400)] = 0
    speech = np.fft.irfft(spectrum, len(times))
    speech /= speech.std()
    level = np.zeros(len(times))
    for start, end in BURSTS:
        inside = (times >= start) & (times < end)
        level[inside] = 1 + 0.8 * np.cos(2 * np.pi * 4 * (times[inside] - start))
    level /= np.sqrt(np.mean(level[level > 0] ** 2))
    noise = draws.normal(0, 10 ** (-snr_db / 20), len(times))
    return (0.05 * (speech * level + noise)).astype(np.float32)


def written(folder: Path, samples: np.ndarray, rate: int = RATE) -> tuple[Path, AudioInfo]:
    path = folder / "a.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path, probe(path)


def borders(cuts: Cuts, rate: int) -> np.ndarray:
    """Beginnings and ends in seconds, (segments, 2)."""
    return np.array([(start, start + length) for start, length in cuts.segments]).reshape(-1, 2) / rate


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_energy_finds_bursts_at_10_db_within_100_ms(tmp_path: Path, rate: int) -> None:
    path, info = written(tmp_path, bursts_in_noise(rate), rate)
    cuts = cut(path, info, SegmentationConfig(method="energy", **EXACT))
    found = borders(cuts, rate)
    assert found.shape == (len(BURSTS), 2)
    assert np.abs(found - BURSTS).max() < 0.1
    assert cuts.speech_seconds == pytest.approx(np.diff(found).sum())
    assert cuts.dropped_seconds == 0


def test_energy_does_not_depend_on_volume_or_offset(tmp_path: Path) -> None:
    samples = bursts_in_noise()
    config = SegmentationConfig(method="energy")
    expected = cut(*written(tmp_path, samples), config)
    assert len(expected.segments) == 4
    for changed in (samples * 2.0**-12, samples * 2.0**4, samples + np.float32(0.25)):
        assert cut(*written(tmp_path, changed), config) == expected


def test_energy_finds_nothing_in_noise_or_silence(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 60 * RATE).astype(np.float32)
    for samples in (noise, 0 * noise, 0 * noise + np.float32(0.1), noise[:10]):
        cuts = cut(*written(tmp_path, samples), SegmentationConfig(method="energy"))
        assert cuts == ([], 0, 0, np.ptp(samples) == 0, [])


def test_energy_follows_noise_that_rises(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.01, 120 * RATE).astype(np.float32)
    samples[50 * RATE :] *= 10
    found = borders(cut(*written(tmp_path, samples), SegmentationConfig(method="energy", **EXACT)), RATE)
    assert len(found) == 1
    assert found[0, 1] - found[0, 0] < 15, "half a window and no longer"


@pytest.mark.parametrize(("level", "snr_db"), [(0, 10), (1e-7, 65)])
def test_silence_between_pieces_that_were_joined_is_not_their_noise_floor(
    tmp_path: Path, level: float, snr_db: float
) -> None:
    samples = bursts_in_noise(snr_db=snr_db)
    gap = np.random.default_rng(0).normal(0, 1, 10 * RATE).astype(np.float32) * np.float32(level)
    joined = np.concatenate([gap, samples, gap, samples, gap])
    found = borders(cut(*written(tmp_path, joined), SegmentationConfig(method="energy", **EXACT)), RATE)
    assert found.shape == (8, 2)
    assert np.abs(found - np.concatenate([np.add(BURSTS, 10), np.add(BURSTS, 44)])).max() < 0.1


@pytest.mark.parametrize("method", ["energy", pytest.param("silero", marks=needs_silero)])
def test_result_does_not_depend_on_the_length_of_blocks(tmp_path: Path, method: str) -> None:
    path, info = written(tmp_path, bursts_in_noise(11025, seconds=8), 11025)
    config = SegmentationConfig(method=method, threshold=0.5 if method == "energy" else 0.02, max_seconds=3)
    expected = cut(path, info, config)
    assert expected.segments
    for seconds in (0.0131, 0.9):
        assert cut(path, info, config, block_seconds=seconds) == expected


def test_levels_do_not_depend_on_the_length_of_blocks() -> None:
    samples = bursts_in_noise(seconds=3.01)
    oracle = [np.var(samples[i : i + 160].astype(np.float64)) for i in range(0, len(samples), 160)]
    results = []
    for size in (1000, 159, 7, len(samples)):
        meter = LevelMeter(RATE)
        for i in range(0, len(samples), size):
            meter.add(samples[i : i + size])
        results.append(meter.finish())
    np.testing.assert_allclose(results[0], oracle, rtol=1e-12)
    assert all(np.array_equal(powers, results[0]) for powers in results)


def an4_in_silence(num_utterances: int) -> tuple[np.ndarray, np.ndarray]:
    """Utterances without what is silent around them, 2 s apart in faint noise, and their borders in seconds.

    An utterance begins and ends where 10 ms are louder than 20 dB below its loud parts, for most of 100 ms.
    """
    draws = np.random.default_rng(5)
    parts, ends, position = [], [], 0
    for path in sorted(AN4.glob("*.flac"))[:num_utterances]:
        samples, _ = soundfile.read(path, dtype="float32")
        levels = 10 * np.log10(samples[: len(samples) // 160 * 160].reshape(-1, 160).var(axis=1) + 1e-12)
        loud = levels > np.percentile(levels, 95) - 20
        steady = [i for i in range(len(loud) - 9) if loud[i] and loud[i : i + 10].sum() >= 8]
        steady_end = [i for i in range(10, len(loud) + 1) if loud[i - 1] and loud[i - 10 : i].sum() >= 8]
        parts += [np.zeros(32000, np.float32), samples[steady[0] * 160 : steady_end[-1] * 160]]
        ends.append((position + 32000, position + 32000 + len(parts[-1])))
        position = ends[-1][1]
    joined = np.concatenate([*parts, np.zeros(32000, np.float32)])
    return joined + draws.normal(0, 0.001, len(joined)).astype(np.float32), np.array(ends) / 16000


@pytest.mark.skipif(not AN4.is_dir(), reason="needs the AN4 corpus")
@pytest.mark.parametrize("method", ["energy", pytest.param("silero", marks=needs_silero)])
def test_real_utterances_are_found(tmp_path: Path, method: str) -> None:
    samples, known = an4_in_silence(6)
    config = SegmentationConfig(method=method, min_silence_seconds=1.0, **EXACT)
    found = borders(cut(*written(tmp_path, samples, 16000), config), 16000)
    assert found.shape == known.shape
    errors = np.abs(found - known)
    assert errors.max() < 0.15
    assert np.median(errors) < 0.06


@needs_silero
def test_silero_listens_to_several_recordings_at_a_time() -> None:
    samples = bursts_in_noise(16000, seconds=4)
    expected = network_scores(samples)
    network = SileroNetwork(16000)
    network.add(samples[:40000])
    thread = threading.Thread(target=network_scores, args=(samples[::-1].copy(),))
    thread.start()
    thread.join()
    network.add(samples[40000:])
    np.testing.assert_array_equal(network.finish(), expected)
    assert len(expected) == 125


def network_scores(samples: np.ndarray) -> np.ndarray:
    network = SileroNetwork(16000)
    network.add(samples)
    return network.finish()


@needs_silero
def test_silero_leaves_the_threads_of_torch_alone_and_keeps_no_state(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path, info = written(tmp_path, bursts_in_noise(16000, seconds=4), 16000)
    config = SegmentationConfig(method="silero", threshold=0.01, **EXACT)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        results = [cut(path, info, config) for _ in range(2)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert results[0].speech_seconds > 0
    assert results[0] == results[1]


def test_speech_runs_against_a_loop() -> None:
    scores = np.round(np.random.default_rng(1).uniform(0, 1, 2000), 2)
    for threshold in (0.2, 0.5, 0.99):
        expected, start = [], None
        for i, score in enumerate([*scores, -1.0]):
            if score >= 0.7 * threshold:
                start = i if start is None else start
            elif start is not None:
                if max(scores[start:i]) >= threshold:
                    expected.append([start, i])
                start = None
        assert speech_runs(scores, threshold).tolist() == expected
    assert speech_runs(np.array([0.4, 0.4]), 0.5).shape == (0, 2)


def random_runs(draws: np.random.Generator, num_frames: int) -> list[tuple[int, int]]:
    """Runs in order, none touching the next."""
    edges = np.unique(draws.integers(0, num_frames + 1, 2 * int(draws.integers(0, 30))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=False))


def test_runs_are_joined_as_a_loop_joins_them() -> None:
    draws = np.random.default_rng(2)
    for _ in range(200):
        runs = random_runs(draws, 2000)
        limits = Limits(*draws.integers(0, 60, 2).tolist(), 0, 0, 0)
        groups: list[list[tuple[int, int]]] = []
        for run in runs:
            if groups and run[0] - groups[-1][-1][1] < limits.min_silence:
                groups[-1].append(run)
            else:
                groups.append([run])
        expected = [
            (group[0][0], group[-1][1])
            for group in groups
            if sum(end - start for start, end in group) >= limits.min_speech
        ]
        assert join_runs(np.array(runs, dtype=np.int64).reshape(-1, 2), limits) == expected


def test_segments_keep_all_speech_and_their_limits() -> None:
    draws = np.random.default_rng(4)
    for _ in range(300):
        info = AudioInfo(100, int(draws.integers(1, 3000)), 1, "WAV")
        speech = random_runs(draws, info.num_frames)
        longest = int(draws.integers(1, 400))
        limits = Limits(0, 0, int(draws.integers(0, 40)), longest, int(draws.integers(0, longest // 3 + 1)))
        powers = draws.uniform(0, 1, info.num_frames // 2 + 1)
        cuts = assemble(speech, info, limits, lambda first, last, p=powers: quietest_frame(p, 2, first, last))
        covered, margin = np.zeros(info.num_frames + 1, int), np.zeros(info.num_frames + 1, bool)
        for start, length in cuts.segments:
            assert max(1, limits.min_segment) <= length <= limits.max_segment
            covered[start : start + length] += 1
        assert covered.max() <= 1
        assert [segment.start_frame for segment in cuts.segments] == sorted(s.start_frame for s in cuts.segments)
        lost = sum(int((covered[start:end] == 0).sum()) for start, end in speech)
        assert cuts.dropped_seconds == lost / 100
        assert cuts.speech_seconds == sum(end - start for start, end in speech) / 100
        for start, end in speech:
            assert covered[start:end].min() == covered[start:end].max(), "speech is kept whole or dropped whole"
            margin[max(0, start - limits.padding) : end + limits.padding] = True
        if not limits.min_segment:
            assert not (covered[margin & (np.arange(len(margin)) < info.num_frames)] == 0).any()
            assert not covered[~margin].any(), "no more than the margins is kept"


def test_islands_join_what_is_near_or_are_dropped() -> None:
    info = AudioInfo(100, 5000, 1, "WAV")
    limits = Limits(0, 0, 10, 1500, 100)
    speech = [(500, 800), (850, 880), (1200, 1240), (1300, 1700), (2500, 2530), (3000, 3300), (3450, 3455)]
    speech += [(3700, 3900), (3930, 4100), (4980, 5000)]
    cuts = assemble(speech, info, limits, lambda first, last: last)
    spans = [(start, start + length) for start, length in cuts.segments]
    assert spans == [(490, 890), (1190, 1710), (2990, 3310), (3690, 3910), (3920, 4110)]
    assert cuts.dropped_seconds == (30 + 5 + 20) / 100
    near = assemble([(3000, 3300), (3420, 3425)], info, limits, lambda first, last: last)
    assert near.segments == [Segment(2990, 445)]


def test_long_speech_is_cut_at_its_quietest_place_near_the_end(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 50 * RATE).astype(np.float32)
    times = np.arange(len(samples)) / RATE
    syllable, phase = np.divmod(times, 0.6)
    pause = (phase > 0.45) | (np.isin(syllable, [13, 25, 28, 45, 58]) & (phase > 0.2))  # the last is at 35 s
    samples[pause | (times < 4) | (times > 42)] *= 0.01
    samples[pause & (syllable == 25)] *= 3
    config = SegmentationConfig(method="energy", max_seconds=15.0, padding_seconds=0.1)
    cuts = cut(*written(tmp_path, samples), config)
    found = borders(cuts, RATE)
    np.testing.assert_allclose(found.ravel(), [3.9, 17.2, 17.2, 27.4, 27.4, 42.0], atol=0.1)


def test_quietest_frame_against_a_loop() -> None:
    draws = np.random.default_rng(0)
    for _ in range(300):
        powers = draws.integers(0, 4, int(draws.integers(1, 30))).astype(float)
        hop = int(draws.integers(1, 6))
        first, last = sorted(draws.integers(0, len(powers) * hop + 1, 2).tolist())
        middles = [i * hop + hop // 2 for i in range(len(powers)) if first <= i * hop + hop // 2 <= last]
        expected = min(middles, key=lambda frame: (powers[frame // hop], -frame), default=last)
        assert quietest_frame(powers, hop, first, last) == expected


def test_noise_floor_is_a_percentile_of_what_is_around() -> None:
    levels = np.random.default_rng(0).normal(-60, 5, 4000)
    levels[::7] = -np.inf
    floor = noise_floor(levels)
    for hop in (0, 50, 1000, 3950):
        around = sorted(level for level in levels[max(0, hop - 750) : hop + 750] if level > -np.inf)
        position = 0.1 * (len(around) - 1)
        below, share = around[int(position)], position % 1
        assert floor[hop] == pytest.approx(below + share * (around[int(position) + 1] - below))
    assert floor[75] == pytest.approx((floor[50] + floor[100]) / 2)


def test_without_a_method_pieces_are_of_equal_length_and_none_is_lost(tmp_path: Path) -> None:
    config = SegmentationConfig(method="none", max_seconds=3, min_seconds=1)
    for seconds, expected in ((7.5, [3, 3, 1.5]), (6.0, [3, 3]), (6.4, [3, 2.4, 1]), (2.0, [2]), (1.0, [1])):
        info = AudioInfo(RATE, round(seconds * RATE), 1, "WAV")
        cuts = cut(tmp_path / "is not read", info, config)
        assert [segment.num_frames / RATE for segment in cuts.segments] == expected
        assert (cuts.speech_seconds, cuts.dropped_seconds) == (seconds, 0)
    assert cut(tmp_path, AudioInfo(RATE, 4000, 1, "WAV"), config)[:3] == ([], 0.5, 0.5)


def test_options_that_cannot_work_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    problems = problems_of(SegmentationConfig(threshold=1.5, max_seconds=0, padding_seconds=-1))
    assert [problem.split()[0] for problem in problems] == ["threshold", "padding_seconds", "max_seconds"]
    assert "at most a third of max_seconds (15)" in problems_of(SegmentationConfig(min_seconds=6))[0]
    with pytest.raises(ConfigError, match=r"pip install silero-vad.*method energy"):
        cut(tmp_path / "a.wav", AudioInfo(RATE, 1, 1, "WAV"), SegmentationConfig(method="silero"))
    assert problems_of(SegmentationConfig()) == []


def test_auto_takes_silero_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert resolve_method(SegmentationConfig()) == "energy"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "silero_vad")
    assert resolve_method(SegmentationConfig()) == "silero"
    assert resolve_method(SegmentationConfig(method="none")) == "none"


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path, info = written(tmp_path, bursts_in_noise())
    with pytest.raises(DataError, match=rf"a\.wav: {info.num_frames} frames, expected 17; the file was replaced"):
        cut(path, info._replace(num_frames=17), SegmentationConfig(method="energy"))


def test_limits_in_frames() -> None:
    config = SegmentationConfig(max_seconds=1.00009, min_seconds=0.33, min_silence_seconds=0.0001)
    assert frame_limits(config, RATE) == (2000, 1, 1600, 8000, 2640)


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    path, info = written(tmp_path, np.tile(bursts_in_noise(), 10))
    tracemalloc.start()
    try:
        cuts = cut(path, info, SegmentationConfig(method="energy"), block_seconds=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cuts.segments) == 40
    assert peak < 4 * info.num_frames / 6, "a sixth of the samples"
