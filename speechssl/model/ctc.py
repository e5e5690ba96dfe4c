"""Encoder with a CTC head (wav2vec 2.0, section 3.3 "Fine-tuning"; Graves et al. 2006)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechssl.config import DropoutConfig, HeadConfig, ModelConfig
from speechssl.model.encoder import Encoder
from speechssl.model.feature_encoder import ChannelNorm
from speechssl.model.kernels.dropout import Dropout


class CtcOutput(NamedTuple):
    """Scores of the labels."""

    logits: Tensor
    """Unnormalised scores, (B, T, labels)."""
    lengths: Tensor | None
    """Frames of each utterance, (B,); None if all have T."""
    context: Tensor
    """Context vectors, (B, T, D)."""


class CtcModel(nn.Module):
    """Recogniser: one linear layer over the context vectors, with LSTM layers in between if the head has any."""

    def __init__(self, config: ModelConfig, dropout: DropoutConfig, num_labels: int, head: HeadConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config, dropout)
        self.normalize = ChannelNorm(config.context.dim) if head.normalize_context else None
        self.output_dropout = Dropout(dropout.output)
        dims = [config.context.dim] + [2 * head.lstm_dim] * head.num_lstm_layers
        self.recurrent = nn.ModuleList(BidirectionalLstm(dim, head.lstm_dim) for dim in dims[:-1])
        self.head = nn.Linear(dims[-1], num_labels)
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
        x = output.context
        if self.normalize is not None:
            x = self.normalize(x.transpose(1, 2), output.lengths).transpose(1, 2)
        x = self.output_dropout(x)
        for layer in self.recurrent:
            x = self.output_dropout(layer(x, output.lengths))
        return CtcOutput(self.head(x), output.lengths, output.context)


class BidirectionalLstm(nn.Module):
    """LSTM over the frames of each utterance in both directions: (B, T, D) to (B, T, 2 dim).

    The backward direction reads each utterance from its own last frame, so padding changes nothing.
    """

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(in_dim, dim, batch_first=True)
        self.backwards = nn.LSTM(in_dim, dim, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        # The gates' products are small and their errors add up over time: no low precision.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.forwards.weight_ih_l0.dtype)  # type: ignore[arg-type]
            onward, _ = self.forwards(x)
            backward, _ = self.backwards(reverse_frames(x, lengths))
        return torch.cat([onward, reverse_frames(backward, lengths)], dim=-1)


def reverse_frames(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn round the valid frames of each utterance, (B, T, D), and leave the padding where it is."""
    if lengths is None:
        return x.flip(1)
    frames = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
    source = torch.where(frames < lengths[:, None], lengths[:, None] - 1 - frames, frames)  # (B, T)
    return x.gather(1, source[:, :, None].expand_as(x))
