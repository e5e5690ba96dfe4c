"""Floating-point operations that a model really needs, from its configuration.

Two per multiplication and addition. PyTorch's own counter takes grouped convolutions for full ones.
"""

from speechssl.config import ContextConfig, ContrastiveConfig, ModelConfig
from speechssl.frames import num_frames


def encoder_operations(
    config: ModelConfig, batch: int, num_samples: int, *, num_masked: int = 0, masked_from_block: int = 0
) -> tuple[float, float]:
    """Of a forward pass over audio (B, S): of the first layer, which passes no gradient on, and of all others.

    Args:
        config: of the encoder.
        batch: utterances.
        num_samples: of each.
        num_masked: frames of each that the blocks below ``masked_from_block`` leave out.
        masked_from_block: first block that computes all frames.
    """
    length, channels, convolutions = num_samples, 1, []
    for i, (out, kernel, stride) in enumerate(config.feature_encoder.conv_layers):
        length = num_frames(length, [(out, kernel, stride)])
        if i > 0 or config.feature_encoder.first_layer == "convolution":
            convolutions.append(2.0 * batch * length * out * channels * kernel)
        channels = out
    first = convolutions.pop(0) if config.feature_encoder.first_layer == "convolution" else 0.0
    visible = length - num_masked
    below = masked_from_block * block_operations(config.context, batch, visible)
    return first, sum(convolutions) + context_operations(config, batch, length, masked_from_block) + below


def context_operations(config: ModelConfig, batch: int, frames: int, first_block: int = 0) -> float:
    """Of projection, squeezing, positional convolution and the blocks from ``first_block`` on, forward."""
    context = config.context
    dim = context.dim
    inner = -(-frames // context.squeeze)
    position = 2.0 * batch * inner * dim * (dim // context.pos_conv_groups) * context.pos_conv_kernel
    projection = 2.0 * batch * frames * config.feature_encoder.conv_layers[-1][0] * dim
    spread = 2.0 * batch * inner * dim * context.squeeze * dim if context.squeeze > 1 else 0.0
    blocks = (context.num_layers - first_block) * block_operations(context, batch, inner)
    return projection + position + spread + blocks


def block_operations(context: ContextConfig, batch: int, frames: int) -> float:
    """Of one transformer block, forward."""
    tokens = float(batch * frames)
    linear = 2 * tokens * (4 * context.dim**2 + 2 * context.dim * context.ffn_dim)
    return linear + 4 * tokens * frames * context.dim


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
    first, others = encoder_operations(
        config, batch, num_samples, num_masked=num_masked, masked_from_block=objective.masked_from_block
    )
    quantizer = objective.quantizer
    channels = config.feature_encoder.conv_layers[-1][0]
    masked = float(batch * num_masked)
    scores = 2 * masked * channels * quantizer.num_groups * quantizer.num_entries
    lookup = 2 * masked * quantizer.num_entries * quantizer.dim
    projections = 2 * masked * (quantizer.dim + config.context.dim) * objective.final_dim
    similarities = 2 * masked * num_masked * objective.final_dim
    return 2 * first + 3 * (others + scores + lookup + projections + similarities)
