"""Models as programs of ``torch.export``: PyTorch runs them without speechssl."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export._patches import _register_rnn_while_loop_decomposition as replaced_decomposition

from speechssl.frames import samples_for_frames
from speechssl.interop.imported import Architecture
from speechssl.interop.portable import (
    DESCRIPTION_FILE,
    Graph,
    describe,
    emptied_on_error,
    example_inputs,
    frozen_graph,
    write_description,
)
from speechssl.interop.portable_proof import TOLERANCE, compare_runs, judge, proof_batches
from speechssl.interop.proof import proof_audio

PROGRAM_FILE = "model.pt2"


def export_torch(
    folder: Path,
    architecture: Architecture,
    module: nn.Module,
    *,
    audio: Tensor | None = None,
    tolerance: float = TOLERANCE,
    proof: bool = True,
) -> None:
    """Write ``model.pt2`` and ``model.json`` into an empty folder; arguments as of ``export_onnx``.

    The program takes any number of utterances of at least two frames.

    Raises:
        CheckpointError: the program gives something else than our model; the folder is empty then.
    """
    facts = describe(architecture)
    with emptied_on_error(folder):
        path = folder / PROGRAM_FILE
        torch.export.save(
            trace(module, architecture), path, extra_files={DESCRIPTION_FILE: json.dumps(facts, ensure_ascii=False)}
        )
        write_description(folder, facts)
        if proof:
            rate, layers = architecture.model.sample_rate, architecture.model.feature_encoder.conv_layers
            heard = proof_audio(None, rate) if audio is None else audio
            batches = proof_batches(heard, rate, samples_for_frames(2, layers))
            compared = compare_runs(Graph(module), torch.export.load(path).module(), batches)
            judge(compared.differences, tolerance, runtime="torch.export")


def trace(module: nn.Module, architecture: Architecture) -> ExportedProgram:
    """A module as a program of any batch size and length."""
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    with (
        torch.no_grad(),
        warnings.catch_warnings(),
        # Otherwise an LSTM is followed step by step, for the example's number of frames and no other.
        replaced_decomposition(torch.ops.aten.lstm.input, lstm_shapes),
    ):
        warnings.simplefilter("ignore")
        return torch.export.export(frozen_graph(module), example_inputs(architecture), dynamic_shapes=shapes)


def lstm_shapes(
    x: Tensor, states: tuple[Tensor, Tensor], parameters: Any, *options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Empty tensors of the shapes that a one-directional, batch-first LSTM returns; arguments as of ``torch.lstm``."""
    hidden, cell = states
    return x.new_empty(*x.shape[:2], hidden.shape[2]), torch.empty_like(hidden), torch.empty_like(cell)
