"""What may differ between the parts of an interrupted run, and what may not."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl import __version__
from speechssl.config.reading import from_dict, to_dict
from speechssl.config.schema import schema_of
from speechssl.errors import ConfigError
from speechssl.shards.addresses import without_credentials
from speechssl.text.normalisation import clean_text
from speechssl.training.checkpoints import Checkpoint
from speechssl.training.fingerprint import characters, difference, label_differences, unpack_samples
from speechssl.training.task import RunConfig

logger = logging.getLogger(__name__)

# Changing these does not change what is learned from the updates already done, or is seen by content.
FREE_FIELDS = frozenset(
    {
        "output",
        "init",
        "objective.units.checkpoint",  # read for its architecture: a run's own checkpoints hold its weights
        "training.max_updates",
        "training.checkpoint_every",
        "training.keep_checkpoints",
        "training.log_every",
        "training.accelerator",
        "training.devices",
        "training.gradient_bucket_megabytes",
        "training.num_nodes",  # of earlier versions
        "training.num_threads",
        "training.precision",  # "auto" is one or another on each machine: what it has become is compared
        "training.recompute",
        "training.reduce_in_bf16",  # a matter of the link, as devices are; rounds differently from here on
        "training.strategy",
        *(f"{section}.{name}" for section in ("data", "train") for name in ("max_bad_share", "num_workers", "shards")),
        *(f"{section}.{name}" for section in ("data", "train", "dev") for name in ("cache", "cache_gigabytes")),
        *(f"augmentation.{name}.shards" for name in ("noise", "reverberation", "speech")),
    }
)


def check_same_run(
    config: RunConfig,
    checkpoint: Checkpoint,
    *,
    now: Mapping[str, Any],
    before: Mapping[str, Any],
    goes_on: bool,
) -> None:
    """Refuse to resume a run with what would make another of it: configuration, data, labels, weights, arithmetic.

    What a checkpoint of an earlier version does not hold is named in the log, and so is what changes the last digits.

    Args:
        config: of now.
        checkpoint: from which the run in the folder is to go on.
        now: what decides the result, as ``Trainer.fingerprint``.
        before: training state of the checkpoint, which holds the same.
        goes_on: whether updates are left; a run that is over may be looked at on any machine.

    Raises:
        ConfigError: names all that differs, with both values.
    """
    run = config.output
    fields, earlier_fields = flatten(without_credentials(to_dict(config))), flatten(checkpoint.config)
    if ("train.shards" in fields) != ("train.shards" in earlier_fields):
        kinds = ("a pretraining run", "a fine-tuning run")
        found, wanted = kinds if "train.shards" in fields else kinds[::-1]
        raise ConfigError(f"{run} holds {found}, and this is {wanted}; give another --output")
    earlier_fields = with_defaults(type(config), earlier_fields, source=f"the configuration of the run in {run}")
    parts = _Parts(now, before, fields, earlier_fields)
    parts.compare_fields(has_constant_rate=config.schedule.decay == "none" and config.schedule.warmup == 0)
    parts.compare_data(checkpoint)
    parts.compare_pools()
    parts.compare_weights()
    if goes_on:
        parts.compare_precision()
    if problems := parts.problems:
        shown = problems[:10] + ([f"and {len(problems) - 10} more"] if len(problems) > 10 else [])
        raise ConfigError(
            f"{run} holds a run that differs from this one:\n  "
            + "\n  ".join(shown)
            + "\nGive the same configuration and data to resume it, or another --output to start anew."
        )
    if not goes_on:
        return
    if parts.unknown:
        logger.warning(
            "%s: written by a version that did not take down %s; nobody can tell whether they are the same",
            checkpoint.path,
            ", ".join(parts.unknown),
        )
    earlier = {**before.get("arithmetic", {}), "speechssl": checkpoint.version}
    say_what_rounds({**now["arithmetic"], "speechssl": __version__}, earlier, run)


@dataclass
class _Parts:
    """A run as it is given now and as it was begun, and what has been found to differ."""

    now: Mapping[str, Any]
    before: Mapping[str, Any]
    fields: Mapping[str, Any]
    earlier_fields: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """What the checkpoint does not hold."""

    def compare_fields(self, *, has_constant_rate: bool) -> None:
        """The configuration."""
        for name in sorted(self.fields.keys() | self.earlier_fields.keys()):
            was, is_now = self.earlier_fields.get(name), self.fields.get(name)
            if was != is_now and not free(name):
                self.problems.append(f"{name} was {was!r}, is {is_now!r}")
            elif was != is_now and name == "training.max_updates" and not has_constant_rate:
                self.problems.append(f"{name} was {was}, is {is_now}, and the learning rates depend on it")

    def compare_data(self, checkpoint: Checkpoint) -> None:
        """What is learned from, with its labels, and what the best checkpoint is chosen on."""
        train, earlier_train = self.now["train"], self.before.get("train")
        of_plan = difference(self.now["plan"], self.before["plan"])
        of_train = difference(train, earlier_train) if train and earlier_train else ""
        if train and not earlier_train:
            self.unknown.append("the audio and transcripts that are learned from")
        if of_train and "samples" not in train:
            other = "other bytes: other audio, or other words on it"
            of_train = of_plan or f"the samples have the keys and lengths that they had, but {other}"
        # The geometry of batches is part of the plan: fields that differ have been named.
        if found := of_train or ("" if self.problems else of_plan):
            self.problems.append(found)
        if not of_train and checkpoint.vocabulary is not None:
            self.compare_labels(checkpoint.vocabulary, checkpoint.version)
        dev, earlier_dev = self.now["dev"], self.before.get("dev")
        if dev and earlier_dev and (of_dev := difference(dev, earlier_dev)):
            self.problems.append(f"dev: {of_dev}; scores on two sets do not tell which checkpoint is the best")

    def compare_labels(self, vocabulary: Mapping[str, Any], version: str) -> None:
        """Labels of the model, and those of transcripts that are not known to differ."""
        special = [vocabulary[name] for name in ("blank", "word_boundary") if vocabulary[name] is not None]
        known = {label for i, label in enumerate(vocabulary["labels"]) if i not in special} | {" "}
        used = characters(unpack_samples(self.now["train"]["samples"]).texts.values()) | {" "}
        if self.before.get("train"):
            known &= used  # a version that took labels otherwise has those that none uses; the model goes on with them
        if found := label_differences(used, known):
            gone = "".join(known - used)
            if gone and not clean_text(gone):
                found += f"; what cannot be seen is no label any more, and only speechssl {version} goes on"
            self.problems.append(f"train: {found}")

    def compare_pools(self) -> None:
        """Recordings that augmentation draws from."""
        for stage, pool in self.now["pools"].items():
            name = f"augmentation.{stage}.shards"
            if "pools" not in self.before:
                self.compare_path(name, "recordings")
            elif found := difference(pool, self.before["pools"].get(stage, pool)):  # a stage was off: its field says so
                self.problems.append(f"{name}: {found}")

    def compare_weights(self) -> None:
        """Weights with which the run began."""
        if "origin" not in self.before:
            self.compare_path("init", "weights")
        elif self.before["origin"] != self.now["origin"]:
            self.problems.append("init holds other weights than when the run began")

    def compare_path(self, name: str, what: str) -> None:
        """A path, where a checkpoint does not hold what lay there."""
        was, is_now = self.earlier_fields[name], self.fields[name]
        if was != is_now:
            self.problems.append(f"{name} was {was!r}, is {is_now!r}, and what {what} the first had is not known")
        elif is_now is not None:
            self.unknown.append(f"the {what} of {name}")

    def compare_precision(self) -> None:
        """How matrix products are made."""
        name, precision = "training.precision", self.now["arithmetic"]["precision"]
        before = self.before.get("arithmetic", {}).get("precision", self.earlier_fields[name])
        if before == "auto":
            self.unknown.append(f"what {name} auto was")
        elif precision != before:
            is_now = f"auto, which is {precision} on this machine" if self.fields[name] == "auto" else precision
            self.problems.append(f"{name} was {before}, is {is_now}; give --{name} {before}")


def say_what_rounds(now: Mapping[str, Any], before: Mapping[str, Any], run: Path) -> None:
    """Name what may differ but changes the last digits of sums, or draws noise in another way."""
    changed = [
        f"{name} was {before[name]}, is {value}" for name, value in now.items() if before.get(name, value) != value
    ]
    if changed:
        logger.warning(
            "%s goes on with another device or other versions (%s): the last digits may differ, and on another kind of "
            "device the noise inside the network",
            run,
            ", ".join(changed),
        )


def with_defaults(cls: type, before: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """An earlier configuration by dotted key; fields that are younger than it have the default that it ran with.

    Raises:
        ConfigError: a value of another kind than its field takes; ``source`` is where it is from.
    """
    known = {name: value for name, value in before.items() if name in schema_of(cls).leaves}
    return {**before, **flatten(without_credentials(to_dict(from_dict(cls, known, source=source))))}


def free(name: str) -> bool:
    """Whether a field may change: how held-out data is scored and the health watch do not touch what is learned."""
    return name in FREE_FIELDS or name.startswith(("dev.", "health."))


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
