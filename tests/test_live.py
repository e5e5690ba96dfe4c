"""Streams: settled words are those of the whole, in memory that does not grow."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from speechssl.audio.standard_input import live_blocks
from speechssl.config import TranscribeConfig
from speechssl.errors import ConfigError, DataError
from speechssl.live import LiveTranscriber
from speechssl.recogniser import Recogniser, load_recogniser
from speechssl.text.vocabulary import Vocabulary
from speechssl.verbs import transcribe

RATE = 16000


@pytest.fixture(scope="module")
def recogniser(finetuned: Path) -> Recogniser:
    """It writes something, though it has learned nothing."""
    found = load_recogniser(finetuned, "cpu")
    with torch.no_grad():
        found.model.head.weight.normal_(std=3.0, generator=torch.Generator().manual_seed(0))
    return found


def config_of(run: Path, **options: object) -> TranscribeConfig:
    base = TranscribeConfig(run, accelerator="cpu", window_seconds=6.0, margin_seconds=1.0)
    return replace(base, **options)  # type: ignore[arg-type]


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def test_what_is_settled_is_the_transcript(finetuned: Path, recogniser: Recogniser) -> None:
    live = LiveTranscriber(recogniser, config_of(finetuned))
    settled, kept = [], []
    for block in np.split(noise(30), 30):
        progress = live.hear(block)
        settled += progress.settled.split()
        kept.append(len(live._samples))
    found = live.finish()
    assert progress.seconds == found.seconds == 30
    assert settled
    assert " ".join(settled[:-1]) == " ".join(found.text.split()[: len(settled) - 1])
    assert max(kept) <= 9 * RATE, "and what is settled is forgotten"
    starts = [word.start_seconds for word in found.words]
    assert starts == sorted(starts)
    assert found.words[-1].stop_seconds > 25


def test_text_without_spaces_is_settled_too(finetuned: Path, recogniser: Recogniser) -> None:
    old = recogniser.vocabulary
    vocabulary = Vocabulary([*old.labels[:1], "~", *old.labels[2:]], word_boundary=None)
    live = LiveTranscriber(recogniser._replace(vocabulary=vocabulary), config_of(finetuned))
    settled = [live.hear(block).settled for block in np.split(noise(30), 30)]
    assert sum(map(bool, settled)) > 3
    assert live.finish().text.replace(" ", "").startswith("".join(settled).replace(" ", ""))


def test_windows_that_are_mostly_margins_are_heard_to_the_end(finetuned: Path, recogniser: Recogniser) -> None:
    live = LiveTranscriber(recogniser, config_of(finetuned, window_seconds=6.0, margin_seconds=2.5))
    for number, block in enumerate(np.split(noise(12), 24), 1):
        live.hear(block)
        settled = live._running.num_frames
        assert settled == 0 or number / 2 - settled / recogniser.frames_of(1) > 2.4, "a margin behind what is settled"
    assert settled


def test_a_stream_that_is_a_window_long_is_heard_as_a_file(finetuned: Path, recogniser: Recogniser) -> None:
    live = LiveTranscriber(recogniser, config_of(finetuned, window_seconds=30.0))
    live.hear(noise(5))
    assert live.finish()[1:] == recogniser.transcribe(noise(5), RATE)[1:]


def test_what_came_at_once_is_heard_in_windows(finetuned: Path, recogniser: Recogniser) -> None:
    live = LiveTranscriber(recogniser, config_of(finetuned))
    longest = []
    hook = recogniser.model.register_forward_pre_hook(lambda _, inputs: longest.append(inputs[0].shape[1]))
    live.hear(noise(30))
    hook.remove()
    assert max(longest) <= 9 * RATE


def test_a_stream_without_a_frame_is_told(finetuned: Path, recogniser: Recogniser) -> None:
    with pytest.raises(DataError, match="standard input: 0 samples at 16000 Hz, expected at least 325"):
        LiveTranscriber(recogniser, config_of(finetuned)).finish()


@pytest.mark.parametrize("rate", [RATE, 8000])
def test_raw_samples_become_blocks(rate: int) -> None:
    samples = (noise(2)[: 2 * rate] * 3000).astype("<i2")
    with pytest.raises(DataError, match="begins as a FLAC file does, expected raw samples"):
        list(live_blocks(io.BytesIO(b"fLaC" + samples.tobytes()), rate, RATE, 0.5))
    blocks = list(live_blocks(io.BytesIO(samples.tobytes() + b"\x01"), rate, RATE, 0.5))
    found = np.concatenate(blocks)
    assert len(found) == 2 * RATE
    assert found.dtype == np.float32
    if rate == RATE:
        assert np.array_equal(found, samples.astype(np.float32) / 32768)


def put_on_input(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_the_command_says_what_it_hears(
    finetuned: Path, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transcribe, "load_recogniser", lambda *_: recogniser)
    put_on_input((noise(3) * 32767).astype("<i2").tobytes(), monkeypatch)
    transcribe.run(config_of(finetuned, stream=RATE, format="jsonl"))
    *partial, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert partial[-1]["seconds"] == last["seconds"] == 3
    assert last["path"] == "-"
    assert f"{partial[-1]['settled']} {partial[-1]['partial']}".strip() == last["text"]
    with pytest.raises(ConfigError, match="stream is what standard input brings; give it or audio"):
        transcribe.run(config_of(finetuned, stream=RATE, audio=[Path("a.wav")]))


def test_a_file_on_standard_input_is_heard_as_the_file(
    finetuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.flac", noise(2), RATE)
    put_on_input((tmp_path / "a.flac").read_bytes(), monkeypatch)
    transcribe.run(config_of(finetuned, audio=[Path("-"), tmp_path / "a.flac"]))
    one, other = capsys.readouterr().out.splitlines()
    assert one.split("\t") == ["-", other.split("\t")[1]]
    put_on_input(b"no audio", monkeypatch)
    with pytest.raises(DataError, match="standard input: cannot be read as audio"):
        transcribe.run(config_of(finetuned, audio=[Path("-")]))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigError, match="standard input is closed"):
        transcribe.run(config_of(finetuned, audio=[Path("-")]))
