"""From the probability of a word's spelling to the share of such words that are right."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

CLIP = 1e-6
"""Probabilities nearer to 0 or 1 than this are taken as this near."""


@dataclass(frozen=True)
class Calibration:
    """A line on the logit, fitted on held-out speech (Platt 1999, "Probabilistic outputs for support vector machines");
    it keeps the order of words."""

    slope: float = 1.0
    """Above 0."""
    offset: float = 0.0
    num_words: int = 0
    """It was fitted on; 0 of none, which changes nothing."""

    def of(self, probability: float) -> float:
        """Confidence in a word, 0..1."""
        if self.num_words == 0:
            return probability
        return 1 / (1 + math.exp(-self.slope * logit(probability) - self.offset))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)


UNCALIBRATED = Calibration()


def logit(probability: float) -> float:
    """Logarithm of the odds; finite."""
    clipped = min(max(probability, CLIP), 1 - CLIP)
    return math.log(clipped) - math.log1p(-clipped)


def calibration_of(calibrations: Mapping[str, Any], decoder: str) -> Calibration:
    """That of a decoder, among those of a checkpoint by the decoders' names; else none."""
    content = calibrations.get(decoder)
    return UNCALIBRATED if content is None else Calibration(**content)
