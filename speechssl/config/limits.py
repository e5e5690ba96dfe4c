"""Limits on the numbers of a configuration: part of a field's type, so that they stand beside the field.

A rule that holds between fields is a message that ``problems`` of their section yields.
"""

import dataclasses
import math
import sys
import typing
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from speechssl.errors import ConfigError


class Section:
    """Fields that belong together: a frozen dataclass whose values are sections, numbers, texts, paths or lists."""

    def problems(self) -> Iterator[str]:
        """What cannot work though each field by itself can; a message begins with the name of a field."""
        yield from ()


class Limit(NamedTuple):
    """From where to where numbers of a kind make sense; never one that is not finite."""

    low: float
    high: float
    low_is_in: bool = True
    high_is_in: bool = True
    is_range: bool = False
    """Whether the numbers are a lowest and a highest value."""

    def holds(self, value: float) -> bool:
        """Whether a number is within it."""
        is_above = self.low <= value if self.low_is_in else self.low < value
        return is_above and (value <= self.high if self.high_is_in else value < self.high)

    def words(self, value: float) -> str:
        """What was expected in the place of a number that is not within it."""
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        if self.high >= _LARGE > self.low:
            if value > self.high:
                return f"at most {self.high:,}"
            return f"{self.low:,} or more" if self.low_is_in else f"more than {self.low:,}"
        if self.low_is_in and self.high_is_in:
            return f"{self.low:,g} to {self.high:,g}"
        low = f"{'from' if self.low_is_in else 'more than'} {self.low:g}"
        return f"{low}, up to {self.high:g}" if self.high_is_in else f"{low} to below {self.high:g}"


_LARGE = 1_000
"""Upper ends from here on are there to catch slips, and named only where they do."""
_HUGE = sys.float_info.max

Count = Annotated[int, Limit(1, 10**9)]
CountOrZero = Annotated[int, Limit(0, 10**9)]
Amount = Annotated[float, Limit(0, 10**9, low_is_in=False)]
AmountOrZero = Annotated[float, Limit(0, 10**9)]
Factor = Annotated[float, Limit(0, _HUGE, low_is_in=False)]
"""Of a loss or a step: what it may be, only the run can tell."""
FactorOrZero = Annotated[float, Limit(0, _HUGE)]
Size = Annotated[int, Limit(1, 10**6)]
SizeOrZero = Annotated[int, Limit(0, 10**6)]
Depth = Annotated[int, Limit(1, 1_000)]
DepthOrZero = Annotated[int, Limit(0, 1_000)]
UpToAThousand = Annotated[int, Limit(0, 1_000)]
Workers = Annotated[int, Limit(0, 10_000)]
Megabytes = Annotated[float, Limit(0, 10**6, low_is_in=False)]
SampleRate = Annotated[int, Limit(1_000, 400_000)]
Seed = Annotated[int, Limit(0, 2**63 - 1)]
Share = Annotated[float, Limit(0, 1)]
BelowOne = Annotated[float, Limit(0, 1, high_is_in=False)]
Decibels = Annotated[tuple[float, float], Limit(-100, 100, is_range=True)]


def limit_in(hint: Any) -> Limit | None:
    """The limit on the numbers that a field's type holds; None if it holds none."""
    for part in typing.get_args(hint):
        if found := part if isinstance(part, Limit) else limit_in(part):
            return found
    return None


def fault_of(hint: Any, value: Any) -> str:
    """What is wrong with numbers of a type, as in "is -1, expected 0 or more"; empty if nothing is."""
    limit, numbers = limit_in(hint), list(_numbers(value))
    if limit is None:
        return ""
    bad = [number for number in numbers if not limit.holds(number)]
    if not bad and not (limit.is_range and numbers != sorted(numbers)):
        return ""
    found = f"holds {_shown(bad[0])}" if isinstance(value, list) else f"is {', '.join(map(_shown, numbers))}"
    return f"{found}, expected {limit.words((bad or numbers)[0])}{', the lower first' if limit.is_range else ''}"


def check(config: Section) -> None:
    """Raise ConfigError for what a configuration cannot mean, all at once: numbers, or else what goes together."""
    if problems := problems_of(config):
        raise ConfigError("\n".join(problems))


def problems_of(config: Section) -> list[str]:
    """What a configuration or a section of one cannot mean, in words."""
    sections = list(_sections(config, ""))
    faults = [
        f"{prefix}{name} {fault}"
        for prefix, section in sections
        for name, hint in hints_of(type(section)).items()
        if (fault := fault_of(hint, getattr(section, name)))
    ]
    # Rules may divide by numbers: these come first.
    return faults or [f"{prefix}{problem}" for prefix, section in sections for problem in section.problems()]


def _sections(section: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """A section and those in it, each with its key and a dot."""
    yield prefix, section
    for item in dataclasses.fields(section):
        if isinstance(inner := getattr(section, item.name), Section):
            yield from _sections(inner, f"{prefix}{item.name}.")


def hints_of(cls: type) -> dict[str, Any]:
    """Types of the fields of a class, limits included."""
    return typing.get_type_hints(cls, include_extras=True)


def _shown(number: float) -> str:
    is_huge = isinstance(number, int) and abs(number) > _HUGE
    return f"a number of {len(str(abs(number)))} digits" if is_huge else f"{number:g}"


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
