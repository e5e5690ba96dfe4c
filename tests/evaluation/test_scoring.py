"""Scores of a set whose utterances are of any length, short ones included."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_corpus
from reference import conv_frames
from small_chain import MODEL

from speechssl.config import ShardConfig
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.errors import DataError
from speechssl.evaluation.scoring import Scored, score
from speechssl.recogniser import load_recogniser
from speechssl.verbs import shard as ingest

LAYERS = MODEL.feature_encoder.conv_layers


def corpus_of(folder: Path, lengths: list[int], texts: list[str] | None = None) -> Corpus:
    manifest = write_corpus(folder / "audio", lengths)
    if texts is not None:
        manifest.write_text("path\ttext\n" + "".join(f"u{i:03d}.wav\t{text}\n" for i, text in enumerate(texts)))
    ingest.run(ShardConfig(sources=[str(manifest)], output=folder / "shards"))
    return read_corpus([str(folder / "shards")], with_texts=True)


def scored(
    run: Path, corpus: Corpus, max_batch_seconds: float, keep: Callable[[str, torch.Tensor], None] | None = None
) -> Scored:
    recogniser = load_recogniser(run, torch.device("cpu"))
    with torch.no_grad():  # a model that writes something
        recogniser.model.head.weight.normal_(std=3.0, generator=torch.Generator().manual_seed(0))
    return score(
        recogniser.model,
        corpus,
        GreedyDecoder(recogniser.vocabulary),
        max_batch_seconds=max_batch_seconds,
        autocast_dtype=None,
        device=torch.device("cpu"),
        keep=keep,
    )


def test_outputs_do_not_depend_on_the_batches(finetuned: Path, tmp_path: Path) -> None:
    shortest = next(n for n in range(1000) if conv_frames(n, LAYERS))
    draws = np.random.default_rng(0)
    lengths = [2, 150, shortest - 1, shortest, shortest + 1, *draws.integers(2, 3 * shortest, 20), 9000, 30000]
    corpus = corpus_of(tmp_path, [int(length) for length in lengths])
    together = scored(finetuned, corpus, 80)
    assert len(together.references) == len(lengths)
    for max_batch_seconds in (0.001, 0.1, 1, 3):
        again = scored(finetuned, corpus, max_batch_seconds)
        assert again.references == together.references
        assert {k: h.text for k, h in again.hypotheses.items()} == {k: h.text for k, h in together.hypotheses.items()}
    for i, length in enumerate(lengths):
        assert not together.hypotheses[f"u{i:03d}"].text or conv_frames(int(length), LAYERS)
    assert sum(bool(h.text) for h in together.hypotheses.values()) > 5


def test_emissions_of_what_is_heard_are_given_away(finetuned: Path, tmp_path: Path) -> None:
    kept: dict[str, torch.Tensor] = {}
    corpus = corpus_of(tmp_path, [9000, 150, 20000, 12000])
    found = scored(finetuned, corpus, 80, kept.__setitem__)
    frames = {key: conv_frames(int(n), LAYERS) for key, n in zip(corpus.keys, corpus.num_samples, strict=True)}
    assert {key: len(row) for key, row in kept.items()} == {key: n for key, n in frames.items() if n}
    assert len(kept) == 3
    decoder = GreedyDecoder(load_recogniser(finetuned, "cpu").vocabulary)
    for key, row in kept.items():
        assert decoder.decode(row[None], torch.tensor([len(row)]))[0].text == found.hypotheses[key].text


def test_a_set_that_is_all_too_short_is_all_deletions(finetuned: Path, tmp_path: Path) -> None:
    found = scored(finetuned, corpus_of(tmp_path, [100, 150]), 80)
    assert [h.text for h in found.hypotheses.values()] == ["", ""]
    assert list(found.references.values()) == ["YES", "NO"]


def test_references_are_cleaned_and_those_without_are_skipped(
    finetuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechssl.ingest.clips.normalize_text", lambda text, *_: text)  # as shards of elsewhere
    corpus = corpus_of(tmp_path, [9000, 9000, 150], ["\u200bO\u00adNE  TWO", "\u200b", "\ufeff"])
    found = scored(finetuned, corpus, 80)
    assert found.references == {"u000": "ONE TWO"}
    assert found.skipped == {"u001": "no transcript", "u002": "no transcript"}
    with pytest.raises(DataError, match="none of the 2 samples has a transcript"):
        scored(finetuned, corpus.subset(np.array([1, 2])), 80)
