"""Speed and memory of a recogniser's forward pass, beside Hugging Face, torchaudio and onnxruntime with equal weights.

    python tools/bench_infer.py                                  base with a CTC head, 10 s and 60 s, alone
    python tools/bench_infer.py --peers huggingface torchaudio onnxruntime
    python tools/bench_infer.py --models large --seconds 30 --precisions bf16

Everyone hears one recording and gives its logits, of which the mean magnitude is printed. Peak memory is of the whole
process, weights and libraries included.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from bench_models import DTYPES, RATE, model_config
from contenders import Contender, Process, describe_machine, gemm_limit, ratio, take_turns
from operations import encoder_operations
from torch import Tensor

from speechssl.config import DropoutConfig, FinetuneConfig, HeadConfig, ModelConfig
from speechssl.config_files import to_dict
from speechssl.interop.huggingface import write_huggingface
from speechssl.interop.imported import Architecture
from speechssl.interop.onnx_models import MODEL_FILE, export_onnx
from speechssl.interop.torchaudio_models import module_of, read_facts, write_torchaudio
from speechssl.model.ctc import CtcModel
from speechssl.recogniser import load_recogniser
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import save_checkpoint
from speechssl.training.machine import settle_cpu

OURS = "speechssl"
PEERS = ("huggingface", "torchaudio", "onnxruntime")
VOCABULARY = Vocabulary.of_characters("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")


class Case(NamedTuple):
    """What is timed."""

    config: ModelConfig
    precision: str
    device: str
    seconds: float
    folder: Path
    """Of the random weights, in everyone's form."""

    @property
    def audio(self) -> Tensor:
        """One recording, (1, S)."""
        generator = torch.Generator().manual_seed(0)
        return 0.1 * torch.randn(1, round(self.seconds * RATE), generator=generator)


class InTorch:
    """A model in PyTorch."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.audio = case.audio.to(case.device)
        self.model = self.load().to(case.device).eval()

    def load(self) -> Any:
        """The model with its weights."""
        raise NotImplementedError

    def logits(self) -> Tensor:
        """Of the recording, (1, T, labels)."""
        return self.model(self.audio)[0]

    @torch.inference_mode()
    def forward(self) -> Tensor:
        with torch.autocast(self.case.device, torch.bfloat16, enabled=self.case.precision == "bf16"):
            return self.logits()

    def run(self) -> None:
        self.forward()

    def check(self) -> float:
        return float(self.forward().float().abs().mean())


class Ours(InTorch):
    """As `speechssl transcribe` and `evaluate` hear it."""

    def load(self) -> CtcModel:
        settle_cpu()
        return load_recogniser(self.case.folder / "ours", torch.device("cpu")).model


class HuggingFace(InTorch):
    """transformers' Wav2Vec2ForCTC."""

    def load(self) -> Any:
        from transformers import Wav2Vec2ForCTC

        return Wav2Vec2ForCTC.from_pretrained(self.case.folder / "huggingface")


class Torchaudio(InTorch):
    """torchaudio's Wav2Vec2Model."""

    def load(self) -> Any:
        folder = self.case.folder / "torchaudio"
        model = module_of(read_facts(folder), folder)
        model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        return model


class OnnxRuntime:
    """onnxruntime's CPU provider on our export."""

    def __init__(self, case: Case) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        path = str(case.folder / "onnxruntime" / MODEL_FILE)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        audio = case.audio.numpy()
        values = (audio, np.array([audio.shape[1]], dtype=np.int64))
        self.inputs = {item.name: value for item, value in zip(self.session.get_inputs(), values, strict=True)}

    def run(self) -> None:
        self.session.run(None, self.inputs)

    def check(self) -> float:
        return float(np.abs(self.session.run(None, self.inputs)[0]).mean())


KINDS: dict[str, Callable[[Case], Contender]] = {
    OURS: Ours,
    "huggingface": HuggingFace,
    "torchaudio": Torchaudio,
    "onnxruntime": OnnxRuntime,
}


def write_weights(folder: Path, config: ModelConfig, peers: list[str]) -> None:
    """Random weights in the form of everyone who takes part."""
    torch.manual_seed(0)
    model = CtcModel(config, DropoutConfig(), len(VOCABULARY), HeadConfig()).eval()
    save_checkpoint(
        folder / "ours",
        kind="ctc",
        update=1,
        config=to_dict(FinetuneConfig(model=config)),
        model_state=model.state_dict(),
        training_state={},
        vocabulary=VOCABULARY.to_dict(),
        metrics={},
    )
    architecture = Architecture("ctc", "wav2vec2", config, None, VOCABULARY)
    for peer in peers:
        (folder / peer).mkdir()
    if "huggingface" in peers:
        write_huggingface(folder / "huggingface", architecture, model.state_dict())
    if "torchaudio" in peers:
        write_torchaudio(folder / "torchaudio", architecture, model.state_dict())
    if "onnxruntime" in peers:
        export_onnx(folder / "onnxruntime", architecture, model)


def bench(case: Case, name: str, peers: list[str], rounds: int) -> dict[str, Any]:
    """Time one length of recording in one precision, everyone in turns."""
    takes_part = [OURS, *(peer for peer in peers if peer != "onnxruntime" or case.precision == "fp32")]
    contenders = {kind: Process(partial(KINDS[kind], case), case.device) for kind in takes_part}
    figures = {kind: contender.check() for kind, contender in contenders.items()}
    seconds = take_turns(contenders, rounds=rounds, warmup=2)
    memory = {kind: contender.peak_bytes() for kind, contender in contenders.items()}
    for contender in contenders.values():
        contender.close()
    own = statistics.median(seconds[OURS])
    share = sum(encoder_operations(case.config, 1, case.audio.shape[1])) / own
    share /= gemm_limit(case.device, DTYPES[case.precision])
    print(f"\n{name}, {case.precision}, {case.seconds:g} s; {share:.0%} of a large matrix product's speed")
    row: dict[str, Any] = {"model": name, "precision": case.precision, "seconds": case.seconds, "gemm_share": share}
    for kind, values in seconds.items():
        found = ratio(seconds[OURS], values)
        print(
            f"  {kind:12s} {case.seconds / statistics.median(values):8.1f} audio-s/s {memory[kind] / 2**30:6.2f} GiB   "
            f"mean logit {figures[kind]:.6f}   ours is {found.median:.2f} times as fast "
            f"({found.low:.2f} to {found.high:.2f})"
        )
        row[kind] = {
            "audio_seconds_per_second": case.seconds / statistics.median(values),
            "peak_memory_bytes": memory[kind],
            "ours_over_it": found._asdict(),
        }
    return row


def main() -> None:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["base"], choices=["base", "large", "small"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=sorted(DTYPES))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", nargs="+", type=float, default=[10.0, 60.0], help="lengths of the recording")
    parser.add_argument("--peers", nargs="+", default=[], choices=PEERS, help="run these in turns with ours")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    print(json.dumps(describe_machine(arguments.device)))
    rows = []
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as name:
            config = model_config(model)
            write_weights(Path(name), config, arguments.peers)
            for precision in arguments.precisions:
                for seconds in arguments.seconds:
                    case = Case(config, precision, arguments.device, seconds, Path(name))
                    rows.append(bench(case, model, arguments.peers, arguments.rounds))
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
