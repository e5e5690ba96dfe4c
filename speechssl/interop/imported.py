"""A model that was made elsewhere, under our names, before it becomes a checkpoint."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from speechssl.config import ContrastiveConfig, DropoutConfig, FinetuneConfig, HeadConfig, ModelConfig, PretrainConfig
from speechssl.config.limits import problems_of
from speechssl.errors import CheckpointError
from speechssl.frames import receptive_field_samples
from speechssl.model.ctc import CtcModel
from speechssl.model.encoder import Encoder
from speechssl.objectives.contrastive import ContrastiveModel
from speechssl.text.vocabulary import WORD_BOUNDARY, Vocabulary
from speechssl.training.checkpoints import CheckpointKind, save_checkpoint

Family = Literal["wav2vec2", "hubert", "wavlm", "data2vec-audio"]
FAMILIES: tuple[Family, ...] = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
MAX_LAYERS = 1_000
MAX_FIELD_SECONDS = 1.0
"""Of the samples that one frame hears; published models hear 0.025 s."""
NO_DROPOUT = DropoutConfig(hidden=0, attention=0, layer_drop=0)


@dataclass
class Architecture:
    """What a model computes, apart from its weights."""

    kind: CheckpointKind
    """"pretrain": with the quantizer of the contrastive task; "ctc": a recogniser; "encoder": neither."""
    family: Family
    model: ModelConfig
    objective: ContrastiveConfig | None = None
    """Of kind "pretrain"."""
    vocabulary: Vocabulary | None = None
    """Of kind "ctc"."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """Of kind "ctc"; what is made elsewhere has the published linear layer."""
    notes: list[str] = field(default_factory=list)
    """What a person should know about the conversion."""

    def build(self) -> nn.Module:
        """Our module of this architecture with random weights and without noise, in evaluation mode."""
        module: nn.Module
        match self.kind:
            case "pretrain":
                assert self.objective is not None
                module = ContrastiveModel(self.model, self.objective, NO_DROPOUT)
            case "ctc":
                assert self.vocabulary is not None
                module = CtcModel(self.model, NO_DROPOUT, len(self.vocabulary), self.head)
            case "encoder":
                module = EncoderOnly(self.model)
        return module.eval()

    def shapes(self, source: str) -> dict[str, torch.Size]:
        """Shapes of our tensors by name, without making them.

        Raises:
            CheckpointError: no model has these sizes; ``source`` is where they come from.
        """
        check_sizes(self.model, self.objective, source=source)
        with torch.device("meta"):
            return {name: value.shape for name, value in self.build().state_dict().items()}


def check_sizes(model: ModelConfig, objective: ContrastiveConfig | None, *, source: str) -> None:
    """Judge the numbers of an encoder, and of its contrastive task if it has one.

    Raises:
        CheckpointError: lists those that no model can have.
    """
    problems = problems_of(model) + (problems_of(objective) if objective is not None else [])
    problems = problems or list(_feature_encoder_problems(model))
    if problems:
        raise CheckpointError(f"{source}: no encoder has these sizes: {'; '.join(problems)}")


def _feature_encoder_problems(model: ModelConfig) -> Iterator[str]:
    layers = model.feature_encoder.conv_layers
    if len(layers) > MAX_LAYERS:
        yield f"{len(layers)} convolutions, expected at most {MAX_LAYERS:,}"
    elif receptive_field_samples(layers) > MAX_FIELD_SECONDS * model.sample_rate:
        yield f"a frame hears {receptive_field_samples(layers)} samples, expected at most a second"


def make_vocabulary(labels: Sequence[str]) -> Vocabulary:
    """Labels in the order of a model's outputs: the first is the blank, and ``|`` is between words if it is one.

    Raises:
        ValueError: two equal labels, or none.
    """
    twice = sorted(label for label, count in Counter(labels).items() if count > 1)
    if twice or not labels:
        raise ValueError(f"{', '.join(map(repr, twice[:5]))} more than once" if twice else "it is empty")
    return Vocabulary(labels, word_boundary=labels.index(WORD_BOUNDARY) if WORD_BOUNDARY in labels else None)


class EncoderOnly(nn.Module):
    """An encoder by itself, under the name that it has in every model."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config, NO_DROPOUT)


@dataclass
class Imported:
    """A model from elsewhere."""

    architecture: Architecture
    weights: dict[str, Tensor]
    """By our names."""
    source: Path
    format: str
    """Of the source, for people."""

    def build(self) -> nn.Module:
        """Our module with these weights, in evaluation mode."""
        module = self.architecture.build()
        module.load_state_dict(self.weights)
        return module

    def save(self, folder: Path) -> None:
        """Write the checkpoint of update 0 of a run folder.

        Raises:
            CheckpointError: the disk is full, or the folder cannot be written.
        """
        architecture = self.architecture
        save_checkpoint(
            folder,
            kind=architecture.kind,
            update=0,
            config=run_config(architecture),
            model_state=self.weights,
            training_state=None,
            vocabulary=architecture.vocabulary.to_dict() if architecture.vocabulary else None,
            origin={"family": architecture.family, "format": self.format, "source": self.source.name},
        )


def run_config(architecture: Architecture) -> Any:
    """Configuration of a run that would have made such a checkpoint."""
    match architecture.kind:
        case "pretrain":
            assert architecture.objective is not None
            return PretrainConfig(model=architecture.model, objective=architecture.objective)
        case "ctc":
            return FinetuneConfig(model=architecture.model)
        case "encoder":
            return {"model": architecture.model}
