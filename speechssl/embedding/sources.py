"""What is embedded: samples of shards or audio files, each with its key and what is known of it."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from speechssl.audio.blocks import read_blocks_at
from speechssl.audio.folders import find_audio
from speechssl.config import EmbedConfig, ModelConfig
from speechssl.data.corpus import Corpus, SampleRef, check_rate, read_corpus
from speechssl.data.samples import read_sample_audio
from speechssl.decoding.long_form import Recording
from speechssl.errors import ConfigError, DataError
from speechssl.frames import num_frames
from speechssl.ingest.recordings import key_of, printable
from speechssl.remote.store import make_store
from speechssl.shards.addresses import redact_all


class Entry(NamedTuple):
    """A recording that is to be embedded; what is not known of it is empty."""

    key: str
    """Unique among all, in the characters of keys."""
    recording: Recording
    text: str = ""
    speaker: str = ""
    language: str = ""
    path: str = ""
    """Of an audio file."""


class Source(Protocol):
    """Recordings in order."""

    @property
    def sizes(self) -> Sequence[float]:
        """For progress: seconds of each, or 1 where they are not known."""
        ...

    def entries(self, start: int) -> Iterator[Entry]:
        """The recordings from one on."""
        ...

    @property
    def too_short(self) -> Sequence[str]:
        """Keys of those that give no frame, as far as that is known, and are left out."""
        ...

    def digest(self) -> str:
        """The same for the same recordings in the same order."""
        ...


class ShardSource:
    """Samples of shards; those that are shorter than a frame are left out.

    Args:
        corpus: of the encoder's sample rate.
        model: whose frames are meant.
        name: of the shards, for messages.

    Raises:
        DataError: nothing is left.
    """

    def __init__(self, corpus: Corpus, model: ModelConfig, *, name: str) -> None:
        audible = num_frames(corpus.num_samples, model.feature_encoder.conv_layers) > 0
        if not audible.any():
            raise DataError(f"{name}: no sample is as long as a frame of the encoder")
        self.too_short: list[str] = [corpus.keys[i] for i in np.flatnonzero(~audible).tolist()]
        """Keys of those that are left out."""
        self._corpus = corpus.subset(np.flatnonzero(audible)) if self.too_short else corpus
        corpus = self._corpus
        self.sizes: list[float] = (corpus.num_samples / corpus.sample_rate).tolist()

    def entries(self, start: int) -> Iterator[Entry]:
        """As of :class:`Source`."""
        for ref in map(self._corpus.__getitem__, range(start, len(self._corpus))):
            recording = Recording(None, _blocks_of(ref, self._corpus.sample_rate))
            yield Entry(ref.key, recording, ref.text or "", ref.speaker or "", ref.language or "")

    def digest(self) -> str:
        """As of :class:`Source`."""
        return self._corpus.digest(in_order=True)


def _blocks_of(ref: SampleRef, sample_rate: int) -> Iterator[np.ndarray]:
    yield read_sample_audio(ref, sample_rate)


class FileSource:
    """Audio files; one whose name and size are as before, and which was not written since, is taken to be the same.

    Args:
        paths: of the files.
        sample_rate: that the encoder hears.
    """

    too_short: Sequence[str] = ()

    def __init__(self, paths: Sequence[Path], sample_rate: int) -> None:
        self._paths = paths
        self._sample_rate = sample_rate
        self._keys = keys_of(paths)
        self.sizes: list[float] = [1.0] * len(paths)

    def entries(self, start: int) -> Iterator[Entry]:
        """As of :class:`Source`."""
        for key, path in islice(zip(self._keys, self._paths, strict=True), start, None):
            recording = Recording(path, read_blocks_at(path, self._sample_rate))
            yield Entry(key, recording, path=printable(str(path)))

    def digest(self) -> str:
        """As of :class:`Source`."""
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                status = path.stat()
                state = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                state = "gone"
            digest.update(os.fsencode(path) + b"\0" + state.encode() + b"\0")
        return digest.hexdigest()


def keys_of(paths: Sequence[Path]) -> list[str]:
    """Keys of files: their paths below the folder that all are in, without suffix; a number tells equal ones apart."""
    folder = os.path.commonpath([path.absolute().parent for path in paths])
    keys = [key_of(os.path.relpath(path.absolute().with_suffix(""), folder)) for path in paths]
    counts, seen = Counter(keys), set(keys)
    numbers: Counter[str] = Counter()
    for i, key in enumerate(keys):
        if counts[key] > 1:
            while (numbered := f"{key}_{numbers[key] + 1}") in seen:
                numbers[key] += 1
            seen.add(numbered)
            keys[i] = numbered
    return keys


def open_source(config: EmbedConfig, model: ModelConfig) -> Source:
    """The recordings that a configuration names, for a model to hear.

    Raises:
        ConfigError: no audio files where they were said to be.
        DataError: shards are missing, or of another sample rate, or hold nothing as long as a frame.
    """
    if config.audio:
        paths = list(dict.fromkeys(find_audio(config.audio)))
        if missing := [str(path) for path in paths if not path.exists()]:
            raise ConfigError(f"audio: no such file or folder: {', '.join(missing)}")
        return FileSource(paths, model.sample_rate)
    corpus = read_corpus(config.shards, with_texts=True, store=make_store(config.data))
    name = redact_all(config.shards)
    check_rate(corpus, model.sample_rate, name=f"the shards {name}", by="the encoder hears")
    return ShardSource(corpus, model, name=f"shards ({name})")
