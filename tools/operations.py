"""Floating-point operations that a model really needs, from its configuration.

Two per multiplication and addition. PyTorch's own counter takes grouped convolutions for full ones.
"""

from speechssl.config import ContrastiveConfig, ModelConfig
from speechssl.frames import num_frames


def encoder_operations(config: ModelConfig, batch: int, num_samples: int) -> tuple[float, float]:
    """Of a forward pass over audio (B, S): of the first layer, which passes no gradient on, and of all others."""
    length, channels, convolutions = num_samples, 1, []
    for i, (out, kernel, stride) in enumerate(config.feature_encoder.conv_layers):
        length = num_frames(length, [(out, kernel, stride)])
        if i > 0 or config.feature_encoder.first_layer == "convolution":
            convolutions.append(2.0 * batch * length * out * channels * kernel)
        channels = out
    first = convolutions.pop(0) if config.feature_encoder.first_layer == "convolution" else 0.0
    return first, sum(convolutions) + context_operations(config, batch, length)


def context_operations(config: ModelConfig, batch: int, frames: int) -> float:
    """Of projection, squeezing, positional convolution and transformer, forward."""
    context = config.context
    dim = context.dim
    inner = -(-frames // context.squeeze)
    position = 2.0 * batch * inner * dim * (dim // context.pos_conv_groups) * context.pos_conv_kernel
    projection = 2.0 * batch * frames * config.feature_encoder.conv_layers[-1][0] * dim
    spread = 2.0 * batch * inner * dim * context.squeeze * dim if context.squeeze > 1 else 0.0
    tokens = float(batch * inner)
    linear = 2 * tokens * (4 * dim**2 + 2 * dim * context.ffn_dim)
    attention = 4 * tokens * inner * dim
    return projection + position + spread + context.num_layers * (linear + attention)


def pretraining_operations(
    config: ModelConfig, objective: ContrastiveConfig, batch: int, num_samples: int, num_masked: int
) -> float:
    """Of forward and backward pass together; a backward pass takes twice the forward one.

    Args:
        config: of the encoder.
        objective: of the task.
        batch: utterances.
        num_samples: of each.
        num_masked: frames of each that are masked.
    """
    first, others = encoder_operations(config, batch, num_samples)
    quantizer = objective.quantizer
    channels = config.feature_encoder.conv_layers[-1][0]
    masked = float(batch * num_masked)
    scores = 2 * masked * channels * quantizer.num_groups * quantizer.num_entries
    lookup = 2 * masked * quantizer.num_entries * quantizer.dim
    projections = 2 * masked * (quantizer.dim + config.context.dim) * objective.final_dim
    similarities = 2 * masked * num_masked * objective.final_dim
    return 2 * first + 3 * (others + scores + lookup + projections + similarities)
