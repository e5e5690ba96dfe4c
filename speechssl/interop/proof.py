"""Proof of a conversion: both sides hear the same audio, and every stage is compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechssl.errors import CheckpointError
from speechssl.model.ctc import CtcModel
from speechssl.model.encoder import Encoder
from speechssl.objectives.contrastive import ContrastiveDraw, ContrastiveModel

Stages = dict[str, Tensor]
Reference = Callable[[Tensor, ContrastiveDraw | None], Stages]
"""The other side: audio (1, S) in -1..1 at the model's rate, and masks and negatives if it has a pretext task, to the
same stages as ``our_stages``, as many as it can show."""

FEATURES, CONTEXT, LOGITS, LOSS = "feature encoder", "context", "logits", "contrastive loss"


class Difference(NamedTuple):
    """How far the two sides are apart at one stage."""

    stage: str
    largest: float
    """Largest absolute difference over the largest value of the reference."""


def layer_name(number: int) -> str:
    """Name of the stage after a transformer block, from 1."""
    return f"layer {number}"


@torch.no_grad()
def our_stages(module: nn.Module, audio: Tensor, draw: ContrastiveDraw | None) -> Stages:
    """What a model of ours, in evaluation mode, makes of audio (1, S): stages by name, (1, T, ...) or scalars."""
    encoder = module.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    encoded = encoder(audio, keep_layers=True)
    stages = {FEATURES: encoded.features}
    stages |= {layer_name(i): x for i, x in enumerate(encoded.layers, 1)}
    stages[CONTEXT] = encoded.context
    if isinstance(module, CtcModel):
        stages[LOGITS] = module(audio).logits
    if isinstance(module, ContrastiveModel) and draw is not None:
        stages[LOSS] = module(audio, draw).figures["loss"]
    return stages


def make_draw(module: nn.Module, num_samples: int) -> ContrastiveDraw | None:
    """Masks and negatives for one recording, always the same; None for a model without pretext task."""
    if not isinstance(module, ContrastiveModel):
        return None
    with torch.no_grad():
        frames = module.encoder.encode_features(torch.zeros(1, num_samples), None)[0].shape[1]
    return module.draw(1, frames, torch.Generator().manual_seed(0), update=0)


def compare(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[Difference]:
    """Differences at the stages that both sides show, in our order.

    Raises:
        CheckpointError: a stage that has another shape.
    """
    differences = []
    for stage, value in ours.items():
        if stage in theirs:
            reference = theirs[stage]
            if value.shape != reference.shape:
                raise CheckpointError(
                    f"{stage}: {tuple(value.shape)}, but {tuple(reference.shape)} in the reference; nothing was written"
                )
            differences.append(difference(stage, value, reference))
    return differences


def difference(stage: str, value: Tensor, reference: Tensor) -> Difference:
    """How far a value is from the reference's."""
    scale = float(reference.abs().max())
    return Difference(stage, float((value - reference).abs().max()) / (scale or 1.0))


def prove(module: nn.Module, reference: Reference, audio: Tensor, tolerance: float) -> list[Difference]:
    """Run both sides on audio (1, S) and print the largest difference at each stage.

    Raises:
        CheckpointError: names the first stage that differs by more than is rounding.
    """
    draw = make_draw(module, audio.shape[1])
    differences = compare(our_stages(module, audio, draw), reference(audio, draw))
    if not differences:
        raise CheckpointError("the reference shows no stage that could be compared; nothing was written")
    judge(differences, tolerance)
    return differences


def judge(differences: Sequence[Difference], tolerance: float) -> None:
    """Print differences, a line each.

    Raises:
        CheckpointError: one is above the tolerance, or not a number.
    """
    print("largest difference, as a share of the largest value:")
    width = max(len(item.stage) for item in differences)
    for item in differences:
        print(f"  {item.stage:<{width}}  {item.largest:.1e}{'' if item.largest <= tolerance else '  too much'}")
    if wrong := [item for item in differences if not item.largest <= tolerance]:
        raise CheckpointError(
            f"the two sides differ, first at {wrong[0].stage} ({wrong[0].largest:.1e}, at most {tolerance:g} is "
            "rounding): the conversion is wrong and nothing was written; report it with the model's name, its "
            "configuration and the versions of the packages"
        )


def made_voice(sample_rate: int, seconds: float = 4.0) -> Tensor:
    """Gliding harmonics with formants, in syllables, over faint noise: (1, S). Not speech, but as uneven as speech."""
    time = torch.arange(round(seconds * sample_rate), dtype=torch.float64) / sample_rate
    pitch = 120 + 30 * torch.sin(2 * torch.pi * 0.7 * time)
    phase = 2 * torch.pi * torch.cumsum(pitch, 0) / sample_rate
    voice = torch.zeros_like(time)
    for harmonic in range(1, 25):
        formants = 600 + 250 * torch.sin(2 * torch.pi * 1.3 * time), 1800 + 500 * torch.cos(2 * torch.pi * 0.9 * time)
        gain = sum(torch.exp(-(((harmonic * pitch - formant) / 200) ** 2)) for formant in formants)
        voice += gain * torch.sin(harmonic * phase)
    syllables = torch.sin(2 * torch.pi * 1.8 * time).clamp(min=0) ** 0.5
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (0.1 * syllables * voice + 0.003 * noise).float()[None]
