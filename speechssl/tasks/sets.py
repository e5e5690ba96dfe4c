"""What a run learns from and is scored on: read before anything is trained, so that what is wrong with it shows."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from speechssl.config import (
    AnyTargets,
    CharacterTargets,
    FinetuneConfig,
    GraphemeTargets,
    ModelConfig,
    PhonemeTargets,
    PretrainConfig,
    SentencePieceTargets,
    StreamConfig,
)
from speechssl.config.reading import from_dict
from speechssl.data.augmented import fastest
from speechssl.data.corpus import Corpus, check_rate, read_corpus, warn_shared
from speechssl.data.streams import StreamPlan
from speechssl.data.transcribed import Transcribed, check_foreign, check_labels, check_transcripts, say_how_scored
from speechssl.errors import DataError
from speechssl.frames import hop_samples
from speechssl.remote.store import ShardStore, make_store
from speechssl.seeding import Purpose, derive_seed
from speechssl.shards.addresses import redact_all
from speechssl.text.continued import Continued, compare_vocabularies, continue_vocabulary
from speechssl.text.lexicon import Lexicon
from speechssl.text.normalisation import Normalizer
from speechssl.text.segmenters import Characters, Graphemes, Phonemes, Segmenter, SentencePieces
from speechssl.text.vocabulary import Vocabulary
from speechssl.text.writing import Writer
from speechssl.training.checkpoints import Checkpoint, describe_latest

logger = logging.getLogger(__name__)

Section = Literal["train", "dev"]
SECTIONS: tuple[Section, Section] = ("train", "dev")
MAX_UNUSABLE_SHARE = 0.1
"""Of utterances; more mean that something is wrong with the corpus, not with an utterance."""


def load_corpus(
    shards: list[str], model: ModelConfig, *, with_texts: bool = False, store: ShardStore | None = None
) -> Corpus:
    """Index of the shards, checked against the model's sample rate; ``store`` reads those from elsewhere.

    Raises:
        DataError: as of ``read_corpus`` and ``check_rate``.
    """
    corpus = read_corpus(shards, with_texts=with_texts, store=store)
    check_rate(corpus, model.sample_rate, name=f"the shards {redact_all(shards)}", by="model.sample_rate is")
    return corpus


def plan_train(corpus: Corpus, stream: StreamConfig, seed: int, *, crop: bool, two_views: bool = False) -> StreamPlan:
    """Plan of the training data; warns of samples outside the limits on their length.

    Raises:
        ConfigError, DataError: there can be none.
    """
    plan = StreamPlan(corpus, stream, seed=seed, crop=crop, two_views=two_views)
    if plan.num_too_short:
        logger.warning("Left out, shorter than %.3g s: %d", stream.min_seconds, plan.num_too_short)
    if plan.num_too_long:
        logger.warning("Left out, longer than %g s: %d", stream.max_seconds, plan.num_too_long)
    return plan


def plan_dev(config: PretrainConfig, train: Corpus) -> StreamPlan | None:
    """Held-out audio as one source; None without any.

    Raises:
        ConfigError, DataError: it cannot be scored.
    """
    if not config.dev.shards:
        return None
    corpus = load_corpus(config.dev.shards, config.model, store=make_store(config.dev, config.data))
    warn_shared(train.identities, corpus, name="dev")
    stream = replace(
        config.data,
        shards=config.dev.shards,
        num_streams=1,
        max_batch_seconds=config.dev.max_batch_seconds,
        source_weights=[],
        source_temperature=0.0,
    )
    # Not the run's own seed: cut and masked alike, held-out audio compares runs of different seeds.
    seed = derive_seed(0, Purpose.DEV)
    return StreamPlan(corpus, stream, seed=seed, crop=True, two_views=config.two_views)


def labelled_seconds(plan: StreamPlan, corpus: Corpus, config: FinetuneConfig) -> float:
    """Audio that is learned from with people's transcripts."""
    if not config.pseudo_labels:
        return plan.seconds
    sources = [i for i, name in enumerate(config.train.shards) if name in config.pseudo_labels]
    seconds = corpus.num_samples / corpus.sample_rate
    is_learned = (seconds >= config.train.min_seconds) & (seconds <= config.train.max_seconds)
    is_pseudo = np.isin(corpus.shard_sources[corpus.shard_numbers], sources)
    return float(seconds[is_learned & ~is_pseudo].sum())


class Earlier(NamedTuple):
    """Labels that there are before the transcripts are looked at."""

    vocabulary: Vocabulary
    is_of_run: bool
    """Of the run that goes on, whose labels stay; else of the recogniser that it begins with."""
    is_cut_alike: bool = True
    """Whether transcripts are to be cut into labels as they were for it."""


class Sets(NamedTuple):
    """What fine-tuning learns from, and what its checkpoints are scored on."""

    train: Corpus
    dev: Corpus
    vocabulary: Vocabulary
    notes: list[str]
    """What to know of their transcripts."""


