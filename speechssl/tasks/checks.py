"""Configurations of training runs that cannot work: all that is wrong is named at once, before anything is read."""

import logging

from speechssl.config import ContextConfig, FinetuneConfig, MaskingConfig, ModelConfig, PretrainConfig
from speechssl.config_limits import check_limits
from speechssl.errors import ConfigError
from speechssl.frames import samples_for_frames
from speechssl.model.feature_encoder import count_empty_bands
from speechssl.objectives.build import min_frames, objective_problems
from speechssl.training.layout import training_problems
from speechssl.training.optimizers import schedule_problems

logger = logging.getLogger(__name__)


def check_pretraining(config: PretrainConfig) -> None:
    """Raise ConfigError, naming everything that cannot work; crops become long enough for masks."""
    check_limits(config)
    problems = run_problems(config, data=config.data.shards) + objective_problems(config.objective)
    problems += mask_problems("objective.masking", config.objective.masking, config.model)
    if problems:
        raise ConfigError("\n".join(problems))
    shortest = samples_for_frames(min_frames(config.objective), config.model.feature_encoder.conv_layers)
    if config.data.min_seconds * config.model.sample_rate < shortest:
        config.data.min_seconds = shortest / config.model.sample_rate


def check_finetuning(config: FinetuneConfig) -> None:
    """Raise ConfigError, naming everything that cannot work."""
    check_limits(config)
    problems = run_problems(config, train=config.train.shards, dev=config.dev.shards)
    problems += mask_problems("masking", config.masking, config.model)
    if problems:
        raise ConfigError("\n".join(problems))
    if config.init is not None and config.freeze_context_updates >= config.training.max_updates:
        logger.warning(
            "freeze_context_updates is %d and training.max_updates %d: only the head will learn, in every update.",
            config.freeze_context_updates,
            config.training.max_updates,
        )


def run_problems(config: PretrainConfig | FinetuneConfig, **shards: list[str]) -> list[str]:
    """What no run can have; ``shards`` are those of its sections."""
    problems = model_problems(config.model) + training_problems(config.training) + schedule_problems(config.schedule)
    return problems + [
        f"{section}.shards is empty; name shard files or folders that `speechssl shard` made"
        for section, named in shards.items()
        if not named
    ]


def mask_problems(section: str, masking: MaskingConfig, model: ModelConfig) -> list[str]:
    """What is inconsistent in a masking section."""
    if masking.channel_prob > 0 and masking.channel_length > model.context.dim:
        return [
            f"{section}.channel_length is {masking.channel_length}, expected at most the model's {model.context.dim} "
            "channels"
        ]
    return []


def model_problems(config: ModelConfig) -> list[str]:
    """What is inconsistent in an architecture."""
    context, features = config.context, config.feature_encoder
    problems = [
        f"model.context.dim is {context.dim}, expected a multiple of {name} ({value})"
        for name, value in (("num_heads", context.num_heads), ("pos_conv_groups", context.pos_conv_groups))
        if context.dim % value
    ]
    problems += position_problems(context)
    if features.first_layer == "log_mel":
        bands, window, _ = features.conv_layers[0]
        empty = count_empty_bands(bands, window, config.sample_rate)
        if window % 2 or empty:
            problems.append(
                f"model.feature_encoder.conv_layers begins with {bands} mel bands over windows of {window} samples at "
                f"{config.sample_rate} Hz, of which {empty} would be empty; expected an even window, of 25 ms "
                f"({config.sample_rate // 40} samples), and fewer bands (40 to 80), or first_layer: convolution"
            )
    return problems


def position_problems(context: ContextConfig) -> list[str]:
    """What is inconsistent in how a context network knows position."""
    problems = []
    if context.pos_conv_depth < 1:
        problems.append(f"model.context.pos_conv_depth is {context.pos_conv_depth}, expected 1 or more")
    if not context.relative_bias:
        return problems
    if context.num_buckets < 4 or context.num_buckets % 4:
        problems.append(
            f"model.context.num_buckets is {context.num_buckets}, expected a multiple of 4 (320 as published)"
        )
    if context.max_distance <= context.num_buckets // 4:
        problems.append(
            f"model.context.max_distance is {context.max_distance} frames, expected more than a quarter of num_buckets "
            f"({context.num_buckets // 4}; 800 as published)"
        )
    return problems
