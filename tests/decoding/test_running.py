"""Parts that are decoded one after the other are the whole."""

import pytest
import torch

from speechssl.decoding.greedy import GreedyDecoder
from speechssl.decoding.running import RunningDecoder
from speechssl.text.vocabulary import Vocabulary

WITH_SPACES = Vocabulary.of_characters(["A", "B"])  # ids: blank 0, boundary 1, A 2, B 3
SUBWORDS = Vocabulary(["<blank>", "A", " B", "B"], word_boundary=None)
PHONEMES = Vocabulary(["<blank>", "AA ", "B ", "K "], word_boundary=None)


def emissions(seed: int, num_frames: int, chances: list[float]) -> torch.Tensor:
    """Peaks of labels that are drawn, and noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(
        torch.tensor(chances, dtype=torch.float), num_frames, replacement=True, generator=generator
    )
    scores = torch.randn(num_frames, len(chances), generator=generator)
    return scores.scatter_add(1, labels[:, None], torch.full((num_frames, 1), 6.0)).log_softmax(-1)


@pytest.mark.parametrize("max_frames", [10, 37, 1000])
@pytest.mark.parametrize(
    ("vocabulary", "chances"),
    [(WITH_SPACES, [6, 1, 2, 2]), (WITH_SPACES, [6, 0, 2, 2]), (SUBWORDS, [6, 2, 1, 2]), (PHONEMES, [6, 2, 1, 2])],
    ids=["spaces", "one long word", "spaces in labels", "phonemes"],
)
def test_parts_are_the_whole(vocabulary: Vocabulary, chances: list[float], max_frames: int) -> None:
    log_probs = emissions(max_frames, 400, chances)
    [whole] = GreedyDecoder(vocabulary).decode(log_probs[None], torch.tensor([400]))
    running = RunningDecoder(GreedyDecoder(vocabulary), vocabulary, max_frames)
    kept = []
    for piece in log_probs.split(7):
        running.add(piece)
        kept.append(sum(map(len, running._waiting)))
    found = running.finish()
    assert found.text == whole.text
    assert [word[:3] for word in found.words] == [word[:3] for word in whole.words]
    assert [word.boundary_frame for word in found.words] == [word.boundary_frame for word in whole.words]
    if max_frames > 10 and vocabulary is WITH_SPACES and chances[1]:  # else many a word is cut
        both = zip(found.words, whole.words, strict=True)
        assert sum(one.confidence != pytest.approx(other.confidence) for one, other in both) <= 1
    assert found.confidence == pytest.approx(whole.confidence, rel=1e-5)
    assert max(kept) < max_frames + 30, "and little more is kept"


def test_frames_without_a_pause_wait() -> None:
    log_probs = torch.full((50, 4), -9.0)
    log_probs[:, 2] = 0
    running = RunningDecoder(GreedyDecoder(WITH_SPACES), WITH_SPACES, 10)
    for piece in log_probs.split(5):
        running.add(piece)
    assert [word[:3] for word in running.finish().words] == [("A", 0, 50)]
    empty = RunningDecoder(GreedyDecoder(WITH_SPACES), WITH_SPACES, 10).finish()
    assert (empty.text, empty.confidence, empty.words) == ("", 0.0, ())


def test_no_word_goes_on_behind_a_pause() -> None:
    path = [2, 0, 3, 1, 2, 0, 0, 0, 0, 3, 0, 0, 0, 2, 2]
    log_probs = torch.full((len(path), 4), -9.0).scatter(1, torch.tensor(path)[:, None], -0.01)
    running = RunningDecoder(GreedyDecoder(WITH_SPACES), WITH_SPACES, 100, pause_frames=4)
    running.add(log_probs)
    assert [word[:3] for word in running.finish().words] == [("AB", 0, 3), ("A", 4, 5), ("BA", 9, 15)]
    running = RunningDecoder(GreedyDecoder(WITH_SPACES), WITH_SPACES, 100, pause_frames=4)
    running.add(log_probs[4:])
    assert running.finish().text == "ABA", "without another space, words may have none between them"


@pytest.mark.parametrize("max_frames", [18, 100])
def test_no_word_goes_on_behind_a_pause_that_is_cut(max_frames: int) -> None:
    path = [2, 0, 1, 3, *[0] * 12, 3, 0, 2, 0, 0, 0, 1, 2, 0, 3]
    log_probs = torch.full((len(path), 4), -9.0).scatter(1, torch.tensor(path)[:, None], -0.01)
    running = RunningDecoder(GreedyDecoder(WITH_SPACES), WITH_SPACES, max_frames, pause_frames=4)
    for piece in log_probs.split(3):
        running.add(piece)
    assert running.finish().text == "A B BA AB"


@pytest.mark.parametrize(
    ("labels", "path", "words"),
    [
        (
            ["\u0928", "\u092e", "\u0938\u094d\u0924\u0947"],
            [3, 4, 0, 0, 0, 0, 5, 0, 1, 0, 3],
            "\u0928\u092e \u0938\u094d\u0924\u0947 \u0928",
        ),
        (["THE", "MA", "T"], [3, 1, 4, 0, 0, 0, 0, 5, 1, 3, 0], "THE MA T THE"),
    ],
    ids=["grapheme clusters", "pieces of words"],
)
def test_words_of_labels_of_several_characters_are_cut_between_labels(
    labels: list[str], path: list[int], words: str
) -> None:
    vocabulary = Vocabulary(["<blank>", "|", "?", *labels])
    log_probs = torch.full((len(path), 6), -9.0).scatter(1, torch.tensor(path)[:, None], -0.01)
    running = RunningDecoder(GreedyDecoder(vocabulary), vocabulary, 100, pause_frames=4)
    running.add(log_probs)
    found = running.finish()
    assert found.text == words
    assert all(word.confidence > 0.9 for word in found.words)
