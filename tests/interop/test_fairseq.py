"""fairseq's checkpoints: every tensor, and the same numbers as in two conversions that others wrote."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_in_torchaudio import through_torchaudio
from fairseq_models import (
    LARGE,
    SMALL,
    SYMBOLS,
    FineTuned,
    Wav2Vec2,
    dictionary,
    make_class,
    namespace,
    random_state,
    save,
)

from speechssl.cli import main
from speechssl.errors import CheckpointError
from speechssl.interop.fairseq import read_fairseq
from speechssl.interop.fairseq_config import conv_layers
from speechssl.interop.fairseq_reference import fairseq_reference, through_huggingface
from speechssl.interop.formats import read_model
from speechssl.interop.huggingface import read_huggingface
from speechssl.interop.proof import compare, our_stages, prove
from speechssl.interop.torch_files import read_torch_file
from speechssl.interop.values import Values
from speechssl.recogniser import load_recogniser
from speechssl.training.checkpoints import load_checkpoint

SOUND = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
TASK = {"_name": "audio_pretraining", "sample_rate": 16000, "normalize": False}


def pretrained(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A wav2vec 2.0 checkpoint with its configuration as a dictionary."""
    args = SMALL | options
    normalize = args["extractor_mode"] == "layer_norm"
    config = {
        "model": {"_name": "wav2vec2", **args},
        "task": TASK | {"normalize": normalize},
        "criterion": {"_name": "wav2vec", "loss_weights": [0.1, 10.0]},
    }
    return {"args": None, "cfg": config, "model": random_state(Wav2Vec2(args, "wav2vec2")), **more}


def old_pretrained(options: dict[str, Any]) -> dict[str, Any]:
    """The same as fairseq wrote it at first: one namespace, with some values as text."""
    args = SMALL | options | {"latent_temp": "(2.0,0.5,0.999995)", "loss_weights": "[0.1, 10]", "arch": "wav2vec2"}
    state = random_state(Wav2Vec2(SMALL | options, "wav2vec2"))
    return {"args": namespace(**args, normalize=bool(options), sample_rate=16000), "model": state}


def hubert(options: dict[str, Any], monkeypatch: Any) -> dict[str, Any]:
    args = SMALL | options
    config = {"model": {"_name": "hubert", **args}, "task": TASK | {"_name": "hubert_pretraining"}}
    return {
        "cfg": config,
        "model": random_state(Wav2Vec2(args, "hubert")),
        "task_state": {"dictionaries": [dictionary(monkeypatch, ["0", "1"])]},
    }


def fine_tuned(kind: str, options: dict[str, Any], symbols: Any, *, nested: Any = None) -> dict[str, Any]:
    args = SMALL | options
    inner = {"model": {"_name": "wav2vec2", **args}, "task": TASK} if nested is None else nested
    config = {"model": {"_name": kind, "w2v_args": inner, "encoder_layers": 99}, "task": TASK | {"labels": "ltr"}}
    task_state = {} if symbols is None else {"target_dictionary": symbols}
    return {"cfg": config, "model": random_state(FineTuned(args)), "task_state": task_state}


