"""Pretraining as the loop sees it: the model of a configuration, a step and its scores, whatever the pretext task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from speechssl.config import HealthConfig, ModelConfig, PretrainConfig
from speechssl.config.reading import from_dict, to_dict
from speechssl.data.batches import Batch, load_batch
from speechssl.data.streams import StreamPlan
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.frames import num_frames
from speechssl.model.loading import load_weights
from speechssl.objectives.build import build_objective, units_config
from speechssl.objectives.objective import Objective, Symptom
from speechssl.objectives.two_view import UpdateViews
from speechssl.seeding import Purpose, derive_seed, seed_torch, torch_generator
from speechssl.tasks.probed import SCORE, CheckpointProbe, Probing, plateau, remember_score
from speechssl.tasks.two_view import gather_views, recordings_of
from speechssl.tasks.units import fit_units, units_source
from speechssl.training.checkpoints import CheckpointKind
from speechssl.training.health import Finding, Watch
from speechssl.training.machine import to_device
from speechssl.training.task import ParameterGroup, Score, StepOutput


def make_model(config: PretrainConfig, teacher: dict[str, Any] | None = None) -> Any:
    """The model of a run, an ``Objective``, with random weights but for those of a teacher, whose layer units are of.

    Args:
        config: of the run.
        teacher: the ``model`` section that a checkpoint holds, which brings the weights as well; else both are read
            from the folder that the configuration names, if it does.

    Raises:
        CheckpointError, ConfigError: there is no such encoder, or it does not fit.
    """
    source = None if teacher else units_source(units_config(config.objective), config.model)
    section = source.config["model"] if source else teacher
    units_of = None if section is None else from_dict(ModelConfig, section)
    model: Any = build_objective(config.model, config.objective, config.dropout, units_of)
    model.encoder.recompute(config.training.recompute)
    if source is not None:
        load_weights(model.units.features.encoder, source.encoder_state, source=source.path)
    return model


def skips_parameters(config: PretrainConfig) -> bool:
    """Whether some parameters have no gradient in some updates: skipped layers, a feature encoder that stays."""
    return config.dropout.layer_drop > 0 or config.objective.feature_grad_scale == 0


class PretrainHealth(Watch):
    """Watch over a pretraining run, which asks the pretext task what its failures look like."""

    def __init__(self, config: HealthConfig, objective: Objective) -> None:
        super().__init__(config)
        self._objective = objective

    def check(self, update: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Judge the loss, and the task's figures per target."""
        lasting: dict[str, list[Symptom]] = {}
        for symptom in self._objective.symptoms(metrics, self.config):
            if self.lasts(symptom.key, update, present=symptom.present):
                lasting.setdefault(symptom.name, []).append(symptom)
        found = [self._finding(update, symptoms) for symptoms in lasting.values()]
        return self.verdict(update, self.loss_failures(update, metrics) + found, [])

    def check_scores(self, update: int, scores: Mapping[str, float]) -> list[Finding]:
        """Judge the loss, and remember what a probe gave."""
        remember_score(self.memory.figures, update, scores)
        return super().check_scores(update, scores)

    def _finding(self, update: int, symptoms: list[Symptom]) -> Finding:
        """One for all symptoms of a name."""
        name, texts = symptoms[0].name, "; ".join(symptom.text.rstrip(".") for symptom in symptoms)
        return Finding(
            name,
            f"{name}: at update {update}, and for {self.config.patience_updates} updates or more "
            f"(health.patience_updates): {texts}.\n{symptoms[0].advice}",
        )


