"""Fine-tuning with CTC, and training from scratch on the same labels: build the model, one step, run."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import FinetuneConfig, GreedyConfig, ModelConfig
from speechssl.config_files import from_dict
from speechssl.config_limits import check_limits
from speechssl.data.augmented import fastest, make_augmenter
from speechssl.data.batches import Batch
from speechssl.data.corpus import Corpus
from speechssl.data.remote.addresses import shown_all
from speechssl.data.remote.store import make_store
from speechssl.data.streams import StreamPlan
from speechssl.data.transcribed import Transcribed, check_foreign, check_labels, check_transcripts, say_how_scored
from speechssl.decoding.decoder import build_decoder
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.evaluation.error_rates import error_rates
from speechssl.evaluation.scoring import score
from speechssl.frames import hop_samples, num_frames, valid_frames
from speechssl.model.ctc import CtcModel, CtcOutput
from speechssl.model.masking import sample_channel_mask, sample_time_mask
from speechssl.pretrain import count_parameters, load_corpus, mask_problems, model_problems, say_left_out, say_shared
from speechssl.seeding import Purpose, seed_torch, torch_generator
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import (
    CheckpointKind,
    load_checkpoint,
    load_weights,
    mark_best,
    read_best,
    say_unfinished,
    vocabulary_of,
    weights_digest,
)
from speechssl.training.finetune_health import FinetuneHealth
from speechssl.training.layout import check_launch, training_problems
from speechssl.training.loop import Trainer
from speechssl.training.machine import resolve_precision, settle_cpu
from speechssl.training.processes import announce, launch, make_fabric, ranks_together
from speechssl.training.run_folder import check_run_folder
from speechssl.training.run_lock import run_lock
from speechssl.training.schedules import schedule_problems
from speechssl.training.task import StepOutput

logger = logging.getLogger(__name__)

# More unusable utterances than this share mean that something is wrong with the corpus, not with an utterance.
MAX_UNUSABLE_SHARE = 0.1
LONG_WORD = 12
"""Characters of the mean word above which a language is written without spaces: whole clauses count as words."""


def run(config: FinetuneConfig) -> None:
    """Fine-tune, resuming an unfinished run in the output folder.

    Raises:
        ConfigError: the configuration cannot be run, or differs from the unfinished run's.
        CheckpointError: ``init`` is no pretraining checkpoint, or of another architecture than ``model``.
        DataError: shards are missing or damaged, or transcripts cannot be used.
        HealthError: the loss is not finite or explodes, or outputs stay empty or wrong.
    """
    check_run_folder(config.output)
    check_config(config)
    check_launch(config.training, config.train.num_streams)
    settle_cpu(config.training)
    initial = load_encoder_weights(config)
    sets = read_sets(config)
    plan = StreamPlan(sets.train, config.train, seed=config.training.seed, crop=False)
    say_left_out(plan, config.train)
    with run_lock(config.output):
        train(config, sets, plan, initial)


class Sets(NamedTuple):
    """What a run learns from, and what its checkpoints are scored on."""

    train: Corpus
    dev: Corpus
    vocabulary: Vocabulary
    notes: list[str]
    """What to know of their transcripts."""


def read_sets(config: FinetuneConfig) -> Sets:
    """Both sets, read now so that what is wrong with them shows before anything is trained.

    Raises:
        ConfigError: audio of another sample rate than the model's.
        DataError: shards are missing or damaged, hold no transcript, or too many that cannot be learned from.
    """
    train = read_transcribed(config, "train")
    learned = usable(train, config.model)
    notes = check_labels(train)
    vocabulary = Vocabulary.from_texts(learned.texts or ())
    dev = read_transcribed(config, "dev")
    say_how_scored(dev)
    check_foreign(dev, vocabulary.characters)
    say_shared(learned, dev.corpus)
    return Sets(learned, dev.corpus, vocabulary, [*notes, dev.describe_characters()])


def read_transcribed(config: FinetuneConfig, section: Literal["train", "dev"]) -> Transcribed:
    """The training set or the dev set, with the same checks of both.

    Raises:
        ConfigError: audio of another sample rate than the model's.
        DataError: shards are missing or damaged, or hold no transcript.
    """
    stream = config.train if section == "train" else config.dev
    corpus = load_corpus(stream.shards, config.model, with_texts=True, store=make_store(stream, config.train))
    return check_transcripts(
        corpus,
        config.model.feature_encoder.conv_layers,
        name=f"{section} ({shown_all(stream.shards)})",
        speed=fastest(config.augmentation) if section == "train" else 1.0,
    )


def train(config: FinetuneConfig, sets: Sets, plan: StreamPlan, initial: dict[str, Tensor] | None) -> None:
    """Build the model, with the encoder weights of ``init`` if there is one, and run the loop."""
    fabric = make_fabric(config.training, config.train.num_streams, skips_parameters=skips_parameters(config))
    launch(fabric)
    # A run that goes on has its labels: the order of those that its transcripts give now may be another.
    labels = vocabulary_of(config.output)
    vocabulary = sets.vocabulary if labels is None else Vocabulary.from_dict(labels)
    seed_torch(config.training.seed, Purpose.WEIGHTS)
    model = CtcModel(config.model, config.dropout, len(vocabulary), config.head)
    model.encoder.recompute(config.training.recompute)
    origin = weights_digest(initial) if initial is not None else ""
    if initial is not None:
        load_weights(model.encoder, initial, source=config.init or config.output)
    task = FinetuneTask(config, model, vocabulary, sets.dev)
    minutes = plan.seconds / 60
    announce(
        fabric,
        f"{'fine-tuning' if config.init else 'training from scratch'} {count_parameters(model) / 1e6:.1f} M parameters "
        f"on {minutes:.1f} minutes of transcribed audio ({shown_all(config.train.shards)}), "
        f"{len(vocabulary)} labels, {fabric.world_size} process(es), {fabric._precision.precision}",
    )
    for note in sets.notes:
        announce(fabric, note)
    with ranks_together(fabric):
        augment = make_augmenter(config.augmentation, sets.train, config.training.seed, store=make_store(config.train))
        extra_summary = {"labels_minutes": round(minutes, 2)}
        Trainer(config, task, plan, fabric, extra_summary, origin, augment, sets.train, sets.dev).run()


class FinetuneTask:
    """CTC training as the loop sees it."""

    kind: CheckpointKind = "ctc"
    scores_start = False

    def __init__(self, config: FinetuneConfig, model: CtcModel, vocabulary: Vocabulary, dev: Corpus) -> None:
        self.config = config
        self.dev = dev
        self.module: nn.Module = model
        self.model = model
        self.forward: Any = model
        self.labels = vocabulary
        self.vocabulary: dict[str, Any] | None = vocabulary.to_dict()
        self.health = FinetuneHealth(
            config.health, slow_updates=slow_updates(config), words_are_long=words_are_long(dev)
        )
        if freezes_features(config):
            model.encoder.feature_grad_scale = 0.0

    def set_module(self, module: nn.Module) -> None:
        self.forward = module

    def step(self, batch: Batch, update: int) -> StepOutput:
        self.model.encoder_frozen = self.config.init is not None and update < self.config.freeze_context_updates
        device = self.model.head.weight.device
        layers = self.config.model.feature_encoder.conv_layers
        frames, padded_frames = num_frames(batch.lengths, layers), num_frames(batch.audio.shape[1], layers)
        generator = torch_generator(self.config.training.seed, Purpose.MASKS, update, batch.stream)
        time_mask, channel_mask = self.draw_masks(frames, padded_frames, generator)
        labels = [self.labels.encode(text or "") for text in batch.texts]
        output = self.forward(
            batch.audio.to(device, non_blocking=True),
            batch.lengths.to(device, non_blocking=True),
            time_mask=None if time_mask is None else time_mask.to(device, non_blocking=True),
            channel_mask=None if channel_mask is None else channel_mask.to(device, non_blocking=True),
        )
        loss = ctc_loss(output.logits, frames, labels)
        num_targets = sum(len(ids) for ids in labels)
        sums = {"loss": loss.detach(), "blank_share": blank_share(output) * num_targets}
        return StepOutput(loss, num_targets, sums, output.context.detach())

    def draw_masks(
        self, lengths: Tensor, padded_frames: int, generator: torch.Generator
    ) -> tuple[Tensor | None, Tensor | None]:
        """Time mask (B, T) over each utterance's frames (B,), and channel mask (B, D)."""
        masking, dim = self.config.masking, self.config.model.context.dim
        time_mask = sample_time_mask(lengths, padded_frames, masking, generator) if masking.time_prob > 0 else None
        channel_mask = sample_channel_mask(lengths.shape[0], dim, masking, generator)
        return time_mask, channel_mask

    @torch.no_grad()
    def validate(self, update: int) -> dict[str, float]:
        """Word and character error rate on the dev set, and the share of its utterances that gave no word."""
        device = self.model.head.weight.device
        precision = resolve_precision(self.config.training.precision, device.type)
        scored = score(
            self.model,
            self.dev,
            build_decoder(GreedyConfig(), self.labels),
            max_batch_seconds=self.config.dev.max_batch_seconds,
            autocast_dtype=torch.bfloat16 if precision == "bf16" else None,
            device=device,
        )
        hypotheses = {key: hypothesis.text for key, hypothesis in scored.hypotheses.items()}
        rates = error_rates(scored.references, hypotheses, bootstrap_samples=0)
        empty = sum(not text for text in hypotheses.values())
        return {"wer": rates.wer, "cer": rates.cer, "empty_share": empty / len(hypotheses)}

    def after_checkpoint(self, update: int, scores: Mapping[str, float]) -> None:
        """Keep the checkpoint with the lowest dev WER; the later of equals has seen more."""
        best = read_best(self.config.output)
        if best is None or scores["wer"] <= best.wer:
            mark_best(self.config.output, update, scores["wer"])


