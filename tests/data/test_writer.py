"""The tars of shards, against Python's own; how clips are divided among them; how loud and how clipped they are."""

import hashlib
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from speechssl.config import ShardConfig
from speechssl.data.clips import Clip
from speechssl.data.index import read_index
from speechssl.data.packing import BYTES_PER_CLIP, pack
from speechssl.data.shard_maker import clipped_share, prepare
from speechssl.data.writer import EncodedSample, ShardFile

RATE = 8000
LONG = "k" * 300


def a_clip(key: str, seconds: float) -> Clip:
    return Clip(key, f"{key}.wav", None, 0, round(seconds * RATE), RATE, "", "", "", "", key)


def test_a_shard_is_the_tar_that_python_writes(tmp_path: Path) -> None:
    samples = [
        EncodedSample(key, bytes(range(size)), 5, {"text": "NA\u00cfVE"})
        for key, size in (("a", 0), (LONG, 200), ("b", 255))
    ]
    with ShardFile(tmp_path / "shard.tar", RATE, "wav") as shard:
        for sample in samples:
            shard.write(sample)
        num_bytes, sha256 = shard.finish()
    with tarfile.open(tmp_path / "expected.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for sample in samples:
            for suffix, data in (("wav", sample.audio), ("json", '{"text": "NA\u00cfVE"}'.encode())):
                member = tarfile.TarInfo(f"{sample.key}.{suffix}")
                member.size, member.mode, member.uname, member.gname = len(data), 0o444, "speechssl", "speechssl"
                tar.addfile(member, io.BytesIO(data))
    content = (tmp_path / "shard.tar").read_bytes()
    assert content == (tmp_path / "expected.tar").read_bytes()
    assert (num_bytes, sha256) == (len(content), hashlib.sha256(content).hexdigest())
    index = read_index(tmp_path / "shard.tar")
    assert (index.shard_bytes, index.sha256) == (num_bytes, sha256)
    for row, sample in zip(index.entries(), samples, strict=True):
        audio = row.offset + row.audio_start
        assert content[audio : audio + row.audio_size] == sample.audio
    sums = [zlib.crc32(content[row.offset : row.offset + row.size]) for row in index.entries()]
    assert index.checksums.tolist() == sums


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
