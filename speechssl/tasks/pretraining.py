"""Pretraining: build the model, one step, run."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from speechssl.config import (
    ContextConfig,
    MaskedPredictionConfig,
    MaskingConfig,
    ModelConfig,
    PretrainConfig,
    StreamConfig,
    UnitsConfig,
)
from speechssl.config_files import from_dict
from speechssl.config_limits import check_limits
from speechssl.data.augmented import make_augmenter
from speechssl.data.batches import Batch, load_batch
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.remote.addresses import shown_all
from speechssl.data.remote.store import ShardStore, make_store
from speechssl.data.streams import StreamPlan
from speechssl.errors import CheckpointError, ConfigError
from speechssl.frames import hop_samples, num_frames, receptive_field_samples, samples_for_frames
from speechssl.model.feature_encoder import count_empty_bands
from speechssl.objectives.build import build_objective, continue_objective, objective_problems
from speechssl.objectives.objective import Objective, PretextOutput
from speechssl.objectives.units import Units
from speechssl.seeding import Purpose, derive_seed, seed_torch, torch_generator
from speechssl.training.checkpoints import (
    Checkpoint,
    CheckpointKind,
    latest_checkpoint,
    load_checkpoint,
    load_weights,
    say_unfinished,
    weights_digest,
)
from speechssl.training.health import PretrainHealth
from speechssl.training.layout import check_launch, training_problems
from speechssl.training.loop import Trainer
from speechssl.training.machine import settle_cpu, to_device
from speechssl.training.processes import announce, launch, make_fabric, ranks_together
from speechssl.training.run_folder import check_run_folder
from speechssl.training.run_lock import run_lock
from speechssl.training.schedules import schedule_problems
from speechssl.training.task import StepOutput

logger = logging.getLogger(__name__)


def run(config: PretrainConfig) -> None:
    """Pretrain, resuming an unfinished run in the output folder.

    Raises:
        ConfigError: the configuration cannot be run, or differs from the unfinished run's.
        DataError: shards are missing or damaged.
        HealthError: the run is not learning.
    """
    check_run_folder(config.output)
    initial = take_init(config)
    check_config(config)
    check_launch(config.training, config.data.num_streams)
    settle_cpu(config.training)
    corpus = load_corpus(config.data.shards, config.model, store=make_store(config.data))
    plan = StreamPlan(corpus, config.data, seed=config.training.seed, crop=True)
    say_left_out(plan, config.data)
    dev = plan_dev(config, corpus)
    with run_lock(config.output):
        train(config, corpus, plan, dev, initial)


def plan_dev(config: PretrainConfig, train: Corpus) -> StreamPlan | None:
    """Held-out audio as one source, read now so that what is wrong with it shows before anything is trained.

    Raises:
        ConfigError, DataError: it cannot be scored.
    """
    if not config.dev.shards:
        return None
    corpus = load_corpus(config.dev.shards, config.model, store=make_store(config.dev, config.data))
    say_shared(train, corpus)
    stream = replace(
        config.data,
        shards=config.dev.shards,
        num_streams=1,
        max_batch_seconds=config.dev.max_batch_seconds,
        source_weights=[],
        source_temperature=0.0,
    )
    return StreamPlan(corpus, stream, seed=Purpose.DEV.number, crop=True)


def train(
    config: PretrainConfig, corpus: Corpus, plan: StreamPlan, dev: StreamPlan | None, initial: Checkpoint | None
) -> None:
    """Build the model, with the weights of ``init`` if there is one, and run the loop."""
    skips_parameters = config.dropout.layer_drop > 0 or config.objective.feature_grad_scale == 0
    fabric = make_fabric(config.training, config.data.num_streams, skips_parameters=skips_parameters)
    launch(fabric)
    seed_torch(config.training.seed, Purpose.WEIGHTS)
    model = make_model(config)
    if initial is not None:
        load_weights(model, initial.model_state, source=initial.path)
    origin = weights_digest(initial.model_state) if initial is not None else ""
    task = PretrainTask(config, model, dev)
    hours = plan.seconds / 3600
    announce(
        fabric,
        f"pretraining {count_parameters(model) / 1e6:.1f} M parameters on {hours:.2f} h of audio "
        f"({shown_all(config.data.shards)}), {fabric.world_size} process(es), {fabric._precision.precision}",
    )
    with ranks_together(fabric):
        begins = initial is None and latest_checkpoint(config.output) is None
        if begins and isinstance(config.objective, MaskedPredictionConfig):
            fit_units(
                model.units, config.objective.units, plan, fabric, derive_seed(config.training.seed, Purpose.UNITS)
            )
        augment = make_augmenter(
            config.augmentation, corpus, config.training.seed, store=make_store(config.data), keeps_clean=True
        )
        Trainer(config, task, plan, fabric, {"audio_hours": round(hours, 4)}, origin, augment, corpus).run()


def make_model(config: PretrainConfig) -> Any:
    """The model of a run, an ``Objective``, with random weights; units of a layer with those of its encoder."""
    objective = config.objective
    source = units_source(objective.units, config.model) if isinstance(objective, MaskedPredictionConfig) else None
    units_of = None if source is None else from_dict(ModelConfig, source.config["model"])
    model: Any = build_objective(config.model, objective, config.dropout, units_of)
    model.encoder.recompute(config.training.recompute)
    if source is not None:
        load_weights(model.units.features.encoder, source.encoder_state, source=source.path)
    return model


def units_source(units: UnitsConfig, model: ModelConfig) -> Checkpoint | None:
    """The checkpoint of the encoder whose layer units are of, if they are.

    Raises:
        ConfigError: it has no such layer, or makes frames less or more often than the model.
    """
    if units.features != "layer" or units.checkpoint is None:
        return None
    checkpoint = load_checkpoint(units.checkpoint)
    theirs = from_dict(ModelConfig, checkpoint.config["model"])
    problems = []
    if units.layer > theirs.context.num_layers:
        problems.append(f"objective.units.layer is {units.layer}, {checkpoint.path} has {theirs.context.num_layers}")
    of_both = [
        (config.sample_rate, hop_samples(layers), receptive_field_samples(layers))
        for config in (theirs, model)
        for layers in [config.feature_encoder.conv_layers]
    ]
    if of_both[0] != of_both[1]:
        (rate, hop, field), (own_rate, own_hop, own_field) = of_both
        problems.append(
            f"{checkpoint.path} makes a frame of {field} samples every {hop} at {rate} Hz, and this model one of "
            f"{own_field} every {own_hop} at {own_rate} Hz; units have to be of the same frames"
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return checkpoint


def fit_units(units: Units, config: UnitsConfig, plan: StreamPlan, fabric: Fabric, seed: int) -> None:
    """Fit the units on the first process, to what the first updates hear before augmentation, and tell the others."""
    seconds = min(config.fit_seconds, plan.seconds)
    entries = " and ".join(map(str, config.num_entries))
    announce(fabric, f"fitting {entries} units to {seconds / 60:.0f} minutes of audio")
    if fabric.is_global_zero:
        units.fit(audio_of(plan, seconds), seed)
    if fabric.world_size > 1:
        units.load_state_dict(fabric.broadcast(units.state_dict()))


def audio_of(plan: StreamPlan, seconds: float) -> Iterator[Tensor]:
    """Waveforms (B, S) of the first micro-batches of a plan, so much of each stream as of the others."""
    found = 0.0
    for update in count():
        for stream in range(plan.num_streams):
            batch = load_batch(plan.batch(update, stream), plan.sample_rate)
            yield batch.audio
            found += float(batch.lengths.sum()) / plan.sample_rate
        if found >= seconds:
            return


class PretrainTask:
    """Pretraining as the loop sees it, whatever the pretext task."""

    kind: CheckpointKind = "pretrain"
    vocabulary: dict[str, Any] | None = None

    def __init__(self, config: PretrainConfig, model: Any, dev: StreamPlan | None) -> None:
        self.config = config
        self.dev = dev
        self.module: nn.Module = model
        self.model: Objective = model
        self.forward: Any = model
        self.health = PretrainHealth(config.health, self.model)

    @property
    def scores_start(self) -> bool:
        """What a model that goes on elsewhere forgets is seen against its score from before."""
        return self.config.init is not None

    def set_module(self, module: nn.Module) -> None:
        self.forward = module

    def step(self, batch: Batch, update: int) -> StepOutput:
        generator = torch_generator(self.config.training.seed, Purpose.MASKS, update, batch.stream)
        output = self.compute(self.forward, batch, update, generator)
        return StepOutput(output.loss, output.num_targets, output.figures, output.context)

    def compute(
        self, forward: Callable[..., PretextOutput], batch: Batch, update: int, generator: torch.Generator
    ) -> PretextOutput:
        """Forward pass through the module, wrapped or not."""
        device = self.model.encoder.mask_embedding.device
        frames = num_frames(batch.audio.shape[1], self.config.model.feature_encoder.conv_layers)
        draw = self.model.draw(batch.audio.shape[0], frames, generator, update=update)
        on_device = type(draw)(*(to_device(x, device) if isinstance(x, Tensor) else x for x in draw))
        clean = None if batch.clean is None else to_device(batch.clean, device)
        return forward(to_device(batch.audio, device), on_device, clean=clean)

    @torch.no_grad()
    def validate(self, update: int) -> dict[str, float]:
        """Pretext scores on held-out audio, with the same masks and negatives every time."""
        plan = self.dev
        if plan is None:
            return {}
        totals: dict[str, float] = {}
        num_targets = 0
        batch_number = 0
        while plan.epoch(batch_number, 0) == 0:
            batch = load_batch(plan.batch(batch_number, 0), plan.sample_rate)
            output = self.compute(
                self.model, batch, update, torch_generator(Purpose.DEV.number, Purpose.MASKS, batch_number, 0)
            )
            for name, value in output.figures.items():
                totals[name] = totals.get(name, 0.0) + float(value)
            num_targets += output.num_targets
            batch_number += 1
        return {name: value / num_targets for name, value in totals.items()}

    def after_checkpoint(self, update: int, scores: Mapping[str, float]) -> None:
        pass


def check_config(config: PretrainConfig) -> None:
    """Raise ConfigError, naming everything that cannot work."""
    check_limits(config)
    problems = model_problems(config.model) + training_problems(config.training) + schedule_problems(config.schedule)
    problems += objective_problems(config.objective)
    problems += mask_problems("objective.masking", config.objective.masking, config.model)
    if not config.data.shards:
        problems.append("data.shards is empty; name shard files or folders that `speechssl shard` made")
    shortest = samples_for_frames(2 * config.objective.masking.time_length, config.model.feature_encoder.conv_layers)
    if config.data.min_seconds * config.model.sample_rate < shortest:
        # Shorter crops would leave no room for spans, or no distractors.
        config.data.min_seconds = shortest / config.model.sample_rate
    if problems:
        raise ConfigError("\n".join(problems))


def mask_problems(section: str, masking: MaskingConfig, model: ModelConfig) -> list[str]:
    """What is inconsistent in a masking section."""
    if masking.channel_prob > 0 and masking.channel_length > model.context.dim:
        return [
            f"{section}.channel_length is {masking.channel_length}, expected at most the model's {model.context.dim} "
            "channels"
        ]
    return []


def model_problems(config: ModelConfig) -> list[str]:
    """What is inconsistent in an architecture."""
    context, features = config.context, config.feature_encoder
    problems = [
        f"model.context.dim is {context.dim}, expected a multiple of {name} ({value})"
        for name, value in (("num_heads", context.num_heads), ("pos_conv_groups", context.pos_conv_groups))
        if context.dim % value
    ]
    problems += position_problems(context)
    if features.first_layer == "log_mel":
        bands, window, _ = features.conv_layers[0]
        empty = count_empty_bands(bands, window, config.sample_rate)
        if window % 2 or empty:
            problems.append(
                f"model.feature_encoder.conv_layers begins with {bands} mel bands over windows of {window} samples at "
                f"{config.sample_rate} Hz, of which {empty} would be empty; expected an even window, of 25 ms "
                f"({config.sample_rate // 40} samples), and fewer bands (40 to 80), or first_layer: convolution"
            )
    return problems


def position_problems(context: ContextConfig) -> list[str]:
    """What is inconsistent in how a context network knows position."""
    problems = []
    if context.pos_conv_depth < 1:
        problems.append(f"model.context.pos_conv_depth is {context.pos_conv_depth}, expected 1 or more")
    if not context.relative_bias:
        return problems
    if context.num_buckets < 4 or context.num_buckets % 4:
        problems.append(
            f"model.context.num_buckets is {context.num_buckets}, expected a multiple of 4 (320 as published)"
        )
    if context.max_distance <= context.num_buckets // 4:
        problems.append(
            f"model.context.max_distance is {context.max_distance} frames, expected more than a quarter of num_buckets "
            f"({context.num_buckets // 4}; 800 as published)"
        )
    return problems


def load_corpus(
    shards: list[str], model: ModelConfig, *, with_texts: bool = False, store: ShardStore | None = None
) -> Corpus:
    """Index of the shards, checked against the model's sample rate; ``store`` reads those from elsewhere."""
    corpus = read_corpus(shards, with_texts=with_texts, store=store)
    if corpus.sample_rate != model.sample_rate:
        raise ConfigError(
            f"the shards {shown_all(shards)} hold {corpus.sample_rate} Hz audio, model.sample_rate is "
            f"{model.sample_rate} Hz; make the shards again with --sample_rate {model.sample_rate}"
        )
    return corpus


