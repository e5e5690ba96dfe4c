"""A model as one graph from samples to scores, and what a program without speechssl has to know about it."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechssl import __version__
from speechssl.frames import hop_samples, receptive_field_samples, samples_for_frames
from speechssl.interop.imported import Architecture
from speechssl.model.ctc import CtcModel
from speechssl.model.encoder import Encoder

DESCRIPTION_FILE = "model.json"
INPUTS = ("audio", "lengths")


class Graph(nn.Module):
    """A recogniser or an encoder that takes samples and lengths, and gives one thing per frame."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module if isinstance(module, CtcModel) else encoder_of(module)

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Score audio.

        Args:
            audio: waveforms in -1..1 at the model's rate, (B, S); what lies past a length changes nothing.
            lengths: samples of each utterance, (B,).

        Returns:
            Logits (B, T, labels) of a recogniser, context vectors (B, T, D) of an encoder; frames past an utterance's
            own hold no meaning. And the frames of each utterance, (B,).
        """
        output = self.module(audio, lengths)
        return (output.logits if isinstance(self.module, CtcModel) else output.context), output.lengths


def encoder_of(module: nn.Module) -> Encoder:
    """The encoder in a model, or the model if it is one."""
    encoder = module if isinstance(module, Encoder) else module.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    return encoder


def frozen_graph(module: nn.Module) -> Graph:
    """A copy of a model as a graph in evaluation mode, without gradients."""
    return Graph(copy.deepcopy(module)).eval().requires_grad_(False)


def outputs_of(architecture: Architecture) -> tuple[str, str]:
    """Names of what a graph returns."""
    return ("logits" if architecture.kind == "ctc" else "context"), "frames"


def example_inputs(architecture: Architecture) -> tuple[Tensor, Tensor]:
    """Audio (3, S) and lengths (3,) to follow a graph with: neither size is 1, which exporters take for a constant."""
    layers = architecture.model.feature_encoder.conv_layers
    samples = samples_for_frames(23, layers)
    audio = 0.1 * torch.randn(3, samples, generator=torch.Generator().manual_seed(0))
    return audio, torch.tensor([samples_for_frames(frames, layers) for frames in (23, 17, 11)])


def describe(architecture: Architecture, *, min_frames: int) -> dict[str, Any]:
    """What a user needs besides the graph, as plain values.

    Frame t hears the samples from ``t * hop_samples`` on, ``receptive_field_samples`` of them. A batch whose longest
    utterance has fewer than ``min_samples`` the graph does not take; they are those of ``min_frames``.
    """
    layers = architecture.model.feature_encoder.conv_layers
    facts: dict[str, Any] = {
        "kind": "ctc" if architecture.kind == "ctc" else "encoder",
        "family": architecture.family,
        "sample_rate": architecture.model.sample_rate,
        "hop_samples": hop_samples(layers),
        "receptive_field_samples": receptive_field_samples(layers),
        "min_samples": samples_for_frames(min_frames, layers),
    }
    vocabulary = architecture.vocabulary
    if architecture.kind == "ctc" and vocabulary is not None:
        facts |= {"labels": vocabulary.labels, "blank": vocabulary.blank, "word_boundary": vocabulary.word_boundary}
    return facts | {"speechssl": __version__}


def write_description(folder: Path, facts: dict[str, Any]) -> None:
    """Write the facts beside a graph."""
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    (folder / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")
