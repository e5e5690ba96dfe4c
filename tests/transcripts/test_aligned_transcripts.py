"""Transcripts with emissions in which it is known what was said when."""

from collections.abc import Callable

import pytest
import torch
from small_chain import MODEL

from speechssl.config import SentencePieceTargets, TextConfig
from speechssl.decoding.hypothesis import Word
from speechssl.decoding.words import words_of_path
from speechssl.errors import DataError
from speechssl.frames import frame_seconds
from speechssl.text.lexicon import Lexicon
from speechssl.text.normalisation import Normalizer
from speechssl.text.segmenters import Graphemes, Phonemes, SentencePieces
from speechssl.text.vocabulary import Vocabulary
from speechssl.transcripts.aligned import Aligned, align_transcript, spell
from speechssl.transcripts.transcript import LEAD_SECONDS, TAIL_SECONDS, Clock

VOCABULARY = Vocabulary.of_characters("ABST")  # ids: blank 0, boundary 1, A 2, B 3, S 4, T 5
CLOCK = Clock(MODEL)


def edge(frame: int) -> float:
    return frame_seconds(frame - 0.5, MODEL.feature_encoder.conv_layers, MODEL.sample_rate)


def emissions(path: list[int], doubt: float = -0.05) -> torch.Tensor:
    """Each frame says its label, nearly for certain."""
    return torch.full((len(path), 6), -8.0).scatter(1, torch.tensor(path)[:, None], doubt)


def align(text: str, path: list[int]) -> Aligned:
    return align_transcript(emissions(path), text, VOCABULARY, CLOCK, edge(len(path)) + 1)


PATH = [0, 2, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 5, 0, 0]  # AB ST
LATE = [*[0] * 30, 2, 3, *[0] * 30, 1, *[0] * 30, 4, 5, *[0] * 30]  # the same, slowly


def test_words_and_characters_have_the_times_of_their_frames() -> None:
    found = align("ab, St!", PATH)
    assert [word.text for word in found.words] == ["ab,", "St!"]
    first, second = found.words
    assert first[1:3] == pytest.approx((max(0, edge(1) - LEAD_SECONDS), edge(4)))
    assert second[1:3] == pytest.approx((edge(13) - LEAD_SECONDS, edge(16) + TAIL_SECONDS))
    assert [(c.text, c.start_seconds) for c in second.characters] == [("S", second.start_seconds), ("t", edge(15))]
    assert first.characters[0].stop_seconds == first.characters[1].start_seconds == edge(3)
    assert first.characters[1].stop_seconds == first.stop_seconds
    assert (found.score, first.score, found.num_unknown) == (0.0, 0.0, 2)


def test_a_wrong_word_and_a_missing_one_cost_score() -> None:
    wrong = align("AB TT", PATH)
    assert wrong.words[0].score == 0
    assert wrong.words[1].score is not None
    assert wrong.words[1].score < -2
    missing = align("AB", PATH)
    assert missing.words[0].score == 0
    assert missing.score < -2, "what was said between words counts"


def test_words_that_cannot_be_written_are_between_their_neighbours() -> None:
    found = align("1984 AB 7 ST", PATH)
    assert [word.score for word in found.words] == [None, 0.0, None, 0.0]
    assert found.words[0][1:3] == (0.0, 0.0)
    assert found.words[2].start_seconds == found.words[2].stop_seconds == found.words[1].stop_seconds
    assert found.num_unknown == 5
    assert [word.confidence for word in found.timed_words()] == [1.0] * 4


def test_words_meet_where_the_space_is_said() -> None:
    found = align("AB ST", [2, 3, 0, 1, 1, 0, 4, 5])
    assert found.words[0].stop_seconds == found.words[1].start_seconds == pytest.approx(edge(3))


def test_words_reach_no_further_than_their_letters_lag() -> None:
    first, second = align("AB ST", LATE).words
    assert first[1:3] == pytest.approx((edge(30) - LEAD_SECONDS, edge(32) + TAIL_SECONDS))
    assert second[1:3] == pytest.approx((edge(93) - LEAD_SECONDS, edge(95) + TAIL_SECONDS))


