"""Several sets as one corpus: samples of one name are told apart, and samples that are there twice are refused."""

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE, write_corpus
from shards_to_verify import corrupted, read_sample, samples_of, write_shard

from speechssl.config import EvaluateConfig, EvaluationSetConfig, ShardConfig, StreamConfig, VerifyConfig
from speechssl.data.batches import Quarantine, SampleCache, load_batch
from speechssl.data.corpus import Corpus, check_rate, distinct_ends, join, read_corpus
from speechssl.data.streams import StreamPlan, epoch_batches
from speechssl.errors import ConfigError, DataError
from speechssl.shards.index import read_index
from speechssl.shards.table import key_hash
from speechssl.verbs import evaluate
from speechssl.verbs import shard as ingest
from speechssl.verbs.verify import run as verify


def make_set(root: Path, name: str, seed: int, names: tuple[str, ...] = ("0000", "0001", "0002")) -> Path:
    """A set under a folder of its own, of noise in files of the given names; all of equal length."""
    draws = np.random.default_rng(seed)
    (root / "audio" / name).mkdir(parents=True)
    for file in names:
        path = root / "audio" / name / f"{file}.wav"
        soundfile.write(path, draws.normal(0, 0.1, 4000), RATE)
        path.with_suffix(".txt").write_text(f"{name} {file}")
    ingest.run(ShardConfig([str(root / "audio" / name)], root / name, text_case="keep"))
    return root / name


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("sets")
    return [str(make_set(root, "english", 1)), str(make_set(root, "german", 2, ("0001", "0002", "zwei")))]


def plan_of(corpus: Corpus) -> StreamPlan:
    return StreamPlan(corpus, StreamConfig(max_batch_seconds=1), seed=0, crop=False)


def test_files_of_one_name_in_two_sets_are_different_samples(pair: list[str]) -> None:
    corpus = read_corpus(pair, with_texts=True)
    expected = ["0000", "english/0001", "english/0002", "german/0001", "german/0002", "zwei"]
    assert [ref.key for ref in corpus] == list(corpus.keys) == expected
    assert len(set(corpus.key_hashes.tolist())) == 6
    cache = SampleCache(10)
    for ref in corpus:
        language, name = str(ref.text).split()
        wanted, _ = soundfile.read(Path(pair[0]).parent / "audio" / language / f"{name}.wav", dtype="float32")
        np.testing.assert_array_equal(read_sample(ref, RATE).audio, wanted)
        np.testing.assert_array_equal(cache.read(ref, RATE), wanted)
    batches = [load_batch(spec, RATE) for spec in epoch_batches(corpus, 10)]
    assert sorted(chain.from_iterable(batch.keys for batch in batches)) == sorted(expected)
    assert [ref.key for ref in corpus.subset(np.array([4, 0]))] == ["german/0002", "0000"]


def test_both_of_one_name_are_scored_with_their_own_speaker(finetuned: Path, tmp_path: Path) -> None:
    sets = []
    for name, lengths in (("english", [8000, 9000]), ("german", [8500])):
        manifest = write_corpus(tmp_path / "audio" / name, lengths)
        manifest.write_text(manifest.read_text().replace("\ts0", f"\t{name}"))
        ingest.run(ShardConfig([str(manifest)], tmp_path / name))
        sets.append(str(tmp_path / name))
    rates = evaluate.run(EvaluateConfig(finetuned, EvaluationSetConfig(sets), tmp_path / "scores", accelerator="cpu"))
    lines = (tmp_path / "scores" / "hypotheses.jsonl").read_text().splitlines()
    spoken = {line["id"]: line["speaker"] for line in map(json.loads, lines)}
    assert spoken == {"english/u000": "english", "german/u000": "german", "u001": "s1"}
    assert (rates.num_utterances, rates.num_words) == (3, 3)


def test_both_of_one_name_are_counted_when_they_are_damaged(pair: list[str], tmp_path: Path) -> None:
    for name in ("english", "german"):
        shutil.copytree(Path(pair[0]).parent / name, tmp_path / name)
        corrupted(tmp_path / name / "shard-000000.tar", "0001.flac")
    corpus = read_corpus([str(tmp_path / "english"), str(tmp_path / "german")])
    quarantine = Quarantine(2, 6)
    [spec] = epoch_batches(corpus, 10)
    load_batch(spec, RATE, quarantine=quarantine)
    assert set(quarantine.problems) == {"english/0001", "german/0001"}