def slow_updates(config: FinetuneConfig) -> int:
    """Updates of the warm-up, or those in which only the head learns if they are more."""
    frozen = config.freeze_context_updates if config.init is not None else 0
    return max(frozen, round(config.schedule.warmup * config.training.max_updates))


def words_are_long(corpus: Corpus) -> bool:
    """Whether what stands between spaces is too long for a fair word error rate, as in Chinese, Japanese or Thai."""
    words = [word for text in corpus.texts or () for word in text.split()]
    return sum(map(len, words)) > LONG_WORD * len(words)


def freezes_features(config: FinetuneConfig) -> bool:
    """Whether the feature encoder stays as it is."""
    frozen = config.freeze_feature_encoder
    return frozen == "always" or (frozen == "auto" and config.init is not None)


def skips_parameters(config: FinetuneConfig) -> bool:
    """Whether some parameters have no gradient in some updates: skipped layers, frozen parts, an unused mask vector."""
    waits = config.init is not None and config.freeze_context_updates > 0
    return config.dropout.layer_drop > 0 or freezes_features(config) or waits or config.masking.time_prob == 0


def blank_share(output: CtcOutput) -> Tensor:
    """Share of the frames inside utterances whose best label is blank."""
    blank = output.logits.detach().argmax(-1) == 0  # (B, T)
    if output.lengths is None:
        return blank.float().mean()
    valid = valid_frames(output.lengths, blank.shape[1])
    return (blank & valid).sum() / valid.sum()


