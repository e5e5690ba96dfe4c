"""CTC training as the loop sees it, from a pretrained encoder or from scratch: a step, and its word error rate."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from speechssl.config import FinetuneConfig, GreedyConfig
from speechssl.data.batches import Batch
from speechssl.data.corpus import Corpus
from speechssl.data.streams import StreamPlan
from speechssl.decoding.decoder import build_decoder
from speechssl.evaluation.calibration import fit_calibration, judge_words
from speechssl.evaluation.causes import RunFacts
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.evaluation.error_rates import align_set, error_rates
from speechssl.evaluation.hopeless import Circumstances, diagnose
from speechssl.evaluation.levels import doubt_level
from speechssl.evaluation.scoring import score
from speechssl.frames import num_frames, valid_frames
from speechssl.model.ctc import CtcModel, CtcOutput
from speechssl.model.masking import sample_channel_mask, sample_time_mask
from speechssl.seeding import Purpose, torch_generator
from speechssl.tasks.consistency import consistency_loss
from speechssl.tasks.ctc_health import FinetuneHealth
from speechssl.tasks.facts import frozen_updates
from speechssl.text.foreign import find_foreign
from speechssl.text.measure import choose_measure
from speechssl.text.vocabulary import Vocabulary
from speechssl.text.writing import Writer
from speechssl.training.checkpoints import CheckpointKind
from speechssl.training.machine import resolve_precision
from speechssl.training.task import ParameterGroup, Score, StepOutput


class FinetuneTask:
    """CTC training.

    Args:
        config: as it runs.
        model: with its first weights.
        vocabulary: of its labels.
        dev: transcribed, as references are written.
        goes_on: whether it is a recogniser already, which is scored before its first update too.
        facts: what is known of the run, for the cause of what goes wrong in it.
    """

    kind: CheckpointKind = "ctc"
    teacher: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    enough = ""

    def __init__(
        self,
        config: FinetuneConfig,
        model: CtcModel,
        vocabulary: Vocabulary,
        dev: Corpus,
        *,
        goes_on: bool = False,
        facts: RunFacts | None = None,
    ) -> None:
        self.config = config
        self.dev = dev
        self.module: nn.Module = model
        self.model = model
        self.forward: Any = model
        self.labels = vocabulary
        self.scores_start = goes_on
        self.writer = Writer(config.text, vocabulary.lexicon)
        self.vocabulary: dict[str, Any] | None = vocabulary.to_dict()
        measure = choose_measure(dev.texts or ())
        self.score: Score | None = Score(measure, lower_is_better=True)
        self.facts = facts
        self.health = FinetuneHealth(
            config.health,
            slow_updates=slow_updates(config),
            words_are_long=measure == "cer",
            facts=facts,
        )
        self.newest: tuple[dict[str, str], dict[str, str]] | None = None
        if freezes_features(config):
            model.encoder.feature_grad_scale = 0.0

    def set_module(self, module: nn.Module) -> None:
        self.forward = module

    def begin(self, plan: StreamPlan, fabric: Fabric) -> None:
        """Nothing: random weights are ready."""

    def parameter_groups(self) -> list[ParameterGroup]:
        """The encoder, then all that was not pretrained, at a rate of its own."""
        named = list(self.model.named_parameters())
        encoder = [p for name, p in named if name.startswith("encoder.")]
        rest = [p for name, p in named if not name.startswith("encoder.")]
        return [ParameterGroup(encoder), ParameterGroup(rest, self.config.head_learning_rate_scale)]

    def step(self, batch: Batch, update: int) -> StepOutput:
        self.model.encoder_frozen = update < frozen_updates(self.config)
        device = self.model.head.weight.device
        layers = self.config.model.feature_encoder.conv_layers
        frames, padded_frames = num_frames(batch.lengths, layers), num_frames(batch.audio.shape[1], layers)
        rng = torch_generator(self.config.training.seed, Purpose.MASKS, update, batch.stream)
        views = 2 if self.config.consistency.weight > 0 else 1
        time_mask, channel_mask = self.draw_masks(frames.repeat(views), padded_frames, rng)
        labels = [self.labels.encode(text or "") for text in batch.texts]
        output = self.forward(
            batch.audio.to(device, non_blocking=True).repeat(views, 1),
            batch.lengths.to(device, non_blocking=True).repeat(views),
            time_mask=None if time_mask is None else time_mask.to(device, non_blocking=True),
            channel_mask=None if channel_mask is None else channel_mask.to(device, non_blocking=True),
        )
        loss = ctc_loss(output.logits, frames.repeat(views), labels * views, blank=self.labels.blank) / views
        num_targets = sum(len(ids) for ids in labels)
        sums = {"loss": loss.detach(), "blank_share": blank_share(output, self.labels.blank) * num_targets}
        if views == 2:
            divergence = consistency_loss(output.logits, frames)
            loss = loss + self.config.consistency.weight * divergence
            sums["divergence"] = divergence.detach()
        return StepOutput(loss, num_targets, sums, output.context.detach())

    def before_update(self, batches: Sequence[Batch], update: int, fabric: Fabric) -> None:
        """Nothing: the loss of a micro-batch does not depend on the others."""

    def after_update(self, update: int) -> None:
        """Nothing."""

    def draw_masks(
        self, lengths: Tensor, padded_frames: int, rng: torch.Generator
    ) -> tuple[Tensor | None, Tensor | None]:
        """Time mask (B, T) over each utterance's frames (B,), and channel mask (B, D)."""
        masking, dim = self.config.masking, self.config.model.context.dim
        time_mask = sample_time_mask(lengths, padded_frames, masking, rng) if masking.time_prob > 0 else None
        channel_mask = sample_channel_mask(lengths.shape[0], dim, masking, rng)
        return time_mask, channel_mask

    @torch.no_grad()
    def validate(self, update: int) -> dict[str, float]:
        """Word and character error rate on the dev set, and shares of its outputs: empty, and equal."""
        device = self.model.head.weight.device
        precision = resolve_precision(self.config.training.precision, device.type)
        scored = score(
            self.model,
            self.dev,
            build_decoder(GreedyConfig(), self.labels),
            max_batch_seconds=self.config.dev.max_batch_seconds,
            autocast_dtype=torch.bfloat16 if precision == "bf16" else None,
            device=device,
            writer=self.writer,
        )
        words = judge_words(scored.references, scored.hypotheses, self.writer.output)
        self.calibration = {GreedyConfig.name: fit_calibration(words).to_dict()}
        hypotheses = scored.outputs()
        rates = error_rates(scored.references, hypotheses, bootstrap_samples=0)
        self.newest = scored.references, hypotheses
        shown = {"wer": rates.wer, "cer": rates.cer}
        first = self.score.name if self.score else "wer"
        return {first: shown[first], **shown, **shares_of(list(hypotheses.values()))}

    def diagnose(self) -> list[Diagnosis]:
        """What is wrong with the newest outputs for the dev set; nothing if this process has made none."""
        if self.newest is None:
            return []
        references, hypotheses = self.newest
        foreign = find_foreign(list(references.values()), self.labels.characters, self.labels.symbols)
        loss = self.health.memory.figures.get("loss")
        facts = self.facts._replace(train_loss=loss) if self.facts else None
        known = Circumstances(foreign, facts, lambda: doubt_level(self.dev, "dev"))
        return diagnose(align_set(references, hypotheses), references, hypotheses, known)