def say_left_out(plan: StreamPlan, config: StreamConfig) -> None:
    """Warn of samples outside the limits on their length."""
    if plan.num_too_short:
        logger.warning("Left out, shorter than %.3g s: %d", config.min_seconds, plan.num_too_short)
    if plan.num_too_long:
        logger.warning("Left out, longer than %g s: %d", config.max_seconds, plan.num_too_long)


def say_shared(train: Corpus, dev: Corpus) -> None:
    """Warn of samples of the dev set that are learned from too."""
    in_train, in_dev = (c.checksums.astype(np.uint64) << 32 | c.num_samples.astype(np.uint64) for c in (train, dev))
    num_shared = int(np.isin(in_dev, in_train).sum())
    if num_shared:
        logger.warning(
            "dev: %d of its %d samples are among those that are learned from; scores on them say little of others",
            num_shared,
            len(dev),
        )


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
    say_unfinished(checkpoint)
    model = from_dict(ModelConfig, checkpoint.config["model"])
    if config.model not in (model, ModelConfig()):
        raise ConfigError(
            f"model differs from that of {checkpoint.path}; leave the model section out, --init brings it"
        )
    config.model = model
    theirs = from_dict(PretrainConfig, {"objective": checkpoint.config["objective"]}).objective
    if not continue_objective(config.objective, theirs, checkpoint.update):
        raise CheckpointError(
            f"{checkpoint.path} was pretrained by {theirs.name}, and objective.name is {config.objective.name}; give "
            f"--objective.name {theirs.name}, or begin anew with units of its encoder (--objective.name "
            f"masked_prediction --objective.units.features layer --objective.units.checkpoint {config.init})"
        )
    return checkpoint


def count_parameters(module: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in module.parameters())
