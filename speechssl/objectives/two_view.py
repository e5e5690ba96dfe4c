"""Two views: tell the other crop of a recording from the crops of all others (SimCLR, Chen et al. 2020).

In speech, views are parts of an utterance under different rooms, noises and channels, so that what they share is who
speaks, and in what language (Huh et al. 2020; Zhang et al. 2021). A view is the mean and standard deviation of the
context vectors over its frames; the projection behind them serves the task alone and is left out afterwards
(SimCLR, section 4.2).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import DropoutConfig, HealthConfig, ModelConfig, TwoViewConfig
from speechssl.model.encoder import Encoder
from speechssl.model.masking import sample_channel_mask, sample_time_mask
from speechssl.objectives.objective import PretextOutput, Symptom, at_chance, refuse_others

LEAST_SPREAD = 0.1  # 1 is that of directions that are as far apart as they can be
NEARLY_CHANCE = 0.98  # loss over that of equal guesses
SOLVED_ACCURACY, SOLVED_LOSS = 0.995, 0.03
_VARIANCE_FLOOR = 1e-5  # the root of 0 has no gradient

AT_CHANCE_ADVICE = """\
Usual causes: a --objective.temperature so high that all similarities look alike; a learning rate too low or too high;
crops too short to hear a voice; augmentation that leaves nothing of it.
Remedies: --objective.temperature 0.05 to 0.2; try --optimizer.learning_rate three times lower and higher; a larger
--data.max_seconds; milder augmentation."""

COLLAPSE_ADVICE = """\
All recordings are represented by nearly one vector.
Usual causes: a --objective.temperature so high that nothing pushes them apart; silent audio, or all of one voice; a
learning rate that is too high.
Remedies: --objective.temperature 0.05 to 0.2; listen to a shard; a lower --optimizer.learning_rate."""

SOLVED_ADVICE = """\
There is nothing left to learn. From the start on it is no success: something that is not the voice gives both views
away, as the hum of a microphone, the level, or the same samples in both.
Usual causes: no augmentation; crops longer than half of the recordings; few recordings in an update.
Remedies: --augmentation.noise.prob, --augmentation.reverberation.prob, --augmentation.codec.prob and
--augmentation.gain.prob; a smaller --data.max_seconds; a larger --data.max_batch_seconds or --data.num_streams."""

ALONE_ADVICE = """\
Usual causes: --data.max_batch_seconds has room for one recording, and --data.num_streams is 1; or all samples are
pieces of one recording, which are not told from each other.
Remedies: a larger --data.max_batch_seconds, a larger --data.num_streams, or a smaller --data.max_seconds."""


class TwoViewDraw(NamedTuple):
    """The random choices of one micro-batch."""

    time_mask: Tensor
    """Masked frames, boolean (2 B, T)."""
    channel_mask: Tensor | None
    """Channels set to zero, boolean (2 B, D); None if the masking configuration has none."""


class UpdateViews(NamedTuple):
    """All views of an update, and where those of a micro-batch are among them."""

    embeddings: Tensor
    """Of unit length, without a graph, (2, N, P)."""
    recordings: Tensor
    """Which recording each is of, (N,)."""
    start: int
    """Position of the micro-batch's first."""


