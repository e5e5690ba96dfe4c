"""What a run begins with: the checkpoint of ``init``, which brings its architecture."""

import logging

from torch import Tensor

from speechssl.config import FinetuneConfig, ModelConfig, PretrainConfig
from speechssl.config_files import from_dict, is_given
from speechssl.errors import CheckpointError, ConfigError
from speechssl.objectives.build import continue_objective
from speechssl.training.checkpoints import Checkpoint, load_checkpoint

logger = logging.getLogger(__name__)


def take_init(config: PretrainConfig) -> Checkpoint | None:
    """The checkpoint of ``init``; what the configuration leaves open of model and pretext task becomes that of it.

    Raises:
        CheckpointError: it has no pretext task, or another one.
        ConfigError: it is of another architecture than a ``model`` that was given.
    """
    if config.init is None:
        return None
    checkpoint = load_checkpoint(config.init)
    if checkpoint.kind != "pretrain":
        what = "a fine-tuned recogniser" if checkpoint.kind == "ctc" else "an encoder without a quantizer"
        raise CheckpointError(f"{checkpoint.path} is {what}, expected a pretraining checkpoint")
    take_model(config, checkpoint, f"that of {checkpoint.path}; leave the model section out, --init brings it")
    theirs = from_dict(PretrainConfig, {"objective": checkpoint.config["objective"]}).objective
    if not continue_objective(config.objective, theirs, checkpoint.update):
        raise CheckpointError(
            f"{checkpoint.path} was pretrained by {theirs.name}, and objective.name is {config.objective.name}; give "
            f"--objective.name {theirs.name}, or begin anew with units of its encoder (--objective.name "
            f"masked_prediction --objective.units.features layer --objective.units.checkpoint {config.init} "
            "--objective.units.layer, from 1)"
        )
    return checkpoint


def take_encoder(config: FinetuneConfig) -> dict[str, Tensor] | None:
    """Encoder weights of ``init``; sets ``config.model`` to its architecture.

    Raises:
        CheckpointError: it has no pretrained encoder.
        ConfigError: it is of another architecture than a ``model`` that was given.
    """
    if config.init is None:
        return None
    checkpoint = load_checkpoint(config.init)
    if checkpoint.kind == "ctc":
        raise CheckpointError(f"{checkpoint.path} is a fine-tuned recogniser; --init needs a pretrained encoder")
    take_model(
        config,
        checkpoint,
        f"the encoder in {checkpoint.path}; leave the model section out, --init brings its own, or pretrain with this "
        "one",
    )
    return checkpoint.encoder_state


def take_model(config: PretrainConfig | FinetuneConfig, checkpoint: Checkpoint, named: str) -> None:
    """Set ``config.model`` to a checkpoint's architecture; ``named`` says in a message what it differs from.

    Raises:
        ConfigError: it is of another architecture than a ``model`` that was given.
    """
    warn_unfinished(checkpoint)
    model = from_dict(ModelConfig, checkpoint.config["model"])
    if config.model != model and (is_given(config, "model") or config.model != ModelConfig()):
        raise ConfigError(f"model differs from {named}")
    config.model = model


def warn_unfinished(checkpoint: Checkpoint) -> None:
    """Warn that a checkpoint was made before its run had finished; using it is legitimate."""
    if checkpoint.origin is not None:
        source = f"{checkpoint.origin['source']} ({checkpoint.origin['format']})"
        logger.info("--init: %s was imported from %s, which does not tell its updates", checkpoint.path, source)
        return
    planned = (checkpoint.config.get("training") or {}).get("max_updates", 0)
    if checkpoint.update < planned:
        logger.warning(
            "--init: %s has had %d of the %d updates of its run; if that run is to go on, finish it first",
            checkpoint.path,
            checkpoint.update,
            planned,
        )
