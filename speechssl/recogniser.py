"""A fine-tuned model from its checkpoint, ready to transcribe."""

from pathlib import Path
from typing import NamedTuple

import torch

from speechssl.config import DropoutConfig, HeadConfig, ModelConfig
from speechssl.config_files import from_dict
from speechssl.errors import CheckpointError
from speechssl.model.ctc import CtcModel
from speechssl.model.loading import NoRandomWeights
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import Checkpoint, load_checkpoint, load_weights


class Recogniser(NamedTuple):
    """Model and what is needed to use it."""

    model: CtcModel
    vocabulary: Vocabulary
    config: ModelConfig
    checkpoint: Checkpoint


def load_recogniser(path: Path, device: torch.device) -> Recogniser:
    """Load a fine-tuning run's best checkpoint, or one checkpoint, in evaluation mode.

    Raises:
        CheckpointError: missing, damaged, or not of a fine-tuned model.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.kind != "ctc" or checkpoint.vocabulary is None:
        raise CheckpointError(
            f"{checkpoint.path}: a pretrained encoder without a CTC head; run `speechssl finetune` first"
        )
    config = from_dict(ModelConfig, checkpoint.config["model"])
    vocabulary = Vocabulary.from_dict(checkpoint.vocabulary)
    head = from_dict(HeadConfig, checkpoint.config.get("head", {}))
    with NoRandomWeights():
        model = CtcModel(config, DropoutConfig(), len(vocabulary), head)
    load_weights(model, checkpoint.model_state, source=checkpoint.path, copy=False)
    return Recogniser(model.to(device).eval(), vocabulary, config, checkpoint)
