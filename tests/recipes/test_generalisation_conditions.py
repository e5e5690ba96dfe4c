"""Conditions of the generalisation recipe: exact levels, the same noise each time, and what is compared with what."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
LOCAL = RECIPES / "generalisation" / "local"
sys.path[:0] = [str(LOCAL), str(RECIPES / "an4" / "local")]

import conditions  # noqa: E402
import make_conditions  # noqa: E402
import prepare  # noqa: E402

from speechssl.errors import DataError  # noqa: E402

RATE = 16000


def voice(seed: int, seconds: float = 1.0) -> np.ndarray:
    """A low, uneven noise with a pause in it, float32 (S,)."""
    draws = np.random.default_rng(seed)
    audio = np.convolve(draws.normal(size=round(seconds * RATE)), np.ones(12) / 12, mode="same")
    audio[: len(audio) // 3] = 0
    return (0.1 * audio / np.abs(audio).max()).astype(np.float32)


VOICES = {f"s{i}": voice(i, 2.0) for i in range(10)}


def noises() -> dict[str, conditions.Draw]:
    return {"babble": conditions.babble(VOICES), "speech_shaped": conditions.speech_shaped(VOICES)}


def snr_of(noisy: np.ndarray, clean: np.ndarray, gain: float = 1.0) -> float:
    noise = noisy.astype(np.float64) - gain * clean
    return 10 * np.log10(np.mean(np.square(gain * clean, dtype=np.float64)) / np.mean(noise**2))


@pytest.mark.parametrize("kind", ["babble", "speech_shaped"])
def test_levels_are_exact_over_the_whole_recording(kind: str) -> None:
    audio = voice(99, 1.37)
    made = {item.snr_db: item for item in conditions.make_conditions(noises()) if item.family == kind}
    assert set(made) == {20, 10, 5, 0}
    for snr_db, condition in made.items():
        assert snr_of(condition.apply(audio, "a"), audio) == pytest.approx(snr_db, abs=1e-3)
    # One recording has one noise, louder and louder.
    quiet, loud = (made[snr_db].apply(audio, "a") - audio for snr_db in (20, 0))
    np.testing.assert_allclose(loud, 10 * quiet, atol=1e-5)


def test_a_sum_that_would_clip_keeps_its_level() -> None:
    audio, noise = 9 * voice(1), np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    noisy = conditions.at_snr(audio, noise, 0)
    assert np.abs(noisy).max() == pytest.approx(1)
    gain = float(np.linalg.lstsq(np.stack([audio, noise], 1), noisy, rcond=None)[0][0])
    assert gain < 1
    assert snr_of(noisy, audio, gain) == pytest.approx(0, abs=0.01)


def test_each_condition_is_a_function_of_recording_and_key() -> None:
    audio = voice(5)
    for first, again in zip(conditions.make_conditions(noises()), conditions.make_conditions(noises()), strict=True):
        changed = first.apply(audio, "a")
        assert len(changed) == len(audio)
        assert np.abs(changed).max() <= 1
        assert not np.allclose(changed, audio, atol=1e-3)
        np.testing.assert_array_equal(changed, again.apply(audio, "a"))
        is_drawn = first.snr_db is not None or first.family == "room"
        assert np.array_equal(changed, first.apply(audio, "b")) != is_drawn


def test_speech_shaped_noise_has_the_spectrum_of_the_voices() -> None:
    noise = conditions.speech_shaped(VOICES)(4 * RATE, np.random.default_rng(0))
    spectra = [conditions.welch(x, RATE, nperseg=512)[1] for x in (noise, np.concatenate(list(VOICES.values())))]
    shapes = [10 * np.log10(spectrum[4:200] / spectrum[4:200].sum()) for spectrum in spectra]
    low, high = slice(0, 40), slice(120, 196)
    for band in (low, high):
        assert np.median(shapes[0][band]) == pytest.approx(np.median(shapes[1][band]), abs=1.5)


def test_babble_takes_several_people() -> None:
    with pytest.raises(DataError, match="babble takes 8 training speakers, found 3"):
        conditions.babble(dict(list(VOICES.items())[:3]))


def corpus(folder: Path) -> Path:
    """Ready-made lists of 16 training speakers, as if each had spoken for a minute, and of two test speakers."""
    (folder / "audio").mkdir(parents=True)
    for name, people in (("train", [f"t{i}" for i in range(16)]), ("test", ["x0", "x1"])):
        lines = ["path\tspeaker\tseconds\ttext\tgroup"]
        for number, speaker in enumerate(people):
            for i in range(5):
                path = f"audio/an{i}-{speaker}-b.flac"
                soundfile.write(folder / path, voice(100 * number + i, 0.5), RATE)
                lines.append(f"{path}\t{speaker}\t12.0\tSAY {i}\t{'low' if number % 3 == 1 else 'high'}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def make(folder: Path, output: Path, *options: str) -> int:
    """The exit status of make_conditions.py with these options."""
    arguments = ["make_conditions.py", str(folder / "lists"), str(output), *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        return make_conditions.main()


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus, its lists with held-out sentences, and its conditions."""
    folder = tmp_path_factory.mktemp("generalisation")
    prepare.prepare(corpus(folder / "corpus"), folder / "lists", [1], seen_minutes=1.0)
    given = str(folder / "corpus")
    assert make(folder, folder / "made", "--corpus", given, "--other", f"more={given}") == 0
    return folder


