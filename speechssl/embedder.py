"""An encoder from its checkpoint, which represents recordings of any length by the outputs of its layers."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechssl.config import DropoutConfig, ModelConfig, Pooling
from speechssl.config.reading import from_dict
from speechssl.decoding.hearing import Heard, hear, pad
from speechssl.decoding.long_form import Audio, Recording, Window, open_recording
from speechssl.embedding.representation import Kept, Representation, frame_times, layer_names
from speechssl.errors import DataError
from speechssl.model.encoder import Encoder
from speechssl.model.loading import NoRandomWeights, load_weights
from speechssl.training.checkpoints import Checkpoint, load_checkpoint
from speechssl.training.machine import resolve_device, to_device


@dataclass(frozen=True)
class Embedding:
    """A recording as an encoder represents it."""

    names: tuple[str, ...]
    """Of the layers: "block_1" and so on, the transformer blocks; "context", what fine-tuning builds on, which is the
    last block's output, normalised where blocks begin with a norm; "mix", a mean of several."""
    layers: Tensor
    """float32 (layers, T, D), on the CPU; pooled over time (layers, D), or (layers, 2 D) with deviations."""
    times: Tensor
    """Middle of what each frame hears, in seconds, float64 (T,)."""

    def __getitem__(self, name: str) -> Tensor:
        """The layer of a name, (T, D), or pooled (D,) or (2 D,)."""
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
        return layer_names(self.encoder)

    def embed(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        *,
        layers: Sequence[str] | None = None,
        pooling: Pooling = "none",
        mix_weights: Sequence[float] | None = None,
    ) -> Embedding:
        """Represent one recording; long ones are heard in the windows of ``speechssl transcribe``.

        Args:
            audio: a file, or floating-point samples in -1..1, (S,) or (S, C).
            sample_rate: of samples, in Hz; they are resampled where the encoder hears another.
            layers: names of those that are wanted; of base all are 1.8 GB per quarter of an hour.
            pooling: "mean" over time, or "mean_std" with the standard deviations behind it.
            mix_weights: one number per layer, to have their mean with these weights, "mix", instead of each.

        Raises:
            ConfigError: there is no such layer, or a rate was given for a file.
            DataError: it cannot be read, or is shorter than a frame.
        """
        found = self.embed_many([audio], sample_rate, layers=layers, pooling=pooling, mix_weights=mix_weights)
        with closing(found):
            return next(found)

    def embed_many(
        self,
        recordings: Iterable[Audio],
        sample_rate: int | None = None,
        *,
        layers: Sequence[str] | None = None,
        pooling: Pooling = "none",
        mix_weights: Sequence[float] | None = None,
        max_batch_seconds: float | None = None,
    ) -> Generator[Embedding, None, None]:
        """Represent recordings as ``embed`` does each, in batches of like lengths; yields them in order.

        Args:
            recordings: files or arrays, taken and read in another thread, some batches ahead.
            sample_rate: of arrays, as of ``embed``; so are the others.
            max_batch_seconds: padded audio per batch, in seconds; 80 if absent, and 40 on a CPU.

        Raises:
            ConfigError: as ``embed``, before anything is heard.
            DataError: one cannot be read, or is shorter than a frame; those before it have been yielded.
        """
        weights = None if mix_weights is None else tuple(mix_weights)
        names = self.layer_names if layers is None else tuple(layers)
        representation = Representation(self.layer_names, names, weights, pooling)
        opened = (_open(audio, sample_rate, self.encoder.config) for audio in recordings)
        return self._embed_many(opened, representation, max_batch_seconds)

    def _embed_many(
        self, recordings: Iterable[Recording], representation: Representation, max_batch_seconds: float | None
    ) -> Generator[Embedding, None, None]:
        with closing(self.hear(recordings, representation, max_batch_seconds)) as found:
            for heard in found:
                if heard.problem:
                    raise DataError(heard.problem)
                values = representation.joined(heard.in_order())
                yield Embedding(
                    representation.names, values, frame_times(heard.recording.num_samples, self.encoder.config)
                )

    def hear(
        self,
        recordings: Iterable[Recording],
        representation: Representation,
        max_batch_seconds: float | None = None,
        autocast_dtype: torch.dtype | None = None,
    ) -> Generator[Heard[Kept], None, None]:
        """Represent the windows of recordings, in order; what cannot be read is yielded with its problem.

        Args:
            recordings: to hear.
            representation: what is kept.
            max_batch_seconds: as of ``embed_many``.
            autocast_dtype: of matrix products; None for float32.
        """
        device = self.encoder.mask_embedding.device

        @torch.no_grad()
        def represent(windows: list[Window]) -> Sequence[Kept]:
            audio, lengths = pad(windows)
            with torch.autocast(device.type, autocast_dtype, enabled=autocast_dtype is not None):
                output = self.encoder(
                    to_device(audio, device),
                    None if lengths is None else to_device(lengths, device),
                    keep_layers=representation.needs_blocks,
                )
            return representation.of(output, windows)

        seconds = max_batch_seconds or (40.0 if device.type == "cpu" else 80.0)
        return hear(recordings, self.encoder.config, represent, max_batch_seconds=seconds)


def _open(audio: Audio, sample_rate: int | None, model: ModelConfig) -> Recording:
    """A recording that says what is wrong with it when it is read: not before those that come first."""
    try:
        return open_recording(audio, sample_rate, model)
    except DataError as error:
        return Recording(None, _failing(error))


def _failing(error: DataError) -> Iterator[np.ndarray]:
    raise error
    yield


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
