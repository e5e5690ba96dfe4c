"""Audio that is learned from, or scored."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speechssl.config.limits import Amount, AmountOrZero, Count, Section, Share, Workers

NO_SHARDS = "is empty; name shard files or folders that `speechssl shard` made"


@dataclass(frozen=True)
class StreamConfig(Section):
    """Which shards are read, and how their samples become batches."""

    shards: list[str] = field(default_factory=list)
    """Shard files, folders of shards, or globs; from elsewhere https://, s3://, gs:// and hf:// addresses of shards, in
    braces (shard-{000000..000099}.tar), or of folders, with a slash at the end. Several are read as one corpus."""
    num_streams: Count = 1
    """Micro-batches per update, one from each logical stream; processes share them without changing the results."""
    max_batch_seconds: Amount = 87.5
    """Padded audio per micro-batch and stream, in seconds."""
    min_seconds: AmountOrZero = 0.0
    """Samples shorter than this are left out, and counted in the log."""
    max_seconds: Amount = 20.0
    """Longer samples: cropped in pretraining, left out and counted in fine-tuning."""
    num_workers: Workers = 1
    """Threads that read and decode ahead; 0 reads in the training thread."""
    shuffle_hours: Amount = 8.0
    """Order and batches are drawn within windows of this much of a stream's audio, so that it reads few shards."""
    max_bad_share: Share = 0.0
    """Damaged samples that are left out and counted before the run stops, as a share of all; 0 stops at the first."""
    source_weights: list[Amount] = field(default_factory=list)
    """Makes each entry of shards a source of its own; one number each, in proportion to its share of the batches."""
    source_temperature: AmountOrZero = 0.0
    """The same, with shares in proportion to each source's hours to the power of 1 / temperature: 1 keeps their
    proportions, more evens them out; 0 makes one corpus of all."""
    cache: Path | None = None
    """Folder for copies of shards from elsewhere; $XDG_CACHE_HOME/speechssl/shards or that in ~/.cache if absent."""
    cache_gigabytes: Amount = 100.0
    """Limit on that folder, which only a single larger shard exceeds; what was used longest ago goes first. Every
    stream needs room for two of its windows, or shards in use are fetched again and again."""

    def problems(self) -> Iterator[str]:
        if not self.shards:
            yield f"shards {NO_SHARDS}"
        if self.min_seconds > self.max_seconds:
            yield f"min_seconds is {self.min_seconds:g}, above max_seconds ({self.max_seconds:g}): no sample is left"
        if self.source_weights and self.source_temperature:
            yield "source_weights and source_temperature are both given; give one of them"
        if self.source_weights and len(self.source_weights) != len(self.shards):
            yield (
                f"source_weights has {len(self.source_weights)} numbers for {len(self.shards)} entries of shards; "
                "give one each"
            )
        if 0 < self.source_temperature < 1:
            yield (f"source_temperature is {self.source_temperature:g}, expected 1 or more, or 0 for one corpus of all")


@dataclass(frozen=True)
class EvaluationSetConfig(Section):
    """Shards that are scored, not learned from."""

    shards: list[str] = field(default_factory=list)
    """Shard files, folders of shards, globs, or addresses, as in training. Several are read as one corpus."""
    max_batch_seconds: Amount = 80.0
    """Padded audio per batch, in seconds; the scores do not depend on it."""
    cache: Path | None = None
    """Folder for copies of shards from elsewhere; if absent, that of the training data, or else the usual one."""
    cache_gigabytes: Amount | None = None
    """Limit on that folder; if absent, that of the training data, or else 100."""