def ctc_loss(logits: Tensor, lengths: Tensor, labels: Sequence[Sequence[int]]) -> Tensor:
    """CTC loss in nats, summed over the batch, in float32 or wider.

    Args:
        logits: (B, T, labels), blank at 0.
        lengths: frames of each utterance, (B,), on the CPU.
        labels: label ids of each utterance.
    """
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1).transpose(0, 1)
    targets = torch.tensor([i for ids in labels for i in ids], dtype=torch.long)
    target_lengths = torch.tensor([len(ids) for ids in labels])
    if logits.is_cuda:
        targets = targets.to(logits.device, non_blocking=True)
    return F.ctc_loss(log_probs, targets, lengths, target_lengths, blank=0, reduction="sum")


def usable(checked: Transcribed, model: ModelConfig) -> Corpus:
    """Leave out, by name, what cannot be learned from.

    Raises:
        DataError: more than a tenth is unusable.
    """
    if len(checked.unusual) > MAX_UNUSABLE_SHARE * len(checked.corpus):
        raise DataError(
            f"{checked.name}: {checked.describe()}\nThese cannot be learned from; of a training set at most "
            f"{MAX_UNUSABLE_SHARE:.0%} may be so. Give each recording its own transcript, then make the shards again. "
            "If the transcripts that are longer than their frames are right, people speak faster than the model's "
            f"{1 / hop_seconds(model):.0f} frames per second can spell: choose smaller strides in "
            "model.feature_encoder.conv_layers."
        )
    if checked.unusual:
        logger.warning("%s: %s\nThey are left out.", checked.name, checked.describe())
    return checked.without_unusual()


def hop_seconds(model: ModelConfig) -> float:
    """Time from one frame to the next."""
    return hop_samples(model.feature_encoder.conv_layers) / model.sample_rate


def check_config(config: FinetuneConfig) -> None:
    """Raise ConfigError, naming everything that cannot work."""
    check_limits(config)
    problems = model_problems(config.model) + training_problems(config.training) + schedule_problems(config.schedule)
    problems += mask_problems("masking", config.masking, config.model)
    for name, stream in (("train", config.train), ("dev", config.dev)):
        if not stream.shards:
            problems.append(f"{name}.shards is empty; name shard files or folders that `speechssl shard` made")
    if problems:
        raise ConfigError("\n".join(problems))
    if config.init is not None and config.freeze_context_updates >= config.training.max_updates:
        logger.warning(
            "freeze_context_updates is %d and training.max_updates %d: only the head will learn, in every update.",
            config.freeze_context_updates,
            config.training.max_updates,
        )


def load_encoder_weights(config: FinetuneConfig) -> dict[str, Tensor] | None:
    """Encoder weights of ``init``; sets ``config.model`` to its architecture.

    Raises:
        CheckpointError: not a pretraining checkpoint, or of another architecture than a ``model`` that was given.
    """
    if config.init is None:
        return None
    checkpoint = load_checkpoint(config.init)
    if checkpoint.kind == "ctc":
        raise CheckpointError(f"{checkpoint.path} is a fine-tuned recogniser; --init needs a pretrained encoder")
    say_unfinished(checkpoint)
    model = from_dict(ModelConfig, checkpoint.config["model"])
    if config.model not in (model, ModelConfig()):
        raise ConfigError(
            f"model differs from the encoder in {checkpoint.path}; leave the model section out, "
            "--init brings its own, or pretrain with this one"
        )
    config.model = model
    return checkpoint.encoder_state
