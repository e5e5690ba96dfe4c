"""The tars of shards, against what webdataset writes; how clips are divided among them; their levels and clipping."""

import errno
import gc
import hashlib
import inspect
import json
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from speechssl.config import ShardConfig
from speechssl.ingest.clips import Clip
from speechssl.ingest.packing import BYTES_PER_CLIP, pack
from speechssl.ingest.shard_maker import clipped_share, prepare
from speechssl.shards.index import read_index
from speechssl.shards.writer import EncodedSample, ShardFile

RATE = 8000


def a_clip(key: str, seconds: float) -> Clip:
    return Clip(key, f"{key}.wav", None, 0, round(seconds * RATE), RATE, "", "", "", "", key)


@pytest.mark.parametrize("audio_format", ["flac", "opus", "wav"])
def test_a_shard_is_the_tar_that_webdataset_writes_and_its_index_says_where_all_is(
    tmp_path: Path, audio_format: Any
) -> None:
    # Keys on both sides of what a header has room for, and sizes on both sides of a block and of the writer's buffer.
    sizes = (0, 1, 511, 512, 513, 10_239, 10_240, 10_241, 9728, 70_001)
    keys = ["a", *("k" * length for length in (94, 95, 96, 97, 300)), *"bcdefghij"]
    samples = [
        EncodedSample(
            key,
            bytes([i]) * sizes[i % len(sizes)],
            i,
            {"language": "fr", "speaker": f"s{i}", "text": "NA\u00cfVE " * i},
        )
        for i, key in enumerate(keys)
    ]
    with ShardFile(tmp_path / "shard.tar", RATE, audio_format) as shard:
        for sample in samples:
            shard.write(sample)
        num_bytes, sha256 = shard.finish()
    with webdataset.TarWriter(str(tmp_path / "expected.tar"), "speechssl", "speechssl", mtime=0) as tar:
        for sample in samples:
            tar.write({"__key__": sample.key, audio_format: sample.audio})
            tar.write(
                {
                    "__key__": sample.key,
                    "json": json.dumps(sample.metadata, ensure_ascii=False).encode(),
                }
            )
    content = (tmp_path / "shard.tar").read_bytes()
    assert content == (tmp_path / "expected.tar").read_bytes()
    assert (num_bytes, sha256) == (len(content), hashlib.sha256(content).hexdigest())
    index = read_index(tmp_path / "shard.tar")
    assert (index.shard_bytes, index.sha256) == (num_bytes, sha256)
    with tarfile.open(tmp_path / "shard.tar") as tar:
        members = tar.getmembers()
        end = tar.offset
    assert {(member.mtime, member.mode, member.uname, member.uid) for member in members} == {(0, 0o444, "speechssl", 0)}
    bounds = [*(member.offset for member in members[::2]), end]
    assert [(row.offset, row.size) for row in index.entries()] == list(zip(bounds, np.diff(bounds), strict=False))
    for row, sample, member in zip(index.entries(), samples, members[::2], strict=True):
        assert (row.key, member.name) == (sample.key, f"{sample.key}.{audio_format}")
        assert (row.offset + row.audio_start, row.audio_size) == (member.offset_data, len(sample.audio))
        assert row.text == sample.metadata["text"]
        assert (row.speaker, row.language) == (sample.metadata["speaker"], "fr")
    sums = [zlib.crc32(content[row.offset : row.offset + row.size]) for row in index.entries()]
    assert index.checksums.tolist() == sums


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"), ShardFile(tmp_path / "shard.tar", RATE, "wav") as shard:  # noqa: PT012
        shard.write(EncodedSample("a", bytes(30_000), 1, {}))
        monkeypatch.setattr(zlib, "crc32", full)
        shard.write(EncodedSample("b", bytes(30_000), 1, {}))
    monkeypatch.undo()
    gc.collect()  # what a stream would still write when it is forgotten
    assert list(tmp_path.iterdir()) == []


def test_writing_shards_needs_no_pytorch(tmp_path: Path) -> None:
    code = """
import inspect, sys
from pathlib import Path
from speechssl.shards.writer import EncodedSample, ShardFile
with ShardFile(Path(sys.argv[1]), 8000, "wav") as shard:
    shard.write(EncodedSample("a", b"audio", 1, {}))
    shard.finish()
    print("torch" in sys.modules, "webdataset" in sys.modules, inspect.getsourcefile(type(shard._tar)))
import webdataset
print(webdataset.TarWriter.__module__)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s.tar")], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "False", inspect.getsourcefile(webdataset.TarWriter), "webdataset.writer"]


@pytest.mark.parametrize("num_clips", [0, 1, 7, 500])
def test_shards_are_of_equal_size_and_as_few_as_can_be(tmp_path: Path, num_clips: int) -> None:
    seconds = np.random.default_rng(num_clips).uniform(0.5, 20, num_clips)
    clips = [a_clip(f"{i}", x) for i, x in enumerate(seconds)]
    config = ShardConfig(["x"], output=tmp_path, sample_rate=RATE, format="wav", max_shard_megabytes=1.0)
    runs = pack(clips, config)
    assert [clip for run in runs for clip in run] == clips
    sizes = [sum(BYTES_PER_CLIP + 2 * clip.num_frames for clip in run) for run in runs]
    assert len(runs) == -(-sum(sizes) // 1_000_000)
    largest_clip = BYTES_PER_CLIP + 2 * 20 * RATE
    assert max(sizes, default=0) <= 1e6 + largest_clip
    assert max(sizes, default=0) - min(sizes, default=0) <= 2 * largest_clip


def test_a_clip_longer_than_a_shard_leaves_no_empty_one(tmp_path: Path) -> None:
    config = ShardConfig(["x"], output=tmp_path, sample_rate=RATE, format="wav", max_shard_megabytes=0.1)
    runs = pack([a_clip("a", 1), a_clip("b", 60), a_clip("c", 1)], config)
    assert [[clip.key for clip in run] for run in runs] == [["a"], ["b", "c"]]


def test_levels_and_clipping_are_those_of_the_samples_that_are_written(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.3, 5000).astype(np.float32)
    prepared = prepare(a_clip("a", 5000 / RATE), samples, ShardConfig(["x"], output=tmp_path, max_clipped_share=1.0))
    written = np.clip(np.round(samples.astype(np.float64) * 32768), -32768, 32767) / 32768
    assert prepared.level == pytest.approx(10 * np.log10(np.var(written)), abs=1e-9)  # type: ignore[union-attr]
    share = sum(abs(x) >= 0.999 for x in written) / len(written)
    assert share > 0
    assert prepared.clipped_share == share  # type: ignore[union-attr]
    assert clipped_share(np.array([-32768, 32767, 32735, 0], dtype=np.int16)) == 0.5
    assert clipped_share(np.array([-32735, 32735], dtype=np.int16)) == 0
