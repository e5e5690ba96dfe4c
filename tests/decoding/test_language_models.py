"""N-gram models: estimation, pruning, ARPA files, scores."""

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from reference import backoff_log_prob, kneser_ney

from speechssl import cli
from speechssl.config import LanguageModelConfig
from speechssl.decoding.arpa import read_arpa, write_arpa
from speechssl.decoding.kneser_ney import FALLBACK_DISCOUNTS, estimate, tokenize
from speechssl.decoding.language_model import make_language_model, perplexity, score_words
from speechssl.decoding.ngrams import NgramModel
from speechssl.decoding.pruning import prune
from speechssl.errors import ConfigError, DataError
from speechssl.verbs import lm


def text(num_sentences: int, seed: int = 0) -> list[list[str]]:
    """Sentences of words of which few are frequent."""
    draws = np.random.default_rng(seed)
    return [[f"w{i}" for i in draws.zipf(1.6, draws.integers(1, 6)) if i < 12] or ["w1"] for _ in range(num_sentences)]


def log_probs_of(model: NgramModel, words: list[str]) -> np.ndarray:
    automaton = make_language_model(model)
    found = np.empty(len(words) + 1)
    score_words(automaton, np.array([model.numbers.get(w, automaton.unknown) for w in words], np.int64), found)
    return found


@pytest.mark.parametrize(("num_sentences", "order"), [(40, 3), (12, 2), (3, 4)])
def test_probabilities_are_those_of_kneser_ney(num_sentences: int, order: int) -> None:
    sentences = text(num_sentences)
    model = estimate(tokenize(sentences), order).model
    for words in [*sentences[:3], ["w2", "w1", "zzz", "w1"]]:
        history = ["<s>", *words]
        expected = [kneser_ney(sentences, order, history[: i + 1], word) for i, word in enumerate([*words, "</s>"])]
        np.testing.assert_allclose(log_probs_of(model, words), np.log(expected), rtol=1e-9)


@pytest.mark.parametrize("threshold", [0.0, 1e-4, 1e-2])
def test_probabilities_sum_to_one_after_every_history_also_when_pruned_written_and_read(
    threshold: float, tmp_path: Path
) -> None:
    model = prune(estimate(tokenize(text(200), vocabulary_size=8), 4).model, threshold)
    write_arpa(model, tmp_path / "lm.arpa")
    model = read_arpa(tmp_path / "lm.arpa")
    histories = [[], ["w1"], ["w1", "w1"], ["w2", "w1", "w3"], ["w3", "zzz", "w1"], ["w1", "w1", "w1", "w2"]]
    for history in histories:
        every = [
            log_probs_of(model, [*history, word])[len(history)] for word in model.words if word not in ("<s>", "</s>")
        ]
        every.append(log_probs_of(model, history)[-1])
        assert np.exp(every).sum() == pytest.approx(1, abs=2e-6)


def test_pruning_takes_out_what_tells_least_and_costs_little() -> None:
    model = estimate(tokenize(text(400)), 3).model
    sizes, fits = [], []
    for threshold in (0.0, 1e-5, 1e-3, 1e9):
        pruned = prune(model, threshold)
        sizes.append(sum(map(len, pruned.orders)))
        fits.append(perplexity(pruned, text(200, seed=1)).with_unknown)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    assert sizes[-1] == len(model.words)
    assert fits[1] < 1.02 * fits[0]
    assert fits[-1] > fits[0]


def test_pruning_is_by_the_perplexity_of_the_model() -> None:
    """The rise of each n-gram's absence by the definition: over all words after its history, which is as likely."""
    model = estimate(tokenize(text(60)), 2).model
    singles, pairs = model.orders
    words = np.flatnonzero(np.arange(len(model.words)) != model.numbers["<s>"])
    single_probs = np.exp(singles.log_prob)
    history_probs = single_probs.copy()
    history_probs[model.numbers["<s>"]] = single_probs[model.numbers["</s>"]]

    def distribution(history: int, without: int | None = None) -> np.ndarray:
        there = pairs.prefix == history
        probs = dict(zip(pairs.word[there].tolist(), np.exp(pairs.log_prob[there]).tolist(), strict=True))
        probs.pop(without, None)
        left = 1 - sum(probs.values())
        weight = left / (1 - sum(single_probs[word] for word in probs))
        return np.array([probs.get(word, weight * single_probs[word]) for word in words.tolist()])

    rises = []
    for history, word in zip(pairs.prefix.tolist(), pairs.word.tolist(), strict=True):
        whole, less = distribution(history), distribution(history, without=word)
        rises.append(np.expm1(history_probs[history] * (whole * np.log(whole / less)).sum()))
    for threshold in np.quantile(rises, [0.2, 0.5, 0.8]):
        num_kept = len(prune(model, threshold * (1 - 1e-9)).orders[1])
        assert num_kept == sum(rise >= threshold * (1 - 1e-6) for rise in rises)


