"""``speechssl lm``: an n-gram language model from text."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from speechssl.config import LanguageModelConfig
from speechssl.config.limits import check
from speechssl.data.corpus import Corpus, digests_of, read_corpus, warn_shared
from speechssl.decoding.arpa import is_arpa, write_arpa
from speechssl.decoding.kneser_ney import Estimate, estimate, tokenize
from speechssl.decoding.language_model import perplexity
from speechssl.decoding.ngrams import NgramModel
from speechssl.decoding.pruning import prune
from speechssl.outputs import check_output_file
from speechssl.shards.addresses import redact_all
from speechssl.text.normalisation import Normalizer
from speechssl.text.sentences import read_lines, split_sentences


def run(config: LanguageModelConfig) -> NgramModel:
    """Estimate, prune, write, and tell how it fits held-out text.

    Raises:
        ConfigError: no text is named, or the output cannot be written.
        DataError: a text or shards cannot be read, or hold no words.
    """
    check(config)
    check_output_file(
        config.output, is_arpa, what="language model", inputs=[*config.text, *config.dev_text], called="the texts"
    )
    learned = read_corpus(config.shards, with_texts=True) if config.shards else None
    scored = read_corpus(config.dev_shards, with_texts=True) if config.dev_shards else None
    if learned is not None and scored is not None:
        warn_shared(learned.identities, scored, name=redact_all(config.dev_shards), by="the language model")
    held_out = read_sentences(config, config.dev_text, scored)
    sentences = read_sentences(config, config.text, learned)
    found = estimate(tokenize(sentences, vocabulary_size=config.vocabulary_size), config.order)
    model = prune(found.model, config.prune)
    write_arpa(model, config.output, shards=digests_of(config.shards))
    lines = describe(found, model, config)
    if held_out:
        fit = perplexity(model, held_out)
        share = fit.num_unknown / fit.num_words
        lines.append(
            f"held-out text, {fit.num_words} {config.unit}: perplexity {fit.with_unknown:.4g}, "
            f"{fit.without_unknown:.4g} without the {fit.num_unknown} unknown ones ({share:.1%})"
        )
    lines.append(f"language model: {config.output}")
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    return model


def read_sentences(config: LanguageModelConfig, files: Sequence[Path], corpus: Corpus | None) -> list[list[str]]:
    """Words of text files and of transcripts."""
    lines = [line for path in files for line in read_lines(path)]
    if corpus is not None:
        lines += list(corpus.texts or ())
    return list(split_sentences(lines, Normalizer(config.writing), config.unit))


def describe(found: Estimate, model: NgramModel, config: LanguageModelConfig) -> list[str]:
    """What was learned from, and what of it the model holds."""
    lines = [f"{found.num_sentences} sentences, {found.num_words} {config.unit}, {len(model.words) - 3} different"]
    if found.model.order < config.order:
        lines.append(f"order {found.model.order} instead of {config.order}: no sentence is longer")
    for number, (table, whole, discounts) in enumerate(
        zip(model.orders, found.model.orders, found.discounts, strict=False), 1
    ):
        pruned = f" of {len(whole)}" if len(table) < len(whole) else ""
        amounts = ", ".join(f"{amount:.3g}" for amount in discounts.amounts)
        lines.append(f"{len(table)}{pruned} {number}-grams, discounts {amounts}{' (fallback)' * discounts.is_fallback}")
    return lines
