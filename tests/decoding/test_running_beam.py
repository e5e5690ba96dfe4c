"""A beam search in pieces is one search, in memory that does not grow."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from speechssl.config import BeamConfig
from speechssl.decoding.arpa import write_arpa
from speechssl.decoding.beam import BeamDecoder
from speechssl.decoding.decoder import emissions
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.decoding.kneser_ney import estimate, tokenize
from speechssl.decoding.prefix_search import ROOT
from speechssl.decoding.running import RunningDecoder
from speechssl.decoding.running_beam import RunningBeam
from speechssl.decoding.search_state import copy_of, forget, lineage, num_agreed
from speechssl.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_characters(["A", "B"])  # ids: blank 0, boundary 1, A 2, B 3
SCRIPT = Vocabulary(["<blank>", "A", "B", "C"], word_boundary=None)


def config_of(arpa: Path | None, **changes: object) -> BeamConfig:
    return replace(BeamConfig(language_model=arpa, weight=1.0, word_score=0.0), **changes)  # type: ignore[arg-type]


def spoken(seed: int, num_frames: int) -> Tensor:
    """Peaks of labels that are drawn, and noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([6.0, 1, 2, 2]), num_frames, replacement=True, generator=generator)
    scores = torch.randn(num_frames, 4, generator=generator)
    return emissions(scores.scatter_add(1, labels[:, None], torch.full((num_frames, 1), 6.0)))


def said(path: list[int], certainty: float = 9.0) -> Tensor:
    """Emissions that say these labels."""
    return emissions(torch.zeros(len(path), 4).scatter(1, torch.tensor(path)[:, None], certainty))


@lru_cache
def searched_at_once(vocabulary: Vocabulary, seed: int) -> Hypothesis:
    """By a beam so wide that old doubts do not take the places of new ones."""
    decoder = BeamDecoder(vocabulary, replace(config_of(None), beam_width=2000, beam_threshold=25.0))
    return decoder.best(spoken(seed, 200), 1)[0].hypothesis


@pytest.mark.parametrize("piece", [1, 7, 400])
@pytest.mark.parametrize("vocabulary", [VOCABULARY, SCRIPT], ids=["spaces", "no spaces"])
def test_pieces_are_one_search(vocabulary: Vocabulary, piece: int) -> None:
    decoder = BeamDecoder(vocabulary, config_of(None))
    for seed in range(3):
        log_probs = spoken(seed, 200)
        whole = searched_at_once(vocabulary, seed)
        running = RunningBeam(decoder, vocabulary, 40)
        kept, prefixes = [], []
        for frames in log_probs.split(piece):
            running.add(frames)
            kept.append(sum(map(len, running._waiting)))
            prefixes.append(running._search.num_prefixes)
        found = running.finish()
        assert found.text == whole.text
        assert [word[:3] for word in found.words] == [word[:3] for word in whole.words]
        assert found.confidence == pytest.approx(whole.confidence, rel=1e-3)
        assert max(kept) <= 80
        assert max(prefixes) <= 80 * 3 * decoder.limits.beam_width


def test_what_the_beam_agrees_on_can_be_forgotten(arpa: Path) -> None:
    decoder = BeamDecoder(VOCABULARY, config_of(arpa))
    num_forgotten = 0
    for seed in range(6):
        first, second = spoken(seed, 60).split(40)
        state = decoder.advance(decoder.start(), first)
        whole = decoder.finish(decoder.advance(copy_of(state), second))
        lines = [lineage(state.prefixes, prefix) for prefix in state.beam.prefix.tolist()]
        shared = [step for step, *others in zip(*lines, strict=False) if set(others) <= {step}]
        num_forgotten += len(shared)
        left = forget(state, shared[-1] if shared else ROOT)
        assert len(left.beam.prefix) == len(state.beam.prefix)
        assert left.num_prefixes < state.num_prefixes
        found = decoder.finish(decoder.advance(left, second))
        assert found.scores.tolist() == whole.scores.tolist()
        settled = [int(state.prefixes.label[step]) for step in shared]
        ours, theirs = (
            [settled_labels + decoder.labels_of(prefix, item) for prefix in item.prefixes.tolist()]
            for item, settled_labels in ((found, settled), (whole, []))
        )
        assert [VOCABULARY.decode(labels) for labels in ours] == [VOCABULARY.decode(labels) for labels in theirs]
    assert num_forgotten


