"""Numbers that make no sense are named before anything is read."""

from typing import Any

import pytest

from speechssl import finetune, pretrain
from speechssl.config import FinetuneConfig, PretrainConfig
from speechssl.config_files import from_dict
from speechssl.config_limits import LIMITS, check_limits
from speechssl.errors import ConfigError


def test_the_defaults_are_within_their_limits() -> None:
    for config in (PretrainConfig(), FinetuneConfig()):
        check_limits(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.checkpoint_every", 0, "training.checkpoint_every is 0, expected 1 or more"),
        ("training.log_every", 0, "expected 1 or more"),
        ("training.max_updates", -5, "training.max_updates is -5, expected 1 or more"),
        ("training.seed", -1, "expected 0 or more"),
        ("training.gradient_bucket_megabytes", 0, "expected more than 0"),
        ("training.gradient_bucket_megabytes", float("inf"), "expected more than 0, up to 1,000,000"),
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
    config.training.seed, config.dropout.layer_drop, config.masking.channel_prob = -1, 1.0, 2.0
    with pytest.raises(ConfigError) as caught:
        finetune.run(config)
    assert len(str(caught.value).splitlines()) == 3


def test_every_limit_is_of_a_field() -> None:
    source = (pretrain.__file__ or "").replace("pretrain.py", "config.py")
    with open(source, encoding="utf-8") as file:  # noqa: PTH123
        text = file.read()
    assert [name for name in LIMITS if f"    {name}: " not in text] == []
