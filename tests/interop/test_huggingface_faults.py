"""What is wrong with folders of Hugging Face's, or with where they go: one line, and nothing written."""

import errno
import json
import os
import pickle
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hf_models import FEW_LAYERS, change, change_weights, run_verb, save_model

from speechssl import files
from speechssl.config import FeatureEncoderConfig, MaskedPredictionConfig, ModelConfig, PretrainConfig
from speechssl.config.reading import to_dict
from speechssl.errors import CheckpointError
from speechssl.interop.huggingface import read_huggingface
from speechssl.tasks.initial import warn_unfinished
from speechssl.training import checkpoints


class Hostile:
    """Leaves a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch it_ran",)


def hostile(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Hostile()}))


def truncated(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def indexed(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')


NAME = "wav2vec2.encoder.layers.1.attention.k_proj.bias"
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "hostile pickle": (
        hostile,
        r"names posix.system, where only tensors and plain values were expected",
    ),
    "truncated": (truncated, r"model.safetensors: damaged or cut off"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"has neither model.safetensors nor pytorch_model"),
    "another model": (lambda f: change(f, "config.json", model_type="bert"), r"model_type is 'bert'; what can be"),
    "another activation": (lambda f: change(f, "config.json", hidden_act="relu"), r"hidden_act is 'relu', only 'gelu'"),
    "an adapter": (lambda f: change(f, "config.json", add_adapter=True), r"add_adapter is True, only False"),
    "more layers": (lambda f: change(f, "config.json", num_hidden_layers=4), r"3.attention.q_proj.weight: missing"),
    "another width": (lambda f: change(f, "config.json", intermediate_size=50), r"\(48, 32\), expected \(50, 32\)"),
    "a missing tensor": (lambda f: change_weights(f, lambda s: s.pop(NAME)), rf"{NAME}: missing"),
    "an unknown tensor": (lambda f: change_weights(f, lambda s: s.update(x=torch.ones(1))), r"x: unknown"),
    "a short vocabulary": (lambda f: change(f, "vocab.json", extra=32), r"33 labels, expected one for each of the 32"),
    "a wrong blank": (
        lambda f: (change(f, "config.json", pad_token_id=99), change(f, "tokenizer_config.json", pad_token="?")),
        r"pad_token_id is 99, expected one of",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), r"config.json: cannot be read as JSON"),
    "a list": (lambda f: (f / "vocab.json").write_text("[]"), r"vocab.json: holds a list, expected an object"),
    "an index of nothing": (indexed, r"index.json: its weight_map names no files"),
    "whole numbers": (lambda f: change_weights(f, lambda s: s.update({NAME: s[NAME].int()})), r"numbers of type int32"),
    "no finite ones": (lambda f: change_weights(f, lambda s: s[NAME].fill_(torch.nan)), r"no finite numbers"),
    "a name that steers": (lambda f: change_weights(f, lambda s: s.update({"\x1b[31m": s[NAME] + 1})), r"x1b\[31m'"),
    "labels that are no numbers": (lambda f: change(f, "vocab.json", E=5.0), r"32 labels, expected one for each of"),
    "quantised": (lambda f: change(f, "config.json", quantization_config={"bits": 8}), r"quantization_config is of"),
    "indivisible": (
        lambda f: change(f, "config.json", num_attention_heads=5),
        r"dim is 32, expected a multiple of num_heads \(5\)",
    ),
    "endless": (lambda f: change(f, "config.json", num_hidden_layers=float("inf")), r"num_hidden_layers of its"),
    "countless": (lambda f: change(f, "config.json", num_hidden_layers=10**30), r"num_layers is 1e\+30, expected at"),
    "uneven": (lambda f: change(f, "config.json", conv_dim=[16]), r"conv_stride are of different lengths"),
    "no list": (
        lambda f: change(f, "config.json", conv_kernel="x"),
        r"conv_kernel of its configuration is 'x', expected",
    ),
    "another norm": (
        lambda f: change(f, "config.json", feat_extract_norm="batch"),
        r"'batch', expected group or layer",
    ),
    "no rate": (lambda f: change(f, "preprocessor_config.json", sampling_rate="x"), r"sampling_rate of its config"),
    "no numbers": (lambda f: change(f, "config.json", hidden_size="x"), r"hidden_size of its configuration is 'x'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_one_error_and_nothing_is_written(
    transformers: Any,
    tmp_path: Path,
    fault: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs")
    spoil, message = FAULTS[fault]
    spoil(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match=message):
        read_huggingface(tmp_path / "theirs")
    capsys.readouterr()
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 2
    assert capsys.readouterr().err.startswith("speechssl: error: ")
    assert not (tmp_path / "ours").exists()
    assert not (tmp_path / "it_ran").exists()


def test_what_transformers_refuses_is_one_line(transformers: Any, tmp_path: Path, capsys: Any) -> None:
    save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs")
    change(tmp_path / "theirs", "config.json", layerdrop="x")
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'theirs'}: transformers does not load this model (" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("theirs/model.safetensors", "a part of a model; give the folder that it lies in"),
        ("theirs/config.json", "a part of a model; give the folder that it lies in"),
        ("facebook/wav2vec2-base", "hf download facebook/wav2vec2-base --local-dir FOLDER"),
    ],
)
def test_what_newcomers_give_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("theirs").mkdir()
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "theirs" / name).write_text("{}")
    assert run_verb("import", path, "ours") == 2
    assert message in capsys.readouterr().err


def test_what_theirs_cannot_compute_is_said(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"conv_layers": [[40, 640, 640]], "first_layer": "log_mel"}
    small = {"num_layers": 1, "dim": 16, "ffn_dim": 16, "num_heads": 2, "pos_conv_kernel": 4, "pos_conv_groups": 2}
    small |= {"squeeze": 2}
    (tmp_path / "c.yaml").write_text(
        json.dumps(
            {"model": {"feature_encoder": config, "context": small}, "head": {"num_lstm_layers": 1, "lstm_dim": 4}}
        )
    )
    short = ("--training.max_updates", 1, "--training.accelerator", "cpu", "--train.max_batch_seconds", 4)
    short += ("--masking.channel_prob", 0)
    data = ("--train.shards", shards, "--dev.shards", shards)
    assert run_verb("finetune", "--config", tmp_path / "c.yaml", "--output", tmp_path / "run", *data, *short) == 0
    assert run_verb("export", tmp_path / "run", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "first_layer is log_mel" in error
    assert "context.squeeze is 2, wav2vec2 has 1" in error
    assert "the head has more than the linear layer" in error
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".partial*"))


def test_what_theirs_cannot_compute_is_refused_before_any_note(tmp_path: Path, capsys: Any) -> None:
    model = ModelConfig(feature_encoder=FeatureEncoderConfig([(40, 640, 640)], first_layer="log_mel"))
    config = PretrainConfig(model=model, objective=MaskedPredictionConfig())
    checkpoints.save_checkpoint(
        tmp_path / "run", kind="pretrain", update=1, config=to_dict(config), model_state={}, training_state=None
    )
    assert run_verb("export", tmp_path / "run", tmp_path / "out") == 2
    shown = capsys.readouterr()
    assert "first_layer is log_mel" in shown.err
    assert shown.out == ""


@contextmanager
def short_files(limit: int) -> Iterator[None]:
    """No file may become longer, as if the disk were full."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_one_line_and_leaves_nothing(transformers: Any, tmp_path: Path, capfd: Any) -> None:
    save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs", **FEW_LAYERS)
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours", "--proof", "false") == 0
    with short_files(9_000):
        assert run_verb("export", tmp_path / "ours", tmp_path / "out", "--proof", "false") == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith(f"speechssl: error: {tmp_path / 'out'}: cannot be written (")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]


