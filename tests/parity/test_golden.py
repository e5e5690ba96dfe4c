"""Numbers that Hugging Face's encoders gave, for where transformers is absent: the same weights give them here.

Weights and audio are sines, so that no generator has to be the same everywhere. `python tests/parity/test_golden.py`
writes the file anew with the installed transformers.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_weights import encoder_pairs
from small_encoders import QUIET, VARIANTS, reference_config
from torch import Tensor

from speechssl.interop.tensors import to_theirs
from speechssl.model.encoder import Encoder

GOLDEN = Path(__file__).with_name("golden.json")


def sines(shape: torch.Size, phase: float) -> Tensor:
    """A tensor of any shape, its values in -1..1."""
    return torch.sin(0.7 * torch.arange(shape.numel(), dtype=torch.float64) + phase).view(shape).float()


def our_model(name: str) -> Encoder:
    """A small encoder whose weights follow from their names' order."""
    model = Encoder(VARIANTS[name].config, QUIET).eval()
    weights = {}
    for i, (key, value) in enumerate(sorted(model.state_dict().items())):
        scale = 0.3 if value.ndim > 1 else 0.1
        centre = 1.0 if "norm" in key and key.endswith("weight") else 0.0
        weights[key] = centre + scale * sines(value.shape, float(i))
    model.load_state_dict(weights)
    return model


def audio() -> Tensor:
    return 0.3 * sines(torch.Size((1, 6000)), 0.2) * sines(torch.Size((1, 6000)), 2.0).cumsum(1).sin()


def chosen(values: Tensor) -> list[float]:
    """A few values from all over a tensor."""
    flat = values.flatten()
    return [float(flat[i]) for i in torch.linspace(0, len(flat) - 1, 8).long()]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_references_numbers(name: str) -> None:
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    with torch.no_grad():
        found = our_model(name)(audio(), keep_layers=True)
    stages = {"features": found.features, "layer 1": found.layers[0], "context": found.context}
    for stage, values in stages.items():
        scale = max(map(abs, expected[stage]))
        assert chosen(values) == pytest.approx(expected[stage], rel=1e-4, abs=1e-4 * scale), stage


def their_numbers(transformers: Any, name: str) -> dict[str, list[float]]:
    """What the reference gives with the same weights."""
    variant = VARIANTS[name]
    theirs = transformers.AutoModel.from_config(reference_config(transformers, variant, QUIET)).eval()
    theirs.load_state_dict(to_theirs(encoder_pairs(variant.config), our_model(name).state_dict()))
    with torch.no_grad():
        output = theirs(audio(), output_hidden_states=True)
        features = theirs.feature_projection.layer_norm(theirs.feature_extractor(audio()).transpose(1, 2))
    stages = {"features": features, "layer 1": output.hidden_states[1], "context": output.last_hidden_state}
    return {stage: chosen(values) for stage, values in stages.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_file_holds_the_references_numbers(transformers: Any, name: str) -> None:
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    for stage, values in their_numbers(transformers, name).items():
        assert values == pytest.approx(expected[stage], rel=1e-4, abs=1e-5), stage


if __name__ == "__main__":
    import transformers

    numbers = {name: their_numbers(transformers, name) for name in VARIANTS}
    GOLDEN.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
