"""Encoder with a CTC head (wav2vec 2.0, section 3.3 "Fine-tuning"; Graves et al. 2006)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechssl.config import DropoutConfig, ModelConfig
from speechssl.model.encoder import Encoder


class CtcOutput(NamedTuple):
    """Scores of the labels."""

    logits: Tensor
    """Unnormalised scores, (B, T, labels), blank at 0."""
    lengths: Tensor | None
    """Frames of each utterance, (B,); None if all have T."""
    context: Tensor
    """Context vectors, (B, T, D)."""


class CtcModel(nn.Module):
    """Recogniser: one linear layer over the context vectors."""

    def __init__(self, config: ModelConfig, dropout: DropoutConfig, num_labels: int) -> None:
        super().__init__()
        self.encoder = Encoder(config, dropout)
        self.output_dropout = nn.Dropout(dropout.output)
        self.head = nn.Linear(config.context.dim, num_labels)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.encoder_frozen = False
        """Whether only the head learns: the encoder then runs without gradients."""

    def forward(
        self,
        audio: Tensor,
        lengths: Tensor | None = None,
        *,
        time_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> CtcOutput:
        """Score audio (B, S); arguments as of :class:`Encoder`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_frozen):
            output = self.encoder(audio, lengths, time_mask=time_mask, channel_mask=channel_mask)
        logits = self.head(self.output_dropout(output.context))
        return CtcOutput(logits, output.lengths, output.context)
