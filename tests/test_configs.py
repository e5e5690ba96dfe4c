"""Every configuration that is shipped, and every command in the README, is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from speechssl.cli import VERBS
from speechssl.config import FinetuneConfig, ModelConfig, PretrainConfig
from speechssl.config_files import from_dict, parse, to_dict
from speechssl.finetune import check_config as check_finetune
from speechssl.frames import hop_samples, receptive_field_samples
from speechssl.model.feature_encoder import FeatureEncoder
from speechssl.pretrain import check_config as check_pretrain
from speechssl.training.schedules import check_schedule

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.parent for path in (ROOT / "recipes").glob("*/run.sh"))
MODELS = sorted((ROOT / "recipes" / "conf").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipe_configurations_are_consistent(recipe: Path) -> None:
    pretraining = parse(PretrainConfig, ["--config", str(recipe / "conf/pretrain.yaml")])
    finetuning = parse(FinetuneConfig, ["--config", str(recipe / "conf/finetune.yaml")])
    check_pretrain(pretraining)
    check_finetune(finetuning)
    check_schedule(pretraining.schedule)
    check_schedule(finetuning.schedule)
    assert pretraining.model == finetuning.model, "the scratch arm must train the model that was pretrained"
    for config in (pretraining, finetuning):
        assert from_dict(type(config), to_dict(config)) == config


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*/conf/finetune_*.yaml")), ids=str)
def test_arms_keep_the_model_and_the_updates(path: Path) -> None:
    shared = ["--config", str(path.with_name("finetune.yaml"))]
    arm = parse(FinetuneConfig, [*shared, "--config", str(path)])
    check_finetune(arm)
    both = parse(FinetuneConfig, shared)
    assert (arm.model, arm.head) == (both.model, both.head)
    if {"scratch", "pretrained"} & set(path.stem.split("_")):
        assert arm.training == both.training, "arms are compared after the same updates"


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_models_have_the_frame_rate_that_is_documented(path: Path) -> None:
    model = parse(PretrainConfig, ["--model", str(path)]).model
    assert model.sample_rate == 16000
    hop, field = (640, 1360) if path.stem == "tiny" else (320, 400)
    assert hop_samples(model.feature_encoder.conv_layers) == hop
    assert receptive_field_samples(model.feature_encoder.conv_layers) == field
    assert (
        FeatureEncoder(model.feature_encoder, model.sample_rate).out_channels
        == model.feature_encoder.conv_layers[-1][0]
    )


def test_base_is_the_default() -> None:
    assert parse(PretrainConfig, ["--model", str(ROOT / "recipes/conf/base.yaml")]).model == ModelConfig()


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^    (speechssl .*)$", text, re.MULTILINE)


def test_readme_has_commands() -> None:
    assert len(readme_commands()) >= 5


@pytest.mark.parametrize("command", readme_commands())
def test_readme_commands_are_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, verb, *arguments = shlex.split(command)
    spec = VERBS[verb]
    parse(spec.config, arguments, positionals=spec.positionals)
