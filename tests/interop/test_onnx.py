"""Graphs for ONNX runtimes, of every kind of model, decoded without speechssl."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import soundfile
import torch
from hf_models import FEW_LAYERS, LARGE, save_model
from torch import Tensor

from speechssl.cli import main
from speechssl.config import ContextConfig, FeatureEncoderConfig, ModelConfig
from speechssl.errors import CheckpointError
from speechssl.interop import onnx_models
from speechssl.interop.imported import Architecture
from speechssl.interop.onnx_layers import Graph
from speechssl.interop.onnx_models import export_onnx
from speechssl.interop.proof import made_voice
from speechssl.interop.whole_folder import new_folder
from speechssl.recogniser import load_recogniser

RATE = 16000
SMALL = {"num_layers": 1, "dim": 16, "ffn_dim": 16, "num_heads": 2, "pos_conv_kernel": 4, "pos_conv_groups": 2}
CONTEXT = ContextConfig(**SMALL)
RELATIVE = replace(CONTEXT, relative_bias=True)
SQUEEZED = replace(CONTEXT, squeeze=2)
SMALL_ENCODER = ModelConfig(feature_encoder=FeatureEncoderConfig([(8, 10, 5), (8, 8, 8), (8, 8, 8)]), context=CONTEXT)
CONFIG = {
    "model": {
        "normalize_audio": True,
        "feature_encoder": {"conv_layers": [[40, 800, 640]], "first_layer": "log_mel"},
        "context": SMALL,
    },
    "head": {"normalize_context": True, "num_lstm_layers": 1, "lstm_dim": 4},
    "masking": {"channel_prob": 0},
    "training": {"max_updates": 1, "accelerator": "cpu"},
}


ROOT = Path(__file__).resolve().parents[2]


def run_verb(*argv: object) -> int:
    return main([str(item) for item in argv])


@pytest.fixture(scope="module")
def tiny(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser that normalises its audio, with a log-mel layer and a recurrent head."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "c.yaml").write_text(json.dumps(CONFIG))
    data = ("--train.shards", shards, "--dev.shards", shards, "--train.max_batch_seconds", 4)
    assert run_verb("finetune", "--config", folder / "c.yaml", "--output", folder / "run", *data) == 0
    return folder / "run"


def onnx() -> Any:
    pytest.importorskip("onnxscript", reason="needs the onnx packages (speechssl[onnx])")
    return pytest.importorskip("onnxruntime", reason="needs the onnx packages (speechssl[onnx])")


def example_of_the_manual() -> str:
    """The Python block of the section on ONNX in docs/interop.md."""
    section = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8").partition("## ONNX")[2]
    return section.partition("```python\n")[2].partition("```")[0]


@pytest.mark.parametrize("kind", ["tiny", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("base", "large"))])
def test_the_manual_decodes_onnx_without_speechssl(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    onnx()
    if kind == "tiny":
        checkpoint = request.getfixturevalue("tiny")
    else:
        transformers = request.getfixturevalue("transformers")
        options = FEW_LAYERS | (LARGE if kind == "large" else {})
        save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs", **options)
        assert run_verb("import", tmp_path / "theirs", tmp_path / "ours", "--proof", "false") == 0
        checkpoint = tmp_path / "ours"
    assert run_verb("export", checkpoint, tmp_path / "out", "--to", "onnx") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("1 of 1 s", "3 of 30 s, padded"))
    soundfile.write(tmp_path / "out" / "recording.flac", made_voice(RATE, 2.5)[0].numpy(), RATE)
    monkeypatch.chdir(tmp_path / "out")
    exec(example_of_the_manual(), {})
    found = capsys.readouterr().out
    samples, _ = soundfile.read("recording.flac", dtype="float32")
    recogniser = load_recogniser(checkpoint, torch.device("cpu"))
    with torch.no_grad():
        path = torch.unique_consecutive(recogniser.model(torch.from_numpy(samples)[None]).logits[0].argmax(-1))
    assert " ".join(found.split()) == recogniser.vocabulary.decode(path.tolist())
    facts = json.loads(Path("model.json").read_text())
    assert (facts["sample_rate"], facts["hop_samples"]) == (RATE, 640 if kind == "tiny" else 320)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "context"), [("wavlm", RELATIVE), ("wav2vec2", SQUEEZED)])
def test_other_contexts_go_through_onnx(
    family: Literal["wavlm", "wav2vec2"], context: ContextConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx()
    torch.manual_seed(0)
    architecture = Architecture("encoder", family, replace(SMALL_ENCODER, context=context))
    export_onnx(tmp_path, architecture, architecture.build(), tolerance=1e-5)
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["family"] == family
    assert f"  1 of {facts['receptive_field_samples']} samples" in capsys.readouterr().out


def test_a_graph_that_computes_something_else_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx()
    architecture = Architecture("encoder", "wav2vec2", SMALL_ENCODER)
    module = architecture.build()
    folder = tmp_path / "out"
    monkeypatch.setattr(onnx_models, "write_float", lambda path, *_: path.write_bytes(b"graph"))
    for wrong, message in (
        (shifted, "differ, first at 1 of 325 samples"),
        (short, "1 of 30 s: .*does not run .*expected 1 s"),
    ):
        monkeypatch.setattr(onnx_models, "onnx_run", lambda path, wrong=wrong: partial(wrong, Graph(module)))
        with pytest.raises(CheckpointError, match=message), new_folder(folder) as partial_folder:
            export_onnx(partial_folder, architecture, module)
        assert not list(tmp_path.iterdir())


def shifted(graph: Graph, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """A runtime that is a little wrong."""
    context, frames = graph(audio, lengths)
    return context + 0.01, frames


def short(graph: Graph, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """A runtime that takes short audio only."""
    assert audio.shape[1] < 2 * RATE, "expected 1 s"
    context, frames = graph(audio, lengths)
    return context, frames
