"""What a recogniser's ONNX files cost and give: size, speed and word error rate beside PyTorch's.

    python tools/bench_onnx.py CHECKPOINT SHARDS

The three take turns in one run, on as many threads as PyTorch takes; the figures are medians, and the ratios have their
spread. The word error rates are of greedy decoding.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from bench_data import alternate
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor

from speechssl.data.batches import Batch, load_batch
from speechssl.data.corpus import read_corpus
from speechssl.data.streams import epoch_batches
from speechssl.decoding.decoder import emissions
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.evaluation.error_rates import error_rates
from speechssl.interop.imported import Architecture
from speechssl.interop.onnx_layers import Graph
from speechssl.interop.onnx_models import MODEL_FILE, export_onnx, onnx_run
from speechssl.interop.onnx_proof import Run
from speechssl.recogniser import load_recogniser
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.machine import configure_cpu

INT8_FILE = "model.int8.onnx"
BATCH_SECONDS = 40.0
ROUNDS = 7
OURS = "PyTorch"


def main(argv: Sequence[str]) -> int:
    """Export, then compare."""
    if len(argv) != 2:
        print(__doc__)
        return 2
    configure_cpu()
    recogniser = load_recogniser(Path(argv[0]), torch.device("cpu"))
    corpus = read_corpus([argv[1]], with_texts=True)
    rate = recogniser.config.sample_rate
    batches = {
        f"batches of {BATCH_SECONDS:g} s": [load_batch(s, rate) for s in epoch_batches(corpus, BATCH_SECONDS)],
        "one utterance at a time": [load_batch(s, rate) for s in epoch_batches(corpus, 0.0)],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_onnx(
            folder, Architecture("ctc", "wav2vec2", recogniser.config, None, recogniser.vocabulary), recogniser.model
        )
        quantise(folder / MODEL_FILE, folder / INT8_FILE)
        runs: dict[str, Run] = {
            OURS: Graph(recogniser.model),
            "onnxruntime, float32": onnx_run(folder / MODEL_FILE),
            "onnxruntime, int8": onnx_run(folder / INT8_FILE),
        }
        sizes = [(recogniser.checkpoint.path / "model.safetensors"), folder / MODEL_FILE, folder / INT8_FILE]
        for label, path in zip(runs, sizes, strict=True):
            print(f"{label:24s} {path.stat().st_size / 1e6:8.1f} MB")
        print(f"{len(corpus)} utterances, {torch.get_num_threads()} threads")
        report_errors(runs, next(iter(batches.values())), recogniser.vocabulary)
        for kind, chosen in batches.items():
            print(kind)
            alternate({label: timed(run, chosen, rate) for label, run in runs.items()}, rounds=ROUNDS)
    return 0


def quantise(source: Path, path: Path) -> None:
    """Write a model with the weights of its linear layers in int8, as docs/interop.md says."""
    quantize_dynamic(
        source,
        path,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )


@torch.no_grad()
def report_errors(runs: dict[str, Run], batches: list[Batch], vocabulary: Vocabulary) -> None:
    """Print error rates, and how often a frame's label and a whole transcript are those of PyTorch's."""
    labels: dict[str, list[Tensor]] = {}
    texts: dict[str, dict[str, str]] = {}
    for label, run in runs.items():
        labels[label], texts[label] = [], {}
        for batch in batches:
            logits, frames = run(batch.audio, batch.lengths)
            valid = torch.arange(logits.shape[1]) < frames[:, None]
            labels[label].append(logits.argmax(-1)[valid])
            found = GreedyDecoder(vocabulary).decode(emissions(logits), frames)
            texts[label] |= {key: item.text for key, item in zip(batch.keys, found, strict=True)}
    references = {key: text for batch in batches for key, text in zip(batch.keys, batch.texts, strict=True) if text}
    for label in runs:
        hypotheses = {key: texts[label][key] for key in references}
        rates = error_rates(references, hypotheses)
        same = float((torch.cat(labels[label]) == torch.cat(labels[OURS])).double().mean())
        equal = sum(hypotheses[key] == texts[OURS][key] for key in references)
        print(
            f"{label:24s} WER {rates.wer:.2%} ({rates.wer_low:.1%} to {rates.wer_high:.1%}), CER {rates.cer:.2%}; the "
            f"label of {same:.3%} of the frames and {equal} of {len(references)} transcripts as in {OURS}"
        )


def timed(run: Run, batches: list[Batch], rate: int) -> Callable[[], float]:
    """A function that runs all batches and returns their audio, without padding, in seconds."""

    @torch.no_grad()
    def contender() -> float:
        for batch in batches:
            run(batch.audio, batch.lengths)
        return sum(float(batch.lengths.sum()) for batch in batches) / rate

    contender()  # kernels are prepared on the first pass
    return contender


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
