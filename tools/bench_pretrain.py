"""Speed of a pretraining update, beside Hugging Face's on the same batch with the same masks, negatives and dropout.

    python tools/bench_pretrain.py                            base and small, float32 and bf16, on this machine
    python tools/bench_pretrain.py --peer huggingface         the same in turns with transformers
    python tools/bench_pretrain.py --models tiny --device cuda --batch 32 --seconds 15.6

An update is forward pass, backward pass, clipping and optimiser step; ours also draws its masks and negatives and keeps
the figures of the log. The losses without dropout are printed beside each other. --json ends with one line of JSON.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from bench_models import PRECISIONS, RATE, model_config
from contenders import Contender, compare, describe_machine, gemm_limit
from operations import pretraining_operations
from our_update import OurUpdate
from torch import Tensor

from speechssl.config import (
    ContrastiveConfig,
    DropoutConfig,
    ModelConfig,
    PretrainConfig,
    TrainingConfig,
)
from speechssl.data.batches import Batch
from speechssl.frames import num_frames
from speechssl.interop.huggingface import write_huggingface
from speechssl.interop.imported import Architecture
from speechssl.objectives.contrastive import ContrastiveDraw, ContrastiveModel
from speechssl.seeding import Purpose, torch_generator
from speechssl.tasks.pretraining import PretrainTask
from speechssl.training.machine import configure_cpu

# Nothing is skipped at random, or the two would not do the same work.
DROPOUT = DropoutConfig(features=0.1, quantizer_input=0.1, layer_drop=0.0)


BATCHES = {"base": (4, 5.0), "small": (8, 4.0), "large": (2, 5.0), "tiny": (8, 4.0)}
"""Utterances and seconds of each, unless the command line says otherwise."""


class Case(NamedTuple):
    """What is timed."""

    model: str
    precision: str
    device: str
    batch: int
    seconds: float
    folder: Path
    """Of the random weights, ours and theirs."""
    compile: bool = False
    """Whether ours is compiled."""

    @property
    def config(self) -> ModelConfig:
        """Of the encoder."""
        return model_config(self.model)

    @property
    def audio(self) -> Tensor:
        """The batch, (B, S)."""
        generator = torch.Generator().manual_seed(0)
        return 0.1 * torch.randn(self.batch, round(self.seconds * RATE), generator=generator)

    def draw(self, update: int) -> ContrastiveDraw:
        """Masks and negatives of an update, the same for everyone."""
        with torch.device("meta"):
            model = ContrastiveModel(self.config, ContrastiveConfig(), DROPOUT)
        frames = num_frames(self.audio.shape[1], self.config.feature_encoder.conv_layers)
        return model.draw(self.batch, frames, torch_generator(0, Purpose.MASKS, update, 0), update=update)


class Ours(OurUpdate):
    """An update as `speechssl pretrain` makes it."""

    def __init__(self, case: Case) -> None:
        training = TrainingConfig(accelerator=case.device, devices=1, precision=case.precision, compile=case.compile)  # type: ignore[arg-type]
        config = PretrainConfig(model=case.config, dropout=DROPOUT, training=training, output=case.folder)
        configure_cpu(training)
        model = ContrastiveModel(config.model, ContrastiveConfig(), config.dropout)
        model.load_state_dict(safetensors.torch.load_file(case.folder / "ours.safetensors"))
        lengths = torch.full((case.batch,), case.audio.shape[1])
        super().__init__(config, PretrainTask(config, model, None), Batch([], case.audio, lengths, [], stream=0))

    @torch.no_grad()
    def check(self) -> float:
        """Contrastive loss of the first update's masks, in nats per masked frame."""
        self.module.eval()
        output = self.task.step(self.batch, 0)
        self.module.train()
        return float(output.sums["loss"]) / output.num_targets


