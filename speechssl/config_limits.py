"""Which numbers a configuration may hold: one table, by which every verb's configuration is judged when it is read."""

import dataclasses
import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from speechssl.errors import ConfigError


class Limit(NamedTuple):
    """From where to where numbers of a kind make sense; never one that is not finite."""

    low: float
    high: float
    low_is_in: bool = True
    high_is_in: bool = True

    def holds(self, value: float) -> bool:
        """Whether a number is within it."""
        is_above = self.low <= value if self.low_is_in else self.low < value
        return is_above and (value <= self.high if self.high_is_in else value < self.high)

    def words(self, value: float) -> str:
        """What was expected in the place of a number that is not within it."""
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        if self.high >= _LARGE > self.low:
            if value > self.high:
                return f"at most {self.high:,}"
            return f"{self.low:,} or more" if self.low_is_in else f"more than {self.low:,}"
        if self.low_is_in and self.high_is_in:
            return f"{self.low:,g} to {self.high:,g}"
        low = f"{'from' if self.low_is_in else 'more than'} {self.low:g}"
        return f"{low}, up to {self.high:g}" if self.high_is_in else f"{low} to below {self.high:g}"


_LARGE = 1_000
"""Upper ends from here on are there to catch slips, and named only where they do."""

ONE_OR_MORE = Limit(1, 10**9)
ZERO_OR_MORE = Limit(0, 10**9)
ABOVE_ZERO = Limit(0, 10**9, low_is_in=False)
FACTOR = Limit(0, sys.float_info.max)
"""Of a loss or a step: what it may be, only the run can tell."""
FACTOR_ABOVE_ZERO = Limit(0, sys.float_info.max, low_is_in=False)
SIZE = Limit(1, 10**6)
NUM_LAYERS = Limit(1, 1_000)
NUM_WORKERS = Limit(0, 10_000)
UP_TO_A_MILLION = Limit(0, 10**6, low_is_in=False)
SEED = Limit(0, 2**63 - 1)
SHARE = Limit(0, 1)
BELOW_ONE = Limit(0, 1, high_is_in=False)
BETWEEN = Limit(0, 1, low_is_in=False, high_is_in=False)
DECIBELS = Limit(-100, 100)

_NAMES: dict[Limit, tuple[str, ...]] = {
    ONE_OR_MORE: ("max_updates", "checkpoint_every", "log_every", "num_streams", "num_nodes", "devices"),
    ZERO_OR_MORE: (
        "keep_checkpoints", "patience_updates", "freeze_context_updates", "min_time_spans", "channel", "min_seconds",
        "min_speech_seconds", "min_silence_seconds", "padding_seconds", "update_hours", "source_temperature",
        "price_per_hour", "link_gigabytes_per_second",
    ),
    ABOVE_ZERO: (
        "max_batch_seconds", "max_seconds", "cut_above_seconds", "shuffle_hours", "cache_gigabytes", "window_seconds",
        "margin_seconds", "probe_seconds", "fit_seconds", "source_weights",
    ),
    FACTOR: (
        "diversity_weight", "unmasked_weight", "feature_penalty", "feature_grad_scale", "weight_decay", "max_grad_norm",
        "min_accuracy_over_chance", "tolerance",
    ),
    FACTOR_ABOVE_ZERO: (
        "learning_rate", "head_learning_rate_scale", "eps", "temperature", "temperature_start", "temperature_end",
    ),
    SIZE: (
        "conv_layers", "dim", "ffn_dim", "num_heads", "squeeze", "pos_conv_kernel", "pos_conv_groups", "num_buckets",
        "max_distance", "lstm_dim", "num_groups", "num_entries", "final_dim", "num_negatives", "time_length",
        "channel_length", "bootstrap_samples",
    ),
    NUM_LAYERS: ("num_layers", "pos_conv_depth"),
    Limit(0, 1_000): ("num_lstm_layers", "num_threads", "layer"),
    Limit(0, 10**6): ("cosine_dim",),
    NUM_WORKERS: ("num_workers",),
    UP_TO_A_MILLION: ("gradient_bucket_megabytes", "max_shard_megabytes"),
    Limit(1_000, 400_000): ("sample_rate",),
    SEED: ("seed", "split_seed"),
    SHARE: (
        "time_prob", "channel_prob", "prob", "max_bad_share", "max_clipped_share", "dev_share", "test_share",
        "min_perplexity_share", "quality", "warmup", "hold", "final_scale",
    ),
    Limit(0, 1, low_is_in=False): ("temperature_decay",),
    BELOW_ONE: ("betas",),
    BETWEEN: ("threshold",),
    DECIBELS: ("snr_db", "direct_to_reverberant_db", "gain_db"),
    Limit(-1_000, 100): ("min_level_db",),
    Limit(0, 0.5): ("max_share",),
    Limit(0.5, 2): ("factors",),
    Limit(0, 10): ("rt60_seconds",),
    Limit(-4, 4): ("slope",),
}  # fmt: skip
LIMITS = {name: limit for limit, names in _NAMES.items() for name in names}
"""By the last part of a key, which means the same in every section, but for those of the section dropout."""
RANGES = ("snr_db", "direct_to_reverberant_db", "gain_db", "rt60_seconds", "slope", "quality")
"""Pairs of a lowest and a highest value."""
NEVER_EMPTY = ("conv_layers",)


def limit_of(key: str) -> Limit | None:
    """The limit on the numbers of a dotted key; None for one that holds none."""
    section, _, name = key.rpartition(".")
    return BELOW_ONE if section.rpartition(".")[2] == "dropout" else LIMITS.get(name)


def fault_of(key: str, value: Any) -> str:
    """What is wrong with the value of a key, as in "is -1, expected 0 or more"; empty if nothing is."""
    name = key.rpartition(".")[2]
    if name in NEVER_EMPTY and value == []:
        return "is empty, expected at least one"
    limit, numbers = limit_of(key), list(_numbers(value))
    bad = [number for number in numbers if limit is not None and not limit.holds(number)]
    falls = name in RANGES and numbers != sorted(numbers)
    if limit is None or not (bad or falls):
        return ""
    found = f"holds {_shown(bad[0])}" if isinstance(value, list) else f"is {', '.join(map(_shown, numbers))}"
    return f"{found}, expected {limit.words((bad or numbers)[0])}{', the lower first' if name in RANGES else ''}"


def check_limits(config: Any) -> None:
    """Raise ConfigError for numbers of a configuration that was made in Python; all of them, with what was expected."""
    if problems := out_of_limits(config):
        raise ConfigError("\n".join(problems))


def out_of_limits(config: Any, prefix: str = "") -> list[str]:
    """What is wrong with numbers of a configuration or a section of one, in words; ``prefix`` is the section's key."""
    problems = []
    for item in dataclasses.fields(config):
        key, value = f"{prefix}{item.name}", getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            problems += out_of_limits(value, f"{key}.")
        elif fault := fault_of(key, value):
            problems.append(f"{key} {fault}")
    return problems


def _shown(number: float) -> str:
    is_huge = isinstance(number, int) and abs(number) > sys.float_info.max
    return f"a number of {len(str(abs(number)))} digits" if is_huge else f"{number:g}"


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
