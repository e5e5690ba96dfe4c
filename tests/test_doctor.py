"""Broken fine-tunings are named before they begin, cause and remedy in a line."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from changing import with_values
from conftest import write_corpus
from small_chain import finetune_config
from test_finetuning import make_shards

from speechssl.config import HealthConfig, ShardConfig, TextConfig
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.errors import HealthError
from speechssl.evaluation.levels import doubt_level
from speechssl.tasks.ctc_health import FinetuneHealth
from speechssl.tasks.doctor import (
    doubt_case,
    doubt_labels,
    doubt_learning,
    doubt_rates,
    doubt_voices,
    examine,
)
from speechssl.text.vocabulary import Vocabulary
from speechssl.verbs import finetune
from speechssl.verbs import shard as ingest

CONFIG = finetune_config(Path("shards"), Path("run"), Path("init"))


def test_a_sound_run_raises_no_doubt(shards: Path) -> None:
    corpus = read_corpus([str(shards)], with_texts=True)
    vocabulary = Vocabulary.from_texts(corpus.texts or ())
    assert examine(CONFIG, corpus, corpus, vocabulary) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"freeze_context_updates": 4}, "only the head will learn, in every update; give a lower"),
        ({"init": None, "freeze_feature_encoder": "always"}, "the convolutions stay as random as they are made"),
    ],
)
def test_parts_that_never_learn(values: dict, message: str) -> None:
    [doubt] = doubt_learning(with_values(CONFIG, values))
    assert message in str(doubt)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer.learning_rate": 1e-9}, "learning_rate is 1e-09: too low to move anything in 4 updates"),
        (
            {"optimizer.learning_rate": 0.5, "head_learning_rate_scale": 2.0},
            "is 0.5, for the head 1: too high for AdamW",
        ),
        ({"optimizer.learning_rate": 5e-3, "model.context.dim": 768}, "wipes out what an encoder of this size"),
        ({"optimizer.learning_rate": 5e-3, "model.context.dim": 768, "init": None}, ""),
    ],
)
def test_rates_that_cannot_be_meant(values: dict, message: str) -> None:
    doubts = list(map(str, doubt_rates(with_values(CONFIG, values))))
    assert [message in doubt for doubt in doubts] == [True] * bool(message)


def test_turkish_that_nobody_called_so(tmp_path: Path) -> None:
    corpus = read_corpus(
        [str(make_shards(tmp_path, [(9000, "I\u015eIK"), (9000, "\u0130Y\u0130"), (9000, "i\u0307yi")]))],
        with_texts=True,
    )
    order = np.argsort(list(corpus.keys))
    corpora = [corpus.subset(order[i : i + 1]) for i in range(3)]
    found = [[len(list(doubt_case(TextConfig(case=case), c))) for c in corpora] for case in ("upper", "lower", "keep")]  # type: ignore[arg-type]
    assert found == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]
    [doubt] = doubt_case(TextConfig(case="upper"), corpora[1])
    assert "give --text.language tr (az), from shards made with --text_case keep" in str(doubt)
    assert list(doubt_case(TextConfig(case="upper", language="tr"), corpora[1])) == []


def corpus_of(folder: Path, waves: list[np.ndarray], *, speakers: int = 2) -> Corpus:
    write_corpus(folder, [9000] * len(waves))
    lines = ["path\tspeaker\ttext"]
    for i, wave in enumerate(waves):
        soundfile.write(folder / f"u{i:03d}.wav", wave, 16000, subtype="PCM_16")
        lines.append(f"u{i:03d}.wav\ts{i % speakers}\tYES NO {'QXZ'[i % 3] if i < 3 else ''}")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n")
    config = ShardConfig(sources=[str(folder / "list.tsv")], output=folder / "shards", min_level_db=-200.0)
    ingest.run(config)
    return read_corpus([str(folder / "shards")], with_texts=True)


def test_silence_and_clipping_are_heard(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    loud = [draws.normal(0, 0.1, 9000) for _ in range(4)]
    quiet = [draws.normal(0, 5e-4, 9000) for _ in range(2)]
    clipped = [np.clip(draws.normal(0, 2, 9000), -1, 1) for _ in range(2)]
    corpus = corpus_of(tmp_path, loud + quiet + clipped)
    rows = {key: row for row, key in enumerate(corpus.keys)}

    def doubts(*numbers: int, name: str) -> list[str]:
        return list(map(str, doubt_level(corpus.subset(np.array([rows[f"u{i:03d}"] for i in numbers])), name)))

    assert doubts(0, 1, 2, 3, name="dev") == []
    [doubt] = doubts(0, 1, 2, 3, 4, 5, name="dev")
    assert doubt.startswith("dev: 2 of 6 utterances that were looked at are quieter than -60 dB of full scale (u00")
    [doubt] = doubts(0, 1, 2, 3, 6, 7, name="train")
    assert "train: in 2 of 6 utterances that were looked at more than 1% of the samples are at full scale" in doubt


def test_a_dev_set_of_one_voice_and_labels_seen_once(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    corpus = corpus_of(tmp_path, [draws.normal(0, 0.1, 9000) for _ in range(6)], speakers=1)
    [doubt] = doubt_voices(corpus)
    assert str(doubt).startswith("dev: all 6 utterances are of one speaker, s0: the checkpoint is chosen for this")
    few = corpus.subset(np.arange(2))
    [doubt] = doubt_labels(few, Vocabulary.from_texts(few.texts or ()))
    assert str(doubt).startswith("7 of the 7 labels of the training transcripts occur once or twice in all 2 of them")
    assert list(doubt_voices(few)) == []


def test_doubts_are_told_before_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(finetune, "train", lambda *_: None)
    finetune.run(with_values(finetune_config(shards, tmp_path / "run", None), {"optimizer.learning_rate": 1e-9}))
    assert "too low to move anything in 4 updates" in caplog.text


def test_a_dead_head_writes_one_thing(caplog: pytest.LogCaptureFixture) -> None:
    health = FinetuneHealth(HealthConfig(patience_updates=100))
    dead = {"wer": 0.9, "cer": 0.8, "empty_share": 0.0, "same_share": 1.0}
    health.check_scores(0, dead)
    health.check_scores(50, dead)
    with pytest.raises(
        HealthError, match=r"constant outputs: at update 100 100\.0% of the dev utterances have one and"
    ):
        health.check_scores(100, dead)
    health = FinetuneHealth(HealthConfig(patience_updates=100))
    for update in (0, 100, 200):  # a set in which all say the same is no sign
        assert health.check_scores(update, dead | {"cer": 0.1, "wer": 0.2}) == []
