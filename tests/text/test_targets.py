"""What of a transcript a label is: characters, clusters, pieces of words, phonemes."""

from pathlib import Path

import pytest

from speechssl.config import SentencePieceTargets
from speechssl.data.transcribed import frames_needed
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.text.continued import compare_vocabularies, continue_vocabulary, matching_rows
from speechssl.text.foreign import find_foreign
from speechssl.text.lexicon import Lexicon
from speechssl.text.normalisation import clean_text
from speechssl.text.segmenters import Graphemes, LongestMatch, Phonemes, SentencePieces, read_segmenter
from speechssl.text.vocabulary import Vocabulary

TEXTS = ["THE CAT SAT", "THE HAT", "CATS AND HATS", "THAT MAT", "A CAT AND A HAT"] * 3


def round_trip(vocabulary: Vocabulary) -> Vocabulary:
    return Vocabulary.from_dict(vocabulary.to_dict())


def test_labels_of_characters_are_saved_as_they_always_were() -> None:
    saved = Vocabulary.from_texts(["AB"]).to_dict()
    assert saved == {"kind": "labels", "labels": ["<blank>", "|", "A", "B"], "blank": 0, "word_boundary": 1}


@pytest.mark.parametrize("text", ["น้ำใจ ดี", "नमस्ते जी", "你好", "مُحَمَّد", "İyi günler"])
def test_clusters_are_labels_and_give_the_text_back(text: str) -> None:
    text = clean_text(text)
    vocabulary = round_trip(Vocabulary.from_texts([text], Graphemes()))
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert len(ids) == len(Graphemes().split(text))
    assert find_foreign([text], vocabulary.characters, vocabulary.symbols).characters == []


def test_a_cluster_that_training_had_not_is_foreign() -> None:
    vocabulary = Vocabulary.from_texts(["น้ำใจ"], Graphemes())
    foreign = find_foreign(["น้ำ นำ"], vocabulary.characters, vocabulary.symbols)
    assert [(item.character, item.kind, item.num_times) for item in foreign.characters] == [("นำ", "cluster", 1)]
    assert "นำ (U+0E19 U+0E33) once" in foreign.describe()
    assert foreign.respell("น้ำ นำ") == "น้ำ นำ"
    with pytest.raises(DataError, match="'นำ' not in the vocabulary"):
        vocabulary.encode("นำ")


def test_labels_from_elsewhere_are_matched_longest_first() -> None:
    vocabulary = Vocabulary(["a", "ch", "c", "h", "<pad>", "|", "sch", "[UNK]"], blank=4, word_boundary=5)
    assert isinstance(vocabulary.segmenter, LongestMatch)
    assert vocabulary.encode("sch ch ca") == [6, 5, 1, 5, 2, 0]
    assert round_trip(vocabulary).encode("scha") == [6, 0]
    with pytest.raises(DataError, match="'x' not in"):
        vocabulary.encode("chx")


def test_a_lexicon_gives_phonemes(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; a comment\nThe\tDH AH0\nTHE(2)  DH IY0\ncat  K AE1 T # of the house\n\nsat\tS AE1 T\n")
    lexicon = Lexicon.read(path, str.upper)
    assert lexicon.pronounce("THE CAT") == "DH AH0 K AE1 T"
    assert lexicon.pronounce("THE DOG") == "DH AH0 <DOG>"
    assert lexicon.missing(["THE DOG", "A DOG"]) == {"DOG": 2, "A": 1}
    vocabulary = Vocabulary.from_texts(map(lexicon.pronounce, ["THE CAT", "SAT"]), Phonemes(), lexicon)
    again = round_trip(vocabulary)
    assert again.lexicon is not None
    assert again.lexicon.pronunciations == lexicon.pronunciations
    assert again.labels == ["<blank>", "AE1 ", "AH0 ", "DH ", "K ", "S ", "T "]
    assert again.decode(again.encode("DH AH0 K AE1 T")) == "DH AH0 K AE1 T"
    foreign = find_foreign(["DH AH0 <DOG>"], again.characters, again.symbols)
    assert [(item.character, item.kind) for item in foreign.characters] == [("<DOG>", "word")]
    assert "words that the lexicon lacks: <DOG> once; add them to the lexicon" in foreign.describe()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"THE\tDH AH0\nCAT\nDOG\t", r"line 2: 'CAT', expected a word, a tab, and its phonemes\n.*line 3: 'DOG'"),
        (b"", "holds no words"),
        (b"\xff\xfe", "cannot be read as UTF-8"),
        (b"TWO WORDS\tT UW1", "line 1"),
    ],
)
def test_a_lexicon_that_is_none_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        Lexicon.read(tmp_path / "lexicon.txt", str.upper)