def test_what_a_longer_one_that_stays_needs_stays() -> None:
    for threshold in (1e-4, 1e-3, 3e-3):
        pruned = prune(estimate(tokenize(text(400)), 4).model, threshold)
        there = [set(texts) for texts in pruned.texts()]
        for shorter, longer in itertools.pairwise(there):
            assert {gram.partition(" ")[2] for gram in longer} <= shorter


def test_rare_words_are_the_unknown_word() -> None:
    sentences = [["a", "b"], ["a", "c"], ["a", "b"], ["d"]]
    tokens = tokenize(sentences, vocabulary_size=2)
    assert tokens.words == ["<s>", "</s>", "<unk>", "a", "b"]
    assert tokens.ids.tolist() == [0, 3, 4, 1, 0, 3, 2, 1, 0, 3, 4, 1, 0, 2, 1]
    few = estimate(tokens, 2).model
    fit = perplexity(few, [["a", "zzz"], ["b"]])
    first, second = log_probs_of(few, ["a", "zzz"]), log_probs_of(few, ["b"])
    assert (fit.num_words, fit.num_unknown, fit.num_sentences) == (3, 1, 2)
    assert fit.with_unknown == pytest.approx(np.exp(-(first.sum() + second.sum()) / 5))
    assert fit.without_unknown == pytest.approx(np.exp(-(first[0] + first[2] + second.sum()) / 4))


@pytest.mark.parametrize("sentences", [[["yes"]], [["a", "b"]] * 9, [[f"w{i}"] for i in range(101)]])
def test_closed_and_tiny_texts_have_a_model(sentences: list[list[str]]) -> None:
    found = estimate(tokenize(sentences), 3)
    assert found.discounts[-1].is_fallback
    assert found.discounts[-1].amounts == FALLBACK_DISCOUNTS
    fit = perplexity(found.model, sentences)
    assert 1 < fit.with_unknown < 110


def test_scores_are_those_of_the_definition_also_where_suffixes_are_missing(tmp_path: Path) -> None:
    lines = ["\\data\\", "ngram 1=4", "ngram 2=2", "ngram 3=1", "", "\\1-grams:", "-99 <s> -0.3", "-0.5 </s>"]
    lines += ["-0.6 a -0.2", "-0.7 b -0.1", "\\2-grams:", "-0.4 <s> a -0.05", "-0.3 a b", "\\3-grams:"]
    lines += ["-0.2 <s> a a", "\\end\\"]  # no "a a"
    path = tmp_path / "lm.arpa.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    model = read_arpa(path)
    probs, weights = {}, {}
    for table, texts in zip(model.orders, model.texts(), strict=True):
        probs |= dict(zip(texts, table.log_prob.tolist(), strict=True))
        weights |= dict(zip(texts, table.backoff.tolist(), strict=True))
    draws = np.random.default_rng(0)
    for _ in range(50):
        words = draws.choice(["a", "b"], draws.integers(1, 7)).tolist()
        history = ["<s>", *words]
        expected = [
            backoff_log_prob(probs, weights, history[max(0, i - 1) : i + 1], word)
            for i, word in enumerate([*words, "</s>"])
        ]
        np.testing.assert_allclose(log_probs_of(model, words), expected, rtol=1e-9)


def test_a_closed_vocabulary_gives_unknown_words_the_least(tmp_path: Path) -> None:
    lines = ["\\data\\", "ngram 1=4", "", "\\1-grams:", "-99 <s>", "-0.5 </s>", "-0.6 a", "-2.5 b", "\\end\\"]
    (tmp_path / "lm.arpa").write_text("\n".join(lines), encoding="utf-8")
    model = read_arpa(tmp_path / "lm.arpa")
    assert log_probs_of(model, ["zzz"])[0] == pytest.approx(-2.5 * np.log(10))
    assert np.isfinite(perplexity(model, [["a", "zzz"]]).with_unknown)


