"""Every configuration that is shipped, and every command in the README, is one that the program takes."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from changing import with_values

from speechssl.cli import VERBS
from speechssl.config import FinetuneConfig, ModelConfig, PretrainConfig
from speechssl.config.limits import check
from speechssl.config.reading import from_dict, parse, to_dict
from speechssl.frames import hop_samples, receptive_field_samples
from speechssl.model.feature_encoder import FeatureEncoder

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.parent.parent for path in (ROOT / "recipes").glob("*/conf/pretrain_contrastive.yaml"))
PUBLISHED = ROOT / "recipes" / "conf" / "published"
MODELS = sorted((ROOT / "recipes" / "conf").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipe_configurations_are_consistent(recipe: Path) -> None:
    files = sorted((recipe / "conf").glob("pretrain*.yaml"))
    pretrainings = [parse(PretrainConfig, ["--config", str(path)]) for path in files]
    finetuning = parse(FinetuneConfig, ["--config", str(recipe / "conf/finetune.yaml")])
    check(finetuning)
    for config in pretrainings:
        check(config)
        assert config.model == finetuning.model, "the scratch arm must train the model that was pretrained"
    for config in (*pretrainings, finetuning):
        assert from_dict(type(config), to_dict(config)) == config


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*/conf/pretrain_*.yaml")), ids=str)
def test_pretext_tasks_are_compared_on_the_same_model_data_and_updates(path: Path) -> None:
    task, first = (
        parse(PretrainConfig, ["--config", str(file)]) for file in (path, path.with_name("pretrain_contrastive.yaml"))
    )
    check(task)
    assert (task.model, task.data, task.dropout) == (first.model, first.data, first.dropout)
    assert task.training == first.training


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*/conf/finetune_*.yaml")), ids=str)
def test_arms_keep_the_model_and_the_updates(path: Path) -> None:
    shared = ["--config", str(path.with_name("finetune.yaml"))]
    arm = parse(FinetuneConfig, [*shared, "--config", str(path)])
    check(arm)
    both = parse(FinetuneConfig, shared)
    without_blocks = with_values(both.model, {"context.num_layers": 0})
    assert arm.model == (without_blocks if path.stem == "finetune_log_mel" else both.model)
    assert arm.head == both.head
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


def published(cls: type, *files: str, more: Sequence[str] = ()) -> Any:
    options = [word for name in files for word in ("--config", str(PUBLISHED / name))]
    shards = ["--data.shards", "x"] if cls is PretrainConfig else ["--train.shards", "x", "--dev.shards", "y"]
    config = parse(cls, [*options, *shards, *more])
    check(config)
    return config


@pytest.mark.parametrize(
    # Baevski et al. 2020, section 4.2: GPUs, samples per GPU, samples per crop, updates, peak rate, entries, end of tau
    ("name", "figures"),
    [
        ("base", (64, 1_400_000, 250_000, 400_000, 5e-4, 128, 0.5)),
        ("large", (128, 1_200_000, 320_000, 600_000, 3e-4, 384, 0.1)),
    ],
)
def test_published_pretraining(name: str, figures: tuple[float, ...]) -> None:
    config = published(PretrainConfig, f"pretrain_{name}.yaml")
    assert config.model == parse(PretrainConfig, ["--model", str(ROOT / f"recipes/conf/{name}.yaml")]).model
    data, quantizer = config.data, config.objective.quantizer
    assert (
        data.num_streams,
        data.max_batch_seconds * 16_000,
        data.max_seconds * 16_000,
        config.training.max_updates,
        config.optimizer.learning_rate,
        quantizer.dim / quantizer.num_groups,
        quantizer.temperature_end,
    ) == figures
    assert (config.schedule.warmup, config.schedule.decay) == (0.08, "linear")
    if name == "base":
        base = {"data.shards": [], "data.max_seconds": PretrainConfig.data.max_seconds, "data.min_seconds": 0.0}
        assert with_values(config, base) == PretrainConfig(), "the defaults are base"


@pytest.mark.parametrize(
    # Table 6 of the paper: chances that a frame and a channel begin a span, and updates
    ("amount", "frame", "channel", "updates"),
    [
        *(("10min", 0.075, 0.008, 12_000), ("1h", 0.075, 0.004, 13_000), ("10h", 0.065, 0.004, 20_000)),
        ("100h", 0.05, 0.008, 50_000),
    ],
)
def test_published_finetuning(amount: str, frame: float, channel: float, updates: int) -> None:
    base = published(FinetuneConfig, f"finetune_{amount}.yaml")
    assert (base.masking.time_length, base.masking.channel_length) == (10, 64)
    assert (base.masking.time_prob, base.masking.channel_prob) == pytest.approx((10 * frame, 64 * channel))
    assert (base.training.max_updates, base.freeze_context_updates) == (updates, 10_000)
    assert (base.train.num_streams * base.train.max_batch_seconds, base.dropout.layer_drop) == (1600, 0.05)
    assert base.optimizer.learning_rate in (2e-5, 3e-5)
    large = published(FinetuneConfig, f"finetune_{amount}.yaml", "finetune_large.yaml")
    assert (large.train.num_streams * large.train.max_batch_seconds, large.dropout.layer_drop) == (1920, 0.1)
    assert (large.masking, large.training, large.schedule) == (base.masking, base.training, base.schedule)


HUBERT = ("pretrain_hubert_base.yaml", "pretrain_hubert_base_2.yaml")
UNITS_CHECKPOINT = ("--objective.units.checkpoint", "exp/first")


def test_published_masked_prediction() -> None:
    """Hsu et al. 2021, section IV: GPUs, seconds per GPU, masks, peak rate; units and updates of both iterations."""
    first = published(PretrainConfig, HUBERT[0])
    second = published(PretrainConfig, *HUBERT, more=UNITS_CHECKPOINT)
    assert first.model == second.model == ModelConfig()
    assert (first.data.num_streams, first.data.max_batch_seconds, first.data.max_seconds * 16_000) == (
        32,
        87.5,
        250_000,
    )
    masking = first.objective.masking
    assert (masking.time_prob, masking.time_length, first.objective.cosine_dim) == (10 * 0.08, 10, 256)
    assert (first.optimizer.learning_rate, first.schedule.warmup, first.schedule.decay) == (5e-4, 0.08, "linear")
    for config, features, entries, updates in ((first, "mfcc", 100, 250_000), (second, "layer", 500, 400_000)):
        units = config.objective.units
        assert (units.features, units.num_entries, units.dim, units.clustering) == (features, [entries], 0, "kmeans")
        assert config.training.max_updates == updates
    assert second.objective.units.layer == 6
    same = {"objective.units": first.objective.units, "training.max_updates": 250_000}
    assert with_values(second, same) == first, "nothing else differs"


def test_wavlm_adds_a_bias_and_what_is_heard() -> None:
    hubert = published(PretrainConfig, *HUBERT, more=UNITS_CHECKPOINT)
    wavlm = published(PretrainConfig, *HUBERT, "pretrain_wavlm_base.yaml", more=UNITS_CHECKPOINT)
    heard = wavlm.augmentation
    assert heard.speech.prob + heard.noise.prob == pytest.approx(0.2)
    assert heard.noise.prob == pytest.approx(0.1 * 0.2)
    assert wavlm.model.context.relative_bias
    assert with_values(wavlm, {"augmentation": hubert.augmentation, "model": hubert.model}) == hubert


def test_best_rq_has_random_units_under_masks_of_400_ms() -> None:
    objective = published(PretrainConfig, HUBERT[0], "pretrain_best_rq.yaml").objective
    units, masking = objective.units, objective.masking
    assert (units.clustering, units.num_entries, units.dim, units.features) == (
        "random_projection",
        [8192],
        16,
        "log_mel",
    )
    assert (masking.time_length * 0.02, masking.time_prob / masking.time_length) == pytest.approx((0.4, 2 * 0.01))
    assert objective.cosine_dim == 0


def test_every_published_configuration_is_tested() -> None:
    tested = {
        *("pretrain_base", "pretrain_large"),
        *("finetune_10min", "finetune_1h", "finetune_10h", "finetune_100h", "finetune_large"),
        *("pretrain_hubert_base", "pretrain_hubert_base_2", "pretrain_wavlm_base", "pretrain_best_rq"),
    }
    assert {path.stem for path in PUBLISHED.iterdir()} == tested


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^(speechssl .*)$", text, re.MULTILINE)


def test_readme_has_commands() -> None:
    assert len(readme_commands()) >= 5


@pytest.mark.parametrize("command", readme_commands())
def test_readme_commands_are_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, verb, *arguments = shlex.split(command)
    spec = VERBS[verb]
    parse(spec.config, arguments, positionals=spec.positionals)
