"""An encoder from its checkpoint, which represents recordings of any length by the outputs of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from speechssl.config import DropoutConfig, ModelConfig, TranscribeConfig
from speechssl.config.reading import from_dict
from speechssl.decoding.long_form import Audio, open_recording
from speechssl.errors import ConfigError
from speechssl.frames import frame_seconds
from speechssl.model.encoder import Encoder
from speechssl.model.loading import NoRandomWeights, load_weights
from speechssl.training.checkpoints import Checkpoint, load_checkpoint
from speechssl.training.machine import resolve_device


@dataclass(frozen=True)
class Embedding:
    """A recording as an encoder represents it."""

    names: tuple[str, ...]
    """Of the layers: "block_1" and so on, the transformer blocks; "context", what fine-tuning builds on, which is the
    last block's output, normalised where blocks begin with a norm."""
    layers: Tensor
    """float32 (layers, T, D), on the CPU."""
    times: Tensor
    """Middle of what each frame hears, in seconds, float64 (T,)."""

    def __getitem__(self, name: str) -> Tensor:
        """The layer of a name, (T, D)."""
        if name not in self.names:
            raise KeyError(f"{name}; the layers are {', '.join(self.names)}")
        return self.layers[self.names.index(name)]


class Embedder(NamedTuple):
    """Encoder and what is needed to use it."""

    encoder: Encoder
    checkpoint: Checkpoint

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, first to last."""
        return (*(f"block_{i + 1}" for i in range(self.encoder.config.context.num_layers)), "context")

    @torch.no_grad()
    def embed(self, audio: Audio, sample_rate: int | None = None, *, layers: Sequence[str] | None = None) -> Embedding:
        """Represent one recording; long ones are heard in the windows of ``speechssl transcribe``.

        Args:
            audio: a file, or floating-point samples in -1..1, (S,) or (S, C).
            sample_rate: of samples, in Hz; they are resampled where the encoder hears another.
            layers: names of those that are wanted; of base all are 1.8 GB per quarter of an hour.

        Raises:
            ConfigError: there is no such layer, or a rate was given for a file.
            DataError: it cannot be read, or is shorter than a frame.
        """
        config, names = self.encoder.config, self.layer_names if layers is None else tuple(layers)
        if unknown := [name for name in names if name not in self.layer_names]:
            raise ConfigError(f"layers: {', '.join(unknown)}; expected some of {', '.join(self.layer_names)}")
        chosen = [self.layer_names.index(name) for name in names]
        recording = open_recording(audio, sample_rate, config)
        for window in recording.windows(config, TranscribeConfig.window_seconds, TranscribeConfig.margin_seconds):
            samples = torch.from_numpy(window.samples)[None].to(self.encoder.mask_embedding.device)
            output = self.encoder(samples, keep_layers=True)
            found = [*output.layers, output.context]
            kept = [found[i][0, window.first_frame : window.stop_frame] for i in chosen]
            recording.outputs.append(torch.stack(kept).float().cpu())  # (layers, T, D)
        joined = torch.cat(recording.outputs, dim=1)
        frames = torch.arange(joined.shape[1], dtype=torch.float64)
        return Embedding(names, joined, frame_seconds(frames, config.feature_encoder.conv_layers, config.sample_rate))


def load_encoder(path: Path | str, device: torch.device | str = "auto") -> Embedder:
    """Load the encoder of a run, its best checkpoint if one is marked and else its newest, or of one checkpoint.

    Args:
        path: run or checkpoint, of pretraining or fine-tuning, or what ``speechssl import`` made.
        device: "auto", "cuda", "mps", "cpu", or one of PyTorch's.

    Raises:
        CheckpointError: missing or damaged.
        ConfigError: the device is not there.
    """
    device = resolve_device(device)
    checkpoint = load_checkpoint(Path(path))
    with NoRandomWeights():
        encoder = Encoder(from_dict(ModelConfig, checkpoint.config["model"]), DropoutConfig())
    load_weights(encoder, checkpoint.encoder_state, source=checkpoint.path, copy=False)
    return Embedder(encoder.to(device).eval(), checkpoint)
