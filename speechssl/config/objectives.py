"""Pretext tasks: a kind of one is a class with a ``name`` of its own, and its entry in ``AnyObjective``."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from speechssl.config.limits import (
    Amount,
    CountOrZero,
    Depth,
    Factor,
    FactorOrZero,
    Limit,
    Section,
    Share,
    Size,
    SizeOrZero,
    UpToAThousand,
)
from speechssl.config.model import MaskingConfig


@dataclass(frozen=True)
class QuantizerConfig(Section):
    """Product quantizer with Gumbel softmax (section 2, "Quantization module")."""

    num_groups: Size = 2
    """Codebook groups G."""
    num_entries: Size = 320
    """Entries V per group."""
    dim: Size = 256
    """Dimension of the concatenated code vector; num_groups must divide it."""
    temperature_start: Factor = 2.0
    """Gumbel temperature at update 0."""
    temperature_end: Factor = 0.5
    """Lowest Gumbel temperature."""
    temperature_decay: Annotated[float, Limit(0, 1, low_is_in=False)] = 0.999995
    """Factor on the temperature after every update."""

    def problems(self) -> Iterator[str]:
        if self.dim % self.num_groups:
            yield f"dim is {self.dim}, expected a multiple of num_groups ({self.num_groups})"


@dataclass(frozen=True)
class ContrastiveConfig(Section):
    """Contrastive task over quantized targets (section 3.2)."""

    name: Literal["contrastive"] = "contrastive"
    """Pretext task."""
    quantizer: QuantizerConfig = QuantizerConfig()
    """Quantizer of the targets (contrastive)."""
    masking: MaskingConfig = MaskingConfig()
    """Which frames are hidden from the context network."""
    final_dim: Size = 256
    """Dimension in which contexts and targets are compared (contrastive)."""
    num_negatives: Size = 100
    """Distractors per masked frame, drawn from the other masked frames of the same utterance (contrastive)."""
    temperature: Factor = 0.1
    """Divisor of the cosine similarities (kappa)."""
    diversity_weight: FactorOrZero = 0.1
    """Weight of the codebook diversity penalty, alpha (contrastive)."""
    feature_penalty: FactorOrZero = 10.0
    """Weight of the mean squared feature-encoder output."""
    feature_grad_scale: FactorOrZero = 0.1
    """Factor on the gradient that reaches the feature encoder."""

    @property
    def codebooks(self) -> list[int]:
        """Entries of each codebook of the targets."""
        return [self.quantizer.num_entries] * self.quantizer.num_groups

    def problems(self) -> Iterator[str]:
        return must_mask(self.masking)


@dataclass(frozen=True)
class UnitsConfig(Section):
    """What masked prediction predicts: entries of codebooks, fitted before the first update (HuBERT, section II.A)."""

    features: Literal["log_mel", "mfcc", "layer"] = "log_mel"
    """What is told apart: log-mel energies or cepstra (MFCC and their differences) of the audio that an encoder frame
    hears, or a layer of ``checkpoint``."""
    checkpoint: Path | None = None
    """Run or checkpoint, of pretraining or fine-tuning, of the encoder whose layer it is; it has to make frames as
    often."""
    layer: UpToAThousand = 0
    """Transformer block, from 1."""
    clustering: Literal["kmeans", "random_projection"] = "kmeans"
    """K-means (of whitened principal components, if ``dim`` is above 0), or random entries after a random projection
    (BEST-RQ)."""
    num_entries: list[Size] = field(default_factory=lambda: [100, 500])
    """Entries of each codebook."""
    dim: SizeOrZero = 64
    """Principal components, or dimension of the random projection; 0 clusters the features as they are (HuBERT)."""
    fit_seconds: Amount = 3600.0
    """Audio that the codebooks are fitted to."""

    def problems(self) -> Iterator[str]:
        if not self.num_entries:
            yield "num_entries is empty, expected the entries of a codebook"
        if self.features == "layer" and (self.checkpoint is None or self.layer < 1):
            yield (
                f"features is layer, of checkpoint {self.checkpoint} and layer {self.layer}; give "
                "--objective.units.checkpoint RUN and --objective.units.layer, from 1"
            )
        if self.features != "layer" and self.checkpoint is not None:
            yield f"checkpoint is given, but features is {self.features}; give it with features layer"
        if self.clustering == "random_projection" and not self.dim:
            yield "dim is 0 with clustering random_projection, expected that of the projection (16 in BEST-RQ)"


@dataclass(frozen=True)
class MaskedPredictionConfig(Section):
    """Cross-entropy on the units of masked frames (HuBERT, section II.B)."""

    name: Literal["masked_prediction"] = "masked_prediction"
    """Pretext task."""
    units: UnitsConfig = UnitsConfig()
    """What is predicted (masked_prediction)."""
    masking: MaskingConfig = MaskingConfig()
    """Which frames are hidden from the context network."""
    cosine_dim: SizeOrZero = 0
    """Dimension in which contexts and unit embeddings are compared by their cosine (256 in HuBERT); 0 for a linear head
    (masked_prediction)."""
    temperature: Factor = 0.1
    """Divisor of the cosine similarities."""
    unmasked_weight: FactorOrZero = 0.0
    """Weight of the same loss on frames that are not masked (masked_prediction)."""
    feature_penalty: FactorOrZero = 10.0
    """Weight of the mean squared feature-encoder output."""
    feature_grad_scale: FactorOrZero = 0.1
    """Factor on the gradient that reaches the feature encoder."""

    @property
    def codebooks(self) -> list[int]:
        """Entries of each codebook of the targets."""
        return list(self.units.num_entries)

    def problems(self) -> Iterator[str]:
        return must_mask(self.masking)


@dataclass(frozen=True)
class TeacherConfig(Section):
    """A moving average of the context network, which makes the targets (data2vec, section 3.1)."""

    decay_start: Share = 0.999
    """Share of itself that the teacher keeps in the first update."""
    decay_end: Share = 0.9999
    """The same from ramp_updates on; in between it changes evenly."""
    ramp_updates: CountOrZero = 30_000
    """Updates until decay_end is reached."""
    top_layers: Depth = 8
    """Transformer blocks, counted from the last, whose feed-forward outputs are the targets."""


@dataclass(frozen=True)
class OnlineCodebookConfig(Section):
    """Codebooks over the teacher's frames, one for each of its top layers (DinoSR, section 3.2)."""

    num_entries: Size = 256
    """Entries of each codebook."""
    decay: Share = 0.9
    """Share of itself that an entry keeps in an update that gives it frames."""
    initial_scale: Factor = 1.0
    """Standard deviation of the entries at the beginning; 0.1 brings more into use where an update has few frames."""


