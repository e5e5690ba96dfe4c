"""Shards: ordinary webdataset tars with an index beside each."""

import io
import json
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import soundfile

from speechssl.data.index import SampleEntry, index_path, write_index
from speechssl.errors import DataError

PARTIAL = ".partial_"
AudioFormat = Literal["flac", "wav"]


class EncodedSample(NamedTuple):
    """A sample ready to be written."""

    key: str
    audio: bytes
    num_samples: int
    metadata: dict[str, Any]


def encode_audio(samples: np.ndarray, sample_rate: int, audio_format: AudioFormat) -> bytes:
    """Float32 (S,) in -1..1 to the bytes of a 16-bit mono file; what exceeds the range is clipped."""
    pcm = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate, format=audio_format.upper(), subtype="PCM_16")
    return buffer.getvalue()


class ShardWriter:
    """Writes samples into numbered shards; each appears under its name only when it and its index are whole.

    The same samples give the same bytes: times and owners are fixed.

    Args:
        folder: where ``shard-000000.tar`` and so on go.
        sample_rate: of the audio, in Hz.
        audio_format: suffix of the audio members.
        max_bytes: a shard that has grown past this is closed.
    """

    def __init__(self, folder: Path, *, sample_rate: int, audio_format: AudioFormat, max_bytes: float) -> None:
        self.folder = folder
        self.sample_rate = sample_rate
        self.audio_format = audio_format
        self.max_bytes = max_bytes
        self.shards: list[Path] = []
        self._entries: list[SampleEntry] = []
        self._tar: Any = None

    def write(self, sample: EncodedSample) -> None:
        """Append a sample.

        Raises:
            DataError: the disk is full.
        """
        try:
            if self._tar is None:
                self._open()
            offset = self._tar.tarstream.offset
            metadata = json.dumps(sample.metadata, ensure_ascii=False, sort_keys=True).encode()
            self._tar.write({"__key__": sample.key, self.audio_format: sample.audio, "json": metadata})
            size = self._tar.tarstream.offset - offset
            text = str(sample.metadata.get("text", ""))
            self._entries.append(SampleEntry(sample.key, offset, size, sample.num_samples, text))
            if offset + size >= self.max_bytes:
                self._close_shard()
        except OSError as error:
            raise self._named(error) from error

    def close(self) -> None:
        """Finish the last shard."""
        try:
            self._close_shard()
        except OSError as error:
            raise self._named(error) from error

    def _open(self) -> None:
        import webdataset  # imports torch, which readers of an index do not need

        self._path = self.folder / f"shard-{len(self.shards):06d}.tar"
        self._file = self._path.with_name(PARTIAL + self._path.name).open("wb")
        self._tar = webdataset.TarWriter(self._file, encoder=False, mtime=0.0, user="speechssl", group="speechssl")

    def _close_shard(self) -> None:
        if self._tar is None:
            return
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        partial_shard = self._path.with_name(PARTIAL + self._path.name)
        partial_index = self._path.with_name(PARTIAL + index_path(self._path).name)
        write_index(partial_shard, self.sample_rate, self._entries, partial_index)
        partial_index.replace(index_path(self._path))
        partial_shard.replace(self._path)
        self.shards.append(self._path)
        self._entries = []
        self._tar = None

    def _named(self, error: OSError) -> DataError:
        return DataError(
            f"{self.folder}: cannot write shard {len(self.shards)} ({error.strerror or error}); "
            "free some space or choose another folder, then run the same command again"
        )
