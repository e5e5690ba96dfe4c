"""One or more shards as one corpus, in columns: 10,000 hours fit into some hundred megabytes."""

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechssl.data.index import NUMBERS, ShardIndex, StringColumn, read_index
from speechssl.errors import DataError

REPORT_FILE = "report.json"
"""Beside finished shards; lists them."""
UNFINISHED = ".unfinished"
"""Folder beside shards of a set that is not finished."""


class SampleRef(NamedTuple):
    """Where one sample is, and how long."""

    shard: str
    """Path of the tar."""
    key: str
    """Its name in the shard, unique in a corpus."""
    offset: int
    """First byte of its first tar header."""
    size: int
    """Bytes of its members, headers and padding included."""
    num_samples: int
    """Audio samples."""
    checksum: int
    """CRC-32 of its bytes."""
    audio_start: int
    """First byte of its encoded audio, counted from offset."""
    audio_size: int
    """Bytes of it."""
    text: str | None
    """Transcript, empty if there is none; None if transcripts were not asked for."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Samples of one or more shards; the columns have one row per sample, (N,), in order of shards and offsets."""

    sample_rate: int
    """Hz."""
    shards: Sequence[str]
    """Paths of the tars."""
    shard_sources: np.ndarray
    """Position of the pattern that named each shard first, (shards,)."""
    shard_numbers: np.ndarray
    """Position of each sample's shard in ``shards``."""
    offsets: np.ndarray
    sizes: np.ndarray
    audio_starts: np.ndarray
    audio_sizes: np.ndarray
    num_samples: np.ndarray
    checksums: np.ndarray
    key_hashes: np.ndarray
    keys: StringColumn
    texts: StringColumn | None = None
    """Transcripts, empty where there is none; None if they were not asked for."""

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, i: int) -> SampleRef:
        return SampleRef(
            self.shards[self.shard_numbers[i]],
            self.keys[i],
            int(self.offsets[i]),
            int(self.sizes[i]),
            int(self.num_samples[i]),
            int(self.checksums[i]),
            int(self.audio_starts[i]),
            int(self.audio_sizes[i]),
            None if self.texts is None else self.texts[i],
        )

    @property
    def seconds(self) -> float:
        """Audio of all samples."""
        return int(self.num_samples.sum()) / self.sample_rate

    def subset(self, chosen: np.ndarray) -> "Corpus":
        """Corpus of some rows, (M,), in their order."""
        columns = {name: getattr(self, name)[chosen] for name in ("shard_numbers", *NUMBERS)}
        keys = StringColumn.of([self.keys[i] for i in chosen])
        texts = None if self.texts is None else StringColumn.of([self.texts[i] for i in chosen])
        return Corpus(self.sample_rate, self.shards, self.shard_sources, **columns, keys=keys, texts=texts)


def read_corpus(patterns: Sequence[str], *, with_texts: bool = False) -> Corpus:
    """Read the indexes of all shards that the patterns name; no shard is read.

    Raises:
        DataError: shards are missing or damaged, differ in sample rate, or share keys.
    """
    found = find_shards(patterns)
    indexes = [read_index(shard, with_texts=with_texts) for shard in found]
    rates = {index.sample_rate: index.shard for index in indexes}
    if len(rates) > 1:
        listed = ", ".join(f"{shard} {rate} Hz" for rate, shard in sorted(rates.items()))
        raise DataError(f"the shards differ in sample rate: {listed}; make them again with one --sample_rate")
    if not sum(map(len, indexes)):
        raise DataError(f"{', '.join(patterns)}: the shards hold no samples")
    corpus = join(indexes, list(found.values()))
    check_keys(corpus)
    return corpus


def join(indexes: Sequence[ShardIndex], sources: Sequence[int] | None = None) -> Corpus:
    """Indexes of one sample rate as one corpus; ``sources`` says which pattern named each, one for all if absent."""
    columns = {name: np.concatenate([getattr(index, name) for index in indexes]) for name in NUMBERS}
    texts = [index.texts for index in indexes if index.texts is not None]
    return Corpus(
        indexes[0].sample_rate,
        [str(index.shard) for index in indexes],
        np.array([0] * len(indexes) if sources is None else sources, dtype=np.int32),
        np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index) for index in indexes]),
        **columns,
        keys=StringColumn.joined([index.keys for index in indexes]),
        texts=StringColumn.joined(texts) if len(texts) == len(indexes) else None,
    )


def check_keys(corpus: Corpus) -> None:
    """Raise DataError for a key that occurs twice."""
    ordered = np.sort(corpus.key_hashes)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    order = np.argsort(corpus.key_hashes, kind="stable")
    hashes = corpus.key_hashes[order]
    for i in np.flatnonzero(hashes[1:] == hashes[:-1]):
        one, other = corpus[order[i]], corpus[order[i + 1]]
        if one.key == other.key:
            where = f"twice in {one.shard}" if one.shard == other.shard else f"in {one.shard} and in {other.shard}"
            raise DataError(f"{one.key}: {where}; a key must occur once")


def find_shards(patterns: Sequence[str]) -> dict[Path, int]:
    """Shard files of files, folders and globs, in order of path, with the number of the pattern that names each first.

    Raises:
        DataError: names every pattern that matches nothing.
    """
    found: dict[Path, int] = {}
    problems = []
    for number, pattern in enumerate(patterns):
        path = Path(pattern)
        names = sorted(path.glob("*.tar")) if path.is_dir() else sorted(glob.glob(pattern))  # noqa: PTH207, absolute too
        matches = [path for path in map(Path, names) if not path.name.startswith(".")]
        if path.is_dir():
            problems += folder_problems(path)
        elif not matches:
            problems.append(f"{pattern}: no shards here (not found)")
        found = dict.fromkeys(matches, number) | found
    if problems:
        raise DataError("\n".join(problems) + "\nMake them with `speechssl shard SOURCE OUTPUT`.")
    return dict(sorted(found.items()))


def folder_problems(folder: Path) -> list[str]:
    """Why a folder is not a whole set of shards, or a whole part of a set that is split."""
    present = {path.name for path in folder.glob("*.tar") if not path.name.startswith(".")}
    for top, prefix in ((folder, ""), (folder.parent, f"{folder.name}/")):
        if (top / UNFINISHED).is_dir():
            return [f"{folder}: this set of shards was never finished; give the command that made it again"]
        if (top / REPORT_FILE).is_file():
            listed = {name.removeprefix(prefix) for name in listed_shards(top) if name.startswith(prefix)}
            missing = sorted(name for name in listed - present if "/" not in name)
            if missing:
                return [f"{folder}: {len(missing)} of {len(listed)} shards are missing ({', '.join(missing[:3])})"]
    if not present:
        parts = sorted({path.parent.name for path in folder.glob("*/*.tar")})
        hint = f", but {', '.join(parts)} have" if parts else ""
        return [f"{folder}: no shards here (a folder without .tar files{hint})"]
    return []


def listed_shards(folder: Path) -> list[str]:
    """Shards that the report of a finished set names, relative to its folder."""
    try:
        shards = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8")).get("shards", [])
    except (OSError, ValueError, AttributeError):
        return []  # another program's file of that name
    return [name for name in shards if isinstance(name, str)] if isinstance(shards, list) else []