def test_sets_that_share_no_key_are_what_they_were(pair: list[str], tmp_path: Path) -> None:
    other = make_set(tmp_path, "other", 3, ("a", "b"))
    corpus = read_corpus([pair[0], str(other)])
    indexes = [read_index(Path(folder) / "shard-000000.tar") for folder in sorted([pair[0], str(other)])]
    assert corpus.key_hashes.tolist() == [key_hash(key) for index in indexes for key in index.keys]
    assert sorted(ref.key for ref in corpus) == ["0000", "0001", "0002", "a", "b"]
    plain = join(indexes)
    assert plan_of(corpus).fingerprint == plan_of(plain).fingerprint
    assert corpus.digest() == plain.digest()


def test_digest_and_plan_know_the_samples_and_not_their_place(pair: list[str], tmp_path: Path) -> None:
    corpus = read_corpus(pair)
    for name, original in (("b/one", pair[0]), ("c/one", pair[1]), ("german", pair[0]), ("english", pair[1])):
        shutil.copytree(original, tmp_path / name)
    moved = read_corpus([str(tmp_path / "c/one"), str(tmp_path / "b/one")])
    assert moved[1].key == "b/one/0001"
    assert moved.digest() == corpus.digest()
    assert plan_of(moved).fingerprint == plan_of(corpus).fingerprint
    swapped = read_corpus([str(tmp_path / "english"), str(tmp_path / "german")])  # in the other order
    assert swapped.digest() == corpus.digest()
    assert plan_of(swapped).fingerprint != plan_of(corpus).fingerprint


def test_a_set_is_named_by_as_much_of_its_path_as_tells_it_apart() -> None:
    assert distinct_ends(["/a/english", "/b/german"]) == ["english", "german"]
    assert distinct_ends(["/a/en/train", "/a/de/train"]) == ["en/train", "de/train"]
    assert distinct_ends(["/x/a/en/train", "/y/a/en/train", "/x/dev"]) == ["x/a/en/train", "y/a/en/train", "x/dev"]
    assert distinct_ends(["https://host/train", "/train"]) == ["host/train", "train"]


def test_a_sample_that_is_in_two_sets_is_refused(pair: list[str], tmp_path: Path) -> None:
    copy = shutil.copytree(pair[0], tmp_path / "copy")
    with pytest.raises(DataError, match=r"^0000 and 2 more samples: in .*english.*copy.*the same sample twice; leave"):
        read_corpus([*pair, str(copy)])


def test_a_key_that_occurs_twice_in_a_set_is_refused(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b")):
        path = make_set(tmp_path, name, i, ("0000",)) / "shard-000000.tar"
        (tmp_path / "set").mkdir(exist_ok=True)
        for file in (path, path.with_name(f"{path.name}.index")):
            file.rename(tmp_path / "set" / file.name.replace("000000", f"00000{i}"))
    with pytest.raises(DataError, match=r"^0000: in .*shard-000000.tar and in .*shard-000001.tar; a key must occur"):
        read_corpus([str(tmp_path / "set")])


@pytest.mark.usefixtures("inline")
def test_verify_takes_sets_that_share_keys_and_names_samples_in_two_of_them(pair: list[str], tmp_path: Path) -> None:
    assert verify(VerifyConfig(shards=pair)).findings == []
    copy = shutil.copytree(pair[1], tmp_path / "copy")
    with pytest.raises(DataError, match=r"3 problems in 1 files(?s:.*)sample in two sets: 3\n.*0001 at byte 0: is in"):
        verify(VerifyConfig(shards=[*pair, str(copy)]))
    write_shard(tmp_path / "one" / "a.tar", samples_of(2))
    write_shard(tmp_path / "one" / "b.tar", samples_of(1))
    with pytest.raises(DataError, match=r"key in two shards: 1"):
        verify(VerifyConfig(shards=[str(tmp_path / "one")]))


def test_shards_of_another_sample_rate_are_refused(pair: list[str]) -> None:
    corpus = read_corpus(pair)
    check_rate(corpus, corpus.sample_rate, name="the shards", by="the encoder hears")
    expected = "the shards hold 16000 Hz audio, the encoder hears 8000 Hz; make the shards again"
    with pytest.raises(ConfigError, match=expected):
        check_rate(corpus, 8000, name="the shards", by="the encoder hears")