class HuggingFace:
    """The same update in plain PyTorch around Wav2Vec2ForPreTraining, whose masks and negatives are there already."""

    def __init__(self, case: Case) -> None:
        from transformers import Wav2Vec2ForPreTraining

        noise: dict[str, Any] = {
            "hidden_dropout": DROPOUT.hidden,
            "attention_dropout": DROPOUT.attention,
            "activation_dropout": DROPOUT.activation,
            "feat_proj_dropout": DROPOUT.features,
            "feat_quantizer_dropout": DROPOUT.quantizer_input,
            "layerdrop": DROPOUT.layer_drop,
        }
        model: Any = Wav2Vec2ForPreTraining.from_pretrained(case.folder / "theirs", **noise)
        self.model = model.to(case.device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-6, fused=True)
        self.case = case
        self.audio = case.audio.to(case.device)
        self.draw = case.draw(0)
        self.negatives = their_negatives(self.draw).to(case.device)
        self.mask = self.draw.time_mask.to(case.device)

    def forward(self) -> Any:
        with torch.autocast(self.case.device, torch.bfloat16, enabled=self.case.precision == "bf16"):
            return self.model(self.audio, mask_time_indices=self.mask, sampled_negative_indices=self.negatives)

    def run(self) -> None:
        self.forward().loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def check(self) -> float:
        self.model.eval()
        loss = float(self.forward().contrastive_loss) / self.draw.positions.numel()
        self.model.train()
        return loss


def their_negatives(draw: ContrastiveDraw) -> Tensor:
    """Our indices into an utterance's masked frames as theirs into all frames of the batch, (B, T, N)."""
    batch, frames = draw.time_mask.shape
    negatives = torch.zeros(batch, frames, draw.negatives.shape[2], dtype=torch.long)
    for b in range(batch):
        negatives[b, draw.positions[b]] = draw.positions[b][draw.negatives[b]] + b * frames
    return negatives


def write_weights(folder: Path, model: str, *, theirs: bool) -> None:
    """Random weights of a model, for whoever takes part."""
    torch.manual_seed(0)
    config = Case(model, "fp32", "cpu", 1, 1.0, folder).config
    weights = ContrastiveModel(config, ContrastiveConfig(), DROPOUT).state_dict()
    safetensors.torch.save_file(weights, folder / "ours.safetensors")
    if theirs:
        (folder / "theirs").mkdir()
        write_huggingface(folder / "theirs", Architecture("pretrain", "wav2vec2", config, ContrastiveConfig()), weights)


def bench(case: Case, *, peer: bool, rounds: int) -> dict[str, Any]:
    """Time one model in one precision, and the peer in float32 and in that precision, in turns."""
    contenders: dict[str, Callable[[], Contender]] = {"speechssl": partial(Ours, case)}
    if peer:
        contenders["huggingface fp32"] = partial(HuggingFace, case._replace(precision="fp32"))
        if case.precision != "fp32":
            contenders[f"huggingface {case.precision}"] = partial(HuggingFace, case)
    masked = case.draw(0).positions.shape[1]
    operations = pretraining_operations(case.config, ContrastiveConfig(), case.batch, case.audio.shape[1], masked)
    print(
        f"\n{case.model}, {case.precision}, {case.batch} x {case.seconds:g} s, {operations / 1e9:.0f} GFLOP per update"
    )
    audio = case.batch * case.seconds
    outcomes = compare(
        contenders, device=case.device, audio_seconds=audio, rounds=rounds, warmup=3, figure="loss without dropout"
    )
    limit = gemm_limit(case.device, case.precision)
    ours = outcomes["speechssl"]
    row: dict[str, Any] = {
        "model": case.model,
        "precision": case.precision,
        "audio_seconds_per_second": audio / ours.seconds,
        "gemm_share": operations / ours.seconds / limit,
        "peak_memory_bytes": ours.peak_bytes,
    }
    print(f"  {row['gemm_share']:.0%} of the {limit / 1e9:.0f} GFLOP/s of a large matrix product")
    if peer:
        found = outcomes["huggingface fp32"].ratio
        row |= {"ratio_to_peer_fp32": found.median, "low": found.low, "high": found.high}
    return row


def main() -> None:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["base", "small"], choices=sorted(BATCHES))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=PRECISIONS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, help="utterances (default: by model)")
    parser.add_argument("--seconds", type=float, help="length of each (default: by model)")
    parser.add_argument("--peer", choices=["huggingface"], help="run this one in turns with ours")
    parser.add_argument("--compile", action="store_true", help="ours as one compiled graph")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    print(json.dumps(describe_machine(arguments.device)))
    rows = []
    for model in arguments.models:
        peer = arguments.peer is not None and model != "tiny"  # theirs has no log-mel energies
        with tempfile.TemporaryDirectory() as name:
            write_weights(Path(name), model, theirs=peer)
            for precision in arguments.precisions:
                batch, seconds = arguments.batch or BATCHES[model][0], arguments.seconds or BATCHES[model][1]
                case = Case(model, precision, arguments.device, batch, seconds, Path(name), arguments.compile)
                rows.append(bench(case, peer=peer, rounds=arguments.rounds))
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
