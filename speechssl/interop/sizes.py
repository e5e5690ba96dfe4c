"""Whether an encoder that a file describes can be made at all, before anything is made of its numbers."""

from collections.abc import Iterator

from speechssl.config import ContrastiveConfig, ModelConfig
from speechssl.config_limits import NUM_LAYERS, SIZE, out_of_limits
from speechssl.errors import CheckpointError
from speechssl.frames import receptive_field_samples

MAX_LAYERS = int(NUM_LAYERS.high)
LARGEST = int(SIZE.high)
"""Of every other number: ten times what any published model has."""
MAX_FIELD_SECONDS = 1.0
"""Of the samples that one frame hears; published models hear 0.025 s."""


def check_sizes(model: ModelConfig, objective: ContrastiveConfig | None, *, source: str) -> None:
    """Judge the numbers of an encoder, and of its contrastive task if it has one.

    Raises:
        CheckpointError: lists those that no model can have.
    """
    problems = out_of_limits(model) + (out_of_limits(objective) if objective is not None else [])
    if not problems:
        problems = [*_feature_encoder_problems(model), *_context_problems(model)]
        if objective is not None and objective.quantizer.dim % objective.quantizer.num_groups:
            quantizer = objective.quantizer
            problems.append(f"{quantizer.num_groups} groups do not divide codes of dimension {quantizer.dim}")
    if problems:
        raise CheckpointError(f"{source}: no encoder has these sizes: {'; '.join(problems)}")


def _feature_encoder_problems(model: ModelConfig) -> Iterator[str]:
    layers = model.feature_encoder.conv_layers
    if len(layers) > MAX_LAYERS:
        yield f"{len(layers)} convolutions, expected at most {MAX_LAYERS:,}"
    elif receptive_field_samples(layers) > MAX_FIELD_SECONDS * model.sample_rate:
        yield f"a frame hears {receptive_field_samples(layers)} samples, expected at most a second"


def _context_problems(model: ModelConfig) -> Iterator[str]:
    context = model.context
    for name in ("num_heads", "pos_conv_groups"):
        divisor = getattr(context, name)
        if context.dim % divisor:
            yield f"{name} is {divisor}, expected a divisor of dim, which is {context.dim}"
    if context.relative_bias and (context.num_buckets < 4 or context.num_buckets % 4):
        yield f"num_buckets is {context.num_buckets}, expected a multiple of 4"
    elif context.relative_bias and context.max_distance <= context.num_buckets // 4:
        yield f"max_distance is {context.max_distance}, expected more than a quarter of num_buckets"
