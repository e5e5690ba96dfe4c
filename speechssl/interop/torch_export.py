"""Models as programs of ``torch.export``: PyTorch runs them without speechssl."""

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export._patches import _register_rnn_while_loop_decomposition as replaced_decomposition

from speechssl.config import ModelConfig
from speechssl.interop.imported import Architecture
from speechssl.interop.portable import (
    DESCRIPTION_FILE,
    Graph,
    describe,
    example_inputs,
    write_description,
)
from speechssl.interop.portable_proof import TOLERANCE, compare_runs, judge, proof_batches
from speechssl.interop.torch_layers import torch_graph

PROGRAM_FILE = "model.pt2"


def min_frames(model: ModelConfig) -> int:
    """Of the longest utterance of a batch: two squeezed ones, because torch.export takes a size of 1 for a constant."""
    return model.context.squeeze + 1


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

    The program takes any number of utterances, the longest of at least ``min_frames`` frames.

    Raises:
        CheckpointError: the program gives something else than our model; the files are not to be used.
    """
    facts = describe(architecture, min_frames=min_frames(architecture.model))
    with without_warnings():
        extra = {DESCRIPTION_FILE: json.dumps(facts, ensure_ascii=False)}
        content = io.BytesIO()  # torch's own writer of files ends the process if the disk is full
        torch.export.save(trace(module, architecture), content, extra_files=extra)
        (folder / PROGRAM_FILE).write_bytes(content.getbuffer())
    write_description(folder, facts)
    if proof:
        prove_program(folder / PROGRAM_FILE, architecture, module, audio, tolerance, facts["min_samples"])


def prove_program(
    path: Path,
    architecture: Architecture,
    module: nn.Module,
    audio: Tensor | None,
    tolerance: float,
    min_samples: int,
) -> None:
    """Compare a program with our model.

    Raises:
        CheckpointError: it differs.
    """
    batches = proof_batches(audio, architecture.model.sample_rate, min_samples)
    with without_warnings():
        program = torch.export.load(path).module()
    judge(compare_runs(Graph(module), program, batches).differences, tolerance, runtime="torch.export")


def trace(module: nn.Module, architecture: Architecture) -> ExportedProgram:
    """A module as a program of any batch size and length."""
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    with (
        torch.no_grad(),
        # Otherwise an LSTM is followed step by step, for the example's number of frames and no other.
        replaced_decomposition(torch.ops.aten.lstm.input, lstm_shapes),
    ):
        program = torch.export.export(torch_graph(module), example_inputs(architecture), dynamic_shapes=shapes)
    forget_folders(program)
    return program


def forget_folders(program: ExportedProgram) -> None:
    """Take out of a program which lines of which files each node came from: they name this machine's folders."""
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)


def lstm_shapes(
    x: Tensor, states: tuple[Tensor, Tensor], parameters: Any, *options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Empty tensors of the shapes that a one-directional, batch-first LSTM returns; arguments as of ``torch.lstm``."""
    hidden, cell = states
    return x.new_empty(*x.shape[:2], hidden.shape[2]), torch.empty_like(hidden), torch.empty_like(cell)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep PyTorch's warnings about tensors and attributes that its own exporter makes off the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
