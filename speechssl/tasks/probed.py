"""Probes of a pretraining's checkpoints: when they are due, what share of the time they take, and whether the
representation still improves.
"""

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from speechssl.config import PretrainConfig
from speechssl.training.checkpoints import folder_of

logger = logging.getLogger(__name__)

SCORE, NOISE = "probe_cer", "probe_noise"
MAX_SHARE = 0.03
"""Of a run's time, above which it is told how to probe for less."""
_TO_BEAT, _ITS_UPDATE = "probe score to beat", "update of that"
_IN_VAIN, _PROBES, _VARIANCE = "probes in vain", "probes", "summed squares of their noise"


class CheckpointProbe(Protocol):
    """Scores the encoder of a checkpoint."""

    def __call__(self, checkpoint: Path) -> dict[str, float]:
        """Figures by name: ``probe_cer``, lower is better, ``probe_noise``, its standard error, and others."""
        ...


class Probing:
    """The probes of a run.

    What is probed are the files of a checkpoint, not the model that learns: nothing of a probe can reach that.

    Args:
        config: of the run.
        probe: None on ranks that do not score.
    """

    def __init__(self, config: PretrainConfig, probe: CheckpointProbe | None) -> None:
        self._run = config.output
        self._every = config.probe.every or config.training.checkpoint_every
        self._last = config.training.max_updates
        self._probe = probe
        self._began = 0.0
        self._num_updates = 0
        self._has_warned = False

    def count_update(self) -> None:
        """Called before each update, to know how long one takes."""
        if self._num_updates == 0:
            self._began = time.monotonic()
        self._num_updates += 1

    def score(self, update: int) -> dict[str, float]:
        """Figures of an update's checkpoint, with the seconds that they took and their share of the run's time; {} if
        no probe is due.
        """
        started, num_updates = time.monotonic(), self._num_updates
        self._num_updates = 0
        if self._probe is None or update == 0 or (update % self._every and update != self._last):
            return {}
        figures = self._probe(folder_of(self._run, update))
        seconds = time.monotonic() - started
        figures["probe_seconds"] = seconds
        if num_updates:  # none in a run that goes on with the scores that an interruption has cost
            between = self._every * (started - self._began) / num_updates
            figures["probe_share"] = share = seconds / (seconds + between)
            self._warn(share, seconds)
        return figures

    def _warn(self, share: float, seconds: float) -> None:
        if share <= MAX_SHARE or self._has_warned:
            return
        self._has_warned = True
        logger.warning(
            "the probe took %.1f s, and takes %.1f%% of the run's time, above %.0f%%: raise probe.every (now every %d "
            "updates) with training.checkpoint_every, or lower probe.seconds, probe.num_heads or probe.updates",
            seconds,
            100 * share,
            100 * MAX_SHARE,
            self._every,
        )


def remember_score(memory: dict[str, float], update: int, scores: Mapping[str, float]) -> None:
    """Take a probe's score into what a watch remembers.

    A score counts as better if it is lower than the last that did by more than one standard error of a difference
    (after Breiman et al. 1984, "Classification and regression trees", 3.4.3), so that many small gains count too. The
    error is a mean over all probes of the run, since few heads tell little of it.
    """
    value, noise = scores.get(SCORE, math.nan), scores.get(NOISE, math.nan)
    if not math.isfinite(value) or not math.isfinite(noise):
        return
    memory[_PROBES] = memory.get(_PROBES, 0) + 1
    memory[_VARIANCE] = memory.get(_VARIANCE, 0.0) + noise**2
    if value < memory.get(_TO_BEAT, math.inf) - margin(memory):
        memory.update({_TO_BEAT: value, _ITS_UPDATE: update, _IN_VAIN: 0})
    else:
        memory[_IN_VAIN] += 1


def margin(memory: Mapping[str, float]) -> float:
    """Standard error of the difference of two scores."""
    return math.sqrt(2 * memory[_VARIANCE] / memory[_PROBES])


def plateau(memory: Mapping[str, float], stop_after: int | None) -> str:
    """Why a run may end, in words; empty if it may not."""
    in_vain = int(memory.get(_IN_VAIN, 0))
    if stop_after is None or in_vain < stop_after:
        return ""
    return (
        f"no better probe in {in_vain} (probe.stop_after): none has a CER below the {memory[_TO_BEAT]:.1%} of update "
        f"{memory[_ITS_UPDATE]:.0f} by more than the noise of {100 * margin(memory):.1f} points"
    )
