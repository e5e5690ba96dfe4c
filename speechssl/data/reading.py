"""One sample out of a shard, at the offset that the index gives."""

import io
import json
import tarfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from speechssl.audio.reading import decode_audio, decode_into
from speechssl.data.corpus import SampleRef
from speechssl.errors import DataError

AUDIO_SUFFIXES = frozenset({"flac", "wav", "opus", "ogg", "mp3"})
TEXT_SUFFIXES = ("txt", "transcript")


class Sample(NamedTuple):
    """Audio and what is known about it."""

    key: str
    audio: np.ndarray
    """Float32 in -1..1, (S,)."""
    text: str | None
    speaker: str | None


def read_sample(ref: SampleRef, sample_rate: int) -> Sample:
    """Read and decode one sample.

    Raises:
        DataError: names shard and key of what is missing or damaged.
    """
    name = f"{ref.shard}: {ref.key}"
    members = _members(ref)
    audio_suffix = next((suffix for suffix in members if suffix in AUDIO_SUFFIXES), None)
    if audio_suffix is None:
        raise DataError(f"{name}: no audio at its offset, the shard is not the one that was indexed; make it again")
    audio = decode_audio(members[audio_suffix], name=name, sample_rate=sample_rate)
    metadata = metadata_of(members, name=name)
    return Sample(
        ref.key, _checked_length(audio, ref), transcript_of(members, metadata, name=name), metadata.get("speaker")
    )


def read_sample_audio(ref: SampleRef, sample_rate: int) -> np.ndarray:
    """Read and decode the audio of one sample alone, at the place that the index gives: float32 (S,).

    Raises:
        DataError: names shard and key of what is missing or damaged.
    """
    audio = np.empty(ref.num_samples, dtype=np.float32)
    read_audio_into(audio, ref, sample_rate)
    return audio


def read_audio_into(out: np.ndarray, ref: SampleRef, sample_rate: int, *, start: int = 0) -> None:
    """Read and decode a part of a sample's audio, from ``start`` on, to where it is wanted: float32 (S,), contiguous.

    Raises:
        DataError: names shard and key of what is missing or damaged.
    """
    encoded = _read_bytes(ref)[ref.audio_start : ref.audio_start + ref.audio_size]
    name = f"{ref.shard}: {ref.key}"
    decode_into(out, encoded, name=name, sample_rate=sample_rate, num_samples=ref.num_samples, start=start)


def metadata_of(members: dict[str, bytes], *, name: str) -> dict[str, Any]:
    """Content of a sample's ``json`` member; empty if it has none.

    Args:
        members: their bytes by suffix.
        name: shard and key, for messages.

    Raises:
        DataError: not a JSON object.
    """
    try:
        content = json.loads(members.get("json", b"{}"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: its .json is damaged ({error}); make the shard again") from error
    if not isinstance(content, dict):
        raise DataError(f"{name}: its .json is a {type(content).__name__}, expected an object; make the shard again")
    return content


def transcript_of(members: dict[str, bytes], metadata: dict[str, Any], *, name: str) -> str | None:
    """Transcript in the metadata, or else in a text member, its lines joined; None if there is neither.

    Raises:
        DataError: not a text, or not in UTF-8.
    """
    text = metadata.get("text")
    suffix = next((suffix for suffix in TEXT_SUFFIXES if suffix in members), None)
    try:
        if not text and suffix is not None:
            return " ".join(members[suffix].decode("utf-8-sig").split())
        if isinstance(text, str):
            text.encode()  # JSON can write half a surrogate pair, which is no character
    except UnicodeError as error:
        raise DataError(f"{name}: its transcript is not UTF-8 ({error}); make the shard again") from error
    if text is not None and not isinstance(text, str):
        raise DataError(
            f"{name}: the text in its .json is of type {type(text).__name__}, expected a string; make the shard again"
        )
    return text


def _checked_length(audio: np.ndarray, ref: SampleRef) -> np.ndarray:
    if len(audio) != ref.num_samples:
        raise DataError(
            f"{ref.shard}: {ref.key}: {len(audio)} samples, expected {ref.num_samples} as the index says; "
            "make the shard again"
        )
    return audio


def _read_bytes(ref: SampleRef) -> bytes:
    """All bytes of a sample, checked against the index."""
    name = f"{ref.shard}: {ref.key}"
    try:
        with open(ref.shard, "rb") as file:  # noqa: PTH123, a Path per sample costs more than the read
            file.seek(ref.offset)
            data = file.read(ref.size)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}") from error
    if zlib.crc32(data) != ref.checksum:
        raise DataError(
            f"{name}: the {len(data)} bytes at {ref.offset} are not the {ref.size} that were indexed; "
            "the shard is damaged or was replaced, make it again"
        )
    return data


def _members(ref: SampleRef) -> dict[str, bytes]:
    """Bytes of a sample's members by what follows the key and its dot."""
    members = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_read_bytes(ref)), mode="r:", ignore_zeros=False) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                content = tar.extractfile(member)
                if key == ref.key and content is not None:
                    members[suffix.lower()] = content.read()
    except tarfile.TarError as error:
        raise DataError(f"{ref.shard}: {ref.key}: damaged tar ({error}); make the shard again") from error
    return members
