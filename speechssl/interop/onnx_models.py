"""Models for ONNX runtimes."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechssl import __version__
from speechssl.errors import ConfigError
from speechssl.frames import hop_samples, receptive_field_samples, samples_for_frames
from speechssl.interop.imported import Architecture
from speechssl.interop.onnx_layers import Graph, onnx_graph
from speechssl.interop.onnx_proof import Run, compare_runs, proof_batches
from speechssl.interop.proof import judge

MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "model.json"
INPUTS = ("audio", "lengths")
OPSET = 18
"""The oldest that PyTorch's exporter writes, so that older runtimes read it."""


def export_onnx(
    folder: Path,
    architecture: Architecture,
    module: nn.Module,
    *,
    tolerance: float = 1e-4,
    proof: bool = True,
) -> None:
    """Write ``model.onnx`` and ``model.json`` into an empty folder.

    Args:
        folder: is there, and empty.
        architecture: of the module.
        module: recogniser, or anything with an encoder, in evaluation mode on the CPU.
        tolerance: largest difference, as a share of the largest value, that counts as rounding.
        proof: compare with onnxruntime.

    Raises:
        ConfigError: a package is missing.
        CheckpointError: the model gives something else than ours; the files are not to be used.
    """
    import_packages()
    facts = describe(architecture)
    write_float(folder / MODEL_FILE, architecture, module, facts)
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    (folder / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")
    if proof:
        shortest = receptive_field_samples(architecture.model.feature_encoder.conv_layers)
        batches = proof_batches(architecture.model.sample_rate, shortest)
        judge(compare_runs(Graph(module), onnx_run(folder / MODEL_FILE), batches), tolerance)


def import_packages() -> None:
    """Import what writing and running ONNX takes, seconds in all.

    Raises:
        ConfigError: names what is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--to onnx needs the package {error.name}, which is not installed: pip install 'speechssl[onnx]'"
        ) from error


def write_float(path: Path, architecture: Architecture, module: nn.Module, facts: dict[str, Any]) -> None:
    """Write a module as an ONNX model of any batch size and length; weights above 2 GB go into a file beside it."""
    with silence():
        program = torch.onnx.export(
            onnx_graph(module),
            example_inputs(architecture),
            dynamo=True,
            opset_version=OPSET,
            input_names=INPUTS,
            output_names=("logits" if architecture.kind == "ctc" else "context", "frames"),
            dynamic_shapes=({0: "batch", 1: "samples"}, {0: "batch"}),
            verbose=False,
        )
    assert program is not None
    tidy(program.model)
    program.model.metadata_props.update({name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()})
    program.save(path)


def tidy(model: Any) -> None:
    """Take out of an ``onnx_ir.Model`` where each node came from: half of a small file, and names of folders."""
    from onnx_ir import Shape

    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    scores = model.graph.outputs[0]
    # The exporter names the frames by the formula that gives them.
    scores.shape = Shape([scores.shape[0], "frames", scores.shape[2]])


def example_inputs(architecture: Architecture) -> tuple[Tensor, Tensor]:
    """Audio (3, S) and lengths (3,) to follow a graph with: neither size is 1, which exporters take for a constant."""
    layers = architecture.model.feature_encoder.conv_layers
    samples = samples_for_frames(23, layers)
    audio = 0.1 * torch.randn(3, samples, generator=torch.Generator().manual_seed(0))
    return audio, torch.tensor([samples_for_frames(frames, layers) for frames in (23, 17, 11)])


def describe(architecture: Architecture) -> dict[str, Any]:
    """What a user needs besides the graph, as plain values.

    Frame t hears the samples from ``t * hop_samples`` on, ``receptive_field_samples`` of them; a batch whose longest
    utterance has fewer the graph does not take.
    """
    layers = architecture.model.feature_encoder.conv_layers
    facts: dict[str, Any] = {
        "kind": "ctc" if architecture.kind == "ctc" else "encoder",
        "family": architecture.family,
        "sample_rate": architecture.model.sample_rate,
        "hop_samples": hop_samples(layers),
        "receptive_field_samples": receptive_field_samples(layers),
    }
    vocabulary = architecture.vocabulary
    if architecture.kind == "ctc" and vocabulary is not None:
        facts |= {"labels": vocabulary.labels, "blank": vocabulary.blank, "word_boundary": vocabulary.word_boundary}
    return facts | {"speechssl": __version__}


def onnx_run(path: Path) -> Run:
    """A model in onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        values = dict(zip(INPUTS, (audio.numpy(), lengths.numpy()), strict=True))
        scores, frames = session.run(None, values)
        return torch.from_numpy(scores), torch.from_numpy(frames)

    return run


@contextmanager
def silence() -> Iterator[None]:
    """Keep the exporter's remarks to developers off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
