"""A few samples of a set of shards, by which a person sees at once what kind of audio it holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechssl.data.corpus import SampleRef, join
from speechssl.data.samples import read_audio_into
from speechssl.shards.index import read_index

# Samples that are read to find a quiet and a loud one among them, and how much of each at most.
NUM_HEARD = 24
HEARD_SECONDS = 60


class Exhibit(NamedTuple):
    """One sample."""

    role: str
    """What it was chosen for."""
    key: str
    seconds: float
    audio: np.ndarray
    """All of it, or its beginning, float32 in -1..1, (S,)."""
    sample_rate: int
    """Hz."""

    @property
    def level_db(self) -> float:
        """Mean level of what was heard, dB below full scale."""
        return level_of(self.audio)


def choose_exhibits(shards: Sequence[Path]) -> list[Exhibit]:
    """The quietest, the median and the loudest of samples that lie evenly over a set, and the longest of all.

    Fewer if it has fewer; the same set has the same ones.
    """
    corpus = join([read_index(shard, with_texts=False) for shard in shards])
    rate = corpus.sample_rate
    rows = np.unique(np.linspace(0, len(corpus) - 1, NUM_HEARD).round().astype(int)).tolist()
    longest = int(corpus.num_samples.argmax())
    heard = {row: hear(corpus[row], rate) for row in (*rows, longest)}
    by_level = sorted(rows, key=lambda row: level_of(heard[row]))
    chosen: dict[int, str] = {}
    for row, role in (
        (by_level[len(by_level) // 2], "typical"),
        (by_level[0], "quiet"),
        (by_level[-1], "loud"),
        (longest, "longest"),
    ):
        chosen.setdefault(row, role)
    in_order = sorted(chosen, key=lambda row: (chosen[row] == "longest", level_of(heard[row])))
    return [
        Exhibit(chosen[row], corpus.keys[row], int(corpus.num_samples[row]) / rate, heard[row], rate)
        for row in in_order
    ]


def hear(ref: SampleRef, sample_rate: int) -> np.ndarray:
    """Beginning of a sample, float32 (S,)."""
    audio = np.empty(min(ref.num_samples, HEARD_SECONDS * sample_rate), dtype=np.float32)
    read_audio_into(audio, ref, sample_rate)
    return audio


def level_of(audio: np.ndarray) -> float:
    """Mean level of audio, (S,), in dB below full scale."""
    return float(10 * np.log10(max(float(np.mean(np.square(audio, dtype=np.float64))), 1e-12)))
