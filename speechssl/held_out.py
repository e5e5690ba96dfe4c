"""What a recogniser makes of transcribed shards that it is judged by: read, checked, heard."""

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from speechssl.config import AnyDecoder, BeamConfig, EvaluationSetConfig, TextConfig
from speechssl.data.corpus import Corpus, check_rate, digests_of, read_corpus, warn_shared
from speechssl.data.transcribed import Transcribed, check_transcripts
from speechssl.decoding.arpa import shards_of
from speechssl.decoding.decoder import Decoder, build_decoder
from speechssl.errors import DataError
from speechssl.evaluation.calibration import JudgedWords, judge_words
from speechssl.evaluation.scoring import Scored, score
from speechssl.recogniser import Recogniser
from speechssl.remote.store import make_store
from speechssl.shards.addresses import redact_all
from speechssl.text.writing import Writer
from speechssl.training.checkpoints import learned_from

logger = logging.getLogger(__name__)


class HeldOut(NamedTuple):
    """A transcribed set, and who hears it."""

    recogniser: Recogniser
    max_batch_seconds: float
    """Padded audio per batch."""
    checked: Transcribed
    writer: Writer
    """Of its references and of outputs."""

    def hear(
        self,
        decoder: Decoder,
        *,
        precision: Literal["fp32", "bf16"] = "fp32",
        doing: str = "",
        keep: Callable[[str, Tensor], None] | None = None,
    ) -> Scored:
        """Transcribe it.

        Args:
            decoder: for the labels of the recogniser.
            precision: of matrix products.
            doing: said beside a bar of progress; without, there is none.
            keep: as of ``score``.

        Raises:
            DataError: a sample is missing or damaged.
        """
        console = Console(stderr=True)
        return score(
            self.recogniser.model,
            self.checked.corpus,
            decoder,
            max_batch_seconds=self.max_batch_seconds,
            autocast_dtype=torch.bfloat16 if precision == "bf16" else None,
            device=self.recogniser.model.head.weight.device,
            writer=self.writer,
            progress=lambda batches: track(batches, doing, console=console) if doing else batches,
            keep=keep,
        )


def read_held_out(recogniser: Recogniser, data: EvaluationSetConfig, decoding: AnyDecoder) -> Corpus:
    """A transcribed set to judge a recogniser by; warns if it, or the language model, was made of some of it.

    Raises:
        DataError: shards are missing or damaged, or of another sample rate; the language model cannot be read.
    """
    store, name = make_store(data), redact_all(data.shards)
    corpus = read_corpus(data.shards, with_texts=True, store=store)
    warn_shared(learned_from(recogniser.checkpoint.path), corpus, name=name, by="the recogniser")
    if isinstance(decoding, BeamConfig) and decoding.language_model is not None:
        of_model = shards_of(decoding.language_model)
        if of_model and not of_model.isdisjoint(digests_of(data.shards, store)):
            logger.warning("%s: the language model is made of these transcripts, which flatters it", name)
    check_rate(corpus, recogniser.config.sample_rate, name=f"the shards {name}", by="the recogniser hears")
    return corpus


def check_held_out(
    recogniser: Recogniser, data: EvaluationSetConfig, corpus: Corpus, text: TextConfig | None = None
) -> HeldOut:
    """Check a set's transcripts against what the recogniser can write.

    Args:
        recogniser: that will hear it.
        data: of the set.
        corpus: the set.
        text: how references and outputs are written; as in the recogniser's training if absent.

    Raises:
        DataError: no utterance has a transcript.
    """
    vocabulary = recogniser.vocabulary
    writer = Writer(text or recogniser.text, vocabulary.lexicon)
    checked = check_transcripts(
        corpus,
        recogniser.config.feature_encoder.conv_layers,
        name=redact_all(data.shards),
        characters_per_label=vocabulary.longest_label,
        writer=writer,
    )
    return HeldOut(recogniser, data.max_batch_seconds, checked, writer)


def judge_set(recogniser: Recogniser, data: EvaluationSetConfig, decoding: AnyDecoder) -> tuple[JudgedWords, list[int]]:
    """Transcribe a set; the words, and the number of each one's speaker, or of its utterance where one is not known.

    Raises:
        DataError: as of ``read_held_out``, or the recogniser wrote nothing.
    """
    corpus = read_held_out(recogniser, data, decoding)
    held_out = check_held_out(recogniser, data, corpus)
    scored = held_out.hear(build_decoder(decoding, recogniser.vocabulary))
    words = judge_words(scored.references, scored.hypotheses, held_out.writer.output)
    if not len(words.right):
        raise DataError("the recogniser wrote no word of this set; train it first")
    refs = {ref.key: ref.speaker for ref in map(corpus.__getitem__, range(len(corpus)))}
    names = [refs[key] or "" for key in words.keys]
    of_utterances = np.unique(names, return_inverse=True)[1] if all(names) else np.arange(len(names))
    return words, of_utterances[words.utterances].tolist()
