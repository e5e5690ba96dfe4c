"""What may differ between the parts of an interrupted run, and what may not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechssl.config import FinetuneConfig, PretrainConfig, ScheduleConfig
from speechssl.config_files import from_dict, schema_of, to_dict
from speechssl.data.corpus import Corpus
from speechssl.data.remote.addresses import without_credentials
from speechssl.data.streams import StreamPlan
from speechssl.errors import ConfigError

# Changing these does not change what is learned from the updates already done.
FREE_FIELDS = frozenset(
    {
        "output",
        "training.max_updates",
        "training.checkpoint_every",
        "training.keep_checkpoints",
        "training.log_every",
        "training.accelerator",
        "training.devices",
        "training.gradient_bucket_megabytes",
        "training.num_nodes",
        "training.num_threads",
        "training.recompute",
        "training.reduce_in_bf16",  # a matter of the link, as devices are; rounds differently from here on
        "training.strategy",
        *(f"{section}.{name}" for section in ("data", "train") for name in ("num_workers", "shards")),
        *(f"{section}.{name}" for section in ("data", "train", "dev") for name in ("cache", "cache_gigabytes")),
    }
)


def check_same_run(
    config: PretrainConfig | FinetuneConfig,
    earlier: dict[str, Any],
    run: Path,
    *,
    plan: StreamPlan,
    earlier_plan: Mapping[str, Any],
    same_origin: bool,
    dev: Mapping[str, Any] | None = None,
    earlier_dev: Mapping[str, Any] | None = None,
) -> None:
    """Refuse to resume a run with another configuration, other data, other initial weights or another dev set.

    Args:
        config: of now.
        earlier: of the run in the folder.
        run: the folder.
        plan: of now.
        earlier_plan: ``describe_plan`` of the run in the folder.
        same_origin: whether ``init`` holds the same weights.
        dev: ``describe_corpus`` of what the best checkpoint is chosen on now.
        earlier_dev: that of the run in the folder; None if it is not known.

    Raises:
        ConfigError: names the fields that differ, with both values.
    """
    now, before = flatten(without_credentials(to_dict(config))), flatten(earlier)
    if ("train.shards" in now) != ("train.shards" in before):
        kinds = ("a pretraining run", "a fine-tuning run")
        found, wanted = kinds if "train.shards" in now else kinds[::-1]
        raise ConfigError(f"{run} holds {found}, and this is {wanted}; give another --output")
    before = with_defaults(type(config), before, source=f"the configuration of the run in {run}")
    problems = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(now.keys() | before.keys())
        if now.get(name) != before.get(name) and not free(name)
    ]
    updates = "training.max_updates"
    if now[updates] != before.get(updates) and not is_constant(config.schedule):
        problems.append(f"{updates} was {before.get(updates)}, is {now[updates]}, and the learning rates depend on it")
    if not problems:
        problems += differences(describe_plan(plan), earlier_plan)
    if dev and earlier_dev:
        problems += [
            f"dev: {difference}; scores on two sets do not tell which checkpoint is the best"
            for difference in differences(dev, earlier_dev)
        ]
    if not same_origin:
        problems.append("init holds other weights than when the run began")
    if problems:
        shown = problems[:10] + ([f"and {len(problems) - 10} more"] if len(problems) > 10 else [])
        raise ConfigError(
            f"{run} holds a run that differs from this one:\n  "
            + "\n  ".join(shown)
            + "\nGive the same configuration to resume it, or another --output to start anew."
        )


def with_defaults(cls: type, before: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """An earlier configuration by dotted key; fields that are younger than it have the default that it ran with.

    Raises:
        ConfigError: a value of another kind than its field takes; ``source`` is where it is from.
    """
    known = {name: value for name, value in before.items() if name in schema_of(cls).leaves}
    return {**before, **flatten(without_credentials(to_dict(from_dict(cls, known, source=source))))}


def describe_plan(plan: StreamPlan) -> dict[str, Any]:
    """What a checkpoint remembers of the data: plain values."""
    return {"fingerprint": plan.fingerprint, "num_samples": plan.num_samples, "seconds": plan.seconds}


def describe_corpus(corpus: Corpus | None) -> dict[str, Any] | None:
    """The same of a set that is scored."""
    if corpus is None:
        return None
    return {"fingerprint": corpus.digest(), "num_samples": len(corpus), "seconds": corpus.seconds}


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What has changed in the data, in words; empty if nothing has."""
    if now["fingerprint"] == before["fingerprint"]:
        return []
    if (now["num_samples"], now["seconds"]) == (before["num_samples"], before["seconds"]):
        return [f"the shards hold {now['num_samples']} samples as before, but not the same ones, or in another order"]
    was, is_now = (f"{x['num_samples']} samples, {x['seconds'] / 3600:.4f} h" for x in (before, now))
    return [f"the shards held {was}, now {is_now}"]


def is_constant(schedule: ScheduleConfig) -> bool:
    """Whether the learning rate is the same in every update, however many there are."""
    return schedule.decay == "none" and schedule.warmup == 0


def free(name: str) -> bool:
    """Whether a field may change: how held-out data is scored and the health watch do not touch what is learned."""
    return name in FREE_FIELDS or name.startswith(("dev.", "health."))


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys; lists and tuples compare equal."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = plain(value)
    return flat


def plain(value: Any) -> Any:
    """Tuples to lists, paths to strings."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
