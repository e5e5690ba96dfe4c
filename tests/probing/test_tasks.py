"""Tasks of a probe on made features: what is in them is found, and what is not is chance."""

from typing import Any

import numpy as np
import pytest
import torch

from speechssl.config import EvaluationSetConfig, HeadTrainingConfig, ProbeConfig
from speechssl.decoding.alignment import Alignment
from speechssl.probing.aligned import AlignedSet
from speechssl.probing.characters import CharacterProbe, count_edits
from speechssl.probing.features import LayerFrames
from speechssl.probing.label_free import AbxProbe, AlignmentOfLayers, RankProbe, UnitProbe, choose_tokens, find_tokens
from speechssl.probing.languages import LanguageProbe
from speechssl.probing.results import NotProbedError, ProbedLayer
from speechssl.probing.sets import ProbeSet
from speechssl.probing.speakers import IdentificationProbe, SpeakerHeads, VerificationProbe

CPU = torch.device("cpu")
DIM, NUM_FRAMES = 8, 12


def config(**keys: Any) -> ProbeConfig:
    empty = EvaluationSetConfig()
    heads = HeadTrainingConfig(lstm_dim=8, updates=60, max_batch_frames=200, learning_rate=2e-2)
    keys = {"num_seeds": 2, "num_units": 4, "heads": heads, "bootstrap_samples": 200, **keys}
    return ProbeConfig(checkpoint=None, train=empty, test=empty, output=None, **keys)  # type: ignore[arg-type]


def samples(speakers: list[str], languages: list[str] | None = None, texts: list[str] | None = None) -> ProbeSet:
    size = len(speakers)
    frames = np.full(size, NUM_FRAMES)
    return ProbeSet(None, 1.0, frames, texts or [""] * size, speakers, languages or [""] * size)  # type: ignore[arg-type]


def layer_of(train: list[str], test: list[str], *, strength: float, loud: int = NUM_FRAMES) -> ProbedLayer:
    """Noise, with a direction of its own for every name in the first frames."""
    rng = np.random.default_rng(0)
    inside = np.arange(NUM_FRAMES)[:, None] < loud
    names = sorted({*train, *test})
    directions = dict(zip(names, np.eye(max(DIM, len(names)))[: len(names), :DIM], strict=True))

    def frames(of: list[str]) -> LayerFrames:
        x = [strength * directions[name] * inside + rng.normal(0, 1, (NUM_FRAMES, DIM)) for name in of]
        return LayerFrames(torch.tensor(np.concatenate(x), dtype=torch.float32), np.arange(len(of) + 1) * NUM_FRAMES)

    found = frames(train), frames(test)
    return ProbedLayer("made", found[0].standardized(found[0]), found[1].standardized(found[0]), found[1])


TRAIN, TEST = ["a", "b", "c"] * 12 + ["once"], ["x", "y", "z", "a"] * 6


@pytest.mark.parametrize("strength", [4.0, 0.0])
def test_speakers_are_told_apart_where_features_hold_them_and_else_are_not(strength: float) -> None:
    train, test = samples(TRAIN), samples(TEST)
    heads = SpeakerHeads(train, config(), CPU)
    layer = layer_of(TRAIN, TEST, strength=strength)
    figures = [*IdentificationProbe(heads).score(layer), *VerificationProbe(heads, train, test).score(layer)]
    values = {(figure.measure, figure.head): figure.value for figure in figures}
    assert [len(figure.seeds) for figure in figures] == [2, 2, 1, 1, 2]
    if strength:
        assert values["accuracy", "linear"] == values["accuracy", "recurrent"] == 1
        assert values["eer", "none"] == 0
    else:  # the broken setting: no speaker in the features
        assert max(values["accuracy", "linear"], values["accuracy", "recurrent"]) < 0.7
        assert min(values["eer", head] for head in ("none", "linear", "recurrent")) > 0.35


def test_held_out_utterances_are_of_every_speaker_and_others_for_each_seed() -> None:
    heads = SpeakerHeads(samples([*TRAIN, "two", "two"]), config(), CPU)
    one, other = heads.split(0), heads.split(1)
    for split in (one, other):
        assert not set(split.learned) & set(split.held_out)
        assert sorted([*split.learned, *split.held_out]) == list(range(38))
        assert np.bincount(heads.speakers[split.held_out]).tolist() == [3, 3, 3, 1]
    assert set(one.held_out) != set(other.held_out)
    assert "once" not in heads.names


def test_trials_leave_out_the_speakers_of_train() -> None:
    train, test = samples(["a", "a", "b", "b"]), samples(["x", "x", "a", "a"])
    heads = SpeakerHeads(train, config(), CPU)
    with pytest.raises(NotProbedError, match="test does not know two speakers, other than those of train"):
        VerificationProbe(heads, train, test)
    with pytest.raises(NotProbedError, match="train does not know two speakers"):
        SpeakerHeads(samples(["a", "a", "", ""]), config(), CPU)


def test_languages_are_those_that_both_sets_have() -> None:
    known, heard = ["en", "de", "fr"] * 8, ["en", "de", "sv"] * 8
    train, test = samples([""] * 24, known), samples([""] * 24, heard)
    figures = LanguageProbe(train, test, config(), CPU).score(layer_of(known, heard, strength=4.0))
    assert [(figure.head, figure.value, len(figure.seeds)) for figure in figures] == [
        ("linear", 1, 1),
        ("recurrent", 1, 2),
    ]
    with pytest.raises(NotProbedError, match="two languages in common"):
        LanguageProbe(samples([""] * 3, ["en", "de", ""]), samples([""] * 2, ["en", "sv"]), config(), CPU)


