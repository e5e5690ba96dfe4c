"""Cepstra as features of units: those of HuBERT's first iteration (Hsu et al. 2021, section IV.B)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import ModelConfig
from speechssl.frames import hop_samples, num_frames, receptive_field_samples
from speechssl.installation import import_torchaudio

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
NUM_CEPSTRA = 13
NUM_COEFFICIENTS = 3 * NUM_CEPSTRA
"""Cepstra, their slopes, and the slopes of those."""


class MfccChunks(nn.Module):
    """Kaldi's 13 cepstra and their first and second slopes every 10 ms, of all windows that an encoder frame hears.

    As published, nothing is normalised, and an encoder frame of 25 ms every 20 ms hears one window. Windows lie on a
    grid over the utterance, since slopes need two neighbours on each side; where the frames' hop is no multiple of
    10 ms, a frame begins with the nearest. A frame that hears less than a window stands in the middle of one.

    Args:
        config: of the encoder whose frames these are.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = config.feature_encoder.conv_layers
        self.sample_rate = config.sample_rate
        self.size, self.hop = (round(seconds * config.sample_rate) for seconds in (WINDOW_SECONDS, HOP_SECONDS))
        field = receptive_field_samples(self.layers)
        self.around = max(0, self.size - field)
        self.windows = (field + self.around - self.size) // self.hop + 1
        self.dim = self.windows * NUM_COEFFICIENTS

    def forward(self, audio: Tensor) -> Tensor:
        """Waveforms (B, S) to (B, T, windows * 39), a row for each frame of the encoder."""
        padded = F.pad(audio, (self.around // 2, self.around - self.around // 2))
        coefficients = torch.stack([self.coefficients(waveform) for waveform in padded])  # (B, windows, 39)
        frames = torch.arange(num_frames(audio.shape[1], self.layers), device=audio.device)
        starts = (frames * hop_samples(self.layers) / self.hop).round().long()
        taken = starts[:, None] + torch.arange(self.windows, device=audio.device)  # (T, windows)
        return coefficients[:, taken.clamp(max=coefficients.shape[1] - 1)].flatten(2)

    def coefficients(self, waveform: Tensor) -> Tensor:
        """Cepstra (energy left out, as published) and differences of one waveform (S,): (windows, 39)."""
        kaldi, functional = (import_torchaudio(f"torchaudio.{name}") for name in ("compliance.kaldi", "functional"))
        cepstra = kaldi.mfcc(
            waveform[None],
            num_ceps=NUM_CEPSTRA,
            use_energy=False,
            sample_frequency=self.sample_rate,
            # Half a sample more than the size, since Kaldi rounds down.
            frame_length=1000 * (self.size + 0.5) / self.sample_rate,
            frame_shift=1000 * (self.hop + 0.5) / self.sample_rate,
        ).T  # (13, windows)
        slopes = functional.compute_deltas(cepstra)
        return torch.cat([cepstra, slopes, functional.compute_deltas(slopes)]).T
