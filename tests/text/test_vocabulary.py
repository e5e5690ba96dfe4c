"""Text to labels and back."""

import pytest

from speechssl.errors import CheckpointError, DataError
from speechssl.text.vocabulary import Vocabulary


def test_round_trip_and_blank() -> None:
    vocabulary = Vocabulary.from_texts(["AB BA", "CÉ"])
    ids = vocabulary.encode("BAC A")
    assert 0 not in ids
    assert vocabulary.decode([0, *ids, 0, 0]) == "BAC A"
    assert len(vocabulary) == 2 + len("ABCÉ")
    assert Vocabulary.from_dict(vocabulary.to_dict()).encode("CÉ") == vocabulary.encode("CÉ")


def test_unknown_characters_are_named() -> None:
    with pytest.raises(DataError, match=r"'7' '\|' not in the vocabulary"):
        Vocabulary.of_characters(["A"]).encode("A7|")


def test_empty_and_ambiguous_vocabularies_are_refused() -> None:
    with pytest.raises(DataError, match="no characters"):
        Vocabulary.from_texts(["", " "])
    with pytest.raises(DataError, match="word boundaries"):
        Vocabulary.from_texts(["A|B"])
    with pytest.raises(CheckpointError, match="'phones'"):
        Vocabulary.from_dict({"kind": "phones"})


def test_what_a_vocabulary_can_write() -> None:
    assert Vocabulary.of_characters("AB'").characters == {"A", "B", "'"}
    assert Vocabulary.of_characters("AB'").longest_label == 1
    theirs = Vocabulary(["<pad>", "<s>", "[UNK]", "|", "a", "ch ", "<"], blank=0, word_boundary=3)
    assert theirs.characters == {"a", "c", "h", "<"}
    assert theirs.longest_label == 3
