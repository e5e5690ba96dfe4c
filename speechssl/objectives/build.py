"""From a configuration to the pretext task that it names: the one place where all of them are known."""

from torch import nn

from speechssl.config import (
    AnyObjective,
    ContrastiveConfig,
    DropoutConfig,
    MaskedPredictionConfig,
    ModelConfig,
    SelfDistillationConfig,
    TwoViewConfig,
    UnitsConfig,
)
from speechssl.objectives.contrastive import ContrastiveModel, continue_contrastive
from speechssl.objectives.masked_prediction import MaskedPredictionModel, continue_masked_prediction
from speechssl.objectives.self_distillation import SelfDistillationModel, continue_self_distillation
from speechssl.objectives.two_view import TwoViewModel, continue_two_view
from speechssl.objectives.units import build_units


def build_objective(
    model: ModelConfig, objective: AnyObjective, dropout: DropoutConfig, units_of: ModelConfig | None = None
) -> nn.Module:
    """The model of a pretraining run, an :class:`Objective`, with random weights.

    Args:
        model: of the encoder.
        objective: the task.
        dropout: noise inside the network.
        units_of: the encoder whose layer the units are of, if they are.
    """
    match objective:
        case ContrastiveConfig():
            return ContrastiveModel(model, objective, dropout)
        case MaskedPredictionConfig():
            return MaskedPredictionModel(model, objective, dropout, build_units(objective.units, model, units_of))
        case SelfDistillationConfig():
            anchor = objective.anchor
            units = build_units(anchor.units, model, units_of) if anchor.weight > 0 else None
            return SelfDistillationModel(model, objective, dropout, units)
        case TwoViewConfig():
            return TwoViewModel(model, objective, dropout)


def units_config(objective: AnyObjective) -> UnitsConfig | None:
    """Units that a task predicts, and that are fitted before it begins; None if it predicts none."""
    match objective:
        case ContrastiveConfig() | TwoViewConfig():
            return None
        case MaskedPredictionConfig():
            return objective.units
        case SelfDistillationConfig():
            return objective.anchor.units if objective.anchor.weight > 0 else None


def continue_objective(objective: AnyObjective, earlier: AnyObjective, update: int) -> AnyObjective | None:
    """The task that goes on from the weights that an earlier one had after an update; None if they are different."""
    match objective, earlier:
        case ContrastiveConfig(), ContrastiveConfig():
            return continue_contrastive(objective, earlier, update)
        case MaskedPredictionConfig(), MaskedPredictionConfig():
            return continue_masked_prediction(objective, earlier)
        case SelfDistillationConfig(), SelfDistillationConfig():
            return continue_self_distillation(objective, earlier)
        case TwoViewConfig(), TwoViewConfig():
            return continue_two_view(objective, earlier)
        case _:
            return None