def shares_of(outputs: Sequence[str]) -> dict[str, float]:
    """Shares of the outputs of a set that are empty, that are the most frequent one, and that hold its label alone."""
    counts = Counter(outputs)
    kinds = Counter(frozenset(text.replace(" ", "")) for text in outputs if text)
    alone = max((num for kind, num in kinds.items() if len(kind) == 1), default=0)
    several = len(outputs) > 1
    return {
        "empty_share": counts[""] / len(outputs),
        "same_share": counts.most_common(1)[0][1] / len(outputs) if several else 0.0,
        "one_label_share": alone / len(outputs) if several else 0.0,
    }


def slow_updates(config: FinetuneConfig) -> int:
    """Updates of the warm-up, or those in which only the head learns if they are more."""
    return max(frozen_updates(config), round(config.schedule.warmup * config.training.max_updates))


def freezes_features(config: FinetuneConfig) -> bool:
    """Whether the feature encoder stays as it is."""
    frozen = config.freeze_feature_encoder
    return frozen == "always" or (frozen == "auto" and config.init is not None)


def skips_parameters(config: FinetuneConfig) -> bool:
    """Whether some parameters have no gradient in some updates: skipped layers, frozen parts, an unused mask vector."""
    waits = frozen_updates(config) > 0
    return config.dropout.layer_drop > 0 or freezes_features(config) or waits or config.masking.time_prob == 0


def blank_share(output: CtcOutput, blank: int = 0) -> Tensor:
    """Share of the frames inside utterances whose best label is blank."""
    is_blank = output.logits.detach().argmax(-1) == blank  # (B, T)
    if output.lengths is None:
        return is_blank.float().mean()
    valid = valid_frames(output.lengths, is_blank.shape[1])
    return (is_blank & valid).sum() / valid.sum()


def ctc_loss(logits: Tensor, lengths: Tensor, labels: Sequence[Sequence[int]], *, blank: int = 0) -> Tensor:
    """CTC loss in nats, summed over the batch, in float32 or wider.

    Args:
        logits: (B, T, labels).
        lengths: frames of each utterance, (B,), on the CPU.
        labels: label ids of each utterance.
        blank: position of the blank.
    """
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1).transpose(0, 1)
    targets = torch.tensor([i for ids in labels for i in ids], dtype=torch.long)
    target_lengths = torch.tensor([len(ids) for ids in labels])
    if logits.is_cuda:
        targets = targets.to(logits.device, non_blocking=True)
    return F.ctc_loss(log_probs, targets, lengths, target_lengths, blank=blank, reduction="sum")
