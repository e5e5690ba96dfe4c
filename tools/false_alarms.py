#!/usr/bin/env python3
"""How often the tests of ``speechssl score`` find a difference between two systems that are as good as each other.

A made-up test set has speakers who are easier or harder for both systems, and, with "tastes", for one of them; errors
come in runs, as those of recognisers do. A test at 5% should cry wolf in 5% of the sets. Some four minutes on one core.

    python tools/false_alarms.py [--trials 1000]
"""

import argparse
from typing import NamedTuple

import numpy as np

from speechssl.evaluation.aligned import Aligned, align
from speechssl.evaluation.comparison import matched_pairs, paired_bootstrap
from speechssl.evaluation.error_rates import make_counts

WER = 0.25
SPEAKER = 0.3
"""Standard deviation of the logarithm of a speaker's error rate."""
TASTES = (0.0, 0.2)
"""The same for one system alone."""
NUM_SPEAKERS = (10, 20, 40)
UTTERANCES, WORDS = 12, 8
"""Utterances per speaker, and words in each."""
AGAIN = 1.5
"""How many times as likely an error is behind another."""
SAMPLES = 1000
LEVELS = (0.05, 0.01)


class Sides(NamedTuple):
    """Two systems on one test set."""

    first: list[Aligned]
    second: list[Aligned]
    speakers: list[str]


def draw(rng: np.random.Generator, num_speakers: int, taste: float) -> Sides:
    """Outputs of two systems; both have the same error rate over all speakers there could be."""
    speakers = np.arange(num_speakers).repeat(UTTERANCES)
    hard = rng.normal(0, SPEAKER, num_speakers)
    references = [" ".join(f"w{i}" for i in range(WORDS))] * len(speakers)
    sides = []
    for _ in range(2):
        rates = np.minimum(WER * np.exp(hard + rng.normal(0, taste, num_speakers)), 0.6)[speakers]
        wrong = np.zeros((len(speakers), WORDS), bool)
        for place in range(WORDS):
            before = wrong[:, place - 1] if place else np.zeros(len(speakers), bool)
            wrong[:, place] = rng.random(len(speakers)) < rates * np.where(before, AGAIN, 1)
        sides.append(align(references, [hypothesis(row, rng) for row in wrong]))
    return Sides(sides[0], sides[1], [f"s{i}" for i in speakers])


def hypothesis(wrong: np.ndarray, rng: np.random.Generator) -> str:
    """An output with errors of all kinds at these words."""
    forms = ("x", "", "x {}")
    return " ".join(forms[rng.integers(3)].format(f"w{i}") if bad else f"w{i}" for i, bad in enumerate(wrong))


def p_values(sides: Sides) -> dict[str, float]:
    """What each test says of a set."""
    ids = [f"u{i}" for i in range(len(sides.speakers))]
    references = dict.fromkeys(ids, "")
    known = dict(zip(ids, sides.speakers, strict=True))
    found = {}
    for name, speakers in (("bootstrap over speakers", known), ("bootstrap over utterances", None)):
        counts = [make_counts(ids, references, side, speakers) for side in (sides.first, sides.second)]
        found[name] = paired_bootstrap(*counts, samples=SAMPLES).p_value
    return found | {"matched pairs": matched_pairs(sides.first, sides.second).p_value}


def main() -> None:
    """Print the share of false alarms of each test, for each number of speakers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    for taste in TASTES:
        for num_speakers in NUM_SPEAKERS:
            rng = np.random.default_rng([num_speakers, int(100 * taste)])
            found = [p_values(draw(rng, num_speakers, taste)) for _ in range(trials)]
            told = []
            for name in found[0]:
                shares = [np.mean([item[name] < level for item in found]) for level in LEVELS]
                told.append(f"{name} {shares[0]:.1%} at 5%, {shares[1]:.1%} at 1%")
            print(f"{num_speakers} speakers, tastes of {taste:.0%}: {'; '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
