"""Whether an encoder that a file describes can be made at all, before anything is made of its numbers."""

from collections.abc import Iterator

from speechssl.config import ContrastiveConfig, ModelConfig
from speechssl.config.limits import problems_of
from speechssl.errors import CheckpointError
from speechssl.frames import receptive_field_samples

MAX_LAYERS = 1_000
LARGEST = 10**6
"""Of every other number: ten times what any published model has."""
MAX_FIELD_SECONDS = 1.0
"""Of the samples that one frame hears; published models hear 0.025 s."""


def check_sizes(model: ModelConfig, objective: ContrastiveConfig | None, *, source: str) -> None:
    """Judge the numbers of an encoder, and of its contrastive task if it has one.

    Raises:
        CheckpointError: lists those that no model can have.
    """
    problems = problems_of(model) + (problems_of(objective) if objective is not None else [])
    problems = problems or list(_feature_encoder_problems(model))
    if problems:
        raise CheckpointError(f"{source}: no encoder has these sizes: {'; '.join(problems)}")


def _feature_encoder_problems(model: ModelConfig) -> Iterator[str]:
    layers = model.feature_encoder.conv_layers
    if len(layers) > MAX_LAYERS:
        yield f"{len(layers)} convolutions, expected at most {MAX_LAYERS:,}"
    elif receptive_field_samples(layers) > MAX_FIELD_SECONDS * model.sample_rate:
        yield f"a frame hears {receptive_field_samples(layers)} samples, expected at most a second"
