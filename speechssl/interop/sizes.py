"""Whether an encoder that a file describes can be made at all, before anything is made of its numbers."""

from collections.abc import Iterator

from speechssl.config import ContrastiveConfig, ModelConfig
from speechssl.config_limits import out_of_limits
from speechssl.errors import CheckpointError
from speechssl.frames import receptive_field_samples

MAX_LAYERS = 1_000
LARGEST = 1_000_000
"""Of every other number: ten times what any published model has."""
SAMPLE_RATES = (1_000, 400_000)
MAX_FIELD_SECONDS = 1.0
"""Of the samples that one frame hears; published models hear 0.025 s."""


def check_sizes(model: ModelConfig, objective: ContrastiveConfig | None, *, source: str) -> None:
    """Judge the numbers of an encoder, and of its contrastive task if it has one.

    Raises:
        CheckpointError: lists those that no model can have.
    """
    problems = out_of_limits(model) + (out_of_limits(objective) if objective is not None else [])
    problems += [*_feature_encoder_problems(model), *_context_problems(model)]
    if objective is not None:
        quantizer = objective.quantizer
        if quantizer.num_groups > 0 and quantizer.dim % quantizer.num_groups:
            problems.append(f"{quantizer.num_groups} groups do not divide codes of dimension {quantizer.dim}")
        problems += _too_large({"num_entries": quantizer.num_entries, "quantizer.dim": quantizer.dim})
        problems += _too_large({"final_dim": objective.final_dim, "num_negatives": objective.num_negatives})
    if problems:
        raise CheckpointError(f"{source}: no encoder has these sizes: {'; '.join(problems)}")


def _feature_encoder_problems(model: ModelConfig) -> Iterator[str]:
    low, high = SAMPLE_RATES
    layers = model.feature_encoder.conv_layers
    if not low <= model.sample_rate <= high:
        yield f"sample_rate is {model.sample_rate}, expected {low} to {high}"
    if not 0 < len(layers) <= MAX_LAYERS or not all(0 < number <= LARGEST for layer in layers for number in layer):
        yield "conv_layers are none, or have channels, kernels or strides out of 1 to 1000000"
    elif receptive_field_samples(layers) > MAX_FIELD_SECONDS * model.sample_rate:
        yield f"a frame hears {receptive_field_samples(layers)} samples, expected at most a second"


def _context_problems(model: ModelConfig) -> Iterator[str]:
    context = model.context
    for name in ("num_heads", "pos_conv_groups"):
        divisor = getattr(context, name)
        if divisor > 0 and context.dim % divisor:
            yield f"{name} is {divisor}, expected a divisor of dim, which is {context.dim}"
    if max(context.num_layers, context.pos_conv_depth) > MAX_LAYERS:
        yield f"{max(context.num_layers, context.pos_conv_depth)} layers, expected at most {MAX_LAYERS}"
    names = ("dim", "ffn_dim", "squeeze", "pos_conv_kernel", "num_buckets", "max_distance")
    yield from _too_large({name: getattr(context, name) for name in names})
    if context.relative_bias and (context.num_buckets < 4 or context.num_buckets % 4):
        yield f"num_buckets is {context.num_buckets}, expected a multiple of 4"
    elif context.relative_bias and context.max_distance <= context.num_buckets // 4:
        yield f"max_distance is {context.max_distance}, expected more than a quarter of num_buckets"


def _too_large(numbers: dict[str, int]) -> Iterator[str]:
    for name, value in numbers.items():
        if value > LARGEST:
            yield f"{name} is {value:.3g}, expected at most {LARGEST}"
