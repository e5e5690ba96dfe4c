"""Runs of training: of an encoder, and of a recogniser."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from speechssl.config.augmentation import AugmentationConfig
from speechssl.config.limits import CountOrZero, Factor, Section
from speechssl.config.model import ConsistencyConfig, DropoutConfig, HeadConfig, MaskingConfig, ModelConfig
from speechssl.config.objectives import AnyObjective, ContrastiveConfig, SelfDistillationConfig, TwoViewConfig
from speechssl.config.probing import TrainingProbeConfig
from speechssl.config.streams import NO_SHARDS, EvaluationSetConfig, StreamConfig
from speechssl.config.targets import AnyTargets, CharacterTargets
from speechssl.config.text import TextConfig
from speechssl.config.training import HealthConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from speechssl.frames import samples_for_frames


@dataclass(frozen=True)
class PretrainConfig(Section):
    """Pretrain an encoder on untranscribed audio."""

    output: Path = Path("exp/pretrain")
    """Folder of the run: checkpoints, logs, resolved configuration. An unfinished run in it is resumed."""
    data: StreamConfig = StreamConfig(max_seconds=15.6, num_streams=64)
    """Untranscribed audio."""
    dev: EvaluationSetConfig = EvaluationSetConfig()
    """Held-out audio on which the pretext task is scored at every checkpoint, within the limits on length of data; none
    if it names no shards."""
    model: ModelConfig = ModelConfig()
    """Encoder."""
    init: Path | None = None
    """Pretraining run or checkpoint, imported ones too, that goes on on this data with a fresh schedule. It brings its
    model and quantizer or units, and the dev set is scored before the first update too: that of the old data shows what
    is forgotten."""
    objective: AnyObjective = ContrastiveConfig()
    """Pretext task; ``name`` says which, and which keys there are."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """What happens to the audio that the context network hears; the targets come from it as it was (denoising)."""
    dropout: DropoutConfig = DropoutConfig(features=0.1, quantizer_input=0.1)
    """Noise inside the network."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimiser."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Learning-rate schedule."""
    training: TrainingConfig = TrainingConfig()
    """Training loop."""
    health: HealthConfig = HealthConfig()
    """Watch over collapse and stagnation."""
    probe: TrainingProbeConfig = TrainingProbeConfig()
    """Whether the representation still improves, which a falling loss does not tell."""

    def problems(self) -> Iterator[str]:
        yield from too_wide_masks("objective.masking", self.objective.masking, self.model)
        yield from too_few_layers(self.objective, self.model)
        yield from impossible_probes(self.probe, self.training, self.model)

    @property
    def two_views(self) -> bool:
        """Whether the task hears two crops of each recording."""
        return isinstance(self.objective, TwoViewConfig)

    def with_min_seconds(self) -> "PretrainConfig":
        """As it runs: what is too short for masks is left out."""
        shortest = samples_for_frames(self.objective.masking.min_frames, self.model.feature_encoder.conv_layers)
        min_seconds = max(self.data.min_seconds, shortest / self.model.sample_rate)
        return replace(self, data=replace(self.data, min_seconds=min_seconds))


@dataclass(frozen=True)
class FinetuneConfig(Section):
    """Fine-tune an encoder with a CTC head on transcribed audio; without init, train the same model from scratch."""

    output: Path = Path("exp/finetune")
    """Folder of the run: checkpoints, logs, resolved configuration. An unfinished run in it is resumed."""
    init: Path | None = None
    """Run or checkpoint to start from; its architecture is used. A recogniser, one's own or imported, brings its head,
    its labels and its text too. Without it the weights are random."""
    train: StreamConfig = StreamConfig()
    """Transcribed audio to learn from."""
    pseudo_labels: list[str] = field(default_factory=list)
    """Those of train.shards whose transcripts a recogniser wrote (self-training); they do not count as labels."""
    dev: EvaluationSetConfig = EvaluationSetConfig()
    """Transcribed audio whose word error rate chooses the checkpoint, or that of characters where words have no spaces;
    the same set throughout a run."""
    text: TextConfig = TextConfig()
    """How transcripts are written, here and wherever the recogniser is scored; absent, that of a recogniser in init."""
    targets: AnyTargets = CharacterTargets()
    """What of a transcript a label is; absent, that of a recogniser in init."""
    init_labels: Literal["auto", "keep", "drop"] = "auto"
    """Labels of a recogniser in init that the training transcripts do not need: keep or drop them; "auto" drops them
    where it has fewer than half of those that are needed, which is another language."""
    model: ModelConfig = ModelConfig()
    """Encoder of a run from scratch; with init it must be absent or equal to the checkpoint's."""
    head: HeadConfig = HeadConfig()
    """CTC head; with a recogniser in init it must be absent or equal to its."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """What happens to the audio in training."""
    masking: MaskingConfig = MaskingConfig(channel_prob=0.25)
    """Time and channel masks on the features."""
    dropout: DropoutConfig = DropoutConfig(activation=0.1)
    """Noise inside the network."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    """Two views that agree."""
    freeze_feature_encoder: Literal["auto", "always", "never"] = "auto"
    """Keep the convolutions as they are; "auto" freezes them if they come from init."""
    freeze_context_updates: CountOrZero | Literal["auto"] = "auto"
    """Updates in which only the CTC head learns, if there is an init; "auto": 10,000, and 0 if that is a recogniser."""
    head_learning_rate_scale: Factor = 1.0
    """Factor on the learning rate of the CTC head."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=5e-5, eps=1e-8, weight_decay=0.0)
    """Optimiser."""
    schedule: ScheduleConfig = ScheduleConfig(warmup=0.1, hold=0.4, decay="exponential", final_scale=0.05)
    """Learning-rate schedule, tri-stage by default."""
    training: TrainingConfig = TrainingConfig(max_updates=12_000, checkpoint_every=1_000)
    """Training loop; the dev set is scored at every checkpoint."""
    health: HealthConfig = HealthConfig()
    """Watch over a loss that is not finite or explodes, and over outputs that stay empty or wrong."""

    def problems(self) -> Iterator[str]:
        if not self.dev.shards:
            yield f"dev.shards {NO_SHARDS}"
        unknown = [name for name in self.pseudo_labels if name not in self.train.shards]
        if unknown:
            yield f"pseudo_labels names {', '.join(unknown)}, expected some of train.shards, written as there"
        yield from too_wide_masks("masking", self.masking, self.model)
        if self.consistency.weight > 0 and not self.views_differ:
            yield (
                f"consistency.weight is {self.consistency.weight:g}, and the two views are one: masks and dropout are "
                "0; set --dropout.output 0.1 or masks, or leave consistency out"
            )

    @property
    def views_differ(self) -> bool:
        """Whether an utterance twice in a batch is not the same twice; a layer is dropped for both."""
        dropout, masking = self.dropout, self.masking
        noise = (dropout.features, dropout.hidden, dropout.attention, dropout.activation, dropout.output)
        return any(noise) or masking.time_prob > 0 or masking.channel_prob > 0


