"""Configurations with other values: they are frozen."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy with other values, by dotted key."""
    for key, value in values.items():
        name, _, rest = key.partition(".")
        new = with_values(getattr(config, name), {rest: value}) if rest else value
        config = dataclasses.replace(config, **{name: new})  # type: ignore[type-var]
    return config
