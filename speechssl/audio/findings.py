"""What is noticed of an audio file: repairs, and what is missing; and the error of one that cannot be used."""

import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from speechssl.errors import DataError

logger = logging.getLogger(__name__)

ROUNDING_SECONDS = 0.1
"""Lengths that differ by no more agree: headers, lists and codecs count in blocks and round, and no word is shorter."""


class Finding(NamedTuple):
    """Something of a file that can be used all the same."""

    kind: str
    """Short and the same for all of its kind, to count by."""
    detail: str
    missing_seconds: float = 0.0
    """Audio that is known to be missing; infinite where it is not known how much."""
    first_second: float = 0.0
    """Where in the file the fault begins ..."""
    last_second: float = math.inf
    """... and where it ends."""

    def touches(self, first_second: float, last_second: float) -> bool:
        """Whether it is of something between two moments."""
        return self.first_second < last_second and first_second < self.last_second

    def spoils(self, first_second: float, last_second: float) -> bool:
        """Whether words that were said between two moments may be missing."""
        return self.touches(first_second, last_second) and self.missing_seconds > ROUNDING_SECONDS


class AudioError(DataError):
    """A recording that cannot be used.

    Args:
        message: where, what was found, what to do.
        reason: short and the same for all of its kind, to count by.
    """

    def __init__(self, message: str, reason: str = "unreadable audio") -> None:
        super().__init__(message)
        self.reason = reason


def reason_of(error: Exception) -> str:
    """Last line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def log_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Log each finding of a file once."""
    for finding in dict.fromkeys(findings):
        logger.warning("%s: %s: %s", path, finding.kind, finding.detail)
