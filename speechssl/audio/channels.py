"""Which channels of a recording are heard: their mean, unless that loses what one of them has.

The mean of the channels is what mono is made of, and for most recordings it is right. It is not where channels cancel
each other (opposite polarity), where sound is in few of many channels, and where one is late. All of it is told from
the covariance of the channels in hops of 250 ms.
"""

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np

HOP_SECONDS = 0.25
ACTIVE_DB = 25.0
"""Hops that are within this of the loudest count: speech, and no pauses."""
FADED_DB = 5.5
"""What the mean may be below the loudest channel. Two channels that have nothing in common lose 3 dB; a loss of 6 dB is
one of two channels that adds nothing, and more is cancelled, or one of many channels."""
CANCELLED_SHARE = 0.05
"""Of the active hops, may lose more than channels without anything in common can lose."""
EQUAL_DB = 0.5
LEADING_DB = 12.0
"""A channel that is louder than another by this much has something that the other one has not."""
COVERED_SHARE = 0.99
"""One channel is enough if in so many of the active hops no other one leads."""
DIFFERENT_SHARE = 0.05
"""Of the active hops in which each of two channels leads: two voices, as of the two ends of a telephone call."""
SILENT_DB = 40.0
"""A channel this far below the loudest has no sound of its own."""
OPPOSITE = -0.5
"""Correlation from which on one channel is said to be the inverse of another."""
LATE_SECONDS = 0.02
LATE_HOPS = 8
"""The loudest hops of two channels are searched for a delay, if ..."""
ALIKE = 0.5
"""... their correlation is below this, and ..."""
LATE = 0.8
"""... one is late if it is above this at another lag, the same one in most of these hops."""


class Judgement(NamedTuple):
    """Which channels to take, and why."""

    channels: tuple[int, ...] = ()
    """The mean of these; empty for the mean of all."""
    kind: str = ""
    """Empty if there is nothing to be said."""
    detail: str = ""