def test_old_doubts_do_not_count(arpa: Path) -> None:
    """A or B was said, and six words later nothing can tell any more."""
    decoder = BeamDecoder(VOCABULARY, config_of(arpa))
    log_probs = said([2, 1] * 7)
    log_probs[0, 3] = log_probs[0, 2] - 0.1
    state = decoder.advance(decoder.start(), log_probs)
    line = lineage(state.prefixes, int(state.beam.prefix[0]))
    firsts = {lineage(state.prefixes, prefix)[0] for prefix in state.beam.prefix.tolist()}
    assert len(firsts) == 2
    assert num_agreed(state, line) > 8


def test_the_language_model_looks_back_over_what_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(estimate(tokenize([["AB", "A", "A"], ["B"], ["B"], ["B"]] * 5), 3).model, path)
    decoder = BeamDecoder(VOCABULARY, config_of(path, weight=2.0))
    log_probs = said([2, 0, 3, 1, 2, 1, *[0] * 20, 2, 0])
    log_probs[-2, 3] = log_probs[-2, 2]  # A or B
    texts = []
    for kind in (RunningBeam, RunningDecoder):
        running = kind(decoder, VOCABULARY, 16)
        for frames in log_probs.split(4):
            running.add(frames)
        texts.append(running.finish().text)
    assert texts == [decoder.best(log_probs, 1)[0].hypothesis.text, "AB A B"]
    assert texts[0] == "AB A A"


def test_silence_is_let_go(arpa: Path) -> None:
    running = RunningBeam(BeamDecoder(VOCABULARY, config_of(arpa)), VOCABULARY, 20)
    for _ in range(30):
        running.add(said([0] * 10))
        assert sum(map(len, running._waiting)) <= 40
    running.add(said([2, 3]))
    found = running.finish()
    assert [word[:3] for word in found.words] == [("AB", 300, 302)]


def test_a_preview_changes_nothing_and_what_must_be_settled_goes_on(arpa: Path) -> None:
    decoder = BeamDecoder(VOCABULARY, config_of(arpa))
    running = RunningBeam(decoder, VOCABULARY, 1000)
    log_probs = said([2, 0, 3, 0, 1, 2, 0, 1, 0, 2, 3, 0])
    running.decode(log_probs[:5], ends_word=True)
    assert [word.text for word in running.words] == ["AB"]
    assert running.preview(log_probs[5:]) == "A AB"
    assert running.preview(log_probs[5:8]) == "A"
    running.decode(log_probs[5:10], ends_word=False)
    assert running.preview(log_probs[10:]) == "B"
    running.add(log_probs[10:])
    found = running.finish()
    assert [word[:3] for word in found.words] == [word[:3] for word in decoder.best(log_probs, 1)[0].hypothesis.words]
    assert found.text == "AB A AB"


def test_what_is_let_go_can_no_longer_win(tmp_path: Path) -> None:
    """A doubtful A, a long silence, and a B before which the language model would have had the A."""
    path = tmp_path / "lm.arpa"
    write_arpa(estimate(tokenize([["A", "B"]] * 8 + [["B"]]), 2).model, path)
    log_probs = said([0, 0, 0, 0, *[0] * 30, 3, 1, 0])
    log_probs[1, 1:3] = log_probs[1, 0] - torch.tensor([3.0, 2.0])
    log_probs[2, 1] = log_probs[2, 0] - 0.1
    running = RunningBeam(BeamDecoder(VOCABULARY, config_of(path, weight=2.0)), VOCABULARY, 10)
    for frame in log_probs.split(1):
        running.add(frame)
        assert running._search.num_prefixes < 3000
    found = running.finish()
    assert all(word.stop_frame - word.first_frame <= 4 for word in found.words)
    live = RunningBeam(BeamDecoder(VOCABULARY, config_of(path, weight=2.0)), VOCABULARY, 100)
    live.decode(log_probs[:20], ends_word=True)
    assert live._search.beam.prefix.tolist() == [ROOT], "no text whose labels were said in these frames"
    live.decode(log_probs[20:], ends_word=True)
    assert " ".join(word.text for word in live.words) == "B"