def test_kenlm_reads_it_and_agrees(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="kenlm is built from source, with a compiler")
    for threshold in (0.0, 1e-3):
        model = prune(estimate(tokenize(text(200)), 4).model, threshold)
        write_arpa(model, tmp_path / "lm.arpa")
        theirs = kenlm.Model(str(tmp_path / "lm.arpa"))
        for words in [*text(50, seed=2), ["w1", "zzz", "w2"]]:
            expected = [score for score, *_ in theirs.full_scores(" ".join(words))]
            np.testing.assert_allclose(log_probs_of(model, words) / np.log(10), expected, atol=2e-6)


HEAD = "\\data\\\nngram 1=3\n\n\\1-grams:\n"
WORDS = "-99\t<s>\t0\n-1\t</s>\n-1\ta\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no line \\data\\"),
        (b"yes\nno\n", "no line \\data\\"),
        (b"\x80\x81" * 40, "no text in UTF-8"),
        (b"\x1f\x8b" + b"junk" * 9, "damaged compression"),
        (b"mmap lm http://kheafield.com/code format version 5\n", "a binary of KenLM's"),
        (b"\\data\\\nngram 1=99999999999999\n", "expected the number of 1-grams"),
        (b"\\data\\\n\\end\\\n", "no numbers of n-grams"),
        ((HEAD + "-99\t<s>\n").encode(), "1 1-grams, expected 3"),
        ((HEAD + WORDS.replace("-1\ta", "nan\ta") + "\\end\\").encode(), "no number"),
        ((HEAD + WORDS.replace("-1\ta", "7\ta") + "\\end\\").encode(), "a logarithm above 0"),
        ((HEAD + WORDS.replace("-1\ta", "-1\t</s>") + "\\end\\").encode(), "'</s>' is there twice"),
        ((HEAD + WORDS.replace("<s>", "b") + "\\end\\").encode(), "no <s> among the 1-grams"),
        ((HEAD + WORDS.replace("-1\ta", "x\ta") + "\\end\\").encode(), "expected numbers before"),
        ((HEAD + WORDS).encode(), "expected \\end\\"),
        (
            ("\\data\\\nngram 1=3\nngram 2=1\n\\1-grams:\n" + WORDS + "\\2-grams:\n-1\ta b\n\\end\\").encode(),
            "'b' is not",
        ),
    ],
)
def test_a_file_that_is_no_language_model_is_told_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_arpa(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_tells_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("yes no\n\nno  no yes\nyes\n" * 5, encoding="utf-8")
    (tmp_path / "dev.txt").write_text("YES\nmaybe no\n", encoding="utf-8")
    output = tmp_path / "lm.arpa.gz"
    arguments = [str(tmp_path / "text.txt"), str(output), "--order", "3", "--writing.case", "upper"]
    for _ in range(2):  # its own output may be replaced
        assert cli.main(["lm", *arguments, "--dev_text", str(tmp_path / "dev.txt")]) == 0
    shown = capsys.readouterr().out
    assert "15 sentences, 30 words, 2 different" in shown
    assert "without the 1 unknown ones (33.3%)" in shown
    assert read_arpa(output).words == ["<s>", "</s>", "<unk>", "NO", "YES"]


def test_texts_that_are_none_are_told(tmp_path: Path) -> None:
    config = LanguageModelConfig(tmp_path / "lm.arpa")
    with pytest.raises(ConfigError, match="text and shards are both empty"):
        lm.run(config)
    for content, message in [("a\tb\n" * 3, "a table"), ("\n", "holds no words"), ("a <s> b\n", "holds <s>")]:
        (tmp_path / "text.txt").write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            lm.run(LanguageModelConfig(tmp_path / "lm.arpa", text=[tmp_path / "text.txt"]))
    with pytest.raises(ConfigError, match="one of the texts"):
        lm.run(LanguageModelConfig(tmp_path / "text.txt", text=[tmp_path / "text.txt"]))
