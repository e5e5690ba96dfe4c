"""What an encoder has to beat: log-mel energies and MFCC, as many frames as it has, and itself with random weights."""

from typing import Literal

import librosa
import numpy as np
import torch
from torch import Tensor

from speechssl.config import DropoutConfig, ModelConfig
from speechssl.frames import hop_samples, num_frames, receptive_field_samples
from speechssl.model.encoder import Encoder
from speechssl.seeding import Purpose, seed_torch

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
NUM_BANDS = 80
NUM_COEFFICIENTS = 13
DELTA_WIDTH = 9
"""Windows over which a slope is taken."""
FLOOR = 1e-6
"""About what white noise at -66 dB of full scale gives in a band."""


class SpectralLayers:
    """Log-mel energies, or MFCC with their first and second slopes, every 10 ms.

    All windows that fit into the hop of an encoder's frame stand side by side, about its middle.

    Args:
        config: of the encoder whose frames are matched.
        name: which features.
    """

    def __init__(self, config: ModelConfig, name: Literal["log_mel", "mfcc"]) -> None:
        self._conv_layers = config.feature_encoder.conv_layers
        self._rate = config.sample_rate
        self._window, self._hop = (round(s * config.sample_rate) for s in (WINDOW_SECONDS, HOP_SECONDS))
        self._bands = NUM_BANDS if config.sample_rate >= 16_000 else NUM_BANDS // 2
        self._per_frame = max(1, round(hop_samples(self._conv_layers) / self._hop))
        self.names: tuple[str, ...] = (name,)
        self.dims: tuple[int, ...] = (self._per_frame * (self._bands if name == "log_mel" else 3 * NUM_COEFFICIENTS),)

    def layers(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """As of :class:`LayerSource`."""
        frames = num_frames(lengths, self._conv_layers).tolist()
        result = torch.zeros(len(audio), max(frames), self.dims[0])
        for i, (row, length) in enumerate(zip(audio.numpy(), lengths.tolist(), strict=True)):
            features = self.features(row[:length])  # (D, windows)
            result[i, : frames[i]] = torch.from_numpy(self.aligned(features, frames[i]))
        return [result]

    def features(self, audio: np.ndarray) -> np.ndarray:
        """Those of one waveform, (S,), window by window: (D, windows)."""
        energies = librosa.feature.melspectrogram(
            y=audio, sr=self._rate, n_fft=self._window, hop_length=self._hop, n_mels=self._bands
        )
        log_mel: np.ndarray = np.log(energies + FLOOR)
        if self.names[0] == "log_mel":
            return log_mel
        mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=NUM_COEFFICIENTS)
        slopes = [librosa.feature.delta(mfcc, width=DELTA_WIDTH, order=n, mode="nearest") for n in (1, 2)]
        return np.concatenate([mfcc, *slopes])

    def aligned(self, features: np.ndarray, num_frames: int) -> np.ndarray:
        """The windows of each frame of the encoder, (D, windows) to (T, D of all of them)."""
        middles = (
            np.arange(num_frames) * hop_samples(self._conv_layers) + receptive_field_samples(self._conv_layers) / 2
        )
        first = np.rint(middles / self._hop - (self._per_frame - 1) / 2).astype(int)
        chosen = (first[:, None] + np.arange(self._per_frame)).clip(0, features.shape[1] - 1)  # (T, windows)
        return features[:, chosen].transpose(1, 2, 0).reshape(num_frames, -1)


def random_encoder(config: ModelConfig, seed: int) -> Encoder:
    """An encoder with the weights that a run of this seed would begin with, in evaluation mode."""
    seed_torch(seed, Purpose.WEIGHTS)
    return Encoder(config, DropoutConfig()).eval()