class TwoViewModel(nn.Module):
    """Encoder and projection."""

    views: Literal["heard", "heard and clean", "two"] = "two"

    def __init__(self, config: ModelConfig, objective: TwoViewConfig, dropout: DropoutConfig) -> None:
        super().__init__()
        self.objective = objective
        self.encoder = Encoder(config, dropout)
        self.encoder.feature_grad_scale = objective.feature_grad_scale
        self.projection = nn.Sequential(
            nn.Linear(2 * config.context.dim, objective.hidden_dim),
            nn.ReLU(),
            nn.Linear(objective.hidden_dim, objective.final_dim),
        )

    def draw(self, batch: int, num_frames: int, rng: torch.Generator, *, update: int) -> TwoViewDraw:
        """Draw masks for views of ``num_frames`` frames each."""
        masking = self.objective.masking
        lengths = torch.full((batch,), num_frames)
        channel_mask = sample_channel_mask(batch, self.encoder.config.context.dim, masking, rng)
        return TwoViewDraw(sample_time_mask(lengths, num_frames, masking, rng), channel_mask)

    def forward(
        self,
        audio: Tensor,
        draw: TwoViewDraw,
        *,
        clean: Tensor | None = None,
        recordings: Tensor,
        of_update: UpdateViews | None = None,
        only_embed: bool = False,
    ) -> PretextOutput | Tensor:
        """Loss of one micro-batch of equally long crops.

        Its value is that of the micro-batch's own views, each told from all others of the update. Its gradient is that
        of the whole update's loss with respect to these views, so the gradients of all micro-batches add up to that of
        the update (GradCache, Gao et al. 2021, section 3.2).

        Args:
            audio: views i and B + i of each recording, (2 B, S).
            draw: on their device.
            clean: not used.
            recordings: which recording each pair is of, (B,); views of one are not told from each other's.
            of_update: all views of the update; if absent, those of the micro-batch are all.
            only_embed: give the views as vectors of unit length, (2, B, P), and no loss.
        """
        encoded = self.encoder(audio, time_mask=draw.time_mask, channel_mask=draw.channel_mask)
        own = self.project(encoded.context).unflatten(0, (2, -1))  # (2, B, P)
        if only_embed:
            return own
        embeddings, start, num_pairs = own, 0, own.shape[1]
        if of_update is not None:
            start = of_update.start
            before, after = of_update.embeddings[:, :start], of_update.embeddings[:, start + num_pairs :]
            embeddings, recordings = torch.cat([before, own, after], dim=1), of_update.recordings
        told = tell_apart(embeddings, recordings, self.objective.temperature)
        parts = Told(*(part.detach()[:, start : start + num_pairs].sum() for part in told))
        total = told.losses.sum()
        num_targets = 2 * num_pairs
        figures = {
            "loss": parts.losses,
            "accuracy": parts.correct,
            "chance": parts.chances,
            "spread": spread(embeddings.detach()) * num_targets,
            "similarity": 2 * (own[0] * own[1]).detach().sum(),
        }
        return PretextOutput(total - total.detach() + parts.losses, num_targets, figures, encoded.context.detach())

    def project(self, context: Tensor) -> Tensor:
        """Context vectors (B, T, D) to views of unit length, (B, P).

        In full precision: the first views differ by hundredths, of which bf16 leaves little.
        """
        with torch.autocast(context.device.type, enabled=False):
            x = self.projection(pool(context).to(next(self.projection.parameters()).dtype))
            return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1, eps=1e-8)

    def after_update(self, update: int) -> None:
        """Nothing: all that this task learns with is the optimiser's."""

    def symptoms(self, figures: Mapping[str, float], limits: HealthConfig) -> list[Symptom]:
        """Nothing to be told apart, chance, views that are all alike, and a task that is solved."""
        if "chance" not in figures or "loss" not in figures:
            return []
        return [
            alone(figures["chance"]),
            guessing(figures["loss"], figures["chance"]),
            *at_chance(figures, limits, text="", advice=AT_CHANCE_ADVICE),
            *all_alike(figures),
            *solved(figures),
        ]


class Told(NamedTuple):
    """How well each view finds its other one, (2, N) each."""

    losses: Tensor
    """Cross-entropy in nats."""
    correct: Tensor
    """1 if the other view is the most similar one."""
    chances: Tensor
    """Accuracy of guessing: one over the views that it is told from, itself left out."""


def pool(context: Tensor) -> Tensor:
    """Mean and standard deviation over frames, (B, T, D) to float32 (B, 2 D)."""
    x = context.to(torch.promote_types(context.dtype, torch.float32))
    variance = x.var(1, correction=0)
    return torch.cat([x.mean(1), (variance + _VARIANCE_FLOOR).sqrt()], dim=-1)


