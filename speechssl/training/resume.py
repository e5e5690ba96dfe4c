"""What may differ between the parts of an interrupted run, and what may not."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechssl.config import FinetuneConfig, PretrainConfig, ScheduleConfig
from speechssl.config_files import from_dict, schema_of, to_dict
from speechssl.data.remote.addresses import without_credentials
from speechssl.errors import ConfigError
from speechssl.training.checkpoints import Checkpoint
from speechssl.training.fingerprint import characters, difference, label_differences, unpack_samples

logger = logging.getLogger(__name__)

# Changing these does not change what is learned from the updates already done, or is seen by content.
FREE_FIELDS = frozenset(
    {
        "output",
        "init",
        "training.max_updates",
        "training.checkpoint_every",
        "training.keep_checkpoints",
        "training.log_every",
        "training.accelerator",
        "training.devices",
        "training.gradient_bucket_megabytes",
        "training.num_nodes",
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
    config: PretrainConfig | FinetuneConfig,
    checkpoint: Checkpoint,
    run: Path,
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
        run: the folder.
        now: what decides the result, as ``Trainer.fingerprint``.
        before: training state of the checkpoint, which holds the same.
        goes_on: whether updates are left; a run that is over may be looked at on any machine.

    Raises:
        ConfigError: names all that differs, with both values.
    """
    fields_now, fields = flatten(without_credentials(to_dict(config))), flatten(checkpoint.config)
    if ("train.shards" in fields_now) != ("train.shards" in fields):
        kinds = ("a pretraining run", "a fine-tuning run")
        found, wanted = kinds if "train.shards" in fields_now else kinds[::-1]
        raise ConfigError(f"{run} holds {found}, and this is {wanted}; give another --output")
    fields = with_defaults(type(config), fields, source=f"the configuration of the run in {run}")
    unknown: list[str] = []
    problems = field_problems(config, fields_now, fields)
    # The geometry of batches is part of the plan, and has been named.
    problems += data_problems(now, before, unknown, with_plan=not problems)
    problems += pool_problems(now["pools"], before, fields_now, fields, unknown)
    problems += label_problems(checkpoint.vocabulary, now, before)
    problems += weight_problems(now, before, fields_now, fields, unknown)
    if goes_on:
        problems += precision_problems(now, before, fields_now, fields, unknown)
    if problems:
        shown = problems[:10] + ([f"and {len(problems) - 10} more"] if len(problems) > 10 else [])
        raise ConfigError(
            f"{run} holds a run that differs from this one:\n  "
            + "\n  ".join(shown)
            + "\nGive the same configuration and data to resume it, or another --output to start anew."
        )
    if not goes_on:
        return
    if unknown:
        logger.warning(
            "%s: written by a version that did not take down %s; nobody can tell whether they are the same",
            checkpoint.path,
            ", ".join(unknown),
        )
    say_what_rounds(now, before, run)


def field_problems(
    config: PretrainConfig | FinetuneConfig, now: Mapping[str, Any], before: Mapping[str, Any]
) -> list[str]:
    """Fields of the configuration that differ."""
    problems = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(now.keys() | before.keys())
        if now.get(name) != before.get(name) and not free(name)
    ]
    updates = "training.max_updates"
    if now[updates] != before.get(updates) and not is_constant(config.schedule):
        problems.append(f"{updates} was {before.get(updates)}, is {now[updates]}, and the learning rates depend on it")
    return problems


def data_problems(
    now: Mapping[str, Any], before: Mapping[str, Any], unknown: list[str], *, with_plan: bool
) -> list[str]:
    """What differs in what is learned from, and in what the best checkpoint is chosen on."""
    of_train, of_plan = "", difference(now["plan"], before["plan"])
    if now["train"] is not None and before.get("train") is not None:
        of_train = difference(now["train"], before["train"])
    elif now["train"] is not None:
        unknown.append("the audio and transcripts that are learned from")
    if of_train and "samples" not in now["train"]:
        other = (
            "the samples have the keys and lengths that they had, but other bytes: other audio, or other words on it"
        )
        of_train = "" if of_plan else other
    problems = [of_train] if of_train else [of_plan] if of_plan and with_plan else []
    if now["dev"] and before.get("dev") and (of_dev := difference(now["dev"], before["dev"])):
        problems.append(f"dev: {of_dev}; scores on two sets do not tell which checkpoint is the best")
    return problems


