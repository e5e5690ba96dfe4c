"""Broken fine-tunings are named before they begin, while they run and when they end, cause and remedy in a line."""

import json
import math
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
from speechssl.evaluation.causes import RunFacts
from speechssl.evaluation.levels import doubt_level, find_faults
from speechssl.report.lone_run import read_run, sentences
from speechssl.tasks.ctc import shares_of
from speechssl.tasks.ctc_health import FinetuneHealth
from speechssl.tasks.doctor import (
    doubt_case,
    doubt_labels,
    doubt_learning,
    doubt_rates,
    doubt_voices,
    examine,
)
from speechssl.tasks.facts import frames_per_label
from speechssl.text.vocabulary import Vocabulary
from speechssl.verbs import finetune
from speechssl.verbs import shard as ingest

CONFIG = finetune_config(Path("shards"), Path("run"), Path("init"))


def test_a_sound_run_raises_no_doubt(shards: Path) -> None:
    corpus = read_corpus([str(shards)], with_texts=True)
    vocabulary = Vocabulary.from_texts(corpus.texts or ())
    assert examine(CONFIG, corpus, corpus, vocabulary) == []
    ratio = frames_per_label(CONFIG, corpus, vocabulary)
    assert ratio is not None
    assert ratio == pytest.approx(
        sum(n // 320 for n in corpus.num_samples) / sum(map(len, corpus.texts or ())), rel=0.05
    )


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
    narrow = [0.1 * np.hanning(9000) * np.sin(np.arange(9000) / width) for width in (3, 4)]
    corpus = corpus_of(tmp_path, loud + quiet + clipped + narrow)
    rows = {key: row for row, key in enumerate(corpus.keys)}

    def subset(*numbers: int) -> Corpus:
        return corpus.subset(np.array([rows[f"u{i:03d}"] for i in numbers]))

    def doubts(*numbers: int, name: str) -> list[str]:
        return list(map(str, doubt_level(subset(*numbers), name)))

    assert doubts(0, 1, 2, 3, name="dev") == []
    [doubt] = doubts(0, 1, 2, 3, 4, 5, name="dev")
    assert doubt.startswith("dev: 2 of 6 utterances that were looked at are quieter than -60 dB of full scale (u00")
    [doubt] = doubts(0, 1, 2, 3, 6, 7, name="train")
    assert "train: in 2 of 6 utterances that were looked at more than 1% of the samples are at full scale" in doubt
    found = [
        [fault.name for fault in find_faults(subset(*numbers), "test")] for numbers in ((0, 1, 8, 9), (0, 1, 2, 6))
    ]
    assert found == [["narrow band"], ["clipped audio"]]


def test_a_dev_set_of_one_voice_and_labels_seen_once(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    corpus = corpus_of(tmp_path, [draws.normal(0, 0.1, 9000) for _ in range(6)], speakers=1)
    [doubt] = doubt_voices(corpus)
    assert str(doubt).startswith(
        "dev: all 6 utterances are of one speaker, s0: the checkpoint is chosen for this voice"
    )
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


FACTS = RunFacts(
    has_init=True, learning_rate=1e-4, head_rate=1e-3, frozen_updates=0, warmup_updates=100, max_updates=2000
)
# A recogniser from units, fine-tuned on ten minutes of AN4: loss, share of blanks, gradient norm and effective rank at
# every hundredth update, and the dev WER, CER and share of empty outputs there.
HEALTHY = [
    (2.9145, 1.0000, 2.869, 69.1, 1.0000, 1.0000, 1.0000), (1.9519, 0.7218, 1.214, 86.8, 0.8650, 0.6076, 0.0862),
    (1.2011, 0.5740, 1.191, 55.9, 0.6468, 0.3943, 0.0259), (0.8329, 0.5103, 1.876, 82.5, 0.4223, 0.2482, 0.0000),
    (0.5451, 0.5028, 1.879, 71.8, 0.3595, 0.1976, 0.0000), (0.2922, 0.4718, 1.279, 69.5, 0.3171, 0.1671, 0.0000),
    (0.2965, 0.4613, 1.208, 55.9, 0.2496, 0.1451, 0.0000), (0.2241, 0.4521, 0.981, 89.1, 0.2559, 0.1461, 0.0000),
    (0.2153, 0.4357, 0.953, 72.4, 0.2669, 0.1461, 0.0000), (0.1549, 0.4576, 0.772, 76.9, 0.2527, 0.1399, 0.0000),
]  # fmt: skip


def watch(**facts: object) -> FinetuneHealth:
    return FinetuneHealth(HealthConfig(patience_updates=200), slow_updates=100, facts=FACTS._replace(**facts))  # type: ignore[arg-type]


def figures(loss: float, blank: float = 0.5, norm: float = 1.0, rank: float = 70.0) -> dict[str, float]:
    return {"loss": loss, "blank_share": blank, "gradient_norm": norm, "effective_rank": rank, "learning_rate": 1e-4}


def test_a_healthy_run_is_left_alone_from_its_plateau_to_its_end() -> None:
    health = watch()
    for number, (*train, wer, cer, empty) in enumerate(HEALTHY, 1):
        assert health.check(100 * number, figures(*train)) == []
        scores = {"wer": wer, "cer": cer, "empty_share": empty, "same_share": empty, "one_label_share": 0.01}
        assert health.check_scores(100 * number, scores) == []
    assert health.memory.told == {}


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({"frozen_updates": 2000}, "the encoder is frozen in all 2000 updates"),
        ({"learning_rate": 1e-8, "head_rate": 1e-8}, "a learning rate too low to move the head"),
        (
            {"head_rate": 0.1},
            "a learning rate that throws the model back (optimizer.learning_rate 0.0001, for the ",
        ),
        ({"frames_per_label": 1.3}, "too few frames: 1.3 per label"),
        ({"has_init": False, "minutes": 3.0}, "there is no --init, and 3.0 minutes of labels"),
        ({"max_updates": 400}, "too few updates: the whole model learns in 400"),
    ],
)
def test_a_plateau_is_laid_to_what_the_run_knows(facts: dict, cause: str) -> None:
    health = watch(**facts)
    empty = {"wer": 1.0, "cer": 1.0, "empty_share": 1.0}
    assert health.check(100, figures(2.9, blank=1.0)) == []
    assert health.check_scores(200, empty) == [], "the plateau of the first updates is no failure"
    [warning] = health.check(200, figures(2.9, blank=1.0))
    assert f"Likeliest cause: {cause}" in warning.message
    with pytest.raises(HealthError, match="empty outputs") as caught:
        health.check_scores(300, empty)
    assert f"Likeliest cause: {cause}" in str(caught.value)


