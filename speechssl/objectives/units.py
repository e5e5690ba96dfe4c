"""Units: what masked prediction predicts, one number per frame and codebook, from the audio alone.

K-means over log-mel or MFCC chunks or over a layer of an earlier encoder (HuBERT, Hsu et al. 2021, section II.A), or
a random projection onto random entries (BEST-RQ, Chiu et al. 2022, section 3.1). All that is fitted lies in buffers,
and so in every checkpoint of the run.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import DropoutConfig, ModelConfig, UnitsConfig
from speechssl.errors import DataError
from speechssl.frames import hop_samples, receptive_field_samples
from speechssl.model.encoder import Encoder
from speechssl.model.feature_encoder import mel_filters
from speechssl.objectives.mfcc import HOP_SECONDS, WINDOW_SECONDS, MfccChunks

NUM_BANDS = 80
"""At 16 kHz and above; below half as many, or the lowest would be empty."""
FLOOR = 1e-6
"""About what white noise at -66 dB of full scale gives in a band."""
LEAST_VARIANCE = 1e-8
"""Directions in which features vary less are no louder than that once they are whitened."""
MIN_FRAMES_PER_ENTRY = 10
"""With fewer frames per entry, k-means would name single frames."""


class LogMelChunks(nn.Module):
    """What an encoder frame hears, as log-mel energies every 10 ms, of zero mean and unit variance over the utterance.

    A frame that hears less than a window of 25 ms, as at high sample rates, stands in the middle of one.

    Args:
        config: of the encoder whose frames these are.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers = config.feature_encoder.conv_layers
        self.frame_hop = hop_samples(layers)
        size, self.hop = (round(seconds * config.sample_rate) for seconds in (WINDOW_SECONDS, HOP_SECONDS))
        field = receptive_field_samples(layers)
        self.heard = max(field, size)
        self.around = self.heard - field
        bands = NUM_BANDS if config.sample_rate >= 16_000 else NUM_BANDS // 2
        self.register_buffer("filters", mel_filters(bands, size, config.sample_rate), persistent=False)
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.dim = bands * ((self.heard - size) // self.hop + 1)

    def forward(self, audio: Tensor) -> Tensor:
        """Waveforms (B, S) to (B, T, windows * bands), a row for each frame of the encoder."""
        padded = F.pad(audio, (self.around // 2, self.around - self.around // 2))
        chunks = padded.unfold(1, self.heard, self.frame_hop)  # (B, T, heard)
        windows = chunks.unfold(2, len(self.window), self.hop) * self.window  # (B, T, windows, size)
        energies = torch.fft.rfft(windows).abs().square() @ self.filters  # (B, T, windows, bands)
        bands = (energies + FLOOR).log()
        centred = bands - bands.mean((1, 2), keepdim=True)
        return (centred / (centred.square().mean((1, 2), keepdim=True).sqrt() + 1e-5)).flatten(2)


class EncoderLayer(nn.Module):
    """Output of a transformer block of an encoder that stays as it is.

    Args:
        config: of that encoder.
        layer: its block, from 1.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.encoder = Encoder(config, DropoutConfig(hidden=0, attention=0, layer_drop=0))
        self.encoder.requires_grad_(requires_grad=False)
        self.dim = config.context.dim

    def train(self, mode: bool = True) -> "EncoderLayer":
        """It is never in training."""
        return super().train(mode=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Waveforms (B, S) to (B, T, D)."""
        return self.encoder(audio, keep_layers=True).layers[self.layer - 1].float()


class Units(nn.Module):
    """Numbers the frames of audio: features, projected and whitened, and the nearest entry of each codebook.

    Args:
        config: what they are of.
        features: to (B, T, ``dim``) of a frame's audio; a module that has no gradients.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, config: UnitsConfig, features: LogMelChunks | MfccChunks | EncoderLayer) -> None:
        super().__init__()
        self.config = config
        self.features = features
        dim = min(config.dim, features.dim) if config.dim else features.dim
        self.register_buffer("mean", torch.zeros(features.dim))
        self.register_buffer("projection", torch.zeros(features.dim, dim))
        self.codebooks = [f"codebook_{number}" for number in range(len(config.num_entries))]
        for name, entries in zip(self.codebooks, config.num_entries, strict=True):
            self.register_buffer(name, torch.zeros(entries, dim))

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Units of waveforms (B, S): (B, T, codebooks)."""
        with torch.autocast(audio.device.type, enabled=False):
            x = self.project(self.features(audio.float()))
            return torch.stack([nearest_entry(x, getattr(self, name)) for name in self.codebooks], dim=-1)

    def project(self, features: Tensor) -> Tensor:
        """Features (..., N) into the space of the codebooks, (..., P)."""
        x = (features - self.mean) @ self.projection
        return F.normalize(x, dim=-1) if self.config.clustering == "random_projection" else x

    @torch.no_grad()
    def fit(self, audio: Iterable[Tensor], seed: int) -> None:
        """Find projection and codebooks.

        Args:
            audio: waveforms, (B, S) each.
            seed: of k-means, or of what is random instead.

        Raises:
            DataError: too little audio for so many entries.
        """
        frames = torch.cat([self.features(waveforms.float()).flatten(0, 1).cpu() for waveforms in audio])
        if self.config.clustering == "random_projection":
            self._draw(frames, seed)
            return
        most = max(self.config.num_entries)
        if len(frames) < MIN_FRAMES_PER_ENTRY * most:
            raise DataError(
                f"objective.units.num_entries is {most}, but there are only {len(frames)} frames of audio to fit them "
                f"to, expected {MIN_FRAMES_PER_ENTRY} for each entry; give more audio, fewer entries, or a larger "
                "--objective.units.fit_seconds"
            )
        if self.config.dim:
            self._whiten(frames)
        else:
            self.projection.copy_(torch.eye(self.features.dim))
        self._cluster(frames, seed)

    def _draw(self, frames: Tensor, seed: int) -> None:
        """A random projection of normalised features, and random entries on the unit sphere."""
        rng = torch.Generator().manual_seed(seed)
        self.mean.copy_(frames.double().mean(0))
        scale = 1 / frames.double().std(0).clamp(min=LEAST_VARIANCE**0.5)
        drawn = nn.init.xavier_uniform_(torch.empty(self.projection.shape), generator=rng)
        self.projection.copy_(scale[:, None] * drawn)
        for name in self.codebooks:
            book = getattr(self, name)
            book.copy_(F.normalize(torch.randn(book.shape, generator=rng), dim=-1))

    def _whiten(self, frames: Tensor) -> None:
        """Principal components, of unit variance."""
        mean = frames.double().mean(0)
        centred = frames.double() - mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
        size = self.projection.shape[1]
        whitening = directions[:, -size:] / variances[-size:].clamp(min=LEAST_VARIANCE).sqrt()
        self.mean.copy_(mean)
        self.projection.copy_(whitening)

    def _cluster(self, frames: Tensor, seed: int) -> None:
        """K-means of projected frames, for each codebook."""
        from sklearn.cluster import MiniBatchKMeans  # takes a second, and no other task needs it

        points = self.project(frames.to(self.mean.device)).cpu().numpy()
        for name in self.codebooks:
            book = getattr(self, name)
            means = MiniBatchKMeans(len(book), batch_size=8192, n_init=3, max_iter=100, random_state=seed % 2**32)
            book.copy_(torch.from_numpy(means.fit(points).cluster_centers_))


def nearest_entry(x: Tensor, codebook: Tensor) -> Tensor:
    """Numbers of the entries (V, P) that are nearest to vectors (..., P), in Euclidean distance: (...)."""
    return (codebook.square().sum(-1) - 2 * (x @ codebook.T)).argmin(-1)


def build_units(config: UnitsConfig, model: ModelConfig, source: ModelConfig | None) -> Units:
    """Units, not yet fitted, whose features are those of a ``source`` encoder if there is one, without its weights."""
    match config.features:
        case "log_mel":
            return Units(config, LogMelChunks(model))
        case "mfcc":
            return Units(config, MfccChunks(model))
        case "layer":
            assert source is not None
            return Units(config, EncoderLayer(source, config.layer))
