"""Models for ONNX runtimes, in float32 and with int8 linear layers."""

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

from speechssl.errors import ConfigError
from speechssl.interop.imported import Architecture
from speechssl.interop.onnx_layers import onnx_graph
from speechssl.interop.portable import (
    INPUTS,
    Graph,
    describe,
    example_inputs,
    outputs_of,
    write_description,
)
from speechssl.interop.portable_proof import TOLERANCE, Run, compare_runs, judge, proof_batches

MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
OPSET = 18
"""The oldest that PyTorch's exporter writes, so that older runtimes read it."""


def export_onnx(
    folder: Path,
    architecture: Architecture,
    module: nn.Module,
    *,
    audio: Tensor | None = None,
    tolerance: float = TOLERANCE,
    proof: bool = True,
) -> None:
    """Write ``model.onnx``, ``model.int8.onnx`` and ``model.json`` into an empty folder.

    Args:
        folder: is there, and empty.
        architecture: of the module.
        module: recogniser, or anything with an encoder, in evaluation mode on the CPU.
        audio: what both sides hear in the proof, (1, S); None for a made voice.
        tolerance: largest difference of the float32 model, as a share of the largest value, that counts as rounding.
        proof: compare with onnxruntime; the int8 model's difference is printed, not judged.

    Raises:
        ConfigError: a package is missing.
        CheckpointError: the float32 model gives something else than ours; the files are not to be used.
    """
    import_packages()
    facts = describe(architecture, min_frames=1)
    write_float(folder / MODEL_FILE, architecture, module, facts)
    write_int8(folder / MODEL_FILE, folder / INT8_FILE)
    write_description(folder, facts)
    if proof:
        prove_onnx(folder, architecture, module, audio, tolerance, facts["min_samples"])


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
            output_names=outputs_of(architecture),
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


def write_int8(source: Path, path: Path) -> None:
    """Write a model with the weights of its linear layers in int8; their inputs are quantised as they come.

    Convolutions, norms and LSTM layers stay in float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    beside = source.with_name(source.name + ".data")
    with silence():
        quantize_dynamic(
            source,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            # 7 bits: processors without VNNI add pairs of products in 16 bits, which 8 bits overflow without an error.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=beside.exists(),
        )


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


def prove_onnx(
    folder: Path,
    architecture: Architecture,
    module: nn.Module,
    audio: Tensor | None,
    tolerance: float,
    min_samples: int,
) -> None:
    """Compare both files with our model.

    Raises:
        CheckpointError: the float32 model differs.
    """
    batches = proof_batches(audio, architecture.model.sample_rate, min_samples)
    ours = Graph(module)
    judge(compare_runs(ours, onnx_run(folder / MODEL_FILE), batches).differences, tolerance, runtime="onnxruntime")
    rough = compare_runs(ours, onnx_run(folder / INT8_FILE), batches)
    largest = max(item.largest for item in rough.differences)
    agreement = f"; the same label on {rough.agreement:.2%} of the frames" if architecture.kind == "ctc" else ""
    print(f"int8: largest difference {largest:.1e}, not judged{agreement}")


@contextmanager
def silence() -> Iterator[None]:
    """Keep the exporter's and the quantiser's remarks to developers off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
