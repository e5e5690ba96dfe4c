"""Graphs for other runtimes: ONNX and torch.export, of every kind of model, decoded without speechssl."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hf_models import LARGE, save_model

from speechssl.cli import main
from speechssl.errors import CheckpointError
from speechssl.interop.exporting import architecture_of
from speechssl.interop.imported import Architecture
from speechssl.interop.onnx_models import export_onnx
from speechssl.interop.proof import made_voice
from speechssl.recogniser import load_recogniser
from speechssl.training.checkpoints import load_checkpoint

RATE = 16000
SMALL = {"num_layers": 1, "dim": 16, "ffn_dim": 16, "num_heads": 2, "pos_conv_kernel": 4, "pos_conv_groups": 2}
CONFIG = {
    "model": {"feature_encoder": {"conv_layers": [[40, 800, 640]], "first_layer": "log_mel"}, "context": SMALL},
    "head": {"normalize_context": True, "num_lstm_layers": 1, "lstm_dim": 4},
    "masking": {"channel_prob": 0},
    "training": {"max_updates": 1, "accelerator": "cpu"},
}


def run_verb(*argv: object) -> int:
    return main([str(item) for item in argv])


@pytest.fixture(scope="module")
def tiny(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser with a log-mel layer and a recurrent head."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "c.yaml").write_text(json.dumps(CONFIG))
    data = ("--train.shards", shards, "--dev.shards", shards, "--train.max_batch_seconds", 4)
    assert run_verb("finetune", "--config", folder / "c.yaml", "--output", folder / "run", *data) == 0
    return folder / "run"


def onnx() -> Any:
    pytest.importorskip("onnxscript", reason="needs the onnx packages (speechssl[onnx])")
    return pytest.importorskip("onnxruntime", reason="needs the onnx packages (speechssl[onnx])")


@pytest.mark.parametrize("kind", ["tiny", pytest.param("base", marks=pytest.mark.slow), "large"])
def test_onnx_is_decoded_without_speechssl(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = onnx()
    if kind == "tiny":
        checkpoint = request.getfixturevalue("tiny")
    else:
        transformers = request.getfixturevalue("transformers")
        save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs", **(LARGE if kind == "large" else {}))
        assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 0
        checkpoint = tmp_path / "ours"
    assert run_verb("export", checkpoint, tmp_path / "out", "--to", "onnx") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("1 of 1 s", "3 of 30 s, padded", "int8: largest difference"))
    facts = json.loads((tmp_path / "out" / "model.json").read_text())
    session = runtime.InferenceSession(tmp_path / "out" / "model.onnx")
    names = [item.name for item in session.get_inputs()]
    voice = made_voice(RATE, 2.5)
    inputs = dict(zip(names, (voice.numpy(), np.array([voice.shape[1]])), strict=True))
    logits, frames = session.run(None, inputs)
    best = logits[0, : frames[0]].argmax(-1)
    changed = best[np.append(True, best[1:] != best[:-1])]
    texts = [" " if i == facts["word_boundary"] else facts["labels"][i] for i in changed if i != facts["blank"]]
    recogniser = load_recogniser(checkpoint, torch.device("cpu"))
    with torch.no_grad():
        path = torch.unique_consecutive(recogniser.model(voice).logits[0].argmax(-1))
    assert " ".join("".join(texts).split()) == recogniser.vocabulary.decode(path.tolist())
    assert (facts["sample_rate"], facts["hop_samples"]) == (RATE, 640 if kind == "tiny" else 320)


def test_torch_programs_take_any_batch_and_length(tiny: Path, tmp_path: Path) -> None:
    assert run_verb("export", tiny, tmp_path / "out", "--to", "torch") == 0
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    recogniser = load_recogniser(tiny, torch.device("cpu"))
    audio = torch.cat([made_voice(RATE, 1.7)] * 3)
    lengths = torch.tensor([27_000, 20_000, 9_000])
    with torch.no_grad():
        logits, frames = program(audio, lengths)
        expected = recogniser.model(audio, lengths)
    assert expected.lengths is not None
    assert frames.tolist() == expected.lengths.tolist()
    torch.testing.assert_close(logits[1, : frames[1]], expected.logits[1, : frames[1]], rtol=1e-5, atol=1e-5)


def test_a_graph_that_computes_something_else_is_not_left(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx()
    checkpoint = load_checkpoint(tiny)
    architecture: Architecture = architecture_of(checkpoint)
    module = architecture.build()
    module.load_state_dict(checkpoint.model_state)
    monkeypatch.setattr("speechssl.interop.onnx_models.onnx_run", lambda path: shifted(module))
    with pytest.raises(CheckpointError):
        export_onnx(tmp_path, architecture, module)
    assert not list(tmp_path.iterdir())


def shifted(module: Any) -> Any:
    """A runtime that is a little wrong."""

    @torch.no_grad()
    def run(audio: torch.Tensor, lengths: torch.Tensor) -> Any:
        output = module(audio, lengths)
        return output.logits + 0.01, output.lengths

    return run
