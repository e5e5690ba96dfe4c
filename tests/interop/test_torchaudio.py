"""torchaudio's models, in and out: every tensor, the same numbers, its own loading code, and nothing else let in."""

import urllib.error
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from changing import with_values
from fairseq_models import Trap, random_state, save
from torch import Tensor
from torchaudio import pipelines
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention
from torchaudio.pipelines._wav2vec2 import utils

from speechssl.cli import main
from speechssl.config import ModelConfig
from speechssl.config.reading import from_dict
from speechssl.interop.imported import Architecture, Imported
from speechssl.interop.proof import compare, our_stages
from speechssl.interop.tensors import to_ours, to_theirs
from speechssl.interop.torchaudio import (
    model_of_module,
    read_pipeline,
    reference_of_module,
    their_pairs,
    torchaudio_reference,
)
from speechssl.model.relative_position import RelativePositionBias
from speechssl.recogniser import load_recogniser
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import load_checkpoint
from speechssl.verbs.export import architecture_of

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


def make_model(**options: Any) -> Any:
    """A small model of theirs, always the same."""
    torch.manual_seed(0)
    make = torchaudio.models.wavlm_model if WAVLM.keys() <= options.keys() else torchaudio.models.wav2vec2_model
    model = make(**SMALL | options)
    model.load_state_dict(random_state(model))
    return model.eval()


def run_import(*argv: object) -> int:
    """The verb."""
    return main(["import", *map(str, argv)])


def load_model_config(config: dict[str, Any]) -> ModelConfig:
    return from_dict(ModelConfig, config["model"])


@pytest.mark.parametrize("options", [{}, LARGE, WAVLM | LARGE], ids=["base", "large", "WavLM"])
def test_both_sides_agree_in_double_precision(options: dict[str, Any]) -> None:
    theirs = make_model(**options, **RECOGNISER)
    large = bool(options)
    model = model_of_module(theirs, sample_rate=16000, normalize_audio=large)
    architecture = Architecture("ctc", "wav2vec2", model, vocabulary=Vocabulary(LABELS))
    weights = to_ours(their_pairs(architecture), theirs.state_dict(), architecture.shapes("here"), source="here")
    weights["encoder.mask_embedding"] = torch.zeros(32)
    loud = SOUND.double()
    stages = our_stages(Imported(architecture, weights, Path("here"), "torchaudio").build().double(), loud, None)
    differences = compare(stages, reference_of_module(theirs.double(), architecture)(loud, None))
    assert [item.stage for item in differences] == list(stages)
    assert max(item.largest for item in differences) < 1e-9


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
    assert run_import(f"torchaudio:{name}", tmp_path / "out", "--tolerance", "1e-5") == 0
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.origin == {"family": family, "format": "torchaudio", "source": f"torchaudio:{name}"}
    assert all(call["weights_only"] for call in server.calls)
    model = load_model_config(checkpoint.config)
    assert model.normalize_audio == ("extractor_mode" in options)
    back = to_theirs(their_pairs(architecture_of(checkpoint)), checkpoint.model_state)
    theirs = make_model(**options).state_dict()
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], value) for key, value in theirs.items())
    if "aux_num_out" in options:
        recogniser = load_recogniser(tmp_path / "out", torch.device("cpu"))
        assert recogniser.vocabulary.labels == LABELS
        with torch.no_grad():
            heard = torch.nn.functional.layer_norm(10 * SOUND, SOUND.shape) if model.normalize_audio else SOUND
            expected, _ = make_model(**options)(heard)
            torch.testing.assert_close(recogniser.model(SOUND).logits, expected, rtol=1e-4, atol=1e-5)


def test_a_pipeline_that_cannot_be_had(tmp_path: Path, server: FakeServer, capsys: Any) -> None:
    server.states.clear()
    assert run_import("torchaudio:WAV2VEC2_BASE", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "torchaudio:WAV2VEC2_BASE: its weights cannot be fetched or read" in error
    assert "no route to host" in error
    assert run_import("torchaudio:WAV2VEC_BASE", tmp_path / "out") == 2
    assert "the nearest is torchaudio:WAV2VEC2_BASE (all: HUBERT_ASR_LARGE," in capsys.readouterr().err
    assert run_import("torchaudio:WAV2VEC2_BASE", tmp_path / "out", "--labels", "labels.txt") == 2
    assert "--labels is for fairseq's checkpoints that hold none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_distances_fall_into_the_same_buckets() -> None:
    """Theirs takes logarithms in single precision, ours in double: at no distance does it tell."""
    theirs = WavLMSelfAttention(8, 2, has_relative_attention_bias=True, num_buckets=320, max_distance=800)
    ours = RelativePositionBias(2, num_buckets=320, max_distance=800)
    offsets = torch.arange(-2000, 2001)
    assert torch.equal(ours.bucket_of(offsets), theirs._relative_positions_bucket(offsets))


def test_the_proof_notices_another_normalisation(server: FakeServer) -> None:
    imported = read_pipeline("torchaudio:HUBERT_LARGE")
    reference = torchaudio_reference(imported.source, imported.architecture)
    architecture = with_values(imported.architecture, {"model.normalize_audio": False})
    stages = our_stages(replace(imported, architecture=architecture).build(), SOUND, None)
    assert max(item.largest for item in compare(stages, reference(SOUND, None))) > 1e-3


def test_a_hostile_state_dict_is_refused(tmp_path: Path, capsys: Any) -> None:
    marker = tmp_path / "executed"
    state = make_model().state_dict() | {"aux": Trap(eval, f"open({str(marker)!r}, 'w')")}
    save(tmp_path / "state.pt", state)
    assert run_import(tmp_path / "state.pt", tmp_path / "out") == 2
    assert "eval, where only tensors and plain values were expected" in capsys.readouterr().err
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_weights_alone_are_refused_with_the_way_round(tmp_path: Path, capsys: Any) -> None:
    save(tmp_path / "state.pt", make_model().state_dict())
    assert run_import(tmp_path / "state.pt", tmp_path / "out") == 2
    assert "Weights alone do not tell what they compute: models of torchaudio's are given by" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