def test_damaged_labels_are_refused() -> None:
    with pytest.raises(CheckpointError, match="'wordpiece', which this version does not know"):
        read_segmenter({"name": "wordpiece"}, ())
    with pytest.raises(CheckpointError, match="lexicon is damaged"):
        Lexicon.from_text("AAAA")


def test_pieces_without_the_package_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(ConfigError, match=r"pip install 'speechssl\[sentencepiece\]'"):
        SentencePieces.train(TEXTS, SentencePieceTargets())
    read = Vocabulary(["<blank>", " CA", "T"], word_boundary=None, segmenter=SentencePieces(b""))
    assert read.decode([1, 2, 1]) == "CAT CA", "outputs are read without it"


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_pieces_of_words_are_found_and_saved(algorithm: str) -> None:
    pytest.importorskip("sentencepiece", reason="needs the sentencepiece package (speechssl[sentencepiece])")
    config = SentencePieceTargets(num_pieces=16, algorithm=algorithm)  # type: ignore[arg-type]
    pieces = SentencePieces.train(TEXTS, config)
    assert SentencePieces.train(TEXTS[::-1], config).model == pieces.model, "on every process, in any order"
    vocabulary = round_trip(Vocabulary.from_texts(TEXTS, pieces))
    assert len(vocabulary) <= 18
    for text in TEXTS:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        assert frames_needed(vocabulary.encode(text)) < frames_needed(text)
    assert vocabulary.missing(["THE ÉÈÉ"]) == ["È", "É"]
    with pytest.raises(DataError, match="'Z' not in the vocabulary"):
        vocabulary.encode("ZAT")
    for unlikely in (3, 5000):
        if algorithm == "bpe" or unlikely == 3:
            with pytest.raises(
                ConfigError, match=f"num_pieces is {unlikely}, which the 15 training transcripts do not"
            ):
                SentencePieces.train(TEXTS, SentencePieceTargets(num_pieces=unlikely, algorithm=algorithm))  # type: ignore[arg-type]


def test_the_same_language_keeps_all_labels_where_they_are() -> None:
    old = Vocabulary(["A", "|", "B", "<pad>", "C", "<unk>"], blank=3, word_boundary=1)
    same = continue_vocabulary(old, ["AB A"], "auto")
    assert same.vocabulary.to_dict() == old.to_dict()
    assert same.describe() == "--init: all 4 labels of the recogniser are kept"
    more = continue_vocabulary(old, ["AB É"], "auto")
    assert more.vocabulary.labels == [*old.labels, "É"]
    assert (more.vocabulary.blank, more.vocabulary.word_boundary) == (3, 1)
    assert more.describe() == "--init: kept 4 of 4 labels of the recogniser; new: É; gone: none"


def test_another_alphabet_keeps_what_both_have() -> None:
    old = Vocabulary(["A", "|", "B", "<pad>", "C"], blank=3, word_boundary=1)
    other = continue_vocabulary(old, ["ДА НЕТ A"], "auto")
    assert other.vocabulary.labels == ["A", "|", "<pad>", "А", "Д", "Е", "Н", "Т"]
    assert (other.vocabulary.blank, other.vocabulary.word_boundary) == (2, 1)
    assert other.describe() == (
        "--init: kept 2 of 4 labels of the recogniser; new: А Д Е Н Т; gone: B C (--init_labels keep keeps them)"
    )
    assert matching_rows(old, other.vocabulary) == [(0, 0), (1, 1), (2, 3)]
    kept = continue_vocabulary(old, ["ДА"], "keep")
    assert kept.vocabulary.labels == [*old.labels, "А", "Д"]
    assert continue_vocabulary(old, ["AB"], "drop").gone == ["C"]
    assert compare_vocabularies(old, Vocabulary.from_texts(["AX"])).new == ["X"]


def test_a_boundary_is_made_where_there_was_none() -> None:
    unspaced = Vocabulary(["<blank>", "你", "好"], word_boundary=None)
    spaced = continue_vocabulary(unspaced, ["你 好"], "auto").vocabulary
    assert spaced.decode(spaced.encode("你 好")) == "你 好"
    assert spaced.word_boundary == 3
    with pytest.raises(DataError, match="marks word boundaries"):
        continue_vocabulary(Vocabulary.from_texts(["AB"]), ["A|B"], "auto")
