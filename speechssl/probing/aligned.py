"""When the characters of a set were said, by a recogniser that knows what was said."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechssl.config import ModelConfig
from speechssl.data.transcribed import frames_needed
from speechssl.decoding.alignment import Alignment, align_labels
from speechssl.decoding.decoder import emissions
from speechssl.errors import DataError
from speechssl.frames import frame_seconds, hop_samples, num_frames
from speechssl.probing.results import NotProbedError
from speechssl.probing.sets import ProbeSet
from speechssl.recogniser import Recogniser, load_recogniser

MAX_REACH_SECONDS = 0.1
"""A frame further than this from where a character was said belongs to none."""


class AlignedSet(NamedTuple):
    """What was said in each frame of the probed encoder."""

    alignments: list[Alignment | None]
    """Of each sample; None of one without a transcript, or with one that the recogniser cannot write."""
    word_boundary: int
    """Label of the space; -1 if there is none."""

    @property
    def labels(self) -> Tensor:
        """Of all frames that have one, of all samples, (frames,); ``inside`` says which those are."""
        found = torch.cat([item.labels for item in self.alignments if item is not None])
        return found[found >= 0]

    def inside(self, num_frames: np.ndarray) -> Tensor:
        """Which of all frames have a label, if a set has these numbers of frames, (N,): bool (frames,)."""
        return torch.cat(
            [
                torch.zeros(size, dtype=torch.bool) if item is None else item.labels >= 0
                for item, size in zip(self.alignments, num_frames.tolist(), strict=True)
            ]
        )


@torch.no_grad()
def align_set(aligner: Path | None, samples: ProbeSet, model: ModelConfig, device: torch.device) -> AlignedSet:
    """Align the transcripts of a set.

    Args:
        aligner: fine-tuning run.
        samples: to align.
        model: whose frames are labelled; those of the recogniser may be others.
        device: where it runs.

    Raises:
        NotProbedError: no aligner is given, or it can align nothing.
        CheckpointError: no fine-tuned model there.
    """
    if aligner is None:
        raise NotProbedError("no --aligner is given: a fine-tuned run, which says when characters were said")
    recogniser = load_recogniser(aligner, device)
    if recogniser.config.sample_rate != model.sample_rate:
        raise NotProbedError(f"the aligner hears {recogniser.config.sample_rate} Hz, not {model.sample_rate} Hz")
    found: list[Alignment | None] = [None] * len(samples)
    for batch, places in samples.batches():
        log_probs = emissions(recogniser.model(batch.audio.to(device), batch.lengths.to(device)).logits)
        frames = num_frames(batch.lengths, recogniser.config.feature_encoder.conv_layers).tolist()
        for row, size, place in zip(log_probs, frames, places, strict=True):
            alignment = align_text(recogniser, row[:size], samples.texts[place])
            if alignment is not None:
                found[place] = in_frames_of(model, int(samples.num_frames[place]), alignment, recogniser.config)
    if not any(item is not None for item in found):
        raise NotProbedError("the aligner can write none of test's transcripts, or there are none")
    boundary = recogniser.vocabulary.word_boundary
    return AlignedSet(found, -1 if boundary is None else boundary)


def align_text(recogniser: Recogniser, log_probs: Tensor, text: str) -> Alignment | None:
    """Align one transcript with its emissions (T, labels); None if it cannot be."""
    try:
        labels = recogniser.vocabulary.encode(text)
    except DataError:
        return None
    if not labels or frames_needed(labels) > len(log_probs):
        return None
    seconds_per_frame = hop_samples(recogniser.config.feature_encoder.conv_layers) / recogniser.config.sample_rate
    reach = round(MAX_REACH_SECONDS / seconds_per_frame)
    return align_labels(log_probs, labels, blank=recogniser.vocabulary.blank, max_reach=reach)


def in_frames_of(model: ModelConfig, num_frames: int, alignment: Alignment, aligner: ModelConfig) -> Alignment:
    """The same for the frames of another model: each takes what the aligner's frame nearest in time has."""
    times = frame_seconds(torch.arange(num_frames).double(), model.feature_encoder.conv_layers, model.sample_rate)
    layers = aligner.feature_encoder.conv_layers
    first = frame_seconds(0.0, layers, aligner.sample_rate)
    places = ((times - first) * aligner.sample_rate / hop_samples(layers)).round().long()
    places = places.clamp(0, len(alignment.labels) - 1)
    return Alignment(alignment.positions[places], alignment.labels[places])
