"""Transcribe the samples of shards with a model, for the dev score of fine-tuning and for evaluation."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechssl.data.batches import load_batch
from speechssl.data.corpus import Corpus
from speechssl.data.streams import BatchSpec, epoch_batches
from speechssl.decoding.decoder import Decoder, emissions
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.errors import DataError
from speechssl.frames import num_frames
from speechssl.model.ctc import CtcModel
from speechssl.text.normalisation import clean_text
from speechssl.text.writing import Writer


class Scored(NamedTuple):
    """Transcripts of a set."""

    references: dict[str, str]
    hypotheses: dict[str, Hypothesis]
    skipped: dict[str, str]
    """Samples that cannot be scored, and why."""

    def outputs(self) -> dict[str, str]:
        """Texts of the hypotheses."""
        return {key: found.text for key, found in self.hypotheses.items()}


@torch.no_grad()
def score(
    model: CtcModel,
    corpus: Corpus,
    decoder: Decoder,
    *,
    max_batch_seconds: float,
    autocast_dtype: torch.dtype | None,
    device: torch.device,
    writer: Writer | None = None,
    progress: Callable[[list[BatchSpec]], Iterable[BatchSpec]] = iter,
    keep: Callable[[str, Tensor], None] | None = None,
) -> Scored:
    """Transcribe samples; those without a transcript are named in ``skipped``.

    References and outputs are written alike. What is shorter than a frame is heard as nothing, in no batch, so that
    the outputs do not depend on how the samples are batched.

    Args:
        model: recogniser.
        corpus: what to transcribe.
        decoder: for the labels of the model.
        max_batch_seconds: padded audio per batch.
        autocast_dtype: of matrix products; None for float32.
        device: where the model is.
        writer: how outputs are written, as references are already; absent, they are cleaned alone.
        progress: passes the batches on, and may show how many are done.
        keep: is given the key and the emissions, float32 (T, labels) on the CPU, of each utterance that is heard.

    Raises:
        DataError: a sample is missing or damaged, or none has a transcript.
    """
    model.eval()
    outputs: dict[str, Hypothesis] = {}
    layers = model.encoder.config.feature_encoder.conv_layers
    audible = num_frames(corpus.num_samples, layers) > 0
    specs = epoch_batches(corpus.subset(np.flatnonzero(audible)), max_batch_seconds) if audible.any() else []
    for spec in progress(specs):
        batch = load_batch(spec, corpus.sample_rate)
        with torch.autocast(device.type, autocast_dtype, enabled=autocast_dtype is not None):
            logits = model(batch.audio.to(device), batch.lengths.to(device)).logits
        log_probs, frames = emissions(logits), num_frames(batch.lengths, layers)
        outputs |= zip(batch.keys, decoder.decode(log_probs, frames), strict=True)
        if keep is not None:
            for key, row, length in zip(batch.keys, log_probs, frames.tolist(), strict=True):
                keep(key, row[:length].clone())  # the batch's padding goes
    scored, write = Scored({}, {}, {}), (writer or Writer()).output
    for key, text in zip(corpus.keys, map(clean_text, corpus.texts or ()), strict=True):
        if text:
            hypothesis = outputs.get(key, Hypothesis("", 0.0))
            scored.references[key] = text
            scored.hypotheses[key] = hypothesis._replace(text=write(hypothesis.text))
        else:
            scored.skipped[key] = "no transcript"
    if not scored.references:
        raise DataError(f"none of the {len(corpus)} samples has a transcript; make the shards from a list with text")
    return scored