class ChannelMeter:
    """Listens to a recording, or to parts of it, and judges its channels.

    Args:
        num_channels: at least 2.
        sample_rate: Hz.
    """

    def __init__(self, num_channels: int, sample_rate: int) -> None:
        self._num_channels, self._rate = num_channels, sample_rate
        self._hop = max(2, round(HOP_SECONDS * sample_rate))
        self._rest = np.empty((0, num_channels), dtype=np.float32)
        self._covariances: list[np.ndarray] = []
        self._loudest: list[tuple[float, np.ndarray]] = []

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples, (S, C)."""
        if len(self._rest):
            samples = np.concatenate([self._rest, samples])
        whole = len(samples) // self._hop * self._hop
        self._rest = samples[whole:].copy()  # a view would keep the block
        if whole:
            self._take(samples[:whole].reshape(-1, self._hop, self._num_channels))

    def _take(self, hops: np.ndarray) -> None:
        centred = hops - hops.mean(axis=1, keepdims=True, dtype=np.float32)  # (hops, S, C)
        covariances = np.empty((len(hops), self._num_channels, self._num_channels))
        for first, second in combinations_with_replacement(range(self._num_channels), 2):
            # No product of matrices: BLAS would start threads within the worker's threads.
            shared = np.einsum("hs,hs->h", centred[:, :, first], centred[:, :, second]) / hops.shape[1]
            covariances[:, first, second] = covariances[:, second, first] = shared
        self._covariances.append(covariances)
        if self._num_channels == 2:
            powers = np.trace(covariances, axis1=1, axis2=2)
            order = np.argsort(powers)[-LATE_HOPS:]
            candidates = [*self._loudest, *((float(powers[i]), centred[i].copy()) for i in order)]
            self._loudest = sorted(candidates, key=lambda hop: hop[0])[-LATE_HOPS:]

    def judge(self) -> Judgement:
        """Which channels to take of what was heard."""
        if not self._covariances and len(self._rest) > 1:
            self._take(self._rest[None])
        if not self._covariances:
            return Judgement()
        judgement = judge(np.concatenate(self._covariances))
        if self._num_channels == 2 and not judgement.channels:
            return self._judge_delay() or judgement
        return judgement

    def _judge_delay(self) -> Judgement | None:
        lags = [_lag(samples, round(LATE_SECONDS * self._rate)) for _, samples in self._loudest]
        found = [lag for lag in lags if lag]
        common = max(set(found), key=found.count, default=0)
        if sum(abs(lag - common) <= 1 for lag in found) <= len(lags) / 2:
            return None
        milliseconds = 1000 * abs(common) / self._rate
        first = 0 if common > 0 else 1
        detail = (
            f"channel {1 - first} is channel {first} {milliseconds:.1f} ms later, and their mean would be hollow; "
            f"channel {first} is used"
        )
        return Judgement((first,), "delayed channels", detail)


def judge(covariances: np.ndarray) -> Judgement:
    """Which channels to take of hops whose covariances are known, (hops, C, C)."""
    num_channels = covariances.shape[1]
    powers = np.diagonal(covariances, axis1=1, axis2=2)  # (hops, C)
    loudest = powers.max(axis=1)
    active = (loudest > 0) & (loudest >= loudest.max() * 10 ** (-ACTIVE_DB / 10))
    covariances, powers, loudest = covariances[active], powers[active], loudest[active]
    if not len(loudest):
        return Judgement()
    everything = tuple(range(num_channels))
    if not _loses(covariances, everything):
        leading = [channel for channel, share in enumerate(_leading(powers)) if share >= DIFFERENT_SHARE]
        return _different((), leading) if len(leading) > 1 else Judgement()
    chosen = _covering(powers)
    if len(chosen) > 1 and _cancelled_share(covariances, chosen) <= CANCELLED_SHARE:
        return _different(() if len(chosen) == num_channels else chosen, chosen)
    best = chosen[0]
    return Judgement((best,), *_reason(covariances, best))


def _loses(covariances: np.ndarray, channels: tuple[int, ...]) -> bool:
    total = covariances.sum(axis=0)
    return (
        _loss_db(total.diagonal().max(), _mix_power(total, channels)) > FADED_DB
        or _cancelled_share(covariances, channels) > CANCELLED_SHARE
    )


def _mix_power(covariances: np.ndarray, channels: Sequence[int]) -> Any:
    """Power of the mean of some channels, (..., C, C) to (...)."""
    some = covariances[..., channels, :][..., :, channels]
    return np.maximum(some.sum(axis=(-2, -1)), 0) / len(channels) ** 2


def _loss_db(power: float, mix: float) -> float:
    return 10 * math.log10(power / mix) if mix > 0 else math.inf


def _cancelled_share(covariances: np.ndarray, channels: tuple[int, ...]) -> float:
    """Hops in which the mean loses more than if only one channel had any sound: the others take away from it."""
    loudest = np.diagonal(covariances, axis1=1, axis2=2)[:, channels].max(axis=1)
    least = loudest / len(channels) ** 2 * 10**-0.1
    return float(np.mean(_mix_power(covariances, channels) < least))


def _leading(powers: np.ndarray) -> np.ndarray:
    """Share of hops in which each channel is louder than all others together by LEADING_DB, (hops, C) to (C,)."""
    others = powers.sum(axis=1, keepdims=True) - powers
    return (powers >= others * 10 ** (LEADING_DB / 10)).mean(axis=0)


def _covering(powers: np.ndarray) -> tuple[int, ...]:
    """The fewest channels, about, of which one has in every hop what is to be heard; the loudest first."""
    heard = powers >= powers.max(axis=1, keepdims=True) * 10 ** (-LEADING_DB / 10)  # (hops, C)
    totals = powers.sum(axis=0)
    chosen = [int((totals >= totals.max() * 10 ** (-EQUAL_DB / 10)).argmax())]  # the first of equals
    covered = heard[:, chosen[0]]
    while covered.mean() < COVERED_SHARE:
        chosen.append(int((heard & ~covered[:, None]).sum(axis=0).argmax()))
        covered |= heard[:, chosen[-1]]
    return (chosen[0], *sorted(chosen[1:]))


def _different(channels: tuple[int, ...], holding: Sequence[int]) -> Judgement:
    named = " and ".join(map(str, sorted(holding)))
    detail = (
        f"channels {named} hold different voices or sounds, and are mixed; `--channel each` makes a recording of each"
    )
    return Judgement(tuple(sorted(channels)), "channels differ", detail)


def _reason(covariances: np.ndarray, best: int) -> tuple[str, str]:
    """Kind and detail of why one channel is better than the mean."""
    total = covariances.sum(axis=0)
    powers = total.diagonal()
    loss = _loss_db(powers[best], _mix_power(total, range(len(powers))))
    lost = "nothing would be left in the mean of all" if loss == math.inf else f"the mean of all is {loss:.0f} dB below"
    others = [channel for channel in range(len(powers)) if channel != best]
    scale = np.sqrt(np.maximum(powers * powers[best], 1e-300))
    correlations = total[best] / scale
    opposite = min(others, key=lambda channel: correlations[channel])
    used = f"{lost}; channel {best} is used"
    if correlations[opposite] <= OPPOSITE:
        return "opposite polarity", (
            f"channel {opposite} is the inverse of channel {best} (correlation {correlations[opposite]:.2f}), {used}"
        )
    cancelled = _cancelled_share(covariances, tuple(range(len(powers))))
    if cancelled > CANCELLED_SHARE:
        return "opposite polarity", f"channels cancel each other in {cancelled:.0%} of what is loud, {used}"
    if all(powers[channel] <= powers[best] * 10 ** (-SILENT_DB / 10) for channel in others):
        return "silent channels", f"of {len(powers)} channels only {best} has sound, {used}"
    return "faint in the mix", f"channel {best} of {len(powers)} has all that the others have, {used}"


def _lag(samples: np.ndarray, longest: int) -> int:
    """Frames by which the second of two channels is late, (S, 2); 0 if it is not, or if they have little in common."""
    first, second = samples[:, 0].astype(np.float64), samples[:, 1].astype(np.float64)
    scale = math.sqrt(float(np.square(first).sum()) * float(np.square(second).sum()))
    if scale == 0 or abs(float((first * second).sum())) > ALIKE * scale:
        return 0
    size = 1 << (len(first) + longest - 1).bit_length()
    spectrum = np.conj(np.fft.rfft(first, size)) * np.fft.rfft(second, size)
    correlations = np.abs(np.fft.irfft(spectrum, size)) / scale
    lags = np.concatenate([np.arange(longest + 1), np.arange(-longest, 0)])
    best = int(lags[correlations[lags].argmax()])
    return best if correlations[best] >= LATE else 0