def tell_apart(embeddings: Tensor, recordings: Tensor, temperature: float) -> Told:
    """NT-Xent of all views (SimCLR, equation 1), the views of one recording being no negatives of each other.

    Args:
        embeddings: of unit length, (2, N, P).
        recordings: which recording each pair is of, (N,).
        temperature: divisor of the similarities.
    """
    num_pairs = embeddings.shape[1]
    x = embeddings.flatten(0, 1)  # (2 N, P)
    with torch.autocast(x.device.type, enabled=False):
        logits = x @ x.T / temperature  # (2 N, 2 N)
    partner = torch.arange(2 * num_pairs, device=x.device).roll(num_pairs)
    source = recordings.repeat(2)
    left_out = source[:, None] == source  # itself, and other views of its recording
    left_out = left_out.scatter(1, partner[:, None], value=False)
    logits = logits.masked_fill(left_out, -math.inf)
    losses = F.cross_entropy(logits, partner, reduction="none")
    correct = (logits.argmax(1) == partner).to(x.dtype)
    chances = 1 / (~left_out).sum(1).to(x.dtype)
    return Told(*(part.unflatten(0, (2, num_pairs)) for part in (losses, correct, chances)))


def spread(embeddings: Tensor) -> Tensor:
    """How far apart vectors of unit length (2, N, P) are: 0 for a single one, 1 for those that cancel out."""
    return (1 - embeddings.flatten(0, 1).mean(0).square().sum()).clamp(min=0).sqrt()


def alone(chance: float) -> Symptom:
    """An update in which most views have nothing to be told from."""
    text = f"of guesses {chance:.0%} are right, 50% are the most where anything is to be told apart"
    return Symptom("alone", "nothing to tell apart", not chance <= 0.5, text, ALONE_ADVICE)


def guessing(loss: float, chance: float) -> Symptom:
    """A loss that equal guesses have, though the best of them may be right."""
    equal = -math.log(chance)
    text = f"loss {loss:.3f} nats per view; equal guesses give {equal:.3f}"
    return Symptom("guessing", "at chance", chance < 1 and not loss < NEARLY_CHANCE * equal, text, AT_CHANCE_ADVICE)


def all_alike(figures: Mapping[str, float]) -> list[Symptom]:
    """Views that point in one direction."""
    if "spread" not in figures:
        return []
    text = f"the spread of the views is {figures['spread']:.4f}, below {LEAST_SPREAD:g} they are all alike"
    return [Symptom("alike", "collapse", not figures["spread"] >= LEAST_SPREAD, text, COLLAPSE_ADVICE)]


def solved(figures: Mapping[str, float]) -> list[Symptom]:
    """A task in which nothing is left to learn."""
    if "accuracy" not in figures:
        return []
    accuracy, loss = figures["accuracy"], figures["loss"]
    text = f"accuracy is {accuracy:.4f} and the loss {loss:.4f} nats per view, guessing gives {figures['chance']:.4f}"
    is_solved = accuracy >= SOLVED_ACCURACY and loss <= SOLVED_LOSS and figures["chance"] < 1
    return [Symptom("solved", "trivial views", is_solved, text, SOLVED_ADVICE)]


def continue_two_view(config: TwoViewConfig, earlier: TwoViewConfig) -> TwoViewConfig:
    """The task that goes on with the projection of an earlier one, which is in its weights.

    Raises:
        ConfigError: another was asked for.
    """
    refuse_others(*map(in_the_weights, (config, earlier, TwoViewConfig())))
    return replace(config, hidden_dim=earlier.hidden_dim, final_dim=earlier.final_dim)


def in_the_weights(config: TwoViewConfig) -> dict[str, object]:
    """What decides which weights a task has."""
    return {"hidden_dim": config.hidden_dim, "final_dim": config.final_dim}
