"""What checking one shard comes to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechssl.shards.table import SampleEntry, StringColumn
from speechssl.shards.tar_scan import Finding

MAKE_AGAIN = "make the shard again"
_NEW_INDEX = "if the shard is right, give it a new index with `speechssl verify --write_index`"


class RateUse(NamedTuple):
    """Samples of one rate in a shard."""

    num_samples: int
    """Utterances."""
    key: str
    """The first of them."""
    offset: int


@dataclass
class ShardResult:
    """What one shard holds, and what is wrong with it."""

    shard: Path
    keys: StringColumn = field(default_factory=lambda: StringColumn.of([]))
    """Those that are allowed, once or more, in order of the shard."""
    offsets: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """First byte of each of these samples, (N,)."""
    checksums: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))
    """CRC-32 of the bytes of each, (N,)."""
    num_samples: int = 0
    """Utterances."""
    seconds: float = 0.0
    rates: dict[int, RateUse] = field(default_factory=dict)
    """By samples per second."""
    findings: list[Finding] = field(default_factory=list)
    """What is wrong with the shard."""
    index_findings: list[Finding] = field(default_factory=list)
    """What a new index would mend."""
    index_is_ready: bool = False
    """A new index waits under its partial name."""

    def name(self, kind: str, detail: str, key: str = "", offset: int | None = None) -> None:
        """Add something that is wrong with the shard."""
        self.findings.append(Finding(str(self.shard), kind, key, offset, detail))

    def name_in_index(self, kind: str, detail: str, key: str = "", offset: int | None = None) -> None:
        """Add something that a new index would mend."""
        self.index_findings.append(Finding(str(self.shard), kind, key, offset, f"{detail}; {_NEW_INDEX}"))


class AudioFacts(NamedTuple):
    num_samples: int
    sample_rate: int


class CheckedSample(NamedTuple):
    entry: SampleEntry
    """What its row of the index should be, but for what cannot be known."""
    audio: AudioFacts | None
    """None if there is none that can be used."""
    is_readable: bool
    """Whether its text members can be read."""
