"""From a configuration to the pretext task that it names: the one place where all of them are known."""

from torch import nn

from speechssl.config import (
    AnyObjective,
    ContrastiveConfig,
    DropoutConfig,
    MaskedPredictionConfig,
    ModelConfig,
    UnitsConfig,
)
from speechssl.objectives.contrastive import ContrastiveModel, continue_contrastive, contrastive_problems
from speechssl.objectives.masked_prediction import (
    MaskedPredictionModel,
    continue_masked_prediction,
    masked_prediction_problems,
)
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


def units_config(objective: AnyObjective) -> UnitsConfig | None:
    """Units that a task predicts, and that are fitted before it begins; None if it predicts none."""
    match objective:
        case ContrastiveConfig():
            return None
        case MaskedPredictionConfig():
            return objective.units


def min_frames(objective: AnyObjective) -> int:
    """Frames of the shortest crop: in fewer, masks leave no room for spans, or no distractors."""
    return 2 * objective.masking.time_length


def objective_problems(objective: AnyObjective) -> list[str]:
    """What is inconsistent in the configuration of a task."""
    share = objective.masking.time_prob
    problems = [] if 0 < share <= 1 else [f"objective.masking.time_prob is {share}, expected above 0 up to 1"]
    match objective:
        case ContrastiveConfig():
            return problems + contrastive_problems(objective)
        case MaskedPredictionConfig():
            return problems + masked_prediction_problems(objective)


def continue_objective(objective: AnyObjective, earlier: AnyObjective, update: int) -> bool:
    """Let a task go on from the weights that an earlier one had after an update; False if they are different tasks."""
    match objective, earlier:
        case ContrastiveConfig(), ContrastiveConfig():
            continue_contrastive(objective, earlier, update)
        case MaskedPredictionConfig(), MaskedPredictionConfig():
            continue_masked_prediction(objective, earlier)
        case _:
            return False
    return True