def test_characters_need_transcripts_and_those_that_fit() -> None:
    with pytest.raises(NotProbedError, match="no transcripts in test"):
        CharacterProbe(samples([""], texts=["A"]), samples([""]), config(), CPU)
    with pytest.raises(NotProbedError, match="no transcripts in train"):
        CharacterProbe(samples([""], texts=["A" * 12]), samples([""], texts=["A"]), config(), CPU)


def test_characters_are_read_where_features_hold_them() -> None:
    texts = ["A", "B", "C"] * 10
    train, test = samples([""] * 30, texts=texts), samples([f"s{i % 12}" for i in range(30)], texts=texts)
    heads = HeadTrainingConfig(lstm_dim=8, updates=150, max_batch_frames=400, learning_rate=5e-2)
    layer = layer_of(texts, texts, strength=8.0, loud=3)
    figures = CharacterProbe(train, test, config(heads=heads), CPU).score(layer)
    assert [(f.head, f.measure) for f in figures] == [
        (head, measure) for head in ("linear", "recurrent") for measure in ("cer", "wer")
    ]
    for figure in figures:
        assert figure.value < 0.4
        assert figure.interval is not None
        assert figure.interval.low <= figure.value <= figure.interval.high


def test_edits_are_counted_for_characters_and_words() -> None:
    found = count_edits(["ONE TWO", "SIX"], ["ONE TO", ""])
    assert found.characters.tolist() == [1, 3]
    assert found.words.tolist() == [1, 1]


def aligned(labels: list[list[int] | None]) -> AlignedSet:
    """Characters of utterances by frame; each stretch of one label is one character, 9 is the space."""
    found: list[Alignment | None] = []
    for row in labels:
        if row is None:
            found.append(None)
            continue
        x = torch.tensor(row)
        starts = torch.cat([torch.tensor([True]), x[1:] != x[:-1]])
        positions = torch.where(x >= 0, starts.cumsum(0) - 1, -1)
        found.append(Alignment(positions, x))
    return AlignedSet(found, word_boundary=9)


ROWS: list[list[int] | None] = [[1, 1, 2, 2, -1, 9, 9, 1, 3, 3, 3, 3], None, [2] * 6 + [1] * 6]


def test_tokens_are_stretches_of_characters_of_known_speakers() -> None:
    test = samples(["a", "a", "b"])
    tokens = find_tokens(aligned(ROWS), test)
    assert tokens == [
        *((0, 0, 2, 1, "a"), (0, 2, 4, 2, "a"), (0, 7, 8, 1, "a"), (0, 8, 12, 3, "a")),
        *((2, 0, 6, 2, "b"), (2, 6, 12, 1, "b")),
    ]
    assert find_tokens(aligned(ROWS), samples(["", "a", ""])) == []
    many = [(i, 0, 1, i % 2, "a") for i in range(50)]
    chosen = choose_tokens(many, np.random.default_rng(0))
    assert [sum(token[3] == label for token in chosen) for label in (0, 1)] == [10, 10]
    assert chosen == sorted(chosen)


def test_units_and_abx_find_characters_where_features_hold_them() -> None:
    test = samples(["a", "a", "b"])
    rng = np.random.default_rng(0)
    labels = np.array([label for row in ROWS for label in (row or [0] * NUM_FRAMES)])
    x = torch.tensor(5 * np.eye(10)[labels] + 0.1 * rng.normal(size=(36, 10)), dtype=torch.float32)
    frames = LayerFrames(x, np.arange(4) * NUM_FRAMES)
    layer = ProbedLayer("made", frames, frames, frames)
    units = {f.measure: f.value for f in UnitProbe(aligned(ROWS), test, config(num_units=6)).score(layer)}
    assert units["pnmi"] == pytest.approx(1)
    assert units["label_purity"] == 1
    errors = {f.measure: f.value for f in AbxProbe(aligned(ROWS), test, config()).score(layer)}
    assert errors == {"within": 0, "across": 0}
    with pytest.raises(NotProbedError, match="train has 36 frames for 40 units"):
        UnitProbe(aligned(ROWS), test, config(num_units=40)).score(layer)
    with pytest.raises(NotProbedError, match="too few characters"):
        AbxProbe(aligned([[1] * 12, None, [2] * 12]), test, config())


def test_rank_and_cka_are_of_the_frames_as_they_are() -> None:
    layer = layer_of(["a"] * 20, ["a"] * 20, strength=0.0)
    wide = layer._replace(raw=LayerFrames(layer.raw.x * torch.tensor([9.0] + [0.01] * 7), layer.raw.bounds))
    [even], [narrow] = RankProbe().score(layer), RankProbe().score(wide)
    assert narrow.value < 1.1 < 7 < even.value <= 8
    common = AlignmentOfLayers()
    for item in (layer, layer._replace(name="twice", raw=LayerFrames(2 * layer.raw.x, layer.raw.bounds)), wide):
        assert common.score(item) == []
    matrix = np.array(common.matrix())
    assert common.names == ["made", "twice", "made"]
    assert matrix[0, 1] == pytest.approx(1)
    assert matrix[0, 2] < 0.6
    assert np.array_equal(matrix, matrix.T)