class PretrainTask:
    """Pretraining; the objective says what is drawn, lost and a symptom.

    Args:
        config: resolved, of the run.
        model: an ``Objective``.
        dev: held-out audio for its scores; None without any.
        probe: scores checkpoints; None without one, and on ranks that do not score.
    """

    kind: CheckpointKind = "pretrain"
    calibration: dict[str, Any] | None = None
    vocabulary: dict[str, Any] | None = None

    def __init__(
        self, config: PretrainConfig, model: Any, dev: StreamPlan | None, probe: CheckpointProbe | None = None
    ) -> None:
        self.config = config
        self.dev = dev
        # A score of a pretext task does not tell how well its encoder serves another.
        self.score: Score | None = Score(SCORE, lower_is_better=True, data="") if config.probe.is_on else None
        self.probing = Probing(config, probe)
        self.module: nn.Module = model
        self.model: Objective = model
        self.forward: Any = model
        units = units_config(config.objective)
        has_teacher = units is not None and units.features == "layer"
        self.teacher: dict[str, Any] | None = to_dict(model.units.features.encoder.config) if has_teacher else None
        self.health = PretrainHealth(config.health, self.model)
        self.views_of_update: dict[int, UpdateViews] = {}  # by stream

    @property
    def scores_start(self) -> bool:
        """What a model that goes on elsewhere forgets is seen against its score from before."""
        return self.config.init is not None

    @property
    def enough(self) -> str:
        """Probes that have found no better encoder for as long as the configuration bears with."""
        return plateau(self.health.memory.figures, self.config.probe.stop_after)

    def set_module(self, module: nn.Module) -> None:
        self.forward = module

    def begin(self, plan: StreamPlan, fabric: Fabric) -> None:
        """Fit the units, if the objective predicts any."""
        if units_config(self.config.objective) is not None:
            units: Any = self.module.units
            fit_units(units, plan, fabric, derive_seed(self.config.training.seed, Purpose.UNITS))

    def parameter_groups(self) -> list[ParameterGroup]:
        """All parameters, alike."""
        return [ParameterGroup(list(self.module.parameters()))]

    def before_update(self, batches: Sequence[Batch], update: int, fabric: Fabric) -> None:
        """Represent all views of the update, if they are told from each other."""
        self.probing.count_update()
        if not self.config.two_views or self.config.data.num_streams == 1:
            return
        own = []
        for batch in batches:
            seed_torch(self.config.training.seed, Purpose.NOISE, update, batch.stream)  # as the step will have it
            with torch.no_grad():
                own.append(self.compute(self.forward, batch, update, self.draws(batch, update), only_embed=True))
        self.views_of_update = gather_views(batches, own, fabric)

    def draws(self, batch: Batch, update: int) -> torch.Generator:
        """Generator of what is drawn for a micro-batch."""
        return torch_generator(self.config.training.seed, Purpose.MASKS, update, batch.stream)

    def step(self, batch: Batch, update: int) -> StepOutput:
        views = self.views_of_update.pop(batch.stream, None)
        options = {} if views is None else {"of_update": views}
        output = self.compute(self.forward, batch, update, self.draws(batch, update), **options)
        return StepOutput(output.loss, output.num_targets, output.figures, output.context)

    def after_update(self, update: int) -> None:
        self.model.after_update(update)

    def diagnose(self) -> list[Diagnosis]:
        """Nothing: the watch has seen all figures that there are."""
        return []

    def compute(
        self, forward: Callable[..., Any], batch: Batch, update: int, rng: torch.Generator, **options: Any
    ) -> Any:
        """Forward pass through the module, wrapped or not; ``options`` are those of its objective alone."""
        device = self.model.encoder.mask_embedding.device
        audio = to_device(batch.audio, device)
        if batch.second is not None:
            audio = torch.cat([audio, to_device(batch.second, device)])  # (2 B, S)
            options["recordings"] = to_device(recordings_of(batch), device)
        frames = num_frames(audio.shape[1], self.config.model.feature_encoder.conv_layers)
        draw = self.model.draw(audio.shape[0], frames, rng, update=update)
        on_device = type(draw)(*(to_device(x, device) if isinstance(x, Tensor) else x for x in draw))
        clean = None if batch.clean is None else to_device(batch.clean, device)
        return forward(audio, on_device, clean=clean, **options)

    def validate(self, update: int) -> dict[str, float]:
        """Scores of a probe, and of the pretext task."""
        return {**self.probing.score(update), **self.score_dev(update)}

    @torch.no_grad()
    def score_dev(self, update: int) -> dict[str, float]:
        """Pretext scores on held-out audio, with the same masks and negatives every time."""
        plan = self.dev
        if plan is None:
            return {}
        totals: dict[str, float] = {}
        num_targets = 0
        batch_number = 0
        while plan.epoch(batch_number, 0) == 0:
            batch = load_batch(plan.batch(batch_number, 0), plan.sample_rate)
            rng = torch_generator(plan.seed, Purpose.MASKS, batch_number, 0)
            output = self.compute(self.model, batch, update, rng)
            for name, value in output.figures.items():
                totals[name] = totals.get(name, 0.0) + float(value)
            num_targets += output.num_targets
            batch_number += 1
        return {name: value / max(1, num_targets) for name, value in totals.items()}