def test_words_without_a_space_share_what_is_between_them() -> None:
    words = [Word("A", 5, 6), Word("B", 10, 11)]
    (_, end), (begin, _) = CLOCK.spans(words, edge(20))
    share = TAIL_SECONDS / (LEAD_SECONDS + TAIL_SECONDS)
    assert end == begin == pytest.approx(edge(6) + share * (edge(10) - edge(6)))
    assert CLOCK.spans(words, edge(12))[1][1] == pytest.approx(edge(12)), "no word lasts longer than the recording"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no transcript"),
        ("1984", "the recogniser can write none of its characters"),
        ("AAAAAAAAAA", "transcript needs 19 frames, the audio has 18"),
    ],
)
def test_what_cannot_be_aligned_is_told(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        align(text, PATH)


def test_a_letter_may_be_several_in_another_case() -> None:
    spelling = spell("aß", VOCABULARY)
    assert spelling.labels == [2, 4, 4]
    assert spelling.owners == [(0, "a"), (0, "ß"), (0, "ß")]
    assert spelling.num_unknown == 0


def test_words_are_spelt_as_the_recogniser_was_taught() -> None:
    vocabulary = Vocabulary.of_characters(["'", *"ADNOT"])
    normalize = Normalizer(TextConfig(quotes="straight", brackets="remove"))
    spelling = spell("Don\u2019t [noise] at", vocabulary, normalize)
    assert "".join(vocabulary.spell(spelling.labels)) == "DON'T AT"
    assert spelling.words == ["Don\u2019t", "[noise]", "at"], "but named as they are written"
    assert {number for number, _ in spelling.owners} == {0, -1, 2}
    several = spell("A-T", vocabulary, Normalizer(TextConfig(punctuation="remove")))
    assert several.owners == [(0, "A"), (-1, " "), (0, "T")]


def test_tags_of_several_words_are_passed_over() -> None:
    normalizer = Normalizer(TextConfig(brackets="remove"))
    spelling = spell("AB [AT  ST] ST", VOCABULARY, normalizer)
    assert spelling.labels == VOCABULARY.encode("AB ST")
    assert spelling.num_unknown == 0
    found = align_transcript(emissions(PATH), "AB [AT ST] ST", VOCABULARY, CLOCK, edge(len(PATH)) + 1, normalizer)
    assert [(word.text, word.score) for word in found.words] == [("AB", 0), ("[AT", None), ("ST]", None), ("ST", 0)]
    assert found.words[2].start_seconds == found.words[0].stop_seconds


TEXTS = ["THE CAT SAT", "THE HAT", "CATS AND HATS", "THAT MAT", "A CAT AND A HAT"]


def in_pieces() -> Vocabulary:
    pytest.importorskip("sentencepiece")
    return Vocabulary.from_texts(TEXTS, SentencePieces.train(TEXTS * 3, SentencePieceTargets(num_pieces=24)))


def matched_longest() -> Vocabulary:
    return Vocabulary(["<pad>", "|", *"THECASNDM", "AT", " TH", "CAT"], word_boundary=1)


@pytest.mark.parametrize(
    "make", [lambda: Vocabulary.from_texts(TEXTS), lambda: Vocabulary.from_texts(TEXTS, Graphemes()), in_pieces]
)
@pytest.mark.parametrize("text", TEXTS)
def test_transcripts_are_cut_as_for_training(make: Callable[[], Vocabulary], text: str) -> None:
    vocabulary = make()
    assert spell(text, vocabulary).labels == vocabulary.encode(text)
    spelling = spell(f"7 {text.lower()} - 8", vocabulary)
    assert spelling.labels == vocabulary.encode(text), "in another case, and beside what has no labels"
    assert spelling.num_unknown == 3
    found = ["".join(written for number, written in spelling.owners if number == i + 1) for i in range(6)]
    assert " ".join(filter(None, found)) == text.lower(), "but as it is written"


def test_labels_from_elsewhere_may_begin_with_the_space() -> None:
    vocabulary = matched_longest()
    assert spell("THE HAT", vocabulary).labels == vocabulary.encode("THE HAT")
    assert spell("A THE", vocabulary).owners == [(0, "A"), (1, "TH"), (1, "E")]


def test_pieces_give_words_their_times() -> None:
    vocabulary = in_pieces()
    labels = vocabulary.encode("THE CAT SAT")
    path = [0, *(frame for label in labels for frame in (label, 0, 0))]
    log_probs = torch.full((len(path), len(vocabulary)), -8.0).scatter(1, torch.tensor(path)[:, None], -0.05)
    found = align_transcript(log_probs, "The cat, sat", vocabulary, CLOCK, edge(len(path)) + 1)
    assert [word.text for word in found.words] == ["The", "cat,", "sat"]
    assert [word.score for word in found.words] == [0, 0, 0]
    heard = words_of_path(torch.tensor(path), log_probs, vocabulary)
    spans = CLOCK.spans(heard, edge(len(path)) + 1)
    assert [(word.start_seconds, word.stop_seconds) for word in found.words] == spans
    assert "".join(c.text for c in found.words[1].characters) == "cat"


def test_a_letter_of_a_piece_may_be_several_in_another_case() -> None:
    vocabulary = Vocabulary(["<pad>", "|", "STRA", "S", "SE"], word_boundary=1)
    assert spell("straße", vocabulary).owners == [(0, "stra"), (0, "ß"), (0, "ße")]


def test_phonemes_of_words_are_found_in_whatever_case_and_beside_punctuation() -> None:
    lexicon = Lexicon({"STOP": "S T AA P"})
    labels = ["<blank>", "S ", "T ", "AA ", "P "]
    vocabulary = Vocabulary(labels, word_boundary=None, segmenter=Phonemes(), lexicon=lexicon)
    spelling = spell("Stop, (stop)! GO STOP", vocabulary)
    assert spelling.labels == [1, 2, 3, 4] * 3
    assert spelling.num_unknown == 1
