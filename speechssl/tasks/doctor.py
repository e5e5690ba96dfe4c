"""What is likely to spoil a fine-tuning, told before it begins: cause and remedy, in a line each.

What cannot be is refused elsewhere (``read_sets``, ``check``), and what shows only in training is for ``ctc_health``.
"""

from collections.abc import Iterator

from speechssl.config import FinetuneConfig, TextConfig
from speechssl.data.corpus import Corpus
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.evaluation.hopeless import MIN_VOICED
from speechssl.evaluation.levels import doubt_level
from speechssl.tasks.ctc import freezes_features
from speechssl.tasks.facts import frozen_updates
from speechssl.text.characters import count_characters
from speechssl.text.doubtful import MAX_RARE
from speechssl.text.normalisation import is_turkic
from speechssl.text.vocabulary import Vocabulary

RATES = (1e-7, 1e-2)
"""Peak learning rates of AdamW outside which nothing moves, or nothing stays."""
MAX_PRETRAINED_RATE, LARGE_DIM = 1e-3, 512
"""What throws off a pretrained encoder of the published sizes, which are tuned at 2e-5 to 3e-4."""


def examine(config: FinetuneConfig, train: Corpus, dev: Corpus, vocabulary: Vocabulary) -> list[Diagnosis]:
    """All that is doubtful about a run.

    Args:
        config: as it runs.
        train: what is learned from, with transcripts as labels have them.
        dev: what the checkpoint is chosen on.
        vocabulary: of the run.
    """
    found = [*doubt_learning(config), *doubt_rates(config), *doubt_case(config.text, train)]
    found += [*doubt_labels(train, vocabulary), *doubt_voices(dev)]
    return [*found, *doubt_level(train, "train"), *doubt_level(dev, "dev")]


def doubt_learning(config: FinetuneConfig) -> Iterator[Diagnosis]:
    """Parts that never learn."""
    updates, frozen = config.training.max_updates, frozen_updates(config)
    if frozen >= updates:
        yield Diagnosis(
            "frozen encoder",
            f"freeze_context_updates is {frozen} and training.max_updates {updates}",
            "only the head will learn, in every update",
            "give a lower --freeze_context_updates, or more updates",
        )
    if config.init is None and freezes_features(config):
        yield Diagnosis(
            "frozen random weights",
            "freeze_feature_encoder is always, and there is no init",
            "the convolutions stay as random as they are made",
            "leave it at auto, or give --init",
        )


def doubt_rates(config: FinetuneConfig) -> Iterator[Diagnosis]:
    """Peak learning rates that no model of the kind can bear, or learn from."""
    rate, scale = config.optimizer.learning_rate, config.head_learning_rate_scale
    head = rate * scale
    named = f"optimizer.learning_rate is {rate:g}" + (f", for the head {head:g}" if scale != 1 else "")
    if head < RATES[0]:
        cause = f"too low to move anything in {config.training.max_updates} updates"
        yield Diagnosis("low learning rate", named, cause, "3e-5 to 1e-3 is usual")
    elif rate > RATES[1]:
        cause = "too high for AdamW, under which the loss explodes or stays where it is"
        yield Diagnosis("high learning rate", named, cause, "3e-5 to 1e-3 is usual")
    elif config.init is not None and rate > MAX_PRETRAINED_RATE and config.model.context.dim >= LARGE_DIM:
        cause = "it wipes out what an encoder of this size has learned"
        yield Diagnosis("high learning rate", named, cause, "2e-5 to 3e-4 is usual")


def doubt_case(text: TextConfig, train: Corpus) -> Iterator[Diagnosis]:
    """Letters that another case has made one, or two, since nobody said that they are Turkish."""
    traces = {"upper": "\u0130", "lower": "i\u0307", "keep": "i\u0307"}
    if not is_turkic(text.language) and any(traces[text.case] in found for found in train.texts or ()):
        yield Diagnosis(
            "case of Turkish",
            f"the training transcripts hold {traces[text.case]}, as Turkish has it",
            "their case was changed by the rules of other languages, which take i and \u0131 for one letter",
            "give --text.language tr (az), from shards made with --text_case keep",
        )


def doubt_labels(train: Corpus, vocabulary: Vocabulary) -> Iterator[Diagnosis]:
    """More labels than the transcripts can teach, or only one."""
    counts = count_characters(train.texts or (), vocabulary.segmenter.split)
    used, rare = len(counts), sum(count <= MAX_RARE for count in counts.values())
    if used == 1:
        cause = "nobody says the same again and again"
        yield Diagnosis(
            "one label", "the transcripts hold one label alone", cause, "look at the text column of the list"
        )
    elif 2 * rare > used:
        yield Diagnosis(
            "rare labels",
            f"{rare} of the {used} labels of the training transcripts occur once or twice in all {len(train)} of them",
            "too rarely to be learned",
            "give more transcripts, or smaller labels (--targets.name characters, or fewer --targets.num_pieces)",
        )


def doubt_voices(dev: Corpus) -> Iterator[Diagnosis]:
    """A dev set of one person."""
    speakers = {dev[row].speaker for row in range(len(dev))}
    if len(speakers) == 1 and all(speakers) and len(dev) >= MIN_VOICED:
        yield Diagnosis(
            "one voice",
            f"dev: all {len(dev)} utterances are of one speaker, {dev[0].speaker}",
            "the checkpoint is chosen for this voice, and its error rate says nothing of others",
            "take several people, with a few utterances each",
        )
