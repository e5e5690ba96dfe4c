"""Recognisers in PyTorch that bench_infer.py times, each in a process that imports its own library alone."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from bench_infer import Case


class InTorch:
    """A model in PyTorch."""

    def __init__(self, case: "Case") -> None:
        self.case = case
        self.audio = torch.from_numpy(np.load(case.audio)).to(case.device)  # (1, S)
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
    """As `speechssl evaluate` hears an utterance, and `transcribe`, in float32, a window."""

    def load(self) -> Any:
        from speechssl.recogniser import load_recogniser
        from speechssl.training.machine import configure_cpu

        configure_cpu()
        return load_recogniser(self.case.folder / "ours", torch.device("cpu")).model


class HuggingFace(InTorch):
    """transformers' Wav2Vec2ForCTC."""

    def load(self) -> Any:
        from transformers import Wav2Vec2ForCTC

        return Wav2Vec2ForCTC.from_pretrained(self.case.folder / "huggingface")


class Torchaudio(InTorch):
    """torchaudio's Wav2Vec2Model."""

    def load(self) -> Any:
        from torchaudio.models import wav2vec2_model

        found = torch.load(self.case.folder / "torchaudio" / "model.pt", weights_only=True)
        model = wav2vec2_model(**found["arguments"])
        model.load_state_dict(found["weights"])
        return model
