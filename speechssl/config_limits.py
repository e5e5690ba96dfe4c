"""Which numbers a configuration may hold: one table for every section that has such a field."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from speechssl.config_files import to_dict
from speechssl.errors import ConfigError


class Limit(NamedTuple):
    """A condition on numbers, and its words."""

    holds: Callable[[float], bool]
    words: str


ONE_OR_MORE = Limit(lambda value: value >= 1, "1 or more")
ZERO_OR_MORE = Limit(lambda value: value >= 0, "0 or more")
ABOVE_ZERO = Limit(lambda value: value > 0, "more than 0")
UP_TO_A_TERABYTE = Limit(lambda value: 0 < value <= 1e6, "more than 0, up to 1,000,000")
SHARE = Limit(lambda value: 0 <= value <= 1, "0 to 1")
BELOW_ONE = Limit(lambda value: 0 <= value < 1, "from 0 to below 1")

_NAMES: dict[Limit, tuple[str, ...]] = {
    ONE_OR_MORE: (
        "max_updates", "checkpoint_every", "log_every", "num_streams", "num_negatives",
        "time_length", "channel_length", "num_groups", "num_entries", "final_dim", "num_layers", "dim", "ffn_dim",
        "num_heads", "squeeze", "pos_conv_kernel", "pos_conv_groups", "sample_rate",
    ),
    ZERO_OR_MORE: (
        "num_workers", "seed", "min_time_spans", "min_seconds", "diversity_weight", "feature_penalty",
        "feature_grad_scale", "freeze_context_updates", "update_hours", "weight_decay",
        "patience_updates", "price_per_hour", "channel", "link_gigabytes_per_second",
    ),
    ABOVE_ZERO: (
        "learning_rate", "eps", "temperature", "temperature_start", "temperature_end", "temperature_decay",
        "max_batch_seconds", "max_seconds", "shuffle_hours", "cache_gigabytes", "head_learning_rate_scale",
        "window_seconds", "margin_seconds", "probe_seconds",
    ),
    UP_TO_A_TERABYTE: ("gradient_bucket_megabytes",),
    SHARE: ("time_prob", "channel_prob", "max_bad_share"),
}  # fmt: skip
LIMITS = {name: limit for limit, names in _NAMES.items() for name in names}
"""By the last part of a key, which means the same in every section."""


def check_limits(config: Any) -> None:
    """Raise ConfigError for numbers that make no sense, with what was expected; all of them."""
    if problems := out_of_limits(config):
        raise ConfigError("\n".join(problems))


def out_of_limits(config: Any) -> list[str]:
    """What is wrong with numbers of a configuration or a section of one, in words."""
    problems = []
    for key, value in _numbers(to_dict(config), ""):
        limit = BELOW_ONE if key.startswith("dropout.") else LIMITS.get(key.rpartition(".")[2])
        if limit is not None and not limit.holds(value):
            problems.append(f"{key} is {value:g}, expected {limit.words}")
    return problems


def _numbers(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