def run_import(*argv: object) -> int:
    """The verb."""
    return main(["import", *map(str, argv)])


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("options", [{}, LARGE], ids=["base", "large"])
def test_a_pretrained_model_with_its_quantizer(tmp_path: Path, options: dict[str, Any], old: bool) -> None:
    pytest.importorskip("transformers", reason="the loss of the proof is Hugging Face's")
    content = old_pretrained(options) if old else pretrained(options)
    path = save(tmp_path / "wav2vec.pt", content, old=old)
    imported = read_model(path)
    objective = imported.architecture.objective
    assert objective is not None
    assert (objective.quantizer.num_groups, objective.quantizer.num_entries, objective.quantizer.dim) == (2, 7, 12)
    assert (objective.final_dim, objective.num_negatives, objective.feature_grad_scale) == (10, 6, 0.1)
    assert (objective.diversity_weight, objective.feature_penalty) == (0.1, 10.0)
    assert imported.architecture.model.normalize_audio == bool(options)
    assert imported.architecture.notes == []
    for reference in (through_huggingface, through_torchaudio):
        differences = prove(imported.build(), reference(content["model"], imported.architecture), SOUND, 1e-5)
        stages = {item.stage for item in differences}
        assert stages >= {"feature encoder", "layer 1", "layer 2", "context"}
        assert ("contrastive loss" in stages) == (reference is through_huggingface)
    assert run_import(path, tmp_path / "out") == 0
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.origin == {"family": "wav2vec2", "format": "fairseq", "source": "wav2vec.pt"}
    theirs = content["model"]
    attention = "encoder.layers.1.self_attn.{}_proj.weight"
    expected = torch.cat([theirs[attention.format(part)] for part in "qkv"])
    assert torch.equal(checkpoint.model_state["encoder.context.blocks.1.attention.qkv.weight"], expected)
    assert sum(value.numel() for value in checkpoint.model_state.values()) == sum(v.numel() for v in theirs.values())


def agrees_with_torchaudio(path: Path) -> None:
    """The second conversion of others, whose names are not those of the first."""
    file = read_torch_file(path)
    imported = read_fairseq(file)
    reference = through_torchaudio(file.tensors(file.content["model"]), imported.architecture)
    assert len(prove(imported.build(), reference, SOUND, 1e-5)) >= 5


def test_both_sides_agree_in_double_precision(tmp_path: Path) -> None:
    content = pretrained(LARGE)
    path = save(tmp_path / "wav2vec.pt", content)
    imported = read_fairseq(read_torch_file(path))
    module = imported.build().double()
    theirs = {name: value.double() for name, value in content["model"].items()}
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        reference = through_torchaudio(theirs, imported.architecture)
    finally:
        torch.set_default_dtype(default)
    differences = compare(our_stages(module, SOUND.double(), None), reference(SOUND.double(), None))
    assert len(differences) == 5
    assert max(item.largest for item in differences) < 1e-9


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize(
    ("kind", "options", "nesting"),
    [
        ("wav2vec_ctc", {}, "dictionary"),
        ("wav2vec_ctc", LARGE, "namespace"),
        ("hubert_ctc", LARGE, "omegaconf"),
    ],
)
def test_a_recogniser_with_its_dictionary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: dict[str, Any], nesting: str
) -> None:
    nested: Any = None
    if nesting == "namespace":
        nested = namespace(**SMALL | options, arch="wav2vec2", normalize=False)
    if nesting == "omegaconf":
        nested = omegaconf(monkeypatch, {"model": {"_name": "hubert", **SMALL, **options}})
    symbols = dictionary(monkeypatch, SYMBOLS)
    path = save(tmp_path / "model.pt", fine_tuned(kind, options, symbols, nested=nested), old=nesting == "namespace")
    assert run_import(path, tmp_path / "out", "--tolerance", "1e-5") == 0
    agrees_with_torchaudio(path)
    recogniser = load_recogniser(tmp_path / "out", torch.device("cpu"))
    vocabulary = recogniser.vocabulary
    assert (vocabulary.labels, vocabulary.blank, vocabulary.word_boundary) == (SYMBOLS, 0, 4)
    assert recogniser.config.context.norm_first == bool(options)
    origin = load_checkpoint(tmp_path / "out").origin
    assert origin is not None
    assert origin["family"] == ("hubert" if kind == "hubert_ctc" else "wav2vec2")


