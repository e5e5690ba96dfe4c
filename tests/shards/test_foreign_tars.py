"""Tars from elsewhere say the same whether they are made into shards or given an index."""

import json
from pathlib import Path
from typing import Any

import pytest
from shards_to_verify import Members, encoded, read_sample, write_shard

from speechssl.config import ShardConfig, VerifyConfig
from speechssl.data.corpus import read_corpus
from speechssl.verbs import shard as ingest
from speechssl.verbs.verify import run as verify

SAYINGS: list[Members] = [
    *({"json": json.dumps({name: "Hello  there\n"}).encode()} for name in ("text", "sentence", "transcript", "TEXT")),
    {"json": b'{"transcription": "", "speaker_id": 7}', "txt": b"\xef\xbb\xbffrom  the\nfile "},
    {"json": '{"sentence": "cafe\u0301", "client_id": "x", "language": ["of", "no", "use"]}'.encode()},
    {"lab": "\u00e9t\u00e9".encode(), "txt": b"txt comes first"},
    {"lab": b"a lab"},
    {"transcript": b"a transcript", "json": b'{"text": null}'},
    {"json": b'{"speaker": "anna"}'},
    {"json": b'{"text": 42, "speaker": ""}'},
    {},
]


def said(shards: Path) -> dict[str, tuple[Any, ...]]:
    """Text in the index, text and speaker in the sample, by key."""
    corpus = read_corpus([str(shards)], with_texts=True)
    samples = {ref.key: read_sample(ref, corpus.sample_rate) for ref in corpus}
    return {ref.key: (ref.text, samples[ref.key].text, samples[ref.key].speaker, ref.speaker or None) for ref in corpus}


@pytest.mark.usefixtures("inline")
def test_texts_and_speakers_of_foreign_tars_do_not_depend_on_the_way(tmp_path: Path) -> None:
    usual = {f"s{i}": {"flac": encoded(i), **members} for i, members in enumerate(SAYINGS) if i != 5}
    theirs = write_shard(tmp_path / "theirs" / "theirs.tar", usual)
    ingest.run(ShardConfig([str(theirs)], tmp_path / "ours", text_case="keep"))
    verify(VerifyConfig(shards=[str(theirs)], write_index=True))
    ours = said(tmp_path / "ours")
    assert said(theirs.parent) == ours
    assert [text for text, *_ in ours.values()] == [
        *["Hello there"] * 4, "from the file", "txt comes first", "a lab", "a transcript", "", "42", "",
    ]  # fmt: skip
    assert {key: speaker for key, (*_, speaker) in ours.items() if speaker} == {"s4": "7", "s9": "anna"}


@pytest.mark.usefixtures("inline")
def test_a_field_that_is_not_needed_does_not_keep_a_tar_from_its_index(tmp_path: Path) -> None:
    theirs = write_shard(tmp_path / "theirs.tar", {"a": {"flac": encoded(0), **SAYINGS[5]}})
    verify(VerifyConfig(shards=[str(theirs)], write_index=True))
    [(text, *_, speaker)] = said(theirs).values()
    assert text == "caf\u00e9"
    assert speaker not in (None, "x")  # Common Voice's long ids are hashed, as they are in shards
