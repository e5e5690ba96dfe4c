"""Damage drawn at random is named, or does no harm."""

import shutil
from pathlib import Path

import numpy as np
from shards_to_verify import BLOCK, assert_same, check, findings_of, read_all

from speechssl.data.corpus import read_corpus
from speechssl.shards.index import index_path
from speechssl.shards.verify.indexes import publish_index


def mutate(data: bytes, draws: np.random.Generator) -> bytes:
    """Flip, delete, insert, cut off or double a piece, at blocks of a tar half of the time."""
    unit = int(draws.choice([1, BLOCK]))
    start = int(draws.integers(len(data))) // unit * unit
    stop = start + unit * int(draws.integers(1, 6))
    match draws.integers(5):
        case 0:
            return data[:start] + bytes([data[start] ^ (1 << int(draws.integers(8)))]) + data[start + 1 :]
        case 1:
            return data[:start] + data[stop:]
        case 2:
            return data[:start] + draws.bytes(stop - start) + data[start:]
        case 3:
            return data[:start]
        case _:
            return data[:stop] + data[start:]


def test_a_mutation_is_named_or_does_no_harm(original: Path, tmp_path: Path) -> None:
    shard = Path(shutil.copytree(original, tmp_path / "set")) / "shard-000000.tar"
    expected, expected_texts = read_all(shard), list(read_corpus([str(shard)], with_texts=True).texts or ())
    contents = {path: path.read_bytes() for path in (shard, index_path(shard))}
    draws = np.random.default_rng(0)
    num_named = 0
    for _ in range(200):
        for path, data in contents.items():
            path.write_bytes(data)
        target = (shard, index_path(shard))[int(draws.integers(2))]
        target.write_bytes(mutate(contents[target], draws))
        findings = findings_of(check(shard))
        num_named += bool(findings)
        assert all(finding.kind and finding.detail and finding.shard == str(shard) for finding in findings)
        if target.read_bytes() != contents[target] and target == shard:
            assert findings
        if not findings:
            assert_same(read_all(shard), expected)
            assert list(read_corpus([str(shard)], with_texts=True).texts or ()) == expected_texts
    assert num_named > 150


def test_without_an_index_a_mutation_is_named_or_leaves_the_audio_as_it_is(original: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shard-000000.tar"
    data = (original / shard.name).read_bytes()
    audio_of = {sample.key: sample.audio for sample in read_all(original / shard.name)}
    draws = np.random.default_rng(1)
    num_named = 0
    for _ in range(200):
        shard.write_bytes(mutate(data, draws))
        result = check(shard, write_index=True)
        num_named += bool(result.findings)
        if not result.findings:
            assert publish_index(result)
            for sample in read_all(shard):
                np.testing.assert_array_equal(sample.audio, audio_of[sample.key])
            index_path(shard).unlink()
    assert num_named > 100
