"""What may differ between the parts of an interrupted run, and what may not."""

from pathlib import Path
from typing import Any

from speechssl.config import FinetuneConfig, PretrainConfig
from speechssl.config_files import to_dict
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
        "training.num_nodes",
        "training.cpu_threads",
        "data.num_workers",
        "data.shards",
        "train.num_workers",
        "train.shards",
    }
)


def check_same_run(
    config: PretrainConfig | FinetuneConfig, earlier: dict[str, Any], plan: str, earlier_plan: str, run: Path
) -> None:
    """Refuse to resume a run with another configuration or other data.

    Raises:
        ConfigError: names every field that differs, with both values.
    """
    now, before = flatten(to_dict(config)), flatten(earlier)
    problems = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(now.keys() | before.keys())
        if now.get(name) != before.get(name) and not free(name)
    ]
    if not problems and plan != earlier_plan:
        problems.append("the shards hold other samples than before")
    if problems:
        raise ConfigError(
            f"{run} holds an unfinished run that differs from this one:\n  "
            + "\n  ".join(problems)
            + "\nGive the same configuration to resume it, or another --output to start anew."
        )


def free(name: str) -> bool:
    """Whether a field may change; scoring on held-out data and the health watch do not touch what is learned."""
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