def test_an_import_that_cannot_be_written_is_not_in_the_way(
    transformers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs")
    arguments = ("import", tmp_path / "theirs", tmp_path / "ours", "--proof", "false")
    with monkeypatch.context() as full:
        full.setattr(files, "sync", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        assert run_verb(*arguments) == 2
    assert not (tmp_path / "ours").exists()
    assert run_verb(*arguments) == 0


def renamed(folder: Path, old: str, new: str) -> None:
    change_weights(folder, lambda state: state.update({new: state.pop(old)}))


def test_a_former_name_is_known(transformers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """facebook/wav2vec2-base-100h has its mask embedding under the name of transformers' first versions."""
    folder = tmp_path / "theirs"
    theirs = save_model(transformers, "Wav2Vec2ForCTC", folder, **FEW_LAYERS)
    renamed(folder, "wav2vec2.masked_spec_embed", "wav2vec2.mask_time_emb_vector")
    assert run_verb("import", folder, tmp_path / "ours") == 0
    told = capsys.readouterr().out
    assert "note: wav2vec2.mask_time_emb_vector: a former name of wav2vec2.masked_spec_embed" in told
    ours = checkpoints.load_checkpoint(tmp_path / "ours")
    assert torch.equal(ours.model_state["encoder.mask_embedding"], theirs.wav2vec2.masked_spec_embed)
    change_weights(folder, lambda s: s.update({"wav2vec2.masked_spec_embed": torch.ones(32)}))
    imported = read_huggingface(folder)
    assert torch.equal(imported.weights["encoder.mask_embedding"], torch.ones(32)), "the present name goes first"
    assert "wav2vec2.mask_time_emb_vector: transformers passes it over" in imported.architecture.notes[-1]


@pytest.mark.parametrize(
    ("cls", "name", "shape"),
    [
        ("Wav2Vec2ForCTC", "mask_time_emb_vector", (32,)),  # outside the encoder
        ("Wav2Vec2ForCTC", "wav2vec2.mask_feature_emb_vector", (32,)),
        ("Wav2Vec2ForCTC", "wav2vec2.quantizer.codevectors", (1, 14, 6)),
        ("Wav2Vec2ForCTC", "wav2vec2.classifier.weight", (2, 32)),
        ("Wav2Vec2Model", "classifier.weight", (2, 32)),  # an encoder by itself has none beside it
        ("Wav2Vec2ForCTC", "lm_heads.weight", (2, 32)),
    ],
)
def test_other_names_stay_refused(transformers: Any, tmp_path: Path, cls: str, name: str, shape: Any) -> None:
    folder = tmp_path / "theirs"
    save_model(transformers, cls, folder, **FEW_LAYERS)
    change_weights(folder, lambda s: s.update({name: torch.zeros(shape)}))
    with pytest.raises(CheckpointError, match=rf"\n  {name}: unknown"):
        read_huggingface(folder)


@pytest.mark.parametrize(
    ("cls", "kind", "heads"),
    [
        ("Wav2Vec2ForSequenceClassification", "encoder", "classifier, projector"),
        ("HubertForSequenceClassification", "encoder", "classifier, projector"),
        ("Wav2Vec2ForAudioFrameClassification", "encoder", "classifier, layer_weights"),
        ("WavLMForXVector", "encoder", "classifier, feature_extractor, objective, projector, tdnn"),
    ],
)
def test_heads_of_other_tasks_are_named_and_left_out(
    transformers: Any, tmp_path: Path, cls: str, kind: str, heads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"use_weighted_layer_sum": True} if "Frame" in cls else {}
    save_model(transformers, cls, tmp_path / "theirs", **FEW_LAYERS, **options)
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 0
    told = capsys.readouterr().out
    assert f"note: {heads}: heads of other tasks, left out" in told
    assert checkpoints.load_checkpoint(tmp_path / "ours").kind == kind


def test_of_two_heads_the_configuration_names_the_one(transformers: Any, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    save_model(transformers, "Wav2Vec2ForCTC", folder, **FEW_LAYERS)
    pretext: dict[str, tuple[int, ...]] = {"quantizer.codevectors": (1, 14, 6)}
    for name, shape in (("quantizer.weight_proj", (14, 16)), ("project_hid", (10, 32)), ("project_q", (10, 12))):
        pretext |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    change_weights(folder, lambda s: s.update({name: torch.zeros(shape) for name, shape in pretext.items()}))
    imported = read_huggingface(folder)
    assert imported.architecture.kind == "ctc"
    assert "project_hid, project_q, quantizer: heads of other tasks, left out" in imported.architecture.notes
    change(folder, "config.json", architectures=["Wav2Vec2ForPreTraining"])
    imported = read_huggingface(folder)
    assert imported.architecture.kind == "pretrain"
    assert "lm_head: heads of other tasks, left out" in imported.architecture.notes


def test_weights_under_pytorchs_former_names_are_those_of_now(transformers: Any, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    save_model(transformers, "WavLMModel", folder, **FEW_LAYERS)
    before = read_huggingface(folder).weights
    conv = "encoder.pos_conv_embed.conv"
    for old, new in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
    ):
        renamed(folder, f"{conv}.{old}", f"{conv}.{new}")
    after = read_huggingface(folder).weights
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_is_imported_is_not_called_unfinished(
    transformers: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_model(transformers, "Wav2Vec2ForPreTraining", tmp_path / "theirs", **FEW_LAYERS)
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours", "--proof", "false") == 0
    checkpoint = checkpoints.load_checkpoint(tmp_path / "ours")
    with caplog.at_level("INFO"):
        warn_unfinished(checkpoint)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "was imported from theirs (Hugging Face), which does not tell its updates" in caplog.text


def test_a_buffer_that_transformers_gave_up_is_passed_over(transformers: Any, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    save_model(transformers, "HubertModel", folder, **FEW_LAYERS)
    change_weights(folder, lambda s: s.update({"encoder.position_ids": torch.arange(9)}))
    assert "encoder.position_ids: transformers passes it over" in read_huggingface(folder).architecture.notes[0]
