"""torchaudio's models, in and out: every tensor, the same numbers, its own loading code, and nothing else let in."""

import json
import urllib.error
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import torchaudio
import yaml
from changing import with_values
from fairseq_models import Trap, random_state, save
from torch import Tensor
from torchaudio import pipelines
from torchaudio.models.wav2vec2.components import LogitGenerator, MaskGenerator
from torchaudio.models.wav2vec2.model import HuBERTPretrainModel
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention
from torchaudio.pipelines._wav2vec2 import utils

from speechssl.cli import main
from speechssl.config import ContextConfig, FeatureEncoderConfig, HeadConfig, ModelConfig
from speechssl.config.reading import from_dict
from speechssl.errors import CheckpointError
from speechssl.interop.exporting import architecture_of
from speechssl.interop.imported import Architecture
from speechssl.interop.labels import read_labels
from speechssl.interop.proof import compare, our_stages
from speechssl.interop.torchaudio_bundles import read_bundle
from speechssl.interop.torchaudio_config import model_of_module, published_model
from speechssl.interop.torchaudio_models import LOADING, read_folder, read_state_dict, write_torchaudio
from speechssl.interop.torchaudio_reference import reference_of_module, torchaudio_reference
from speechssl.model.relative_position import RelativePositionBias
from speechssl.recogniser import load_recogniser
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import load_checkpoint

