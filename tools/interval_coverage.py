#!/usr/bin/env python3
"""How often the 95% intervals of error rates hold the truth, where the truth is known.

A made-up test set has speakers who are easier or harder for every model, for one arm, and for one seed of it; seeds of
an arm differ as a whole; the errors in an utterance are binomial. What other speakers and other seeds would give on
average is known, so the intervals that hold it can be counted. Some ten minutes on one core; docs/decisions.md has the
figures.

    python tools/interval_coverage.py [--trials 1000]
"""

import argparse
import itertools
import sys
from typing import NamedTuple

import numpy as np

from speechssl.evaluation.intervals import WordCounts, relative_reduction, resampled_sums, wer_interval

WER = (0.44, 0.24)
SPEAKER, SPEAKER_AND_ARM, SPEAKER_AND_SEED = 0.15, 0.08, 0.08
"""Standard deviations of the logarithm of a speaker's error rate. Intervals over speakers are then 1.6 times as wide as
those over utterances; on the quickstart's test set they are about 1.5 times as wide."""
UTTERANCES, WORDS = 12, 5
"""Utterances per speaker, and words in each."""
SEED_SPREADS = ((0.04, 0.04), (0.12, 0.06))
"""Of the logarithm of the error rates over seeds: as between the seeds of the quickstart, and of AN4."""
NUM_SPEAKERS = (10, 30)
SAMPLES = 1000

Arm = list[WordCounts]


class Draw(NamedTuple):
    """Both arms of one trial."""

    scratch: Arm
    pretrained: Arm


def draw(rng: np.random.Generator, num_speakers: int, num_seeds: int, spreads: tuple[float, float]) -> Draw:
    """Evaluations of one test set."""
    speakers = np.arange(num_speakers).repeat(UTTERANCES)
    words = np.full(len(speakers), WORDS)
    hard = rng.normal(0, SPEAKER, num_speakers)
    arms = []
    for wer, spread in zip(WER, spreads, strict=True):
        own = hard + rng.normal(0, SPEAKER_AND_ARM, num_speakers)
        shape = (num_seeds, num_speakers)
        logs = own + rng.normal(0, spread, num_seeds)[:, None] + rng.normal(0, SPEAKER_AND_SEED, shape)
        rates = np.minimum(wer * np.exp(logs), 1)[:, speakers]
        arms.append([WordCounts(rng.binomial(words, row), words, speakers) for row in rates])
    return Draw(*arms)


def true_rates(spreads: tuple[float, float]) -> list[float]:
    """Mean error rate of each arm over speakers and seeds."""
    rng = np.random.default_rng(0)
    rates = []
    for wer, spread in zip(WER, spreads, strict=True):
        deviation = np.sqrt(SPEAKER**2 + SPEAKER_AND_ARM**2 + SPEAKER_AND_SEED**2 + spread**2)
        rates.append(float(np.minimum(wer * np.exp(rng.normal(0, deviation, 2_000_000)), 1).mean()))
    return rates


def resampled_seeds(arms: Draw) -> tuple[float, float]:
    """The interval that resamples speakers, and the seeds of each arm, and takes percentiles of the reduction."""
    rng = np.random.default_rng(1)
    sums = []
    for arm in arms:
        edits = np.stack([np.bincount(np.asarray(c.speakers), weights=c.edits) for c in arm], axis=1)
        per_seed = resampled_sums(edits, SAMPLES, 0)
        chosen = rng.integers(0, len(arm), size=per_seed.shape)
        sums.append(np.take_along_axis(per_seed, chosen, axis=1).mean(1))
    low, high = np.percentile(1 - sums[1] / sums[0], (2.5, 97.5))
    return float(low), float(high)


def measure_rates(num_speakers: int, trials: int) -> str:
    """The error rate of one model on other speakers, whose seed is always the same."""
    kept: dict[str, list[tuple[float, float]]] = {"over utterances": [], "over speakers": []}
    rng = np.random.default_rng(num_speakers)
    for _ in range(trials):
        counts = draw(rng, num_speakers, 1, (0.0, 0.0)).scratch[0]
        kept["over utterances"].append(wer_interval(WordCounts(counts.edits, counts.words), SAMPLES, 0))
        kept["over speakers"].append(wer_interval(counts, SAMPLES, 0))
    return f"WER, {num_speakers} speakers: {tell(kept, true_rates((0.0, 0.0))[0])}"


def measure_reductions(num_speakers: int, num_seeds: int, spreads: tuple[float, float], trials: int) -> str:
    """What one arm saves, on other speakers and with other seeds."""
    kept: dict[str, list[tuple[float, float]]] = {"percentiles, seeds resampled": [], "as reported": []}
    rng = np.random.default_rng([num_speakers, num_seeds])
    for _ in range(trials):
        arms = draw(rng, num_speakers, num_seeds, spreads)
        found = relative_reduction(*arms, bootstrap_samples=SAMPLES)
        kept["percentiles, seeds resampled"].append(resampled_seeds(arms))
        kept["as reported"].append((found.low, found.high))
    scratch, pretrained = true_rates(spreads)
    setting = f"{num_speakers} speakers, {num_seeds} seeds that spread by {spreads[0]:.0%} and {spreads[1]:.0%}"
    return f"reduction, {setting}: {tell(kept, 1 - pretrained / scratch)}"


def tell(kept: dict[str, list[tuple[float, float]]], truth: float) -> str:
    """Coverage and median width of each kind of interval."""
    told = []
    for name, found in kept.items():
        low, high = np.array(found).T
        covered = float(((low <= truth) & (truth <= high)).mean())
        told.append(f"{name} {covered:.1%} (width {100 * np.median(high - low):.1f} points)")
    return ", ".join(told)


def main(argv: list[str]) -> int:
    """Print a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args(argv).trials
    for num_speakers in NUM_SPEAKERS:
        print(measure_rates(num_speakers, trials), flush=True)
    for setting in itertools.product(NUM_SPEAKERS, (1, 2, 3, 5), SEED_SPREADS):
        print(measure_reductions(*setting, trials), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