@dataclass(frozen=True)
class AnchorConfig(Section):
    """Masked prediction beside the teacher, over the same encoder pass: units that cannot collapse."""

    weight: FactorOrZero = 0.0
    """Of its cross-entropy in the loss; 0: there is none."""
    units: UnitsConfig = UnitsConfig()
    """What is predicted."""


@dataclass(frozen=True)
class SelfDistillationConfig(Section):
    """Follow a slow teacher, who hears what is masked (data2vec, Baevski et al. 2022; DinoSR, Liu et al. 2023)."""

    name: Literal["self_distillation"] = "self_distillation"
    """Pretext task."""
    targets: Literal["regression", "codebook"] = "regression"
    """"regression": the mean of the teacher's top layers (data2vec); "codebook": for each of them the nearest entry of
    a codebook that follows it (DinoSR) (self_distillation)."""
    teacher: TeacherConfig = TeacherConfig()
    """Teacher (self_distillation)."""
    normalize_targets: bool = True
    """Give each channel of the teacher's layers zero mean and unit variance over the utterance (self_distillation)."""
    smooth_l1_beta: FactorOrZero = 0.0
    """Error of a channel from which on the loss is linear; 0: squared error, as in data2vec for speech (regression)."""
    codebook: OnlineCodebookConfig = OnlineCodebookConfig()
    """Codebooks (codebook)."""
    predict_from: Literal["last", "same"] = "last"
    """"last": every codebook is predicted from the context vectors (DinoSR); "same": each from the student's block of
    the layer that it is of (SpidR, Poli et al. 2025) (codebook)."""
    anchor: AnchorConfig = AnchorConfig()
    """Masked prediction beside it (self_distillation)."""
    masking: MaskingConfig = MaskingConfig()
    """Which frames are hidden from the context network."""
    feature_grad_scale: FactorOrZero = 1.0
    """Factor on the gradient that reaches the feature encoder."""

    @property
    def codebooks(self) -> list[int]:
        """Entries of each codebook of the targets; none if they are vectors."""
        return [self.codebook.num_entries] * self.teacher.top_layers if self.targets == "codebook" else []

    def problems(self) -> Iterator[str]:
        yield from must_mask(self.masking)
        if self.targets == "codebook" and not self.normalize_targets:
            yield "normalize_targets is false, expected true with targets codebook"
        if self.targets == "regression" and self.predict_from == "same":
            yield "predict_from is same, which is for targets codebook"


@dataclass(frozen=True)
class TwoViewConfig(Section):
    """Tell two views of a recording from those of all others (SimCLR, Chen et al. 2020): what stays is who speaks."""

    name: Literal["two_view"] = "two_view"
    """Pretext task."""
    temperature: Factor = 0.1
    """Divisor of the cosine similarities."""
    hidden_dim: Size = 512
    """Units of the projection's hidden layer (two_view)."""
    final_dim: Size = 128
    """Dimension in which views are compared (two_view)."""
    masking: MaskingConfig = MaskingConfig(time_prob=0.0)
    """Frames and channels that are hidden as well, drawn for each view; none by default."""
    feature_grad_scale: FactorOrZero = 1.0
    """Factor on the gradient that reaches the feature encoder."""

    @property
    def codebooks(self) -> list[int]:
        """None: targets are other views."""
        return []


AnyObjective = ContrastiveConfig | MaskedPredictionConfig | SelfDistillationConfig | TwoViewConfig


def must_mask(masking: MaskingConfig) -> Iterator[str]:
    """Tasks on masked frames need some."""
    if masking.time_prob == 0:
        yield "masking.time_prob is 0, expected above 0 up to 1"