def test_seen_sentences_are_of_labelled_speakers_and_nowhere_else(made: Path) -> None:
    names = ("seen", "train_1min", "train_full", "pretrain", "dev", "test")
    lists = {name: rows(made / "lists" / f"{name}.tsv") for name in names}
    ids = {name: {row["id"] for row in listed} for name, listed in lists.items()}
    assert len(ids["seen"]) == 5
    assert not any(ids["seen"] & ids[name] for name in names[1:])
    assert {row["speaker"] for row in lists["seen"]} <= {row["speaker"] for row in lists["train_1min"]}
    assert ids["train_1min"] <= ids["train_full"] == ids["pretrain"]


def test_conditions_on_disk(made: Path) -> None:
    content = json.loads((made / "made" / "conditions.json").read_text())
    pairs = {item["condition"]: item["reference"] for item in content["comparisons"]}
    assert (pairs["test"], pairs["group_low"], pairs["other_more"]) == ("speakers_seen", "group_high", "test")
    assert set(pairs) | {"speakers_seen", "group_high"} == {path.stem for path in (made / "made").glob("*.tsv")} | {
        "test"
    }
    assert "5 sentences of training speakers, in neither labels nor pretraining" in content["notes"][0]
    clean = {row["id"]: soundfile.read(row["path"])[0] for row in rows(made / "lists" / "test.tsv")}
    for row in rows(made / "made" / "babble_5db.tsv"):
        assert snr_of(soundfile.read(row["path"])[0], clean[row["id"]]) == pytest.approx(5, abs=0.01)
        assert row["text"].startswith("SAY ")


def test_made_again_the_bytes_are_the_same_and_old_lists_go(made: Path) -> None:
    audio = {path: path.read_bytes() for path in (made / "made").glob("audio/*/*.flac")}
    (made / "made" / "other_old.tsv").touch()
    assert make(made, made / "made", "--corpus", str(made / "corpus")) == 0
    assert audio == {path: path.read_bytes() for path in (made / "made").glob("audio/*/*.flac")}
    assert not list((made / "made").glob("other_*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--other", "x/y=somewhere"], "--other is 'x/y=somewhere'; expected NAME=DIR"),
        (["--groups", "{made}/lists/dev.tsv"], "dev.tsv: no rows with a column group; expected speaker, group"),
        (["--groups", "{made}/strangers.tsv"], "none of the test speakers has a group; they are named as x0"),
        (["--groups", "{made}/twice.tsv"], "speaker x0 is in two groups, a and b"),
        (["--noise", "{made}/lists"], "no audio files here"),
    ],
)
def test_mistakes_are_named(
    made: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (made / "strangers.tsv").write_text("speaker\tgroup\nnobody\ta\n")
    (made / "twice.tsv").write_text("speaker\tgroup\nx0\ta\nx0\tb\n")
    given = [option.format(made=made) for option in options]
    monkeypatch.setattr(make_conditions, "make_conditions", lambda noises: [])
    assert make(made, tmp_path / "out", *given) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "conditions.json").exists()