SOUND = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
LABELS = ["-", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
SMALL: dict[str, Any] = {
    "extractor_mode": "group_norm", "extractor_conv_layer_config": [[16, 10, 5], *[[16, 3, 2]] * 4, *[[16, 2, 2]] * 2],
    "extractor_conv_bias": False, "encoder_embed_dim": 32, "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16, "encoder_pos_conv_groups": 4, "encoder_num_layers": 3, "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1, "encoder_ff_interm_features": 48, "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1, "encoder_layer_norm_first": False, "encoder_layer_drop": 0.05, "aux_num_out": None,
}  # fmt: skip
LARGE: dict[str, Any] = {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
RECOGNISER: dict[str, Any] = {"aux_num_out": len(LABELS)}
WAVLM: dict[str, Any] = {"encoder_num_buckets": 8, "encoder_max_distance": 12}
MODELS: dict[str, dict[str, Any]] = {
    "base": {},
    "base recogniser": RECOGNISER,
    "large": LARGE,
    "large recogniser": LARGE | RECOGNISER,
    "WavLM": WAVLM,
    "WavLM large recogniser": LARGE | RECOGNISER | WAVLM,
}


def make_model(**options: Any) -> Any:
    """A small model of theirs, always the same."""
    torch.manual_seed(0)
    make = torchaudio.models.wavlm_model if WAVLM.keys() <= options.keys() else torchaudio.models.wav2vec2_model
    model = make(**SMALL | options)
    model.load_state_dict(random_state(model))
    return model.eval()


def run_import(folder: Path, *argv: object) -> int:
    """The verb, with a recording of half a second for the proof."""
    recording = folder / "sound.wav"
    soundfile.write(recording, SOUND[0].numpy(), 16000)
    return main(["import", *map(str, argv), "--audio", str(recording)])


def options_for(folder: Path, options: dict[str, Any]) -> list[Path | str]:
    """What a bare state dict does not tell: the architecture and the labels."""
    large = "extractor_mode" in options
    model: dict[str, Any] = {
        "normalize_audio": large,
        "feature_encoder": {
            "conv_layers": SMALL["extractor_conv_layer_config"],
            "norm": "layer" if large else "group",
            "bias": large,
        },
        "context": {
            "num_layers": 3, "dim": 32, "ffn_dim": 48, "num_heads": 4, "norm_first": large, "pos_conv_kernel": 16,
            "pos_conv_groups": 4,
        },
    }  # fmt: skip
    if WAVLM.keys() <= options.keys():
        model["context"] |= {"relative_bias": True, "num_buckets": 8, "max_distance": 12}
    (folder / "model.yaml").write_text(yaml.safe_dump(model))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    labels: list[Path | str] = ["--labels", folder / "labels.txt"] if "aux_num_out" in options else []
    return ["--model", folder / "model.yaml", *labels]


def export(checkpoint: Path, folder: Path) -> None:
    """Write a checkpoint as the verb ``export`` does."""
    found = load_checkpoint(checkpoint)
    folder.mkdir()
    write_torchaudio(folder, architecture_of(found), found.model_state)


def family_of(folder: Path) -> str:
    """The family of an imported checkpoint."""
    origin = load_checkpoint(folder).origin
    assert origin is not None
    return origin["family"]


def load_model_config(config: dict[str, Any]) -> ModelConfig:
    return from_dict(ModelConfig, config["model"])


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_comes_back_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    options = MODELS[name]
    theirs = make_model(**options)
    save(tmp_path / "state.pth", theirs.state_dict())
    command = [tmp_path / "state.pth", tmp_path / "ours", *options_for(tmp_path, options), "--tolerance", "1e-5"]
    assert run_import(tmp_path, *command) == 0
    export(tmp_path / "ours", tmp_path / "back")
    monkeypatch.chdir(tmp_path / "back")
    scope: dict[str, Any] = {"json": json, "Path": Path, "torch": torch, "torchaudio": torchaudio}
    exec(LOADING, scope)
    expected, found = theirs.state_dict(), scope["model"].state_dict()
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    with torch.no_grad():
        assert torch.equal(scope["model"].eval()(SOUND)[0], theirs(SOUND)[0])
    assert json.loads(Path("model.json").read_text())["normalize_waveform"] == ("large" in name)
    assert family_of(tmp_path / "ours") == ("wavlm" if "WavLM" in name else "wav2vec2")
    # What was written is read without being told anything.
    assert run_import(tmp_path, tmp_path / "back", tmp_path / "again", "--tolerance", "1e-5") == 0
    first, second = load_checkpoint(tmp_path / "ours"), load_checkpoint(tmp_path / "again")
    assert first.model_state.keys() == second.model_state.keys()
    assert all(torch.equal(first.model_state[key], value) for key, value in second.model_state.items())
    assert second.config["model"] == first.config["model"]
    if "recogniser" in name:
        recogniser = load_recogniser(tmp_path / "again", torch.device("cpu"))
        assert recogniser.vocabulary.labels[1:] == LABELS[1:]
        assert (recogniser.vocabulary.blank, recogniser.vocabulary.word_boundary) == (0, 1)


@pytest.mark.parametrize("options", [{}, LARGE, WAVLM | LARGE], ids=["base", "large", "WavLM"])
def test_both_sides_agree_in_double_precision(tmp_path: Path, options: dict[str, Any]) -> None:
    theirs = make_model(**options, **RECOGNISER)
    large = bool(options)
    model = model_of_module(theirs, sample_rate=16000, normalize_audio=large)
    architecture = Architecture("ctc", "wav2vec2", model, vocabulary=Vocabulary(LABELS))
    save(tmp_path / "state.pt", theirs.state_dict())
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    imported = read_state_dict(tmp_path / "state.pt", theirs.state_dict(), model=model, labels=tmp_path / "labels.txt")
    assert imported.architecture.model == model
    loud = SOUND.double()
    stages = our_stages(imported.build().double(), loud, None)
    differences = compare(stages, reference_of_module(theirs.double(), architecture)(loud, None))
    assert [item.stage for item in differences] == list(stages)
    assert max(item.largest for item in differences) < 1e-9


def bundles() -> dict[str, Any]:
    """Pipelines, one for each shape."""
    found: dict[str, Any] = {}
    for name, value in vars(pipelines).items():
        if isinstance(value, pipelines.Wav2Vec2Bundle):
            params = {key: item for key, item in value._params.items() if "drop" not in key and key != "aux_num_out"}
            found.setdefault(json.dumps(params), name)
    return {name: getattr(pipelines, name) for name in found.values()}


@pytest.mark.parametrize("name", bundles())
def test_published_shapes_tell_their_architecture(name: str) -> None:
    bundle = bundles()[name]
    with torch.device("meta"):
        module = utils._get_model(bundle._model_type, bundle._params)
    expected = model_of_module(module, sample_rate=16000, normalize_audio=bundle._normalize_waveform)
    shapes = {key: value.shape for key, value in module.state_dict().items()}
    assert published_model(shapes, source="a.pt") == expected
    assert expected.context.num_heads == bundle._params["encoder_num_heads"]
    assert [list(layer) for layer in expected.feature_encoder.conv_layers] == [
        list(layer) for layer in bundle._params["extractor_conv_layer_config"]
    ]


def test_an_unpublished_shape_needs_its_architecture(tmp_path: Path, capsys: Any) -> None:
    save(tmp_path / "state.pt", make_model().state_dict())
    assert run_import(tmp_path, tmp_path / "state.pt", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "3 blocks of dimension 32 are of no published model" in error
    assert "--model FILE" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("context.num_layers", 4, "encoder.transformer.layers.3.attention.q_proj.weight: missing"),
        ("context.ffn_dim", 50, "layers.0.feed_forward.intermediate_dense.weight: (48, 32), expected (50, 32)"),
        ("feature_encoder.norm", "layer", "feature_extractor.conv_layers.1.layer_norm.weight: missing"),
    ],
)
def test_another_architecture_lists_what_differs(
    tmp_path: Path, capsys: Any, option: str, value: object, message: str
) -> None:
    save(tmp_path / "state.pt", make_model().state_dict())
    options = [*options_for(tmp_path, {}), f"--model.{option}", value]
    assert run_import(tmp_path, tmp_path / "state.pt", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_tensors_are_listed(tmp_path: Path, capsys: Any) -> None:
    save(tmp_path / "state.pt", make_model().state_dict() | {"encoder.adapter.weight": torch.zeros(2)})
    assert run_import(tmp_path, tmp_path / "state.pt", tmp_path / "out", *options_for(tmp_path, {})) == 2
    assert "encoder.adapter.weight: unknown" in capsys.readouterr().err


def test_old_names_and_the_wrapper_of_a_pipeline(tmp_path: Path) -> None:
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state: dict[str, Tensor] = {}
    for name, value in make_model().state_dict().items():
        for new, before in old.items():
            name = name.replace(new, before)
        state[f"model.{name}"] = value
    assert "model.encoder.transformer.pos_conv_embed.conv.weight_g" in state
    save(tmp_path / "state.pt", state, old=True)
    assert run_import(tmp_path, tmp_path / "state.pt", tmp_path / "out", *options_for(tmp_path, {})) == 0


def test_a_model_that_is_being_pretrained_keeps_its_mask_embedding(tmp_path: Path, capsys: Any) -> None:
    masks = MaskGenerator(32, 0.8, "static", 0.0, 10, False, 1, 0.0, "static", 0.0, 10, False, 1)
    logits = LogitGenerator(32, 20, 10, False, False)
    state = random_state(HuBERTPretrainModel(make_model(), masks, logits, None))
    save(tmp_path / "state.pt", state)
    assert run_import(tmp_path, tmp_path / "state.pt", tmp_path / "out", *options_for(tmp_path, {})) == 0
    assert "logit_generator.final_proj.weight" in capsys.readouterr().out
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.origin is not None
    assert checkpoint.origin["family"] == "hubert"
    assert torch.equal(checkpoint.model_state["encoder.mask_embedding"], state["mask_generator.mask_embedding"])


class FakeServer:
    """Stands for the download of pipelines' weights."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Tensor]] = {}
        self.calls: list[dict[str, Any]] = []

    def load(self, url: str, **options: Any) -> dict[str, Tensor]:
        self.calls.append(options)
        name = url.rpartition("/")[2]
        if name not in self.states:
            raise urllib.error.URLError("no route to host")
        return dict(self.states[name])


def with_specials(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as fairseq's dictionary makes them, with three symbols more, which a pipeline takes out."""
    return {
        name: torch.cat([value[:1], 9 + value[:3], value[1:]]) if name.startswith("aux.") else value
        for name, value in state.items()
    }


PIPELINES: dict[str, tuple[str, dict[str, Any]]] = {
    "WAV2VEC2_BASE": ("Wav2Vec2Bundle", {}),
    "HUBERT_LARGE": ("Wav2Vec2Bundle", LARGE),
    "WAV2VEC2_ASR_BASE_960H": ("Wav2Vec2ASRBundle", RECOGNISER),
    "WAV2VEC2_ASR_LARGE_LV60K_960H": ("Wav2Vec2ASRBundle", LARGE | RECOGNISER),
    "MMS_FA": ("Wav2Vec2FABundle", LARGE | RECOGNISER),
    "WAVLM_LARGE": ("Wav2Vec2Bundle", LARGE | WAVLM),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """Small pipelines under the names of real ones."""
    server = FakeServer()
    monkeypatch.setattr(utils, "load_state_dict_from_url", server.load)
    for name, (kind, options) in PIPELINES.items():
        fields: dict[str, Any] = {"_labels": tuple(LABELS[1:])} if "aux_num_out" in options else {}
        bundle = getattr(pipelines, kind, None) or type(pipelines.MMS_FA)
        made = bundle(
            _path=f"{name}.pth",
            _params=SMALL | options,
            _sample_rate=16000,
            _normalize_waveform="extractor_mode" in options,
            _model_type="WavLM" if name.startswith("WAVLM") else "Wav2Vec2",
            **fields,
        )
        server.states[f"{name}.pth"] = with_specials(make_model(**options).state_dict())
        monkeypatch.setattr(pipelines, name, made)
    return server


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_by_its_name(tmp_path: Path, server: FakeServer, name: str) -> None:
    options = PIPELINES[name][1]
    family = {"HUBERT_LARGE": "hubert", "WAVLM_LARGE": "wavlm"}.get(name, "wav2vec2")
    assert run_import(tmp_path, f"torchaudio:{name}", tmp_path / "out", "--tolerance", "1e-5") == 0
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.origin == {"family": family, "format": "torchaudio", "source": f"torchaudio:{name}"}
    assert all(call["weights_only"] for call in server.calls)
    model = load_model_config(checkpoint.config)
    assert model.normalize_audio == ("extractor_mode" in options)
    if "aux_num_out" in options:
        recogniser = load_recogniser(tmp_path / "out", torch.device("cpu"))
        assert recogniser.vocabulary.labels == LABELS
        with torch.no_grad():
            heard = torch.nn.functional.layer_norm(10 * SOUND, SOUND.shape) if model.normalize_audio else SOUND
            expected, _ = make_model(**options)(heard)
            torch.testing.assert_close(recogniser.model(SOUND).logits, expected, rtol=1e-4, atol=1e-5)


def test_a_pipeline_that_cannot_be_had(tmp_path: Path, server: FakeServer, capsys: Any) -> None:
    server.states.clear()
    assert run_import(tmp_path, "torchaudio:WAV2VEC2_BASE", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "torchaudio:WAV2VEC2_BASE: its weights cannot be fetched or read" in error
    assert "no route to host" in error
    assert run_import(tmp_path, "torchaudio:WAV2VEC_BASE", tmp_path / "out") == 2
    assert "the nearest is torchaudio:WAV2VEC2_BASE (all: HUBERT_ASR_LARGE," in capsys.readouterr().err
    assert run_import(tmp_path, "torchaudio:WAV2VEC2_BASE", tmp_path / "out", "--labels", "labels.txt") == 2
    assert "--labels is for PyTorch files that do not tell it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_distances_fall_into_the_same_buckets() -> None:
    """Theirs takes logarithms in single precision, ours in double: at no distance does it tell."""
    theirs = WavLMSelfAttention(8, 2, has_relative_attention_bias=True, num_buckets=320, max_distance=800)
    ours = RelativePositionBias(2, num_buckets=320, max_distance=800)
    offsets = torch.arange(-2000, 2001)
    assert torch.equal(ours.bucket_of(offsets), theirs._relative_positions_bucket(offsets))


def test_the_proof_notices_another_normalisation(server: FakeServer) -> None:
    imported = read_bundle("torchaudio:HUBERT_LARGE")
    reference = torchaudio_reference(imported.source, imported.architecture)
    architecture = with_values(imported.architecture, {"model.normalize_audio": False})
    stages = our_stages(replace(imported, architecture=architecture).build(), SOUND, None)
    assert max(item.largest for item in compare(stages, reference(SOUND, None))) > 1e-3


def test_what_theirs_cannot_compute_is_not_written(tmp_path: Path) -> None:
    model = ModelConfig(feature_encoder=FeatureEncoderConfig(first_layer="log_mel"))
    with pytest.raises(CheckpointError, match="first_layer is log_mel, theirs learns from the waveform"):
        write_torchaudio(tmp_path, Architecture("encoder", "wav2vec2", model), {})
    model = ModelConfig(context=ContextConfig(pos_conv_depth=5, squeeze=2))
    with pytest.raises(CheckpointError, match=r"pos_conv_depth is 5, theirs is 1; .*squeeze is 2, theirs is 1"):
        write_torchaudio(tmp_path, Architecture("encoder", "data2vec-audio", model), {})
    head = HeadConfig(num_lstm_layers=1)
    with pytest.raises(CheckpointError, match="the head has more than the linear layer"):
        write_torchaudio(tmp_path, Architecture("ctc", "wav2vec2", ModelConfig(), head=head), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "labels", "blank", "boundary"),
    [
        ("labels.txt", "-\n|\nA\nB\n", ["-", "|", "A", "B"], 0, 1),
        ("labels.txt", "A\r\n<blank>\r\nB\r\nC", ["A", "<blank>", "B", "C"], 1, None),
        ("vocab.json", '{"A": 1, "|": 0, "[PAD]": 3, "B": 2}', ["|", "A", "B", "[PAD]"], 3, 0),
        ("dict.ltr.txt", "| 94802\nE 51860\n", ["<s>", "<pad>", "</s>", "<unk>", "|", "E"], 0, 4),
    ],
)
def test_labels_in_a_file(
    tmp_path: Path, name: str, text: str, labels: list[str], blank: int, boundary: int | None
) -> None:
    (tmp_path / name).write_text(text, newline="")
    found = read_labels(tmp_path / name, len(labels), source="a.pt")
    assert (found.labels, found.blank, found.word_boundary) == (labels, blank, boundary)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.txt", "A\nB\n", "2 labels, expected one for each of the 3 outputs of a.pt"),
        ("labels.txt", "A\nB\nA\n", "'A' more than once"),
        ("labels.txt", "", "it is empty"),
        ("vocab.json", '{"A": 0, "B": 2, "C": 3}', "not numbered from 0"),
        ("vocab.json", "[1, 2]", "not numbered from 0"),
        ("vocab.json", "{", "no list of labels"),
        ("missing.txt", None, "no list of labels"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_labels(tmp_path / name, 3, source="a.pt")


def test_a_folder_that_says_something_else(tmp_path: Path) -> None:
    architecture = Architecture(
        "encoder", "wav2vec2", model_of_module(make_model(), sample_rate=8000, normalize_audio=True)
    )
    write_torchaudio(tmp_path, architecture, architecture.build().state_dict())
    assert read_folder(tmp_path).architecture.model == architecture.model
    facts = json.loads((tmp_path / "model.json").read_text())
    for change, message in (
        ({"function": "os.system"}, "function is 'os.system', expected wav2vec2_model or wavlm_model"),
        ({"arguments": {}}, "no arguments of torchaudio.models.wav2vec2_model"),
        ({"sample_rate": "fast"}, "sample_rate missing or of another kind"),
        ({"sample_rate": True}, "sample_rate missing or of another kind"),
        ({"sample_rate": 1}, "no encoder has these sizes: sample_rate is 1"),
        ({"arguments": facts["arguments"] | {"encoder_num_layers": 0}}, "encoder_num_layers is 0, expected 1 to 1000"),
        ({"arguments": facts["arguments"] | {"encoder_num_layers": 2}}, "layers.2.attention.k_proj.weight: unknown"),
    ):
        (tmp_path / "model.json").write_text(json.dumps(facts | change))
        with pytest.raises(CheckpointError, match=message):
            read_folder(tmp_path)


def test_a_hostile_state_dict_is_refused(tmp_path: Path, capsys: Any) -> None:
    marker = tmp_path / "executed"
    state = make_model().state_dict() | {"aux": Trap(eval, f"open({str(marker)!r}, 'w')")}
    save(tmp_path / "state.pt", state)
    assert run_import(tmp_path, tmp_path / "state.pt", tmp_path / "out", *options_for(tmp_path, {})) == 2
    assert "eval, where only tensors and plain values were expected" in capsys.readouterr().err
    assert not marker.exists()
    assert not (tmp_path / "out").exists()