def omegaconf(monkeypatch: pytest.MonkeyPatch, value: Any) -> Any:
    """A value in containers and nodes of OmegaConf's, as far as they are stored."""
    kinds: dict[type, str] = {dict: "dictconfig.DictConfig", list: "listconfig.ListConfig"}
    kind = kinds.get(type(value), "nodes.AnyNode")
    made = make_class(monkeypatch, f"omegaconf.{kind}")()
    made._metadata = make_class(monkeypatch, "omegaconf.base.ContainerMetadata")()
    if isinstance(value, dict):
        made._content = {key: omegaconf(monkeypatch, item) for key, item in value.items()}
    elif isinstance(value, list):
        made._content = [omegaconf(monkeypatch, item) for item in value]
    else:
        made._val = value
    return made


def test_a_configuration_in_containers_of_omegaconf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pretrained(LARGE)
    plain = read_fairseq(read_torch_file(save(tmp_path / "plain.pt", content)))
    wrapped = content | {"cfg": omegaconf(monkeypatch, content["cfg"])}
    found = read_fairseq(read_torch_file(save(tmp_path / "wrapped.pt", wrapped)))
    assert found.architecture == plain.architecture


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize("options", [{}, LARGE], ids=["base", "large"])
def test_hubert_leaves_its_pretext_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, options: dict[str, Any]
) -> None:
    path = save(tmp_path / "hubert.pt", hubert(options, monkeypatch), old=bool(options))
    assert run_import(path, tmp_path / "out", "--tolerance", "1e-5") == 0
    agrees_with_torchaudio(path)
    shown = capsys.readouterr().out
    assert "note: final_proj.bias, final_proj.weight, label_embs_concat: of the pretext task, left out" in shown
    assert "layer 3" in shown
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.origin is not None
    assert (checkpoint.kind, checkpoint.origin["family"]) == ("encoder", "hubert")


RELATIVE = {"relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": 20, "max_distance": 30}
STACK = {"extractor_mode": "layer_norm", "conv_pos": 16, "pos_conv_depth": 3}


