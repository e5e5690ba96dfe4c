"""Proof of an ONNX model: it and ours hear the same batches, short and long, padded and not."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechssl.errors import CheckpointError
from speechssl.interop.onnx_layers import Graph
from speechssl.interop.proof import Difference, difference, made_voice
from speechssl.interop.tensors import first_line

Run = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""The other side: audio (B, S) and lengths (B,) to outputs (B, T, ...) and frames (B,)."""

SECONDS = (1, 30)
LENGTHS = (1.0, 0.6, 0.35)
"""Of the utterances of the larger batch, as shares of the longest."""


class Batch(NamedTuple):
    """Audio to compare on."""

    name: str
    audio: Tensor
    """(B, S); sound goes on past the lengths, so that a side that hears the padding betrays itself."""
    lengths: Tensor
    """(B,)."""


def proof_batches(sample_rate: int, shortest: int) -> list[Batch]:
    """Cut a made voice into batches: one of the shortest that a model takes, and 1 and 3 utterances of 1 and 30 s."""
    voice = made_voice(sample_rate, max(SECONDS) + len(LENGTHS) + 1)[0]
    batches = [Batch(f"1 of {shortest} samples", voice[None, :shortest], torch.tensor([shortest]))]
    for seconds in SECONDS:
        for shares in (LENGTHS[:1], LENGTHS):
            # Not the same remainder of any hop twice: a graph may hold for whole numbers of frames only.
            samples = max(seconds * sample_rate, shortest) + 123 * (len(shares) - 1)
            # A second apart: three times the same beginning would hide rows that are mixed up.
            rows = torch.stack([voice[i * sample_rate :][:samples] for i in range(len(shares))])
            lengths = torch.tensor([max(round(share * samples), shortest) for share in shares])
            name = f"{len(shares)} of {seconds} s" + (", padded" if len(shares) > 1 else "")
            batches.append(Batch(name, rows, lengths))
    return batches


@torch.no_grad()
def compare_runs(ours: Graph, theirs: Run, batches: Sequence[Batch]) -> list[Difference]:
    """Run both sides.

    Raises:
        CheckpointError: the other side cannot run a batch, or they disagree on the shape of the output or on the
            frames of an utterance: what was exported holds for other sizes only.
    """
    differences = []
    for name, audio, lengths in batches:
        expected, frames = ours(audio, lengths)
        try:
            found, found_frames = theirs(audio, lengths)
        except Exception as error:  # runtimes have exceptions of their own
            raise CheckpointError(
                f"{name}: the exported model does not run ({first_line(error)}): nothing was written; report it with "
                "the versions of the packages and the model's configuration"
            ) from error
        if found.shape != expected.shape or found_frames.tolist() != frames.tolist():
            raise CheckpointError(
                f"{name}: the exported model gives {tuple(found.shape)} and frames {found_frames.tolist()}, expected "
                f"{tuple(expected.shape)} and {frames.tolist()}; nothing was written"
            )
        valid = torch.arange(expected.shape[1]) < frames[:, None]  # (B, T)
        differences.append(difference(name, found[valid], expected[valid]))
    return differences
