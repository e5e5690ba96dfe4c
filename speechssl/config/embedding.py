"""Embedding: recordings as an encoder represents them, in files."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from speechssl.config.limits import Amount, FactorOrZero, Megabytes, Section
from speechssl.config.streams import EvaluationSetConfig

Pooling = Literal["none", "mean", "mean_std"]
FeatureFormat = Literal["npz", "parquet", "webdataset"]


@dataclass(frozen=True)
class EmbedConfig(Section):
    """Represent shards or audio files by the layers of an encoder, frame by frame or by one vector each."""

    checkpoint: Path
    """Run folder (its best checkpoint, or else its newest) or one checkpoint."""
    output: Path
    """Folder for part-000000.npz and so on, and for embedding.json, which is there once all of them are. What is
    finished of the same weights, audio and options is left alone; what was interrupted goes on."""
    shards: list[str] = field(default_factory=list)
    """Shard files, folders of shards, globs, or addresses, as in training; these, or audio."""
    audio: list[Path] = field(default_factory=list)
    """Audio files of any format, rate and length, or folders of them."""
    layers: list[str] = field(default_factory=lambda: ["context"])
    """Some of "block_1" and so on, the transformer blocks, and "context", what fine-tuning builds on; "all": these."""
    mix: bool = False
    """Write the mean of the layers instead of each."""
    mix_weights: list[FactorOrZero] = field(default_factory=list)
    """Weights of the layers in that mean, which are divided by their sum; equal ones if absent."""
    pooling: Pooling = "none"
    """"none": every frame; "mean": one vector per recording; "mean_std": its standard deviations too, behind it."""
    format: FeatureFormat = "npz"
    """"npz": arrays of all recordings of a part, joined; "parquet": a row per recording (extra speechssl[parquet]);
    "webdataset": tars with key.LAYER.npy, key.times.npy and key.json."""
    dtype: Literal["float32", "float16"] = "float32"
    """Of the features in the files."""
    max_part_megabytes: Megabytes = 256.0
    """Features at which a part is closed; it is in memory until then, and holds whole recordings."""
    max_part_hours: Amount = 1.0
    """Audio at which it is closed in any case: what an interruption costs at most."""
    max_batch_seconds: Amount | None = None
    """Padded audio per batch, in seconds; absent: 80, and 40 on a CPU, which takes less memory and as much time."""
    cache: Path | None = None
    """Folder for copies of shards from elsewhere; the usual one if absent."""
    cache_gigabytes: Amount = 100.0
    """Limit on that folder."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of matrix products."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""

    def problems(self) -> Iterator[str]:
        if bool(self.shards) == bool(self.audio):
            given = "both given" if self.shards else "both empty"
            yield f"shards and audio are {given}; name shards, or audio files and folders of them"
        if not self.layers:
            yield "layers is empty; name some, as block_3, or all"
        if self.mix_weights and not self.mix:
            yield "mix_weights is given without --mix true"
        if self.mix_weights and not sum(self.mix_weights) > 0:
            yield "mix_weights has no number above 0"
        if self.mix_weights and "all" not in self.layers and len(self.mix_weights) != len(self.layers):
            yield f"mix_weights has {len(self.mix_weights)} numbers for {len(self.layers)} layers; give one each"

    @property
    def data(self) -> EvaluationSetConfig:
        """The shards, as of other verbs."""
        return EvaluationSetConfig(self.shards, cache=self.cache, cache_gigabytes=self.cache_gigabytes)
