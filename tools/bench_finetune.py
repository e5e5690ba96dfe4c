"""Speed of a fine-tuning update with CTC, beside Hugging Face's on the same batch with the same dropout.

    python tools/bench_finetune.py                      base, float32 and bf16
    python tools/bench_finetune.py --peer huggingface   the same in turns with transformers

The convolutions are frozen, as published, and nothing is masked: theirs draws masks of its own. Utterances are of equal
length, because their base model depends on padding. The losses without dropout are printed beside each other.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from bench_models import PRECISIONS, RATE, model_config
from contenders import Contender, compare, describe_machine
from our_update import OurUpdate
from torch import Tensor

from speechssl.config import DropoutConfig, FinetuneConfig, HeadConfig, MaskingConfig, TrainingConfig
from speechssl.data.batches import Batch
from speechssl.interop.huggingface import write_huggingface
from speechssl.interop.imported import Architecture
from speechssl.model.ctc import CtcModel
from speechssl.tasks.ctc import FinetuneTask
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.machine import configure_cpu

VOCABULARY = Vocabulary.of_characters("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
DROPOUT = DropoutConfig(activation=0.1, layer_drop=0.0)
LETTERS_PER_SECOND = 14


class Case(NamedTuple):
    """What is timed."""

    model: str
    precision: str
    device: str
    batch: int
    seconds: float
    folder: Path
    """Of the random weights, ours and theirs."""

    @property
    def audio(self) -> Tensor:
        """The batch, (B, S)."""
        return 0.1 * torch.randn(self.batch, round(self.seconds * RATE), generator=torch.Generator().manual_seed(0))

    @property
    def texts(self) -> list[str]:
        """Transcripts of random letters."""
        draws = np.random.default_rng(0).integers(26, size=(self.batch, round(LETTERS_PER_SECOND * self.seconds)))
        return ["".join(chr(ord("A") + letter) for letter in row) for row in draws]


class Ours(OurUpdate):
    """An update as `speechssl finetune` makes it."""

    def __init__(self, case: Case) -> None:
        training = TrainingConfig(accelerator=case.device, devices=1, precision=case.precision)  # type: ignore[arg-type]
        config = FinetuneConfig(
            model=model_config(case.model),
            dropout=DROPOUT,
            training=training,
            output=case.folder,
            masking=MaskingConfig(time_prob=0.0, channel_prob=0.0),
            freeze_feature_encoder="always",
        )
        configure_cpu(training)
        model = CtcModel(config.model, config.dropout, len(VOCABULARY), HeadConfig())
        model.load_state_dict(torch.load(case.folder / "ours.pt", weights_only=True))
        nothing: Any = SimpleNamespace(texts=())
        lengths = torch.full((case.batch,), case.audio.shape[1])
        task = FinetuneTask(config, model, VOCABULARY, nothing)
        super().__init__(config, task, Batch([], case.audio, lengths, list(case.texts), stream=0))

    @torch.no_grad()
    def check(self) -> float:
        """Loss in nats per label."""
        self.module.eval()
        output = self.task.step(self.batch, 0)
        self.module.train()
        return float(output.loss) / output.num_targets


class HuggingFace:
    """The same update in plain PyTorch around Wav2Vec2ForCTC."""

    def __init__(self, case: Case) -> None:
        from transformers import Wav2Vec2ForCTC

        settings: dict[str, Any] = {
            "hidden_dropout": DROPOUT.hidden,
            "attention_dropout": DROPOUT.attention,
            "activation_dropout": DROPOUT.activation,
            "feat_proj_dropout": DROPOUT.features,
            "final_dropout": DROPOUT.output,
            "layerdrop": DROPOUT.layer_drop,
            "apply_spec_augment": False,
            "ctc_loss_reduction": "sum",
        }
        model: Any = Wav2Vec2ForCTC.from_pretrained(case.folder / "theirs", **settings)
        model.freeze_feature_encoder()
        self.model = model.to(case.device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5, betas=(0.9, 0.98), fused=True)
        self.case = case
        self.audio = case.audio.to(case.device)
        self.labels = torch.tensor([VOCABULARY.encode(text) for text in case.texts]).to(case.device)

    def forward(self) -> Tensor:
        with torch.autocast(self.case.device, torch.bfloat16, enabled=self.case.precision == "bf16"):
            return self.model(self.audio, labels=self.labels).loss

    def run(self) -> None:
        self.forward().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def check(self) -> float:
        self.model.eval()
        loss = float(self.forward()) / self.labels.numel()
        self.model.train()
        return loss


def write_weights(folder: Path, model: str, *, theirs: bool) -> None:
    """Random weights of a model, for whoever takes part."""
    torch.manual_seed(0)
    config = model_config(model)
    weights = CtcModel(config, DROPOUT, len(VOCABULARY), HeadConfig()).state_dict()
    torch.save(weights, folder / "ours.pt")
    if theirs:
        (folder / "theirs").mkdir()
        write_huggingface(folder / "theirs", Architecture("ctc", "wav2vec2", config, None, VOCABULARY), weights)


def bench(case: Case, *, peer: bool, rounds: int) -> dict[str, Any]:
    """Time one precision, and the peer in the same, in turns."""
    contenders: dict[str, Callable[[], Contender]] = {"speechssl": partial(Ours, case)}
    if peer:
        contenders["huggingface"] = partial(HuggingFace, case)
    print(f"\n{case.model}, {case.precision}, {case.batch} x {case.seconds:g} s")
    audio = case.batch * case.seconds
    outcomes = compare(
        contenders, device=case.device, audio_seconds=audio, rounds=rounds, warmup=3, figure="loss without dropout"
    )
    row: dict[str, Any] = {
        "model": case.model,
        "precision": case.precision,
        "audio_seconds_per_second": audio / outcomes["speechssl"].seconds,
        "peak_memory_bytes": outcomes["speechssl"].peak_bytes,
    }
    if peer:
        found = outcomes["huggingface"].ratio
        row |= {"ratio_to_peer": found.median, "low": found.low, "high": found.high}
    return row


def main() -> None:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["base"], choices=["base", "large", "small"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=PRECISIONS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=4, help="utterances")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each")
    parser.add_argument("--peer", choices=["huggingface"], help="run this one in turns with ours")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    print(json.dumps(describe_machine(arguments.device)))
    rows = []
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as name:
            write_weights(Path(name), model, theirs=arguments.peer is not None)
            for precision in arguments.precisions:
                case = Case(model, precision, arguments.device, arguments.batch, arguments.seconds, Path(name))
                rows.append(bench(case, peer=arguments.peer is not None, rounds=arguments.rounds))
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
