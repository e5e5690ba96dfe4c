"""What a run begins with: the checkpoint of ``init``, which brings its architecture."""

import logging
from dataclasses import replace
from typing import Any

from speechssl.config import FinetuneConfig, ModelConfig, PretrainConfig
from speechssl.config.reading import from_dict, to_dict
from speechssl.errors import CheckpointError, ConfigError
from speechssl.model.ctc import CtcModel
from speechssl.model.loading import load_weights, weights_digest
from speechssl.objectives.build import continue_objective
from speechssl.tasks.facts import ENCODER_FROZEN_UPDATES
from speechssl.tasks.sets import theirs_of
from speechssl.text.continued import matching_rows
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import Checkpoint, load_checkpoint, read_best, run_of
from speechssl.training.resume import flatten
from speechssl.training.run_log import SUMMARY_FILE, show_figure

logger = logging.getLogger(__name__)


def resolve_pretraining(config: PretrainConfig) -> tuple[PretrainConfig, Checkpoint | None]:
    """A configuration as it runs, and the checkpoint of ``init``, of which are model and what is left open of the task.

    Raises:
        CheckpointError: it has no pretext task, or another one.
        ConfigError: it is of another architecture than a ``model`` that was given.
    """
    if config.init is None:
        return config, None
    checkpoint = load_checkpoint(config.init)
    if checkpoint.kind != "pretrain":
        what = "a fine-tuned recogniser" if checkpoint.kind == "ctc" else "an encoder without a quantizer"
        raise CheckpointError(f"{checkpoint.path} is {what}, expected a pretraining checkpoint")
    model = take_model(config, checkpoint, f"that of {checkpoint.path}; leave the model section out, --init brings it")
    theirs = from_dict(PretrainConfig, {"objective": checkpoint.config["objective"]}).objective
    objective = continue_objective(config.objective, theirs, checkpoint.update)
    if objective is None:
        raise CheckpointError(
            f"{checkpoint.path} was pretrained by {theirs.name}, and objective.name is {config.objective.name}; give "
            f"--objective.name {theirs.name}, or begin anew with units of its encoder (--objective.name "
            f"masked_prediction --objective.units.features layer --objective.units.checkpoint {config.init} "
            "--objective.units.layer, from 1)"
        )
    return replace(config, model=model, objective=objective), checkpoint


def resolve_finetuning(config: FinetuneConfig) -> tuple[FinetuneConfig, Checkpoint | None]:
    """A configuration as it runs, and the checkpoint of ``init``, of which the encoder is, and more of a recogniser.

    Raises:
        ConfigError: it is of another architecture than a ``model`` or ``head`` that was given.
    """
    if config.init is None:
        return settle_frozen(config, ENCODER_FROZEN_UPDATES), None
    checkpoint = load_checkpoint(config.init)
    if checkpoint.kind == "ctc":
        config = take_recogniser(config, checkpoint)
    config = settle_frozen(config, 0 if checkpoint.kind == "ctc" else ENCODER_FROZEN_UPDATES)
    model = take_model(
        config,
        checkpoint,
        f"the encoder in {checkpoint.path}; leave the model section out, --init brings its own, or pretrain with this "
        "one",
    )
    return replace(config, model=model), checkpoint


def settle_frozen(config: FinetuneConfig, usual: int) -> FinetuneConfig:
    """With a number for the updates in which only the head learns."""
    return replace(config, freeze_context_updates=usual) if config.freeze_context_updates == "auto" else config


def take_recogniser(config: FinetuneConfig, checkpoint: Checkpoint) -> FinetuneConfig:
    """Head, text and targets of a recogniser, as far as no others were given.

    Raises:
        ConfigError: its head is of another architecture than a ``head`` that was given.
    """
    theirs = theirs_of(checkpoint)
    # A section of which nothing was given is the very object that the class has as its default.
    if config.head != theirs.head and config.head is not FinetuneConfig.head:
        raise ConfigError(
            f"head differs from that of the recogniser {checkpoint.path}; leave the head section out, --init brings "
            "its own, or begin with its encoder's pretraining"
        )
    text = theirs.text if config.text is FinetuneConfig.text else config.text
    targets = theirs.targets if config.targets is FinetuneConfig.targets else config.targets
    return replace(config, head=theirs.head, text=text, targets=targets)


def load_initial(model: CtcModel, initial: Checkpoint, vocabulary: Vocabulary) -> str:
    """Give a model the weights of ``init``: the encoder's, and of a recogniser the head's too.

    Rows of the head stay where a label is one of the recogniser's; those of new labels stay random.

    Args:
        model: of its architecture, with random weights.
        initial: the checkpoint.
        vocabulary: labels of the model.

    Returns:
        Digest of the weights.

    Raises:
        CheckpointError: they are of another architecture.
    """
    if initial.vocabulary is None:
        load_weights(model.encoder, initial.encoder_state, source=initial.path)
        return weights_digest(initial.encoder_state)
    rows = matching_rows(Vocabulary.from_dict(initial.vocabulary), vocabulary)
    new, old = ([pair[side] for pair in rows] for side in (0, 1))
    state = dict(initial.model_state)
    for name in ("head.weight", "head.bias"):
        value = model.get_parameter(name).detach().clone()
        value[new] = state[name][old].to(value.dtype)
        state[name] = value
    load_weights(model, state, source=initial.path)
    return weights_digest(initial.model_state)


def resolve(config: Any) -> Any:
    """The configuration of any verb as it runs."""
    match config:
        case PretrainConfig():
            return resolve_pretraining(config)[0].with_min_seconds()
        case FinetuneConfig():
            return resolve_finetuning(config)[0]
    return config


def take_model(config: PretrainConfig | FinetuneConfig, checkpoint: Checkpoint, named: str) -> ModelConfig:
    """A checkpoint's architecture; ``named`` says in a message what a ``model`` differs from.

    Raises:
        ConfigError: it is of another architecture than a ``model`` that was given.
    """
    warn_unfinished(checkpoint)
    model = from_dict(ModelConfig, checkpoint.config["model"])
    # A section of which nothing was given is the very object that the class has as its default.
    if config.model != model and config.model is not type(config).model:
        own, theirs = flatten(to_dict(config.model)), flatten(to_dict(model))
        different = ", ".join(key for key in own if own[key] != theirs[key])
        raise ConfigError(f"model differs from {named} (other: {different})")
    return model


def warn_unfinished(checkpoint: Checkpoint) -> None:
    """Warn that a checkpoint was made before its run had finished, unless that chose it; using it is legitimate."""
    if checkpoint.origin is not None:
        source = f"{checkpoint.origin['source']} ({checkpoint.origin['format']})"
        logger.info("--init: %s was imported from %s, which does not tell its updates", checkpoint.path, source)
        return
    if chosen := chosen_by(checkpoint):
        logger.info("--init: %s, the best of its finished run: %s", checkpoint.path, chosen)
        return
    planned = (checkpoint.config.get("training") or {}).get("max_updates", 0)
    if checkpoint.update < planned:
        logger.warning(
            "--init: %s has had %d of the %d updates of its run; if that run is to go on, finish it first",
            checkpoint.path,
            checkpoint.update,
            planned,
        )


def chosen_by(checkpoint: Checkpoint) -> str:
    """The score by which a run that has finished marked a checkpoint as its best; empty if it has not."""
    run = run_of(checkpoint.path)
    try:
        best = read_best(run)
    except CheckpointError:  # damaged, and of no concern to who names a checkpoint
        return ""
    if best is None or best.update != checkpoint.update or not (run / SUMMARY_FILE).is_file():
        return ""
    return show_figure(best.score, best.value)