def read_sets(config: FinetuneConfig, earlier: Earlier | None = None) -> Sets:
    """Both sets with their transcripts, written as the configuration says.

    Args:
        config: as it runs.
        earlier: labels of the run that goes on, or of a recogniser that it begins with.

    Raises:
        ConfigError: text or labels that need a package.
        DataError: shards are missing or damaged, of another sample rate than the model's, hold no transcript, or
            too many that cannot be learned from.
    """
    alike = earlier.vocabulary if earlier is not None and earlier.is_cut_alike else None
    writer = Writer(config.text, alike.lexicon if alike is not None else read_lexicon(config))
    corpora = {section: load_transcribed(config, section) for section in SECTIONS}
    if alike is not None:
        segmenter = alike.segmenter
    else:
        segmenter = build_segmenter(config.targets, map(writer.reference, corpora["train"].texts or ()))
    train, dev = (check_set(config, section, corpora[section], writer, segmenter) for section in SECTIONS)
    learned = usable(train, config.model)
    texts = list(learned.texts or ())
    vocabulary, notes = choose_labels(config, earlier, texts, segmenter, writer.lexicon)
    notes = [*check_labels(train, vocabulary.symbols), *notes]
    say_how_scored(dev)
    check_foreign(dev, vocabulary)
    warn_shared(learned.identities, dev.corpus, name="dev")
    return Sets(learned, dev.corpus, vocabulary, [*notes, dev.describe_characters(symbols=vocabulary.symbols)])


def find_earlier(config: FinetuneConfig, initial: Checkpoint | None) -> Earlier | None:
    """Labels of the run in the output folder, or else of the recogniser of ``init``; None if there are none."""
    if labels := describe_latest(config.output).get("vocabulary"):
        return Earlier(Vocabulary.from_dict(labels), is_of_run=True)
    if initial is None or initial.vocabulary is None:
        return None
    is_cut_alike = config.targets == theirs_of(initial).targets
    return Earlier(Vocabulary.from_dict(initial.vocabulary), is_of_run=False, is_cut_alike=is_cut_alike)


def theirs_of(recogniser: Checkpoint) -> FinetuneConfig:
    """What a recogniser was made with, of what one that goes on from it takes over."""
    kept = {name: recogniser.config.get(name) or {} for name in ("text", "targets", "head")}
    return from_dict(FinetuneConfig, kept, source=str(recogniser.path))


def load_transcribed(config: FinetuneConfig, section: Section) -> Corpus:
    """The training set or the dev set as its shards have it; raises as ``read_sets`` does."""
    stream = config.train if section == "train" else config.dev
    return load_corpus(stream.shards, config.model, with_texts=True, store=make_store(stream, config.train))


def check_set(
    config: FinetuneConfig, section: Section, corpus: Corpus, writer: Writer, segmenter: Segmenter
) -> Transcribed:
    """The training set or the dev set, with the same checks of both."""
    stream = config.train if section == "train" else config.dev
    return check_transcripts(
        corpus,
        config.model.feature_encoder.conv_layers,
        name=f"{section} ({redact_all(stream.shards)})",
        speed=fastest(config.augmentation) if section == "train" else 1.0,
        writer=writer,
        split=segmenter.split,
    )


def read_lexicon(config: FinetuneConfig) -> Lexicon | None:
    """Pronunciations, if labels are phonemes."""
    match config.targets:
        case PhonemeTargets(lexicon=path):
            return Lexicon.read(path, Normalizer(config.text))
    return None


def build_segmenter(targets: AnyTargets, texts: Iterable[str]) -> Segmenter:
    """What cuts transcripts into labels; pieces of words are found in the training transcripts."""
    match targets:
        case CharacterTargets():
            return Characters()
        case GraphemeTargets():
            return Graphemes()
        case PhonemeTargets():
            return Phonemes()
        case SentencePieceTargets():
            return SentencePieces.train(list(texts), targets)


def choose_labels(
    config: FinetuneConfig,
    earlier: Earlier | None,
    texts: Sequence[str],
    segmenter: Segmenter,
    lexicon: Lexicon | None,
) -> tuple[Vocabulary, list[str]]:
    """Labels of a run, and what became of those of the recogniser that it begins with, in words."""
    if earlier is not None and earlier.is_of_run:
        return earlier.vocabulary, []
    if earlier is not None and earlier.is_cut_alike:
        continued = continue_vocabulary(earlier.vocabulary, texts, config.init_labels)
        return continued.vocabulary, told(continued)
    vocabulary = Vocabulary.from_texts(texts, segmenter, lexicon)
    return vocabulary, [] if earlier is None else told(compare_vocabularies(earlier.vocabulary, vocabulary))


def told(continued: Continued) -> list[str]:
    """What became of a recogniser's labels: a warning if it forgets some, else to be told beside the rest."""
    if continued.gone:
        logger.warning("%s. What it has learned of those is lost.", continued.describe())
        return []
    return [continued.describe()]


def usable(checked: Transcribed, model: ModelConfig) -> Corpus:
    """Leave out, by name, what cannot be learned from.

    Raises:
        DataError: more than a tenth is unusable.
    """
    if len(checked.unusual) > MAX_UNUSABLE_SHARE * len(checked.corpus):
        frames_per_second = model.sample_rate / hop_samples(model.feature_encoder.conv_layers)
        raise DataError(
            f"{checked.name}: {checked.describe()}\nThese cannot be learned from; of a training set at most "
            f"{MAX_UNUSABLE_SHARE:.0%} may be so. Give each recording its own transcript, then make the shards again. "
            "If the transcripts that are longer than their frames are right, people speak faster than the model's "
            f"{frames_per_second:.0f} frames per second can spell: choose smaller strides in "
            "model.feature_encoder.conv_layers."
        )
    if checked.unusual:
        logger.warning("%s: %s\nThey are left out.", checked.name, checked.describe())
    return checked.without_unusual()