def test_a_plateau_after_a_loss_that_rose_is_laid_to_the_rate() -> None:
    health = watch()
    assert health.check(10, figures(2.8, norm=2.0)) == []
    [rising] = health.check(20, figures(31.0, norm=400.0))
    assert rising.message.startswith("rising loss: 31 nats per label at update 20, 11 times the lowest so far")
    assert "with gradient norm 4e+02 and learning rate 0.0001 (before it 2)" in rising.message
    health.check(30, figures(2.9, blank=1.0))
    [warning] = health.check(220, figures(2.9, blank=1.0))
    assert "a learning rate that threw the model back" in warning.message
    assert set(health.memory.told) == {"rising loss", "all blank"}


def test_what_is_over_is_told_no_more() -> None:
    health = watch()
    for update, loss in ((10, 2.8), (20, 31.0), (30, 2.7)):  # a spike, made good
        health.check(update, figures(loss))
    assert "risen" not in health.memory.figures
    health.check(40, figures(2.7, blank=1.0))
    health.check(240, figures(2.7, blank=1.0))
    assert "all blank" in health.memory.told
    health.check(250, figures(1.0, blank=0.5))
    assert set(health.memory.told) == {"rising loss"}


def test_an_exploding_loss_is_told_with_gradient_and_rate() -> None:
    health = watch()
    health.check(10, figures(2.8))
    with pytest.raises(HealthError, match=r"of the start, with gradient norm 4e\+04 and learning rate 0\.0001\."):
        health.check(20, figures(9000.0, norm=4e4))
    with pytest.raises(HealthError, match=r"gradient norm inf at update 30, with learning rate 0\.0001\."):
        health.check(30, figures(2.8, norm=math.inf))


