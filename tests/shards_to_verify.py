"""Shards to verify: sound ones, ways to damage them, and what is found."""

import io
import json
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from conftest import RATE

from speechssl.data.corpus import SampleRef, read_corpus
from speechssl.data.samples import read_bytes, read_sample_audio
from speechssl.shards.index import index_path, write_index
from speechssl.shards.members import identifier_of, metadata_of, transcript_of
from speechssl.shards.table import SampleEntry
from speechssl.shards.tar_scan import Finding
from speechssl.shards.verify.results import ShardResult
from speechssl.shards.verify.shards import check_shard

BLOCK = 512
Members = dict[str, bytes]


def encoded(seed: int, length: int = 1600, *, rate: int = RATE, channels: int = 1, **kind: str) -> bytes:
    """Noise as a file in memory, FLAC unless said otherwise."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (length, channels))
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, rate, **({"format": "FLAC", "subtype": "PCM_16"} | kind))
    return buffer.getvalue()


def samples_of(count: int = 4, prefix: str = "u", **options: object) -> dict[str, Members]:
    texts = ["YES", "NO", "", "Ä B"]
    return {
        f"{prefix}{i}": {"flac": encoded(i, **options), "json": json.dumps({"text": texts[i % 4]}).encode()}
        for i in range(count)
    }


def write_shard(path: Path, samples: dict[str, Members]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, members in samples.items():
            for suffix, data in members.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def true_entries(shard: Path) -> list[SampleEntry]:
    """Rows of the index of a shard of FLAC and JSON pairs, by tarfile and soundfile."""
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
        ends = [member.offset for member in members[2::2]] + [tar.offset]
        rows = []
        for audio, text, end in zip(members[::2], members[1::2], ends, strict=True):
            num_samples = soundfile.info(tar.extractfile(audio)).frames
            content = json.load(tar.extractfile(text))
            key = audio.name.partition(".")[0]
            rows.append(
                SampleEntry(
                    key=key,
                    offset=audio.offset,
                    size=end - audio.offset,
                    num_samples=num_samples,
                    audio_start=audio.offset_data - audio.offset,
                    audio_size=audio.size,
                    checksum=zlib.crc32(shard.read_bytes()[audio.offset : end]),
                    text=content["text"],
                )
            )
    return rows


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one sound shard with its index."""
    shard = write_shard(tmp_path_factory.mktemp("sound") / "shard-000000.tar", samples_of())
    write_index(shard, RATE, true_entries(shard), index_path(shard))
    return shard.parent


@pytest.fixture
def shard(original: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "set")) / "shard-000000.tar"


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check shards in this process: starting others takes most of a second."""
    here = "speechssl.verbs.verify.check_in_processes"
    monkeypatch.setattr(here, lambda check, shards, num_workers: map(check, shards))


def check(shard: Path, *, decode: bool = True, write_index: bool = False) -> ShardResult:
    return check_shard(shard, decode=decode, write_index=write_index)


def findings_of(result: ShardResult) -> list[Finding]:
    return result.findings + result.index_findings


def kinds(result: ShardResult) -> set[str]:
    return {finding.kind for finding in findings_of(result)}


def without_index(shard: Path) -> Path:
    index_path(shard).unlink()
    return shard


class Sample(NamedTuple):
    """All that a shard has of one utterance."""

    key: str
    audio: np.ndarray
    text: str | None
    speaker: str | None


def read_sample(ref: SampleRef, sample_rate: int) -> Sample:
    with tarfile.open(fileobj=io.BytesIO(read_bytes(ref)), mode="r:") as tar:
        members = {item.name.partition(".")[2].lower(): tar.extractfile(item).read() for item in tar}  # type: ignore[union-attr]
    name = f"{ref.shard}: {ref.key}"
    metadata = metadata_of(members, name=name)
    text = transcript_of(members, metadata, name=name)
    return Sample(ref.key, read_sample_audio(ref, sample_rate), text, identifier_of("speaker", metadata) or None)


def read_all(shard: Path) -> list[Sample]:
    corpus = read_corpus([str(shard)])
    return [read_sample(ref, corpus.sample_rate) for ref in corpus]


def assert_same(samples: list[Sample], expected: list[Sample]) -> None:
    assert [(sample.key, sample.text) for sample in samples] == [(sample.key, sample.text) for sample in expected]
    for sample, other in zip(samples, expected, strict=True):
        np.testing.assert_array_equal(sample.audio, other.audio)


def corrupted(shard: Path, member: str, position: int = 600, value: int = 0x55) -> Path:
    """Flip bits in the content of a member."""
    with tarfile.open(shard) as tar:
        offset = tar.getmember(member).offset_data + position
    data = bytearray(shard.read_bytes())
    data[offset] ^= value
    shard.write_bytes(data)
    return shard
