"""The quickstart corpus: contents, exactness of its arithmetic, independence of order and number of processes."""

from __future__ import annotations

import csv
import itertools
import math
import re
import subprocess
import sys
import wave
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

LOCAL = Path(__file__).resolve().parents[2] / "recipes" / "quickstart" / "local"
sys.path.insert(0, str(LOCAL))

import acoustics  # noqa: E402
import make_corpus  # noqa: E402
import phrases  # noqa: E402
import speakers  # noqa: E402
import synthesis  # noqa: E402
from draws import Deck, Draws  # noqa: E402

espeakng_loader = pytest.importorskip("espeakng_loader")

SMALL = (
    make_corpus.Part(0, "train", 2, 1, 1),
    make_corpus.Part(1, "dev", 1, 1, 0),
    make_corpus.Part(2, "test", 1, 1, 0),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of seed 0, made once by the command line."""
    output = tmp_path_factory.mktemp("quickstart") / "corpus"
    done = subprocess.run(
        [sys.executable, str(LOCAL / "make_corpus.py"), str(output), "--jobs", "2"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_corpus, "PARTS", SMALL)


def rows(corpus: Path, name: str) -> list[dict[str, str]]:
    with (corpus / f"{name}.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def seconds(members: list[dict[str, str]]) -> float:
    return sum(float(row["seconds"]) for row in members)


def voices(members: list[dict[str, str]]) -> set[str]:
    return {row["speaker"] for row in members}


def pcm(path: Path) -> np.ndarray:
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16000, 2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


# The whole corpus


def test_corpus_has_the_expected_bytes(corpus: Path) -> None:
    assert make_corpus.corpus_digest(corpus) == make_corpus.EXPECTED_DIGEST


def test_lists_have_the_promised_length(corpus: Path) -> None:
    minutes = {name: seconds(rows(corpus, name)) / 60 for name in ("pretrain", "train", "dev", "test")}
    assert minutes["pretrain"] == pytest.approx(40, abs=2)
    assert minutes["train"] == pytest.approx(5, abs=0.25)
    assert minutes["dev"] == pytest.approx(3, abs=0.3)
    assert minutes["test"] == pytest.approx(11, abs=0.8)
    assert sum(len(row["text"].split()) for row in rows(corpus, "test")) >= 1400


def test_voices_of_training_development_and_test_are_disjoint(corpus: Path) -> None:
    lists = {name: voices(rows(corpus, name)) for name in ("pretrain", "dev", "test")}
    for one, other in itertools.combinations(lists.values(), 2):
        assert not one & other
    sessions = make_corpus.plan_sessions(0)
    variants = [re.sub("^name .*$", "", s.speaker.variant, flags=re.MULTILINE) for s in sessions]
    assert len(set(variants)) == len(sessions)


def test_transcribed_speech_is_part_of_the_untranscribed(corpus: Path) -> None:
    pretrain, train = rows(corpus, "pretrain"), rows(corpus, "train")
    assert {row["path"] for row in train} < {row["path"] for row in pretrain}
    assert {row["text"] for row in pretrain} == {""}


def test_vocabulary_is_closed_and_every_word_is_transcribed_several_times(corpus: Path) -> None:
    counts = Counter(word for row in rows(corpus, "train") for word in row["text"].split())
    assert 90 <= len(counts) <= 110
    assert min(counts.values()) >= 3, counts.most_common()[-5:]
    for name in ("dev", "test"):
        assert {word for row in rows(corpus, name) for word in row["text"].split()} <= set(counts)
    assert all(re.fullmatch("[A-Z]+", word) for word in counts)


def test_test_utterances_are_not_training_utterances(corpus: Path) -> None:
    train = {row["text"] for row in rows(corpus, "train")}
    shared = [row["text"] for row in rows(corpus, "test") if row["text"] in train]
    assert len(shared) <= 5, shared


def test_recordings_match_their_lists_and_have_sound_levels(corpus: Path) -> None:
    for row in rows(corpus, "pretrain") + rows(corpus, "dev") + rows(corpus, "test"):
        audio = pcm(corpus / row["path"]).astype(np.float64)
        assert row["seconds"] == f"{len(audio) / 16000:.3f}"
        assert 1.0 <= len(audio) / 16000 <= 8.5
        assert np.abs(audio).max() < 32767
        assert -32 < 20 * math.log10(math.sqrt(np.mean(audio**2)) / 32768) < -16
        assert abs(audio.mean()) < 0.1 * audio.std()


# One process or many, in any order, interrupted or not


def test_number_of_processes_does_not_change_a_byte(small: None, tmp_path: Path) -> None:
    one = make_corpus.make_corpus(tmp_path / "one", seed=0, num_jobs=1)
    two = make_corpus.make_corpus(tmp_path / "two", seed=0, num_jobs=2)
    other = make_corpus.make_corpus(tmp_path / "other", seed=1, num_jobs=2)
    assert one == two != other


def test_what_a_voice_says_does_not_depend_on_other_voices(small: None, tmp_path: Path) -> None:
    sessions = make_corpus.plan_sessions(0)
    folder = tmp_path / "espeak-ng-data"
    synthesis.copy_data(
        Path(espeakng_loader.get_data_path()), folder, {s.speaker.name: s.speaker.variant for s in sessions}
    )
    sounds = []
    for name, order in (("forward", sessions), ("backward", sessions[::-1])):
        studio = make_corpus.Studio(Path(espeakng_loader.get_library_path()), folder, tmp_path / name)
        for session in order:
            make_corpus.record_session(studio, session)
        sounds.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).rglob("*.wav"))})
    assert len(sounds[0]) == sum(part.num_speakers * (part.transcribed + part.untranscribed) for part in SMALL)
    assert sounds[0] == sounds[1]


def test_complete_corpus_is_left_alone_and_a_damaged_one_is_replaced(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "corpus"
    (tmp_path / "corpus.partial" / "audio" / "train00").mkdir(parents=True)
    digest = make_corpus.make_corpus(output, seed=0, num_jobs=1)
    assert not (tmp_path / "corpus.partial").exists()
    wav = next(output.rglob("*.wav"))
    before = wav.stat().st_mtime_ns
    capsys.readouterr()
    assert make_corpus.make_corpus(output, seed=0, num_jobs=1) == digest
    assert "already there" in capsys.readouterr().out
    assert wav.stat().st_mtime_ns == before

    wav.write_bytes(wav.read_bytes()[:-2] + b"\x01\x02")
    assert make_corpus.make_corpus(output, seed=0, num_jobs=1) == digest
    assert "damaged" in capsys.readouterr().out
    wav.unlink()
    assert make_corpus.make_corpus(output, seed=0, num_jobs=1) == digest
    assert "damaged" in capsys.readouterr().out


def test_failure_half_way_leaves_no_corpus(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(make_corpus, "write_lists", full_disk)
        assert make_corpus.main([str(tmp_path / "corpus"), "--jobs", "1"]) == 2
    assert not (tmp_path / "corpus").exists()
    make_corpus.make_corpus(tmp_path / "corpus", seed=0, num_jobs=1)


def test_folder_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert make_corpus.main([str(tmp_path)]) == 2
    assert "left alone" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_another_digest_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    make_corpus.report_digest("0" * 64, seed=0)
    said = capsys.readouterr().err
    assert "WARNING" in said
    assert make_corpus.EXPECTED_DIGEST in said
    assert "not comparable" in said
    make_corpus.report_digest(make_corpus.EXPECTED_DIGEST, seed=0)
    make_corpus.report_digest("0" * 64, seed=5)
    assert capsys.readouterr().err == ""


# Missing and broken espeak-ng


def test_missing_wheel_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert make_corpus.main([str(tmp_path / "corpus")]) == 2
    said = capsys.readouterr().err
    assert "pip install espeakng-loader==0.2.4" in said
    assert "Linux" in said


def test_library_that_does_not_load_is_named_with_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "libespeak-ng.so"
    broken.write_text("not a library")
    fake = SimpleNamespace(get_library_path=lambda: str(broken), get_data_path=lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "espeakng_loader", fake)
    monkeypatch.setattr(make_corpus.platform, "machine", lambda: "riscv64")
    assert make_corpus.main([str(tmp_path / "corpus")]) == 2
    said = capsys.readouterr().err
    assert "riscv64" in said
    assert "--force-reinstall" in said


def test_unknown_voice_is_an_error_not_silence(tmp_path: Path) -> None:
    synthesis.copy_data(Path(espeakng_loader.get_data_path()), tmp_path / "espeak-ng-data", {})
    with pytest.raises(synthesis.SynthesisError, match="xx-none"):
        synthesis.speak(
            Path(espeakng_loader.get_library_path()),
            tmp_path / "espeak-ng-data",
            voice="xx-none",
            rate=150,
            pitch_range=50,
            word_gap=0,
            texts=["yes"],
        )


# Words as they are said


def test_letters_are_said_as_letters(tmp_path: Path) -> None:
    program = """
import ctypes, sys
espeak = ctypes.CDLL(sys.argv[1])
espeak.espeak_Initialize(2, 0, sys.argv[2].encode(), 0)
espeak.espeak_SetVoiceByName(b"en-us")
espeak.espeak_TextToPhonemes.restype = ctypes.c_char_p
for text in sys.argv[3:]:
    print(espeak.espeak_TextToPhonemes(ctypes.byref(ctypes.c_char_p(text.encode())), 1, 2).decode())
"""
    texts = [f"{phrases.spoken(letter)} B" for letter in phrases.LETTERS if letter != "A"]
    done = subprocess.run(
        [sys.executable, "-c", program, espeakng_loader.get_library_path(), espeakng_loader.get_data_path(), *texts],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    said = dict(zip(phrases.LETTERS[1:], done.stdout.splitlines(), strict=True))
    assert phrases.spoken("A GO Z") == "[['eI]] go zee"
    assert said["Z"] == "zˈiː bˈiː"
    assert said["I"] == "ˈaɪ bˈiː"
    assert said["W"] == "dˈʌbəljˌuː bˈiː"
    assert len(set(said.values())) == 25
    assert all("ˈ" in phonemes.split()[0] for phonemes in said.values())


def test_phrases_stay_within_the_vocabulary() -> None:
    book = phrases.PhraseBook(Draws(3))
    texts = [book.deal() for _ in range(400)]
    counts = Counter(word for text in texts for word in text.split())
    assert len(counts) == 95
    assert min(len(text.split()) for text in texts) >= 2
    assert max(len(text.split()) for text in texts) <= 20
    assert min(counts.values()) >= 8


def test_no_voice_asks_for_breath_or_klatt() -> None:
    for number in range(50):
        speaker = speakers.draw_speaker("voice", number, Draws(number))
        assert not re.search("breath|klatt", speaker.variant)
        assert speaker.rate < 400


# Choices


def test_choices_are_a_fixed_function_of_their_name() -> None:
    draws = Draws(0, 1)
    assert [draws.integer(0, 999) for _ in range(5)] == [889, 557, 800, 956, 58]
    assert Draws(7).noise(4).tolist() == [7713, 52520, 43616, -39936]
    assert Draws(7).shuffled("abcdef") == list("bcafed")


def test_integers_cover_their_range_evenly() -> None:
    draws = Draws(1)
    counts = Counter(draws.integer(-2, 3) for _ in range(6000))
    assert sorted(counts) == [-2, -1, 0, 1, 2, 3]
    assert all(880 < count < 1120 for count in counts.values())


def test_noise_is_centred_with_the_stated_deviation() -> None:
    noise = Draws(2).noise(200_000)
    assert noise.dtype == np.int64
    assert abs(noise.mean()) < 400
    assert noise.std() == pytest.approx(37837, rel=0.01)


def test_deck_deals_every_card_before_any_again() -> None:
    deck = Deck("abcde", Draws(4))
    for _ in range(3):
        assert sorted(deck.deal() for _ in range(5)) == list("abcde")


# Arithmetic


def test_no_coefficient_depends_on_the_last_digits_of_a_sine() -> None:
    exact = [tap for phase in acoustics.exact_resampling_filter() for tap in phase]
    exact += acoustics.exact_band_filter() + acoustics.exact_attenuations()
    margins = [abs(value - math.floor(value) - 0.5) for value in exact]
    assert min(margins) > 1e-7  # the digits of a double end near 1e-11 here


def test_resampling_agrees_with_a_loop_over_python_integers() -> None:
    wave_in = [int(x) for x in Draws(5).noise(700) >> 3]
    phases = acoustics.resampling_filter().tolist()
    expected = []
    for n in range(len(wave_in) * 320 // 441):
        at, phase = divmod(n * 441, 320)
        total = 0
        for tap, weight in enumerate(phases[phase]):
            k = at + tap - 11
            total += weight * (wave_in[k] if 0 <= k < len(wave_in) else 0)
        expected.append((total + 2**14) >> 15)
    assert acoustics.resample(np.array(wave_in, dtype=np.int64)).tolist() == expected


@pytest.mark.parametrize(("hertz", "low", "high"), [(200, 0.99, 1.01), (3000, 0.98, 1.02), (9500, 0, 0.02)])
def test_resampling_keeps_tones_and_removes_what_would_fold(hertz: float, low: float, high: float) -> None:
    tone = np.round(20000 * np.sin(2 * np.pi * hertz * np.arange(22050) / 22050)).astype(np.int64)
    out = acoustics.resample(tone)
    assert len(out) == 16000
    middle = out[1000:-1000]
    assert low <= math.sqrt(np.mean(middle.astype(float) ** 2)) / (20000 / math.sqrt(2)) <= high
    if hertz < 8000:
        expected = 20000 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)
        assert np.abs(out - expected)[1000:-1000].max() < 400


def test_telephone_band_passes_speech_and_stops_the_rest() -> None:
    taps = acoustics.band_filter() / 2**15
    assert np.array_equal(taps, taps[::-1])
    gain = {
        hertz: abs(np.exp(-2j * np.pi * hertz / 16000 * np.arange(len(taps))) @ taps) for hertz in range(0, 8000, 50)
    }
    assert all(0.97 < gain[hertz] < 1.03 for hertz in range(450, 3250, 50))
    assert all(gain[hertz] < 0.01 for hertz in [0, 50, 100, *range(3600, 8000, 50)])


@pytest.mark.parametrize("ratio", [0, 12, 35])
def test_noise_has_the_asked_level(ratio: int) -> None:
    speech = np.round(3000 * np.sin(np.arange(16000) / 7)).astype(np.int64)
    for stream in range(6):
        noise = acoustics.noise_at(speech, ratio, Draws(6, stream))
        assert noise.shape == speech.shape
        assert 10 * math.log10(np.sum(speech**2) / np.sum(noise**2)) == pytest.approx(ratio, abs=0.05)


def test_rooms_keep_the_direct_sound_first_and_decay() -> None:
    impulse = np.zeros(8000, dtype=np.int64)
    impulse[0] = 20000
    responses = [acoustics.reverberate(impulse, Draws(8, stream)) for stream in range(30)]
    dry = [r for r in responses if np.count_nonzero(r) == 1]
    wet = [r for r in responses if np.count_nonzero(r) > 1]
    assert 4 <= len(dry) <= 16
    for response in wet:
        assert response[0] == 20000
        assert np.abs(response[1:]).max() < 20000
        assert np.sum(response[:1600] ** 2) > 20 * np.sum(response[1600:] ** 2)


def test_silence_from_the_synthesiser_is_an_error() -> None:
    with pytest.raises(ValueError, match="silent"):
        acoustics.record(b"\0\0" * 22050, Draws(9))