def test_a_head_without_gradient_and_context_vectors_that_are_all_alike() -> None:
    [dead] = watch().check(10, figures(2.8, norm=0.0))
    assert dead.message.startswith("dead head: the gradient is zero at update 10")
    assert watch().check(10, figures(0.0, norm=0.0)) == [], "all is learned"
    with pytest.raises(HealthError, match="non-finite gradient norm"):
        watch().check(10, figures(2.8, norm=math.nan))
    lenient = FinetuneHealth(HealthConfig(on_failure="warn"))
    assert [finding.name for finding in lenient.check(10, figures(2.8, norm=math.nan))] == ["non-finite gradient norm"]
    health = watch()
    assert health.check(100, figures(2.8, rank=1.1)) == []
    [alike] = health.check(200, figures(2.8, rank=1.1))
    assert alike.message.startswith("context vectors all alike: their effective rank is 1.10 at update 200")
    health = watch()
    health.check(100, figures(2.8, rank=1.1))
    same = {"wer": 1.0, "cer": 0.9, "empty_share": 0.0, "same_share": 1.0}
    health.check_scores(200, same)
    with pytest.raises(HealthError, match="Likeliest cause: context vectors are all alike"):
        health.check_scores(300, same)


def test_a_head_that_knows_one_label_is_told() -> None:
    assert shares_of(["E", "EE E", "E", ""]) == {"empty_share": 0.25, "same_share": 0.5, "one_label_share": 0.75}
    assert shares_of(["AB", "BA", "ABA"])["one_label_share"] == 0.0
    assert shares_of(["E"]) == {"empty_share": 0.0, "same_share": 0.0, "one_label_share": 0.0}
    health = watch()
    scores = {"wer": 0.99, "cer": 0.9, "empty_share": 0.0, "same_share": 0.5, "one_label_share": 1.0}
    assert health.check_scores(100, scores) == health.check_scores(200, scores) == []
    [one] = health.check_scores(300, scores)
    assert one.message.startswith("one label: at update 300 100.0% of the dev outputs hold one and the same label")


@pytest.mark.parametrize("loss_falls", [True, False])
def test_a_training_set_that_is_learned_by_heart_is_told_and_not_stopped(loss_falls: bool) -> None:
    health = watch()
    told = []
    for number, wer in enumerate([0.5, 0.4, 0.3, 0.31, 0.33, 0.36, 0.4, 0.43]):
        update = 100 * (number + 1)
        health.check(update, figures(1.0 / (number + 1) if loss_falls else 1.0))
        told += health.check_scores(update, {"wer": wer, "cer": wer / 2, "empty_share": 0.0})
        told += health.check_scores(update, {"wer": wer, "cer": wer / 2, "empty_share": 0.0})  # as after resuming
    if not loss_falls:
        assert told == []
        return
    assert told[0].message.startswith(
        "learned by heart: the dev WER, a mean of 3 scores, rose from 31.3% at update 500 to 36.3% at update 700, "
        "while the training loss fell from 0.2 to 0.14"
    )


def test_a_dev_error_rate_that_wavers_is_no_sign_of_learning_by_heart() -> None:
    health = watch()
    for number, wer in enumerate([0.95, 0.9, 0.9, 0.9, 0.93, 0.93, 0.93, 0.93], 1):
        health.check(100 * number, figures(1.0 / number))
        assert health.check_scores(100 * number, {"wer": wer, "cer": wer / 2, "empty_share": 0.0}) == []


def test_a_broken_run_says_in_the_end_what_was_wrong(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    broken = {"optimizer.learning_rate": 20.0, "schedule.warmup": 0.0, "health.on_failure": "warn"}
    config = with_values(finetune_config(shards, run, None), broken)
    finetune.run(config)
    [*_, last] = said = json.loads((run / "summary.json").read_text())["diagnoses"]
    assert "a learning rate that throws the model back (optimizer.learning_rate 20, for the head 20)" in last
    assert f"{run}: {last}." in caplog.text
    finetune.run(config)  # has finished, and says the same
    assert json.loads((run / "summary.json").read_text())["diagnoses"] == said
    assert last in sentences(read_run(run, "run"))
