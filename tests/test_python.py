"""The package as it is used from Python."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT
from reference import words_of_path
from small_chain import MODEL

import speechssl
from speechssl.audio.reading import read_audio
from speechssl.config import DropoutConfig, TranscribeConfig
from speechssl.embedder import Embedder
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.model.encoder import Encoder
from speechssl.recogniser import Recogniser
from speechssl.training.checkpoints import load_checkpoint
from speechssl.verbs import transcribe

RATE, HOP, FIELD = 16000, 320, 325
"""Of the small model."""


@pytest.fixture(scope="module")
def encoder(pretrained: Path) -> Embedder:
    return speechssl.load_encoder(pretrained, "cpu")


@pytest.fixture(scope="module")
def recogniser(finetuned: Path) -> Recogniser:
    """It writes something, though it has learned nothing."""
    found = speechssl.load_recogniser(str(finetuned), torch.device("cpu"))
    with torch.no_grad():
        found.model.head.weight.normal_(std=3.0, generator=torch.Generator().manual_seed(0))
    return found


def sound(folder: Path, num_samples: int, rate: int = RATE, channels: int = 1) -> Path:
    draws = np.random.default_rng(0)
    soundfile.write(folder / "a.wav", draws.normal(0, 0.1, (num_samples, channels)), rate, subtype="PCM_16")
    return folder / "a.wav"


def test_the_readme_code_runs(
    pretrained: Path, finetuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "pretrain").symlink_to(pretrained)
    (tmp_path / "exp" / "finetune").symlink_to(finetuned)
    soundfile.write(tmp_path / "recording.flac", np.random.default_rng(0).normal(0, 0.1, 9000), RATE)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "('block_1', 'block_2', 'context') torch.Size([3, 28, 16])" in capsys.readouterr().out


def test_the_package_has_no_other_attributes() -> None:
    assert not hasattr(speechssl, "load_nothing")


@pytest.mark.parametrize("run", ["pretrained", "finetuned"])
def test_layers_are_those_of_the_encoder(run: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(run)
    path = sound(tmp_path, 9000)
    found = speechssl.load_encoder(folder).embed(str(path))
    own = Encoder(MODEL, DropoutConfig()).eval()
    state = load_checkpoint(folder).model_state.items()
    own.load_state_dict({name[len("encoder.") :]: value for name, value in state if name.startswith("encoder.")})
    with torch.no_grad():
        expected = own(torch.from_numpy(read_audio(path, RATE))[None], keep_layers=True)
    assert found.names == ("block_1", "block_2", "context")
    for name, layer in zip(found.names, [*expected.layers, expected.context], strict=True):
        torch.testing.assert_close(found[name], layer[0])
    assert found.times.tolist() == pytest.approx([(t * HOP + FIELD / 2) / RATE for t in range(found.layers.shape[1])])


def test_a_long_recording_is_embedded_in_windows(encoder: Embedder, tmp_path: Path) -> None:
    samples = torch.from_numpy(read_audio(sound(tmp_path, 70 * RATE), RATE))
    found = encoder.embed(samples, RATE, layers=["block_2"])
    assert found.names == ("block_2",)
    assert found.layers.shape == (1, (len(samples) - FIELD) // HOP + 1, 16)
    kept, margin = 24 * 50, 3 * 50  # frames of windows of 30 s, and of their margins
    for first in range(0, found.layers.shape[1], kept):
        begin, stop = max(0, first - margin), first + kept
        window = samples[begin * HOP : (stop + margin - 1) * HOP + FIELD]
        with torch.no_grad():
            expected = encoder.encoder(window[None], keep_layers=True).layers[1][0, first - begin : stop - begin]
        torch.testing.assert_close(found["block_2"][first:stop][: len(expected)], expected)


@pytest.mark.parametrize(("rate", "channels"), [(RATE, 1), (RATE, 2), (22050, 1), (8000, 3)])
def test_an_array_is_heard_as_a_file_of_it(
    rate: int, channels: int, encoder: Embedder, recogniser: Recogniser, tmp_path: Path
) -> None:
    path = sound(tmp_path, 2 * rate, rate, channels)
    samples, _ = soundfile.read(path)
    assert samples.dtype == np.float64
    from_file, from_array = encoder.embed(path), encoder.embed(samples, sample_rate=rate)
    torch.testing.assert_close(from_array.layers, from_file.layers, rtol=1e-4, atol=1e-5)
    assert torch.equal(from_array.times, from_file.times)
    heard, again = recogniser.transcribe(path), recogniser.transcribe(samples, sample_rate=rate)
    assert (again.path, again.text, again.words, again.seconds) == (None, heard.text, heard.words, heard.seconds)
    assert again.confidence == pytest.approx(heard.confidence, rel=1e-4)
    assert heard.text


@pytest.mark.parametrize("seconds", [2, 70])
def test_transcripts_are_those_of_the_verb(
    seconds: int, finetuned: Path, recogniser: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sound(tmp_path, seconds * RATE)
    monkeypatch.setattr(transcribe, "load_recogniser", lambda *_: recogniser)
    output = tmp_path / "out.jsonl"
    transcribe.run(TranscribeConfig(finetuned, [path], output, format="jsonl", accelerator="cpu"))
    found = recogniser.transcribe(path)
    assert json.loads(output.read_text()) == {
        "path": str(path),
        "text": found.text,
        "seconds": seconds,
        "confidence": round(found.confidence, 4),
        "words": [
            {
                "word": word.text,
                "start": round(word.start_seconds, 3),
                "end": round(word.stop_seconds, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in found.words
        ],
    }
    assert found.text == " ".join(word.text for word in found.words)


def test_words_have_the_seconds_of_their_frames(recogniser: Recogniser, tmp_path: Path) -> None:
    path = sound(tmp_path, 20 * RATE)
    with torch.no_grad():
        labels = recogniser.model(torch.from_numpy(read_audio(path, RATE))[None]).logits[0].argmax(-1).tolist()
    expected = words_of_path(labels, recogniser.vocabulary.labels, recogniser.vocabulary.blank)
    margin = (FIELD - HOP) / 2  # of what a frame hears, on each side of its share
    found = recogniser.transcribe(path)
    assert len(found.words) == len(expected) > 3
    before = 0.0
    for word, (text, first, stop) in zip(found.words, expected, strict=True):
        begin, end = ((frame * HOP + margin) / RATE for frame in (first, stop))
        assert word.text == text
        assert max(before, begin - 0.08) - 1e-6 <= word.start_seconds <= begin + 1e-6  # where a word before has its end
        assert end - 1e-6 <= word.stop_seconds <= end + 0.24 + 1e-6
        before = word.stop_seconds
        assert 0 <= word.start_seconds < word.stop_seconds <= found.seconds


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros(9000), None, "sample_rate is None, expected its samples per second, as sample_rate=16000"),
        (np.zeros(9000, np.int16), RATE, "int16, expected floating-point numbers in -1..1; divide int16 by 32768"),
        (np.zeros((2, 9000)), RATE, r"shape \(2, 9000\), expected \(samples,\) or \(samples, channels\); transpose it"),
        (np.zeros((9, 9, 9)), RATE, r"shape \(9, 9, 9\), expected"),
        (np.zeros(0), RATE, "holds no samples"),
        (np.full(9000, np.nan), RATE, "holds samples that are not finite numbers"),
        (np.zeros(100), RATE, "array of samples: 100 samples at 16000 Hz, expected at least 325, one frame"),
        ("gone.wav", None, "gone.wav: "),
    ],
)
def test_what_cannot_be_heard_is_told(
    audio: object, rate: int | None, message: str, encoder: Embedder, recogniser: Recogniser
) -> None:
    for hear in (encoder.embed, recogniser.transcribe):
        with pytest.raises(DataError, match=message):
            hear(audio, rate)


def test_other_mistakes_are_told(encoder: Embedder, pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sample_rate is 8000, but files say their own rate; leave it out"):
        encoder.embed("a.wav", sample_rate=8000)
    with pytest.raises(ConfigError, match="layers: block_3; expected some of block_1, block_2, context"):
        encoder.embed(np.zeros(9000), RATE, layers=["block_1", "block_3"])
    with pytest.raises(KeyError, match="block_2; the layers are block_1"):
        encoder.embed(np.zeros(9000), RATE, layers=["block_1"])["block_2"]
    with pytest.raises(CheckpointError, match="no such folder; expected a run folder"):
        speechssl.load_encoder(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="run `speechssl finetune` first"):
        speechssl.load_recogniser(pretrained)