@pytest.mark.parametrize("options", [{}, LARGE], ids=["base", "large"])
def test_wavlm_as_microsoft_wrote_it(tmp_path: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("transformers", reason="the other side of the proof")
    args = SMALL | options | RELATIVE | {"normalize": bool(options)}
    content = {"cfg": args, "model": random_state(Wav2Vec2(args, ""))}
    path = save(tmp_path / "WavLM.pt", content)
    assert run_import(path, tmp_path / "out", "--tolerance", "1e-5") == 0
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.origin is not None
    assert (checkpoint.kind, checkpoint.origin["family"]) == ("encoder", "wavlm")
    model = checkpoint.config["model"]
    assert model["normalize_audio"] == bool(options)
    assert (model["context"]["num_buckets"], model["context"]["max_distance"]) == (20, 30)
    assert sum(map(torch.numel, checkpoint.model_state.values())) == sum(map(torch.numel, content["model"].values()))
    assert run_export(tmp_path / "out", tmp_path / "back") == 0
    again = read_huggingface(tmp_path / "back").weights
    assert all(torch.equal(again[name], value) for name, value in checkpoint.model_state.items())


def run_export(*argv: object) -> int:
    return main(["export", *map(str, argv)])


def test_wavlm_without_its_gate_is_refused(tmp_path: Path) -> None:
    args = SMALL | RELATIVE | {"gru_rel_pos": False}
    path = save(tmp_path / "WavLM.pt", {"cfg": args, "model": random_state(Wav2Vec2(args, ""))})
    with pytest.raises(CheckpointError, match="gru_rel_pos is False, only True can be imported"):
        read_fairseq(read_torch_file(path))


def test_data2vec_pretrained(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("transformers", reason="the other side of the proof")
    args = SMALL | STACK
    state: dict[str, Any] = {**random_state(Wav2Vec2(args, "data2vec")), "_ema": {"mask_emb": torch.zeros(32)}}
    config = {"model": {"_name": "data2vec_audio", **args}, "task": TASK | {"normalize": True}}
    path = save(tmp_path / "audio_base_ls.pt", {"cfg": config, "model": state})
    assert run_import(path, tmp_path / "out", "--tolerance", "1e-5") == 0
    assert "note: final_proj.bias, final_proj.weight: of the pretext task, left out" in capsys.readouterr().out
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.origin is not None
    assert (checkpoint.kind, checkpoint.origin["family"]) == ("encoder", "data2vec-audio")
    context = checkpoint.config["model"]["context"]
    assert (context["pos_conv_depth"], context["pos_conv_kernel"]) == (3, 5)
    assert run_export(tmp_path / "out", tmp_path / "back") == 0
    again = read_huggingface(tmp_path / "back").weights
    assert all(torch.equal(again[name], value) for name, value in checkpoint.model_state.items())


def test_data2vec_fine_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="the other side of the proof")
    nested = {"model": {"_name": "data2vec_audio", **SMALL, **STACK}}
    content = fine_tuned("wav2vec_ctc", STACK, dictionary(monkeypatch, SYMBOLS), nested=nested)
    path = save(tmp_path / "audio_base_ls_960h.pt", content)
    assert run_import(path, tmp_path / "out", "--tolerance", "1e-5") == 0
    origin = load_checkpoint(tmp_path / "out").origin
    assert origin is not None
    assert origin["family"] == "data2vec-audio"


@pytest.mark.usefixtures("transformers")
def test_labels_from_a_file_where_the_checkpoint_has_none(tmp_path: Path, capsys: Any) -> None:
    path = save(tmp_path / "model.pt", fine_tuned("wav2vec_ctc", {}, None))
    assert run_import(path, tmp_path / "out") == 2
    assert "give it with --labels" in capsys.readouterr().err
    labels = tmp_path / "dict.ltr.txt"
    lines = [f"{symbol} {900 - i}\n" for i, symbol in enumerate(SYMBOLS[4:])]
    for text, message in (
        (None, "the dictionary cannot be read"),
        ("".join(lines[:-1]), "31 symbols for 32 outputs"),
        ("".join([*lines[:-1], lines[0]]), "'|' more than once"),
        ("|\nE\n", "no dictionary of fairseq's; expected a symbol and its count in every line"),
    ):
        if text is not None:
            labels.write_text(text)
        assert run_import(path, tmp_path / "out", "--labels", labels) == 2
        assert message in capsys.readouterr().err
    labels.write_text("".join(lines))
    assert run_import(path, tmp_path / "out", "--labels", labels) == 0
    assert load_recogniser(tmp_path / "out", torch.device("cpu")).vocabulary.labels == SYMBOLS


def test_half_precision_computes_the_same_in_single(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the loss of the proof is Hugging Face's")
    content = pretrained({})
    content["model"] = {name: value.half() for name, value in content["model"].items()}
    path = save(tmp_path / "half.pt", content)
    assert run_import(path, tmp_path / "out", "--tolerance", "1e-5") == 0
    found = load_checkpoint(tmp_path / "out").model_state["project_context.bias"]
    assert torch.equal(found, content["model"]["final_proj.bias"].float())


def test_what_training_asked_for_and_ours_does_not_is_noted(tmp_path: Path) -> None:
    options = {"cross_sample_negatives": 10, "negatives_from_everywhere": True, "mask_selection": "poisson"}
    imported = read_fairseq(read_torch_file(save(tmp_path / "model.pt", pretrained(options))))
    assert [note.partition(":")[0] for note in imported.architecture.notes] == list(options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_name": "data2vec_multi"}, "a fairseq model called 'data2vec_multi'; what can be imported is wav2vec2"),
        ({"activation_fn": "relu"}, "activation_fn is 'relu', only 'gelu' can be imported"),
        ({"quantize_input": True}, "quantize_input is True, only False"),
        ({"extractor_mode": "batch"}, "extractor_mode of its configuration is 'batch', expected default or layer_norm"),
        ({"encoder_layers": 4}, "encoder.layers.3.self_attn.q_proj.weight: missing"),
        ({"encoder_layers": 2}, "encoder.layers.2.self_attn.k_proj.weight: unknown"),
        ({"encoder_layers": 10**30}, "num_layers is 1e+30, expected at most 1,000"),
        ({"encoder_layers": None}, "encoder_layers of its configuration is missing"),
        ({"encoder_embed_dim": 64}, "post_extract_proj.weight: (32, 16), expected (64, 16)"),
        ({"encoder_attention_heads": 5}, "dim is 32, expected a multiple of num_heads (5)"),
        ({"latent_vars": 8}, "quantizer.vars: (1, 14, 6), expected (1, 16, 6)"),
        ({"conv_feature_layers": "__import__('os').system('true')"}, "conv_feature_layers of its configuration is"),
        ({"latent_temp": "exit()"}, "latent_temp of its configuration is 'exit()', expected 3 numbers"),
    ],
)
def test_a_wrong_architecture_is_told_and_nothing_written(
    tmp_path: Path, capsys: Any, change: dict[str, Any], message: str
) -> None:
    content = pretrained({})
    content["cfg"]["model"] |= change
    path = save(tmp_path / "model.pt", content)
    assert run_import(path, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(path) in error
    assert not (tmp_path / "out").exists()


def test_another_dictionary_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for symbols, message in ((SYMBOLS[:-1], "31 symbols for 32 outputs"), (["a"] * 32, "'a' more than once")):
        path = save(tmp_path / "model.pt", fine_tuned("wav2vec_ctc", {}, dictionary(monkeypatch, symbols)))
        with pytest.raises(CheckpointError, match=message):
            read_fairseq(read_torch_file(path))
    content = fine_tuned("wav2vec_ctc", {}, dictionary(monkeypatch, SYMBOLS))
    content["model"]["w2v_encoder.proj.weight"] = torch.tensor(1.0)
    with pytest.raises(CheckpointError, match="32 symbols for 0 outputs"):
        read_fairseq(read_torch_file(save(tmp_path / "model.pt", content)))


@pytest.mark.usefixtures("transformers")
def test_the_proof_notices_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "hubert.pt", hubert({}, monkeypatch))
    imported = read_fairseq(read_torch_file(path))
    imported.weights["encoder.context.blocks.1.ffn_in.bias"][3] += 0.1
    with pytest.raises(CheckpointError, match="differ, first at layer 2"):
        prove(imported.build(), fairseq_reference(path, imported.architecture), SOUND, 1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2", [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]),
        ("[(512, 10, 5), (512, 8, 4)] + [(512, 4, 2)] * 3", [(512, 10, 5), (512, 8, 4), *[(512, 4, 2)] * 3]),
        (" ([(8, 4, 2)] + [(8, 2, 1)]) * 2 ", [(8, 4, 2), (8, 2, 1)] * 2),
    ],
)
def test_convolutions_are_read_without_eval(text: str, expected: list[tuple[int, int, int]]) -> None:
    assert conv_layers(Values("a.pt", {"conv_feature_layers": text})) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "512", "[(512, 10)]", "[(512, 10, 0)]", "[(512, 10, True)]", "[(512, 10, 5.0)]",
        "[(8, 4, 2)] * 9999999",
        "([(8, 4, 2)] * 1000) * 1000", "[(2 ** 99999, 4, 2)]", "[x for x in (1,)]", "[(512, 10, 5)", "(" * 500, None, 7,
        "[(8, 4, 2)] + print()", "open('x', 'w')", "[(8, 4, 2)] * -1", "[[(8, 4, 2)]]", "[(8, 4, 2)]" + " " * 2000,
    ],
)  # fmt: skip
def test_what_is_no_list_of_convolutions_is_refused(text: Any) -> None:
    with pytest.raises(CheckpointError, match=r"a\.pt: conv_feature_layers of its configuration is"):
        conv_layers(Values("a.pt", {"conv_feature_layers": text}))
