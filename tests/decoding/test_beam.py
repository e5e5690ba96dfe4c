"""Beam search against all paths, one by one, and what may not change what it finds."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import backoff_log_prob, texts_of_paths
from torch import Tensor

from speechssl.config import BeamConfig, GreedyConfig
from speechssl.config.limits import check
from speechssl.decoding.arpa import read_arpa, write_arpa
from speechssl.decoding.beam import BeamDecoder
from speechssl.decoding.best_path import best_path
from speechssl.decoding.decoder import build_decoder, emissions
from speechssl.decoding.kneser_ney import estimate, tokenize
from speechssl.errors import ConfigError, DataError
from speechssl.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_characters(["A", "B"])
WIDE = BeamConfig(beam_width=2000, beam_threshold=1e6, label_threshold=1e6, word_score=0.0, unknown_score=0.0)


def sound(seed: int, num_frames: int = 5, num_labels: int = 4, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return emissions(scale * torch.randn(num_frames, num_labels, generator=generator))


def gain_of(text: str, arpa: Path | None, config: BeamConfig) -> float:
    """What the words of a text add, from the definition of ARPA."""
    words = text.split()
    gain = config.word_score * len(words)
    if arpa is None:
        return gain
    model = read_arpa(arpa)
    probs: dict[str, float] = {}
    weights: dict[str, float] = {}
    for table, texts in zip(model.orders, model.texts(), strict=True):
        probs |= dict(zip(texts, table.log_prob.tolist(), strict=True))
        weights |= dict(zip(texts, table.backoff.tolist(), strict=True))
    known = [word if word in model.numbers else "<unk>" for word in words]
    history = ["<s>", *known]
    for i, word in enumerate([*known, "</s>"]):
        gain += config.weight * backoff_log_prob(probs, weights, history[max(0, i - 1) : i + 1], word)
    return gain + config.unknown_score * known.count("<unk>")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"word_score": 1.5},
        {"weight": 0.7, "word_score": 1.0, "unknown_score": -2.0},
        {"weight": 2.0, "word_score": -1.0, "unknown_score": 0.5},
        {"weight": 1.0, "words": "listed"},
    ],
    ids=str,
)
def test_the_best_texts_and_their_scores_are_those_of_all_paths(changes: dict, arpa: Path) -> None:
    config = replace(WIDE, **changes, language_model=arpa if "weight" in changes else None)
    decoder = BeamDecoder(VOCABULARY, config)
    for seed in range(8):
        log_probs = sound(seed)
        every = texts_of_paths(log_probs, ["", " ", "A", "B"])
        if config.words == "listed":
            every = {text: p for text, p in every.items() if set(text.split()) <= {"A", "AB", "BA"}}
        scored = {text: p + gain_of(text, config.language_model, config) for text, p in every.items()}
        expected = sorted(scored.items(), key=lambda item: -item[1])[:8]
        found = decoder.best(log_probs, 8)
        assert [item.hypothesis.text for item in found] == [text for text, _ in expected]
        np.testing.assert_allclose([item.score for item in found], [score for _, score in expected], rtol=1e-5)


def test_pruning_changes_nothing_where_little_is_possible(arpa: Path) -> None:
    wide = replace(WIDE, beam_width=500, language_model=arpa, weight=0.5, word_score=1.0, unknown_score=-3.0)
    usual = replace(wide, beam_width=50, beam_threshold=12, label_threshold=8)
    utterances = torch.stack([sound(seed, 30, scale=4.0) for seed in range(5)])
    lengths = torch.full((5,), 30)
    one, other = (BeamDecoder(VOCABULARY, config).decode(utterances, lengths) for config in (wide, usual))
    assert [item.text for item in one] == [item.text for item in other]


def test_a_language_model_without_weight_is_none(arpa: Path) -> None:
    without = BeamDecoder(VOCABULARY, replace(WIDE, beam_width=50))
    with_it = BeamDecoder(VOCABULARY, replace(WIDE, beam_width=50, language_model=arpa, weight=0.0))
    for seed in range(10):
        log_probs = sound(seed, 30)
        one, other = (decoder.best(log_probs, 3) for decoder in (without, with_it))
        assert [item.hypothesis for item in one] == [item.hypothesis for item in other]


def test_where_nothing_is_in_doubt_it_reads_as_greedy_decoding_does_word_for_word() -> None:
    path = [1, 2, 2, 0, 2, 3, 1, 0, 1, 3, 0, 0, 2, 1]
    scores = torch.full((1, len(path), 4), -20.0)
    for t, label in enumerate(path):
        scores[0, t, label] = 0.0
    lengths = torch.tensor([len(path)])
    greedy, beam = (
        build_decoder(config, VOCABULARY).decode(emissions(scores), lengths)[0]
        for config in (GreedyConfig(), replace(WIDE, beam_width=1))
    )
    assert beam.text == greedy.text == "AAB BA"
    assert [word[:4] for word in beam.words] == [word[:4] for word in greedy.words]
    assert beam.words[0].boundary_frame == greedy.words[0].boundary_frame == 6
    assert beam.confidence == pytest.approx(greedy.confidence, rel=1e-3)


def test_words_stand_where_the_most_probable_path_says_them() -> None:
    for seed in range(10):
        log_probs, labels = sound(seed, 6).numpy(), np.random.default_rng(seed).integers(1, 4, 3)
        paths = itertools.product(range(4), repeat=6)
        kept = [p for p in paths if [k for t, k in enumerate(p) if k and (not t or k != p[t - 1])] == labels.tolist()]
        expected = max(kept, key=lambda path: sum(log_probs[t, k] for t, k in enumerate(path)))
        assert best_path(log_probs, labels, 0).tolist() == list(expected)


def test_hypotheses_do_not_depend_on_what_is_behind_an_utterance_or_beside_it(arpa: Path) -> None:
    decoder = BeamDecoder(VOCABULARY, replace(WIDE, beam_width=20, language_model=arpa, weight=0.5))
    utterances = torch.stack([sound(seed, 20) for seed in range(3)])
    found = decoder.decode(utterances, torch.tensor([20, 7, 0]))
    alone = [decoder.decode(row[None, :n], torch.tensor([n]))[0] for row, n in zip(utterances, (20, 7, 0), strict=True)]
    assert found == alone
    assert found[2].text == ""


def test_hotwords_alone_make_no_other_word_unlikely() -> None:
    log_probs = sound(3, num_frames=30, scale=12.0)
    texts = [
        BeamDecoder(VOCABULARY, config).best(log_probs, 1)[0].hypothesis.text
        for config in (BeamConfig(), BeamConfig(hotwords=["BABABABABABAB"]))
    ]
    assert texts[0] == texts[1] != ""


def test_hotwords_are_found_where_the_sound_allows_them(arpa: Path) -> None:
    log_probs = emissions(torch.tensor([[0, 0, 9.0, 8.5], [0, 0, 8.9, 9.0], [0, 9.0, 0, 0], [0, 0, 9.0, 7.0]]))
    usual = replace(WIDE, beam_width=50, language_model=arpa, weight=0.5, unknown_score=-5.0)
    assert BeamDecoder(VOCABULARY, usual).best(log_probs, 1)[0].hypothesis.text == "A A"
    hot = replace(usual, hotwords=["B  B"], hotword_score=8.0)
    assert BeamDecoder(VOCABULARY, hot).best(log_probs, 1)[0].hypothesis.text == "B B"
    listed = replace(hot, words="listed")
    assert BeamDecoder(VOCABULARY, listed).best(log_probs, 1)[0].hypothesis.text == "B B"


def test_a_list_of_words_allows_no_others_and_an_unfinished_one_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("AB\nBA\n", encoding="utf-8")
    config = replace(WIDE, words="listed", word_list=tmp_path / "words.txt")
    decoder = BeamDecoder(VOCABULARY, config)
    for seed in range(10):
        for item in decoder.best(sound(seed, 9), 5):
            assert set(item.hypothesis.text.split()) <= {"AB", "BA"}
    cut_off = emissions(
        torch.tensor([[-99.0, -99, 9, -99], [-99, -99, -99, 9], [-99, 9, -99, -99], [-99, -99, 9, -99]])
    )
    assert BeamDecoder(VOCABULARY, replace(config, label_threshold=5)).best(cut_off, 1)[0].hypothesis.text == "AB"


def test_hotwords_of_the_other_case_are_found_and_others_are_named(
    arpa: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log_probs = emissions(torch.tensor([[0, 0, 9.0, 8.5], [0, 0, 8.9, 9.0], [0, 9.0, 0, 0], [0, 0, 9.0, 7.0]]))
    hot = replace(WIDE, beam_width=50, unknown_score=-5.0, hotwords=["b", "Zoe"], hotword_score=8.0)
    assert BeamDecoder(VOCABULARY, hot).best(log_probs, 1)[0].hypothesis.text == "B B"
    assert [r.getMessage() for r in caplog.records] == [
        "hotwords that the recogniser's labels cannot spell are never found: Zoe"
    ]
    (tmp_path / "words.txt").write_text("ab\nba\n", encoding="utf-8")
    with pytest.raises(DataError, match="none of its 2 words can be spelt with the recogniser's labels"):
        BeamDecoder(VOCABULARY, replace(hot, word_list=tmp_path / "words.txt"))


def test_an_unfinished_word_alone_is_left_out_where_spaces_are_parts_of_labels(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("THE\nCAT\n", encoding="utf-8")
    vocabulary = Vocabulary(["<blank>", " THE", " C", "A"], word_boundary=None)
    cut_off = torch.full((3, 4), -30.0).scatter(1, torch.tensor([1, 2, 3])[:, None], -0.01)
    config = BeamConfig(words="listed", word_list=tmp_path / "words.txt", label_threshold=5)
    assert BeamDecoder(vocabulary, config).best(cut_off, 1)[0].hypothesis.text == "THE"


def test_characters_are_the_words_of_scripts_without_spaces(tmp_path: Path) -> None:
    write_arpa(estimate(tokenize([list("ABAB")] * 5), 3).model, tmp_path / "lm.arpa")
    log_probs = emissions(torch.tensor([[0, 0, 9.0, 0], [9, 0, 0, 0], [0, 0, 5.1, 5.0], [9, 0, 0, 0], [0, 0, 9.0, 0]]))
    config = replace(WIDE, language_model=tmp_path / "lm.arpa", unit="characters", weight=1.0)
    assert BeamDecoder(VOCABULARY, config).best(log_probs, 1)[0].hypothesis.text == "ABA"
    assert BeamDecoder(VOCABULARY, replace(config, weight=0.0)).best(log_probs, 1)[0].hypothesis.text == "AAA"


def test_a_language_model_of_another_unit_is_named(
    arpa: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_arpa(estimate(tokenize([list("ABAB")] * 5), 3).model, tmp_path / "lm.arpa")
    words = replace(WIDE, language_model=tmp_path / "lm.arpa")
    BeamDecoder(VOCABULARY, words)
    assert "lm.arpa seems to be of characters, and decoding.unit is words" in caplog.text
    caplog.clear()
    BeamDecoder(VOCABULARY, replace(words, unit="characters"))
    BeamDecoder(VOCABULARY, replace(words, language_model=arpa))
    assert not caplog.text
    BeamDecoder(VOCABULARY, replace(words, language_model=arpa, unit="characters"))
    assert "lm.arpa seems to be of words, and decoding.unit is characters" in caplog.text


def test_labels_of_several_characters_spell_words(arpa: Path) -> None:
    vocabulary = Vocabulary(["<pad>", "|", "AB", "A", "<unk>"])
    config = replace(WIDE, language_model=arpa, words="listed", weight=1.0)
    for seed in range(8):
        log_probs = sound(seed, 4, 5)
        every = texts_of_paths(log_probs, ["", " ", "AB", "A", "<unk>"])
        allowed = {t: p + gain_of(t, arpa, config) for t, p in every.items() if set(t.split()) <= {"A", "AB", "BA"}}
        found = BeamDecoder(vocabulary, config).best(log_probs, 1)[0]
        assert found.hypothesis.text == max(allowed, key=lambda text: allowed[text])


def test_impossible_frames_and_silence_end_in_no_words() -> None:
    decoder = BeamDecoder(VOCABULARY, BeamConfig())
    silent = torch.full((30, 4), -math.inf)
    silent[:, 0] = 0.0
    assert decoder.best(silent, 3)[0].hypothesis == ("", 1.0, ())
    spaces = torch.full((30, 4), -math.inf)
    spaces[:, 1] = 0.0
    assert decoder.best(spaces, 3)[0].hypothesis.text == ""


def test_what_cannot_be_searched_is_told(tmp_path: Path, arpa: Path, caplog: pytest.LogCaptureFixture) -> None:
    lower = Vocabulary.of_characters(["a", "b"])
    with pytest.raises(DataError, match=r"none of its 3 words can be spelt .* `speechssl lm --writing.case`"):
        BeamDecoder(lower, BeamConfig(language_model=arpa))
    with pytest.raises(DataError, match="nowhere"):
        BeamDecoder(lower, BeamConfig(language_model=tmp_path / "nowhere"))
    (tmp_path / "words.txt").write_text("A B\n", encoding="utf-8")
    with pytest.raises(DataError, match="'A B' is more than one word"):
        BeamDecoder(VOCABULARY, BeamConfig(word_list=tmp_path / "words.txt"))
    BeamDecoder(Vocabulary.of_characters(["A"]), BeamConfig(language_model=arpa))
    assert "2 of 3 words hold characters that are no labels" in caplog.text
    with pytest.raises(ConfigError, match="neither language_model nor word_list"):
        check(BeamConfig(words="listed"))