def too_few_layers(objective: AnyObjective, model: ModelConfig) -> Iterator[str]:
    """More layers of a teacher than the encoder has."""
    there = model.context.num_layers
    if isinstance(objective, SelfDistillationConfig) and objective.teacher.top_layers > there:
        yield (
            f"objective.teacher.top_layers is {objective.teacher.top_layers}, expected at most the model's {there} "
            "layers"
        )


def impossible_probes(probe: TrainingProbeConfig, training: TrainingConfig, model: ModelConfig) -> Iterator[str]:
    """Probes of updates without a checkpoint, and of layers that the encoder does not have."""
    if probe.every % training.checkpoint_every:
        yield (
            f"probe.every is {probe.every}, expected a multiple of training.checkpoint_every "
            f"({training.checkpoint_every}), or 0 for every checkpoint: what is probed is a checkpoint"
        )
    layers = ["features", *(f"block_{i + 1}" for i in range(model.context.num_layers)), "context"]
    if unknown := [name for name in probe.layers if name not in layers]:
        yield f"probe.layers holds {', '.join(unknown)}, expected some of {', '.join(layers)}"


def too_wide_masks(section: str, masking: MaskingConfig, model: ModelConfig) -> Iterator[str]:
    """Spans of more channels than a frame has."""
    if masking.channel_prob > 0 and masking.channel_length > model.context.dim:
        yield (
            f"{section}.channel_length is {masking.channel_length}, expected at most the model's {model.context.dim} "
            "channels"
        )
