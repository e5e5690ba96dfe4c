"""Which transcripts self-training keeps, by held-out speech."""

import random

import jiwer
import pytest

from speechssl.evaluation.pseudo_labels import Judged, Threshold, choose_threshold

WORDS = ["one", "two", "three", "four", "five"]


def random_utterances(rng: random.Random) -> list[Judged]:
    """Of few confidences, so that some are alike, and the more confident the better; some transcripts are empty."""
    found = []
    for _ in range(rng.randint(1, 12)):
        confidence = rng.choice([0.2, 0.4, 0.6, 0.8])
        reference = rng.choices(WORDS, k=rng.randint(1, 5))
        hypothesis = [word if rng.random() < confidence else rng.choice(WORDS) for word in reference]
        found.append(Judged(" ".join(reference), " ".join(hypothesis) if rng.random() < 0.9 else "", confidence))
    return found


def slow_choice(held_out: list[Judged], max_wer: float) -> Threshold | None:
    """Tries every confidence, from the lowest up."""
    for confidence in sorted({item.confidence for item in held_out}):
        kept = [item for item in held_out if item.confidence >= confidence and item.hypothesis]
        if any(item.confidence == confidence for item in kept):
            wer = jiwer.wer([item.reference for item in kept], [item.hypothesis for item in kept])
            if wer <= max_wer:
                return Threshold(confidence, wer, len(kept) / len(held_out))
    return None


@pytest.mark.parametrize("max_wer", [0.0, 0.25, 0.5])
def test_the_lowest_confidence_that_keeps_few_errors_is_chosen(max_wer: float) -> None:
    rng = random.Random(0)
    chosen = 0
    for _ in range(200):
        held_out = random_utterances(rng)
        found, expected = choose_threshold(held_out, max_wer), slow_choice(held_out, max_wer)
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            chosen += 1
            assert found == pytest.approx(expected)
    assert 20 < chosen < 200


def test_transcripts_that_are_alike_confident_are_kept_together() -> None:
    held_out = [Judged("one", "one", 0.9), Judged("two", "two", 0.5), Judged("two", "six", 0.5)]
    assert choose_threshold(held_out, 0.2) == Threshold(0.9, 0.0, 1 / 3)


def test_an_empty_transcript_is_no_label_however_confident() -> None:
    assert choose_threshold([Judged("one", "", 0.99)], 1.0) is None
