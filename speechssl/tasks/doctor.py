"""What is likely to spoil a fine-tuning, told before it begins: cause and remedy, in a line each.

What cannot be is refused elsewhere (``read_sets``, ``check``), and what shows only in training is for ``ctc_health``.
"""

from collections.abc import Iterator, Sequence
from math import log10

import numpy as np

from speechssl.config import FinetuneConfig, TextConfig
from speechssl.data.corpus import Corpus
from speechssl.data.samples import read_sample_audio
from speechssl.errors import DataError
from speechssl.tasks.ctc import freezes_features, frozen_updates
from speechssl.text.characters import count_characters
from speechssl.text.doubtful import MAX_RARE
from speechssl.text.normalisation import is_turkic
from speechssl.text.vocabulary import Vocabulary

NUM_HEARD = 24
"""Utterances of a set whose level is looked at, spread over it."""
QUIET = 10 ** (-60 / 20)
"""Root mean square below which nobody hears speech: 60 dB below full scale."""
FULL_SCALE = 0.999
MAX_CLIPPED = 0.01
"""Share of an utterance's samples at full scale; more is audible distortion."""
SPOILT_SHARE = 0.25
"""Share of the utterances looked at from which a set is doubted."""
RATES = (1e-7, 1e-2)
"""Peak learning rates of AdamW outside which nothing moves, or nothing stays."""
MAX_PRETRAINED_RATE, LARGE_DIM = 1e-3, 512
"""What throws off a pretrained encoder of the published sizes, which are tuned at 2e-5 to 3e-4."""
MIN_VOICED = 5
"""Utterances of a dev set below which one voice is no wonder."""


def examine(config: FinetuneConfig, train: Corpus, dev: Corpus, vocabulary: Vocabulary) -> list[str]:
    """All that is doubtful about a run, in sentences.

    Args:
        config: as it runs.
        train: what is learned from, with transcripts as labels have them.
        dev: what the checkpoint is chosen on.
        vocabulary: of the run.
    """
    found = [*doubt_learning(config), *doubt_rates(config), *doubt_case(config.text, train)]
    found += [*doubt_labels(train, vocabulary), *doubt_voices(dev)]
    return [*found, *doubt_level(train, "train"), *doubt_level(dev, "dev")]


def doubt_learning(config: FinetuneConfig) -> Iterator[str]:
    """Parts that never learn."""
    updates, frozen = config.training.max_updates, frozen_updates(config)
    if frozen >= updates:
        yield (
            f"freeze_context_updates is {frozen} and training.max_updates {updates}: only the head will learn, in "
            "every update; give a lower --freeze_context_updates, or more updates"
        )
    if config.init is None and freezes_features(config):
        yield (
            "freeze_feature_encoder is always, and there is no init: the convolutions stay as random as they are made; "
            "leave it at auto, or give --init"
        )


def doubt_rates(config: FinetuneConfig) -> Iterator[str]:
    """Peak learning rates that no model of the kind can bear, or learn from."""
    rate, scale = config.optimizer.learning_rate, config.head_learning_rate_scale
    head = rate * scale
    named = f"optimizer.learning_rate is {rate:g}" + (f", for the head {head:g}" if scale != 1 else "")
    if head < RATES[0]:
        yield f"{named}: too low to move anything in {config.training.max_updates} updates; 3e-5 to 1e-3 is usual"
    elif rate > RATES[1]:
        yield f"{named}: too high for AdamW, under which the loss explodes or stays where it is; 3e-5 to 1e-3 is usual"
    elif config.init is not None and rate > MAX_PRETRAINED_RATE and config.model.context.dim >= LARGE_DIM:
        yield f"{named}: it wipes out what an encoder of this size has learned; 2e-5 to 3e-4 is usual"


def doubt_case(text: TextConfig, train: Corpus) -> Iterator[str]:
    """Letters that another case has made one, or two, since nobody said that they are Turkish."""
    traces = {"upper": "\u0130", "lower": "i\u0307", "keep": "i\u0307"}
    if not is_turkic(text.language) and any(traces[text.case] in found for found in train.texts or ()):
        yield (
            f"the training transcripts hold {traces[text.case]}, as Turkish has it, and their case was changed by the "
            "rules of other languages, which take i and \u0131 for one letter: give --text.language tr (az), from "
            "shards made with --text_case keep"
        )


def doubt_labels(train: Corpus, vocabulary: Vocabulary) -> Iterator[str]:
    """More labels than the transcripts can teach, or only one."""
    counts = count_characters(train.texts or (), vocabulary.segmenter.split)
    used, rare = len(counts), sum(count <= MAX_RARE for count in counts.values())
    if used == 1:
        yield "the transcripts hold one label alone, again and again; look at the text column of the list"
    elif 2 * rare > used:
        yield (
            f"{rare} of the {used} labels that the training transcripts hold occur once or twice in all {len(train)} "
            "of them, too rarely to be learned; give more transcripts, or smaller labels (--targets.name characters, "
            "or fewer --targets.num_pieces)"
        )


def doubt_voices(dev: Corpus) -> Iterator[str]:
    """A dev set of one person."""
    speakers = {dev[row].speaker for row in range(len(dev))}
    if len(speakers) == 1 and all(speakers) and len(dev) >= MIN_VOICED:
        yield (
            f"dev: all {len(dev)} utterances are of one speaker, {dev[0].speaker}, for whom the checkpoint is then "
            "chosen; take several people, with a few utterances each"
        )


def doubt_level(corpus: Corpus, name: str) -> Iterator[str]:
    """Audio that is silent or clipped; shards on another machine are not fetched for it."""
    if corpus.store is not None:
        return
    heard = list(_heard(corpus))
    quiet = [key for key, audio in heard if np.sqrt(np.square(audio).mean()) < QUIET]
    clipped = [key for key, audio in heard if (np.abs(audio) >= FULL_SCALE).mean() > MAX_CLIPPED]
    if quiet and len(quiet) >= SPOILT_SHARE * len(heard):
        yield (
            f"{name}: {len(quiet)} of {len(heard)} utterances that were looked at are quieter than "
            f"{20 * log10(QUIET):.0f} dB of full scale ({_listed(quiet)}): silence, or another channel than that of "
            "the voice; listen to one, and make the shards again (--channel each)"
        )
    if clipped and len(clipped) >= SPOILT_SHARE * len(heard):
        yield (
            f"{name}: in {len(clipped)} of {len(heard)} utterances that were looked at more than {MAX_CLIPPED:.0%} of "
            f"the samples are at full scale ({_listed(clipped)}): they are clipped; look for the recordings before "
            "they were made louder"
        )


def _heard(corpus: Corpus) -> Iterator[tuple[str, np.ndarray]]:
    """Keys and audio of some utterances spread over a set; what is damaged is the loader's to tell."""
    for row in np.unique(np.linspace(0, len(corpus) - 1, NUM_HEARD).astype(int)).tolist():
        try:
            audio = read_sample_audio(corpus[row], corpus.sample_rate)
        except DataError:
            continue
        if len(audio):
            yield corpus[row].key, audio


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
