"""What augmentation does to levels, spectra and time, against slow oracles."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
from changing import with_values
from signals import RATE, band_level, decibels, delay, draws, voice

from speechssl.audio import augmentation, codings
from speechssl.audio.augmentation import (
    Augmenter,
    active_power,
    coloured_noise,
    excerpt,
    measured_response,
    mix,
    reverberate,
    synthetic_response,
)
from speechssl.audio.codings import Codec, TelephoneCoding
from speechssl.config import (
    AugmentationConfig,
    CodecConfig,
    GainConfig,
    NoiseConfig,
    ReverberationConfig,
    SpeechMixingConfig,
    SpeedConfig,
    TelephoneConfig,
)
from speechssl.config.limits import problems_of
from speechssl.config.reading import from_dict
from speechssl.errors import ConfigError

STAGES = {
    "room": AugmentationConfig(reverberation=ReverberationConfig(1.0)),
    "noise": AugmentationConfig(noise=NoiseConfig(1.0)),
    "speech": AugmentationConfig(speech=SpeechMixingConfig(1.0)),
    **{coding: AugmentationConfig(telephone=TelephoneConfig(1.0, [coding])) for coding in get_args(TelephoneCoding)},
    **{codec: AugmentationConfig(codec=CodecConfig(1.0, [codec])) for codec in get_args(Codec)},
    "gain": AugmentationConfig(gain=GainConfig(1.0)),
}


class ListPool:
    """Recordings in memory."""

    def __init__(self, *recordings: np.ndarray) -> None:
        self.recordings = [np.asarray(recording, dtype=np.float32) for recording in recordings]
        for recording in self.recordings:
            recording.flags.writeable = False

    def __len__(self) -> int:
        return len(self.recordings)

    def audio(self, i: int) -> np.ndarray:
        return self.recordings[i]


def loop_active_power(audio: np.ndarray, rate: int) -> float:
    """Mean power over the frames of 20 ms that are within 30 dB of the loudest."""
    size = rate // 50
    frames = [[float(x) ** 2 for x in audio[i : i + size]] for i in range(0, len(audio), size)]
    loudest = max(sum(frame) / len(frame) for frame in frames)
    active = [x for frame in frames if sum(frame) / len(frame) >= loudest / 1000 for x in frame]
    return sum(active) / len(active)


def augmenter(config: AugmentationConfig, rate: int = RATE) -> Augmenter:
    return Augmenter(config, rate, speech=ListPool(voice(rate, rate, seed=2), voice(300, rate, seed=3)))


def whole_chain(prob: float = 1.0) -> AugmentationConfig:
    return AugmentationConfig(
        speed=SpeedConfig(prob),
        reverberation=ReverberationConfig(prob),
        noise=NoiseConfig(prob),
        speech=SpeechMixingConfig(prob),
        telephone=TelephoneConfig(prob),
        codec=CodecConfig(prob),
        gain=GainConfig(prob),
    )


def test_nothing_happens_by_default() -> None:
    audio = voice(RATE)
    plain = Augmenter(AugmentationConfig(), RATE)
    assert plain.augment(audio, draws()) is audio
    assert plain.change_speed(audio, draws()) is audio


def test_what_is_not_drawn_leaves_the_audio_itself() -> None:
    audio = voice(RATE) * 200  # over full scale, which nothing but a stage may change
    rare = augmenter(whole_chain(1e-9))
    assert rare.augment(audio, draws()) is audio
    assert rare.change_speed(audio, draws()) is audio


def test_same_state_same_bits() -> None:
    audio = voice(RATE)
    before = np.random.get_state()  # noqa: NPY002, the global state must not move
    one, other = (augmenter(whole_chain(0.7)) for _ in range(2))
    results = [one.augment(audio, draws(seed)) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda seed: other.augment(audio, draws(seed)), range(8)))
    for first, second in zip(results, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert len({result.tobytes() for result in results}) == 8
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_a_stage_leaves_the_draws_of_the_others_alone() -> None:
    audio = voice(RATE)
    noisy = Augmenter(AugmentationConfig(noise=NoiseConfig(1.0)), RATE).augment(audio, draws(5))
    config = AugmentationConfig(
        reverberation=ReverberationConfig(1.0), noise=NoiseConfig(1.0), gain=GainConfig(1.0, (-6, -6))
    )
    no_room = ListPool(np.ones(1), np.ones(1))
    quieter = Augmenter(config, RATE, responses=no_room).augment(audio, draws(5))
    np.testing.assert_allclose(quieter, noisy * 10 ** (-6 / 20), rtol=1e-4, atol=1e-7)


def test_probabilities_are_kept() -> None:
    audio = voice(400)
    half = Augmenter(AugmentationConfig(gain=GainConfig(0.3), speed=SpeedConfig(0.3)), RATE)
    assert np.mean([half.augment(audio, draws(seed)) is not audio for seed in range(500)]) == pytest.approx(
        0.3, abs=0.07
    )
    factors = [half.speed_factor(draws(seed)) for seed in range(500)]
    assert [factors.count(factor) / 500 for factor in (0.9, 1.0, 1.1)] == pytest.approx([0.15, 0.7, 0.15], abs=0.07)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("stage", STAGES)
def test_every_length_and_level_comes_out_whole(stage: str, rate: int) -> None:
    changer = augmenter(STAGES[stage], rate)
    for length in (1, 2, 3, 159, 161, 1000, rate + 1):
        noise = draws(length).normal(0, 1, length).astype(np.float32)
        impulse = np.zeros(length, dtype=np.float32)
        impulse[-1] = 1
        for audio in (noise, noise * 1e-30, noise * 100, impulse, np.zeros_like(noise)):
            audio.flags.writeable = False
            changed = changer.augment(audio, draws(length))
            assert changed.dtype == np.float32
            assert changed.shape == audio.shape
            assert np.isfinite(changed).all()
            assert np.abs(changed).max() <= 1 or changed is audio


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 17.5])
@pytest.mark.parametrize("noise_seconds", [None, 0.3, 1.5])
def test_noise_has_the_ratio_that_was_drawn(snr_db: float, noise_seconds: float | None, rate: int) -> None:
    audio = voice(rate, rate, level=0.01)
    pool = None
    if noise_seconds is not None:
        pool = ListPool(draws().normal(0, 3, int(noise_seconds * rate)) * np.linspace(0, 1, int(noise_seconds * rate)))
    config = AugmentationConfig(noise=NoiseConfig(1.0, snr_db=(snr_db, snr_db)))
    added = Augmenter(config, rate, noise=pool).augment(audio, draws(3)).astype(np.float64) - audio
    assert decibels(loop_active_power(audio, rate) / np.mean(added**2)) == pytest.approx(snr_db, abs=0.1)


def test_ratios_cover_their_range() -> None:
    audio = voice(8000, level=0.01)
    noisy = Augmenter(AugmentationConfig(noise=NoiseConfig(1.0, snr_db=(3, 9))), RATE)
    added = [noisy.augment(audio, draws(seed)).astype(np.float64) - audio for seed in range(60)]
    ratios = [decibels(active_power(audio, RATE) / np.mean(noise**2)) for noise in added]
    assert 2.9 < min(ratios) < 3.6
    assert 8.4 < max(ratios) < 9.1


@pytest.mark.parametrize("length", [1, 319, 320, 1000, 5000])
def test_active_power(length: int) -> None:
    audio = voice(length)
    assert active_power(audio, RATE) == pytest.approx(loop_active_power(audio, RATE), rel=1e-9)


def test_active_power_leaves_out_pauses_and_follows_the_level() -> None:
    audio = voice(RATE)
    padded = np.concatenate([audio, np.zeros(RATE, dtype=np.float32)])
    assert decibels(active_power(padded, RATE) / active_power(audio, RATE)) == pytest.approx(0, abs=0.05)
    assert active_power(audio * np.float32(4), RATE) == pytest.approx(16 * active_power(audio, RATE), rel=1e-6)
    assert active_power(np.zeros(100, dtype=np.float32), RATE) == 0


def test_silence_has_no_ratio() -> None:
    audio, silence = voice(1000), np.zeros(1000, dtype=np.float32)
    assert mix(audio, silence, 5.0, 1.0, 0.0) is audio
    assert mix(silence, audio, 5.0, 0.0, 1.0) is silence
    faint = np.full(1000, 1e-42, dtype=np.float32)
    mixed = mix(audio, faint, 0.0, active_power(audio, RATE), active_power(faint, RATE))
    assert mixed.std() == pytest.approx(audio.std(), rel=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_another_voice_covers_a_part_at_its_ratio(seed: int) -> None:
    audio, other = voice(RATE, level=0.01), voice(RATE * 3 // 4, level=0.2, seed=9)
    config = AugmentationConfig(speech=SpeechMixingConfig(1.0, snr_db=(4, 4)))
    added = Augmenter(config, RATE, speech=ListPool(other)).augment(audio, draws(seed)).astype(np.float64) - audio
    covered = np.flatnonzero(np.abs(added) > 1e-8)
    part = added[covered[0] : covered[-1] + 1]
    assert len(part) <= len(audio) // 2
    fits = np.correlate(other.astype(np.float64), part / np.sqrt(np.sum(part**2)))
    offset = int(np.argmax(fits))
    source = other[offset : offset + len(part)].astype(np.float64)
    gain = np.dot(part, source) / np.dot(source, source)
    assert np.abs(part - gain * source).max() < 1e-6
    ratio = loop_active_power(audio, RATE) / (gain**2 * loop_active_power(other, RATE))
    assert decibels(ratio) == pytest.approx(4, abs=0.1)


def test_overlaps_lie_everywhere_and_are_half_at_most() -> None:
    audio = np.full(1000, 0.1, dtype=np.float32)
    mixer = Augmenter(AugmentationConfig(speech=SpeechMixingConfig(1.0)), RATE, speech=ListPool(np.full(2000, 0.1)))
    overlaps = [np.flatnonzero(mixer.augment(audio, draws(seed)) != audio) for seed in range(200)]
    lengths = [len(overlap) for overlap in overlaps]
    assert all(np.ptp(overlap) == length - 1 for overlap, length in zip(overlaps, lengths, strict=True))
    assert max(lengths) in range(480, 501)
    assert min(lengths) in range(1, 21)
    assert min(overlap[0] for overlap in overlaps) < 30
    assert max(overlap[-1] for overlap in overlaps) > 970


def test_excerpts() -> None:
    source = np.arange(10, dtype=np.float32)
    cuts = [excerpt(source, 4, draws(seed)) for seed in range(60)]
    assert {int(cut[0]) for cut in cuts} == set(range(7))
    assert all((np.diff(cut) == 1).all() for cut in cuts)
    repeats = [excerpt(source, 25, draws(seed)) for seed in range(60)]
    assert {int(repeat[0]) for repeat in repeats} == set(range(10))
    assert all((np.diff(repeat) % 10 == 1).all() and len(repeat) == 25 for repeat in repeats)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_the_colour_that_was_drawn(slope: float) -> None:
    noise = coloured_noise(8 * RATE, RATE, slope, draws())
    assert noise.dtype == np.float32
    centres = np.geomspace(100, 6000, 12)
    levels = [band_level(noise, 0.9 * centre, 1.1 * centre) for centre in centres]
    fitted = np.polyfit(10 * np.log10(centres), levels, 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.1)
    assert abs(noise.mean()) < 0.1 * noise.std()


def test_rooms_leave_the_direct_path_in_place_and_keep_the_energy() -> None:
    audio = voice(RATE, level=0.1)
    before = np.concatenate([0.05 * draws().normal(0, 1, 700), [0.3, 0.8]])  # a noise floor, then the rising flank
    rest = 0.2 * draws(1).normal(0, 1, 3000) * np.logspace(0, -3, 3000)
    rest[200] = 1.1  # a reflection above the direct path
    room = measured_response(np.concatenate([before, rest]).astype(np.float32))
    assert room.direct == measured_response(-room.samples).direct == 701
    for response in (room, synthetic_response(RATE, 0.5, 3.0, draws())):
        wet = reverberate(audio, response)
        assert delay(wet, audio) == 0
        assert np.sum(wet.astype(np.float64) ** 2) == pytest.approx(np.sum(audio.astype(np.float64) ** 2), rel=1e-5)


def test_reverberation_is_a_convolution() -> None:
    audio = voice(500)
    response = np.array([0.1, -0.2, 1.0, 0.5, 0.0, 0.25], dtype=np.float32)
    loop = [
        sum(float(audio[t + 2 - k]) * float(response[k]) for k in range(6) if 0 <= t + 2 - k < 500) for t in range(500)
    ]
    expected = np.array(loop) * np.sqrt(np.sum(audio.astype(np.float64) ** 2) / np.sum(np.square(loop)))
    np.testing.assert_allclose(reverberate(audio, measured_response(response)), expected, atol=1e-7)
    np.testing.assert_allclose(reverberate(audio, measured_response(-response[2:3])), -audio, rtol=1e-5)


def test_rooms_of_the_pool_are_used() -> None:
    audio, echo = voice(2000), np.zeros(200)
    echo[[100, 180]] = 1, 0.5
    roomy = Augmenter(STAGES["room"], RATE, responses=ListPool(echo))
    expected = audio.copy()
    expected[80:] += 0.5 * audio[:-80]
    scale = np.sqrt(np.sum(audio**2) / np.sum(expected**2))
    np.testing.assert_allclose(roomy.augment(audio, draws()), scale * expected, atol=1e-6)
    silent = Augmenter(STAGES["room"], RATE, responses=ListPool(np.zeros(50)))
    np.testing.assert_array_equal(silent.augment(audio, draws()), audio)


@pytest.mark.parametrize("rt60_seconds", [0.3, 1.0])
def test_synthetic_rooms_decay_as_drawn(rt60_seconds: float) -> None:
    samples, direct = synthetic_response(RATE, rt60_seconds, 6.0, draws())
    assert direct == 0
    tail = samples[1:].astype(np.float64) ** 2
    assert decibels(samples[0] ** 2 / tail.sum()) == pytest.approx(6, abs=0.01)
    # Schroeder's backward integration, fitted from -5 to -35 dB as in ISO 3382.
    left = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum())
    fitted = np.flatnonzero((left < -5) & (left > -35))
    slope = np.polyfit(fitted / RATE, left[fitted], 1)[0]
    assert -60 / slope == pytest.approx(rt60_seconds, rel=0.1)


def test_gain_changes_the_level_and_never_clips() -> None:
    audio = voice(RATE)
    for seed in range(20):
        changed = Augmenter(STAGES["gain"], RATE).augment(audio, draws(seed))
        assert -12.1 < decibels(np.mean(changed**2) / np.mean(audio**2)) < 6.1
    louder = Augmenter(AugmentationConfig(gain=GainConfig(1.0, (60, 60))), RATE).augment(audio, draws())
    assert np.abs(louder).max() == 1
    np.testing.assert_allclose(louder, audio / np.abs(audio).max(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_length_and_pitch(factor: float) -> None:
    faster = Augmenter(AugmentationConfig(speed=SpeedConfig(1.0, [factor])), RATE)
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    changed = faster.change_speed(tone, draws())
    assert changed.dtype == np.float32
    assert len(changed) == round(RATE / factor)
    expected = np.sin(2 * np.pi * 1000 * factor * np.arange(len(changed)) / RATE)
    assert np.abs(changed - expected)[400:-400].max() < 2e-3
    assert faster.augment(tone, draws()) is tone
    for length in (1, 2, 5):
        assert len(faster.change_speed(tone[:length], draws())) == max(1, round(length / factor))


def test_speed_is_known_without_audio() -> None:
    config = AugmentationConfig(speed=SpeedConfig(0.5, [0.5, 2.0]))
    changer, audio = Augmenter(config, RATE), voice(1000)
    for seed in range(20):
        assert len(changer.change_speed(audio, draws(seed))) == round(1000 / changer.speed_factor(draws(seed)))


def test_numbers_and_choices_that_make_no_sense_are_named() -> None:
    config = with_values(whole_chain(), {"noise": NoiseConfig(1.5, snr_db=(10, 5)), "speech.max_share": 0.6})
    config = with_values(config, {"codec": CodecConfig(1.0, [], quality=(0.0, math.nan)), "speed.factors": []})
    assert problems_of(config) == [
        "noise.prob is 1.5, expected 0 to 1",
        "noise.snr_db is 10, 5, expected -100 to 100, the lower first",
        "speech.max_share is 0.6, expected 0 to 0.5",
        "codec.quality is 0, nan, expected a finite number, the lower first",
    ]
    config = with_values(whole_chain(), {"codec.codecs": [], "speed.factors": []})
    assert problems_of(config) == [
        "speed.factors is empty, expected at least one to draw from",
        "codec.codecs is empty, expected at least one to draw from",
    ]


def test_what_cannot_be_done_to_the_audio_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Augmenter(whole_chain(), 6000, noise=ListPool())
    lines = str(caught.value).splitlines()
    for expected in (
        "augmentation.telephone.prob: expected audio of 8000 Hz or more, found 6000 Hz; set it to 0",
        "augmentation.noise.shards: they hold no samples; name others, or none",
        "augmentation.speech.prob is 1, but there are no utterances to mix in; "
        "name their shards in augmentation.speech.shards, or set it to 0",
    ):
        assert expected in lines


def test_a_coding_that_would_move_the_speech_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    constant = codings._CODINGS["mp3"]._replace(bitrate_mode="CONSTANT")
    monkeypatch.setitem(codings._CODINGS, "mp3", constant)
    monkeypatch.setitem(codings._CODINGS, "opus", constant._replace(container="OGG", subtype="NOTHING"))
    augmentation._coding_delay.cache_clear()
    try:
        with pytest.raises(ConfigError) as caught:
            Augmenter(AugmentationConfig(codec=CodecConfig(0.1)), RATE)
    finally:
        augmentation._coding_delay.cache_clear()
    assert "moves mp3 by 1105 samples, expected at most 4; install a newer soundfile" in str(caught.value)
    assert "libsndfile cannot write opus" in str(caught.value)


def test_configurations_from_files_are_taken() -> None:
    plain = {
        "noise": {"prob": 0.3, "snr_db": [-5, 20], "shards": ["noise"]},
        "telephone": {"prob": 0.1, "codings": ["gsm"]},
        "speed": {"prob": 0.5, "factors": [1.1, 0.9]},
    }
    config = from_dict(AugmentationConfig, plain)
    assert config.noise == NoiseConfig(0.3, ["noise"], (-5.0, 20.0))
    Augmenter(config, RATE)
    with pytest.raises(ConfigError, match=r"telephone\.codings.*gms"):
        from_dict(AugmentationConfig, {"telephone": {"codings": ["gms"]}})
    falling = from_dict(AugmentationConfig, {"gain": {"gain_db": [3, -3]}})
    assert problems_of(falling) == ["gain.gain_db is 3, -3, expected -100 to 100, the lower first"]
