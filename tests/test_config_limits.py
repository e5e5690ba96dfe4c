"""Numbers that make no sense are named before anything is read."""

import dataclasses
import math
import typing
from pathlib import Path
from typing import Any

import pytest
from changing import with_values

from speechssl.cli import VERBS, main
from speechssl.config import EvaluationSetConfig, FinetuneConfig, PretrainConfig, StreamConfig
from speechssl.config.limits import limit_in, problems_of
from speechssl.config.model import count_empty_bands
from speechssl.config.reading import from_dict
from speechssl.config.schema import schema_of
from speechssl.errors import ConfigError
from speechssl.model.feature_encoder import mel_filters
from speechssl.verbs import finetune, pretrain


def test_the_defaults_are_within_their_limits() -> None:
    assert problems_of(PretrainConfig(data=StreamConfig(["x"]))) == []
    assert problems_of(FinetuneConfig(train=StreamConfig(["x"]), dev=EvaluationSetConfig(["x"]))) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.checkpoint_every", 0, "training.checkpoint_every is 0, expected 1 or more"),
        ("training.log_every", 0, "expected 1 or more"),
        ("training.max_updates", -5, "training.max_updates is -5, expected 1 or more"),
        ("training.seed", -1, "expected 0 or more"),
        ("training.gradient_bucket_megabytes", 0, "expected more than 0"),
        ("training.gradient_bucket_megabytes", float("inf"), "expected a finite number"),
        ("data.num_streams", 0, "expected 1 or more"),
        ("data.num_workers", -1, "expected 0 or more"),
        ("data.shuffle_hours", 0, "expected more than 0"),
        ("objective.num_negatives", 0, "expected 1 or more"),
        ("objective.temperature", 0, "expected more than 0"),
        ("objective.masking.time_length", 0, "expected 1 or more"),
        ("objective.quantizer.num_entries", 0, "expected 1 or more"),
        ("objective.quantizer.num_groups", 0, "expected 1 or more"),
        ("model.context.pos_conv_kernel", 0, "expected 1 or more"),
        ("dropout.hidden", 1.5, "dropout.hidden is 1.5, expected from 0 to below 1"),
        ("optimizer.learning_rate", -1, "expected more than 0"),
        ("health.patience_updates", -1, "expected 0 or more"),
    ],
)
def test_a_number_out_of_its_limits_is_named(key: str, value: float, message: str) -> None:
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    with pytest.raises(ConfigError, match=message):
        pretrain.run(from_dict(PretrainConfig, nested))


def test_all_are_named_at_once_in_fine_tuning_too() -> None:
    config = FinetuneConfig()
    config = with_values(config, {"training.seed": -1, "dropout.layer_drop": 1.0, "masking.channel_prob": 2.0})
    with pytest.raises(ConfigError) as caught:
        finetune.run(config)
    assert len(str(caught.value).splitlines()) == 3


def test_every_numeric_field_of_every_verb_has_a_limit_that_lets_through_numbers_alone() -> None:
    def holds_numbers(hint: Any) -> bool:
        return hint in (int, float) or any(map(holds_numbers, typing.get_args(hint)))

    schemas = [schema_of(verb.config).leaves for verb in VERBS.values()]
    numeric = {key: limit_in(hint) for leaves in schemas for key, hint in leaves.items() if holds_numbers(hint)}
    assert len(numeric) > 100
    assert [key for key, limit in sorted(numeric.items()) if limit is None] == []
    no_numbers = (math.nan, math.inf, -math.inf)
    assert [key for key, limit in sorted(numeric.items()) if limit and any(map(limit.holds, no_numbers))] == []


def test_the_command_line_and_the_file_are_told_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "training: {log_every: 0}\noptimizer: {betas: [0.9, 1.0], eps: .inf}\ndata: {shuffle_hours: .nan}\n"
    )
    expected = [
        f"{path}: training.log_every is 0, expected 1 or more",
        f"{path}: optimizer.betas is 0.9, 1, expected from 0 to below 1",
        f"{path}: optimizer.eps is inf, expected a finite number",
        f"{path}: data.shuffle_hours is nan, expected a finite number",
        "command line: --model.feature_encoder.conv_layers holds -3, expected 1 or more",
        "command line: --augmentation.noise.snr_db is 20, 10, expected -100 to 100, the lower first",
    ]
    argv = ["--config", str(path), "--model.feature_encoder.conv_layers", "[[8, 10, 5], [8, -3, 2]]"]
    argv += ["--augmentation.noise.snr_db", "20", "10"]
    for more in ([], ["--print_config"]):
        assert main(["pretrain", *argv, *more]) == 2
        assert (
            capsys.readouterr().err
            == "\n  ".join(["speechssl: error: 6 problems in the configuration:", *expected, ""])[:-2]
        )


def test_what_a_checkpoint_holds_is_taken_as_it_is() -> None:
    assert from_dict(PretrainConfig, {"training": {"log_every": 0}}).training.log_every == 0


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("window", [10, 200, 400])
@pytest.mark.parametrize("bands", [1, 8, 40, 80, 128])
def test_empty_bands_are_those_of_the_filters(bands: int, window: int, rate: int) -> None:
    assert count_empty_bands(bands, window, rate) == int((mel_filters(bands, window, rate).amax(0) == 0).sum())


def test_sections_are_frozen_and_may_be_shared() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PretrainConfig().model.sample_rate = 8000  # type: ignore[misc]
    assert all(dataclasses.fields(verb.config) and verb.config.__dataclass_params__.frozen for verb in VERBS.values())
