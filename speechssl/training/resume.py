"""What decides the result of a run, by content, and what of it may differ between the parts of an interrupted run.

A checkpoint holds it as plain values: wherever data and weights lie, and however their paths are spelled.
"""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from speechssl import __version__
from speechssl.config.reading import from_dict, to_dict
from speechssl.config.schema import schema_of
from speechssl.data.augmented import BatchAugmenter
from speechssl.data.corpus import Corpus
from speechssl.data.streams import StreamPlan
from speechssl.errors import ConfigError
from speechssl.shards.addresses import without_credentials
from speechssl.training.checkpoints import Checkpoint
from speechssl.training.task import RunConfig

logger = logging.getLogger(__name__)

# Changing these does not change what is learned from the updates already done, or is seen by content.
FREE_FIELDS = frozenset(
    {
        "output",
        "init",
        "init_labels",  # a run has its labels
        "targets.lexicon",  # checkpoints hold it, and transcripts are compared as it has them
        "objective.units.checkpoint",  # a run's own checkpoints hold its architecture and weights
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


class RunData(NamedTuple):
    """What a run learns from, is scored on and begins with."""

    plan: StreamPlan
    """Which samples make up which micro-batch."""
    train: Corpus | None = None
    """What is learned from."""
    dev: Corpus | None = None
    """What the best checkpoint is chosen on; None if none is chosen."""
    augment: BatchAugmenter | None = None
    """What happens to the micro-batches before they are heard."""
    origin: str = ""
    """Digest of the weights that ``init`` brought; empty if they are random."""
    probe: Mapping[str, Any] | None = None
    """What the best checkpoint is probed with, as plain values: ``train``, ``test``, ``settings``."""


def describe_run(data: RunData, precision: str, device: torch.device) -> dict[str, Any]:
    """Data and initial weights of a run, and what sums are made by, and draws."""
    plan, pools = data.plan, data.augment.pools if data.augment is not None else {}
    return {
        "plan": {"fingerprint": plan.fingerprint, "num_samples": plan.num_samples, "seconds": plan.seconds},
        "train": None if data.train is None else describe_corpus(data.train) | {"samples": identities(data.train)},
        "dev": None if data.dev is None else describe_corpus(data.dev),
        "pools": {stage: describe_corpus(pool, in_order=True) for stage, pool in pools.items()},
        "origin": data.origin,
        **({} if data.probe is None else {"probe": data.probe}),
        "arithmetic": {
            "precision": precision, "device": device.type, "torch": str(torch.__version__), "numpy": np.__version__
        },
    }  # fmt: skip


def identities(corpus: Corpus) -> torch.Tensor:
    """Its samples by what they hold, int64 (N,), as ``learned_from`` reads it from a checkpoint."""
    return torch.from_numpy(corpus.identities.view(np.int64).copy())


def describe_corpus(corpus: Corpus, *, in_order: bool = False) -> dict[str, Any]:
    """The samples of a set with their transcripts, in any order unless ``in_order``."""
    return {"fingerprint": corpus.digest(in_order=in_order), "num_samples": len(corpus), "seconds": corpus.seconds}


def check_same_run(
    config: RunConfig,
    checkpoint: Checkpoint,
    *,
    now: Mapping[str, Any],
    before: Mapping[str, Any],
    goes_on: bool,
) -> None:
    """Refuse to resume a run with what would make another of it: configuration, data, weights, arithmetic.

    What a checkpoint of an earlier version does not hold is named in the log, and so is what changes the last digits.

    Args:
        config: of now.
        checkpoint: from which the run in the folder is to go on.
        now: what decides the result, as ``describe_run`` gives it.
        before: training state of the checkpoint, which holds the same.
        goes_on: whether updates are left; a run that is over may be looked at on any machine.

    Raises:
        ConfigError: names all that differs, with both values.
    """
    run = config.output
    fields, earlier = flatten(without_credentials(to_dict(config))), flatten(checkpoint.config)
    if ("train.shards" in fields) != ("train.shards" in earlier):
        kinds = ("a pretraining run", "a fine-tuning run")
        found, wanted = kinds if "train.shards" in fields else kinds[::-1]
        raise ConfigError(f"{run} holds {found}, and this is {wanted}; give another --output")
    earlier = with_defaults(type(config), earlier, source=f"the configuration of the run in {run}")
    problems = field_problems(config, fields, earlier)
    problems += data_problems(now, before) or ([] if problems else difference("the order", now["plan"], before["plan"]))
    if before.get("origin", now["origin"]) != now["origin"]:
        problems.append("init holds other weights than when the run began")
    arithmetic = before.get("arithmetic", {})
    if goes_on and arithmetic:
        problems += precision_problems(fields["training.precision"], now["arithmetic"], arithmetic)
    if problems:
        shown = problems[:10] + ([f"and {len(problems) - 10} more"] if len(problems) > 10 else [])
        raise ConfigError(
            f"{run} holds a run that differs from this one:\n  "
            + "\n  ".join(shown)
            + "\nGive the same configuration and data to resume it, or another --output to start anew."
        )
    if goes_on:
        say_what_is_unknown(checkpoint, now, before)


def carry_on(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What a resumed run takes down in its next checkpoints: ``now``, and of ``before`` the probe that it has left out.

    The best checkpoint and what is remembered of the scores are still that probe's, and another one's do not compare.
    """
    return {**({"probe": before["probe"]} if "probe" in before else {}), **now}


def field_problems(config: RunConfig, fields: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[str]:
    """Fields of the configuration that differ and may not."""
    problems = []
    has_constant_rate = config.schedule.decay == "none" and config.schedule.warmup == 0
    for name in sorted(fields.keys() | earlier.keys()):
        was, is_now = earlier.get(name), fields.get(name)
        if was != is_now and not free(name):
            problems.append(f"{name} was {was!r}, is {is_now!r}")
        elif was != is_now and name == "training.max_updates" and not has_constant_rate:
            problems.append(f"{name} was {was}, is {is_now}, and the learning rates depend on it")
    return problems


def data_problems(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What is learned from, scored or drawn from, as far as the checkpoint holds it, and is not the same."""
    problems = []
    for name in ("train", "dev"):
        if now[name] and before.get(name):
            problems += difference(f"{name}: the shards", now[name], before[name])
    for stage, pool in now["pools"].items():  # one that was off is named by its fields
        problems += difference(f"augmentation.{stage}.shards", pool, before.get("pools", {}).get(stage, pool))
    if now.get("probe") and before.get("probe"):
        problems += probe_problems(now["probe"], before["probe"])
    return problems


def probe_problems(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Another probe than that whose score the best checkpoint so far has; a run may take one up, and leave it out."""
    problems = [f"probe.{name} was {was!r}, is {now['settings'][name]!r}"
                for name, was in before["settings"].items() if was != now["settings"][name]]  # fmt: skip
    for name in ("train", "test"):
        # Another amount is another sample of the same shards.
        problems += [] if problems else difference(f"probe.{name}: the sample", now[name], before[name])
    return problems


def difference(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """How one description of a set differs from an earlier one, in words; nothing if it does not."""
    if now["fingerprint"] == before["fingerprint"]:
        return []
    was, is_now = (f"{x['num_samples']} samples, {x['seconds'] / 3600:.4f} h" for x in (before, now))
    if was != is_now:
        return [f"{name} held {was}, now {is_now}"]
    return [f"{name} held {was} as now, but other samples or transcripts, or in another order"]


def precision_problems(asked: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """How matrix products are made, if in another way."""
    precision, earlier = now["precision"], before["precision"]
    if precision == earlier:
        return []
    is_now = f"auto, which is {precision} on this machine" if asked == "auto" else precision
    return [f"training.precision was {earlier}, is {is_now}; give --training.precision {earlier}"]


def say_what_is_unknown(checkpoint: Checkpoint, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Name what the checkpoint does not hold, and what changes the last digits of sums."""
    unknown = [name for name in now if name not in before and name != "probe"]
    if unknown:
        logger.warning(
            "%s: written by a version that did not take down %s; nobody can tell whether they are the same",
            checkpoint.path,
            ", ".join(unknown),
        )
    here = {**now["arithmetic"], "speechssl": __version__}
    there = {**before.get("arithmetic", {}), "speechssl": checkpoint.version}
    changed = [
        f"{name} was {there[name]}, is {value}" for name, value in here.items() if there.get(name, value) != value
    ]
    if changed:
        logger.warning(
            "%s goes on with another device or other versions (%s): the last digits may differ, and on another kind of "
            "device the noise inside the network",
            checkpoint.path,
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
    """Whether a field may change: scores on held-out data, probes and the watch touch nothing that is learned."""
    return name in FREE_FIELDS or name.startswith(("dev.", "health.", "probe."))


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