def pool_problems(
    pools: Mapping[str, Any],
    state: Mapping[str, Any],
    now: Mapping[str, Any],
    before: Mapping[str, Any],
    unknown: list[str],
) -> list[str]:
    """What differs in the recordings that augmentation draws from; by their paths, if their content is not known."""
    problems = []
    for stage, pool in pools.items():
        name = f"augmentation.{stage}.shards"
        if "pools" in state:
            earlier = state["pools"].get(stage, pool)  # the stage was off, which its field says
            problems += [f"{name}: {found}" for found in [difference(pool, earlier)] if found]
        elif now[name] == before.get(name):
            unknown.append(f"the recordings of {name}")
        else:
            problems.append(f"{name} was {before.get(name)!r}, is {now[name]!r}, and what the first held is not known")
    return problems


def label_problems(
    vocabulary: Mapping[str, Any] | None, now: Mapping[str, Any], before: Mapping[str, Any]
) -> list[str]:
    """Transcripts that need other labels than the model has, where they themselves are not known to differ."""
    samples = (now["train"] or {}).get("samples")
    if vocabulary is None or samples is None or difference(now["train"], before.get("train") or now["train"]):
        return []
    special = [vocabulary[name] for name in ("blank", "word_boundary") if vocabulary[name] is not None]
    known = {label for i, label in enumerate(vocabulary["labels"]) if i not in special} | {" "}
    used = characters(unpack_samples(samples).texts.values()) | {" "}
    # With the same transcripts, labels that none uses are of a version that took them otherwise; the model has them.
    found = label_differences(used, known if before.get("train") is None else known & used)
    return [f"train: {found}"] if found else []


def weight_problems(
    now: Mapping[str, Any],
    state: Mapping[str, Any],
    fields: Mapping[str, Any],
    earlier_fields: Mapping[str, Any],
    unknown: list[str],
) -> list[str]:
    """Whether ``init`` holds the weights with which the run began; by its path, if they are not known."""
    if "origin" in state:
        return [] if state["origin"] == now["origin"] else ["init holds other weights than when the run began"]
    if fields["init"] != earlier_fields["init"]:
        return [f"init was {earlier_fields['init']!r}, is {fields['init']!r}, and what weights it had is not known"]
    if fields["init"] is not None:
        unknown.append("the weights of init")
    return []


def precision_problems(
    now: Mapping[str, Any],
    state: Mapping[str, Any],
    fields: Mapping[str, Any],
    earlier_fields: Mapping[str, Any],
    unknown: list[str],
) -> list[str]:
    """Whether matrix products are made as before."""
    name = "training.precision"
    precision = now["arithmetic"]["precision"]
    before = state.get("arithmetic", {}).get("precision", earlier_fields[name])
    if before == "auto":
        unknown.append(f"what {name} auto was")
        return []
    if precision == before:
        return []
    on_this = f"auto, which is {precision} on this machine" if fields[name] == "auto" else precision
    return [f"{name} was {before}, is {on_this}; give --{name} {before}"]


def say_what_rounds(now: Mapping[str, Any], before: Mapping[str, Any], run: Path) -> None:
    """Name what may differ but changes the last digits of sums, or draws noise in another way."""
    earlier = before.get("arithmetic", {})
    changed = [
        f"{name} was {earlier[name]}, is {value}"
        for name, value in now["arithmetic"].items()
        if name in earlier and earlier[name] != value
    ]
    if changed:
        logger.warning(
            "%s goes on with other arithmetic (%s): the last digits may differ, and on another kind of device the "
            "noise inside the network",
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
