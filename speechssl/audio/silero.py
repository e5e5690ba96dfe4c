"""The network of silero-vad, which hears speech in 32 ms at a time."""

import importlib
import importlib.util
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import soxr

SILERO_RATE = 16000
SILERO_HOP = 512
"""Samples that the network takes at a time."""


def has_silero() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("silero_vad") is not None


class SileroNetwork:
    """Probability of speech by the network of silero-vad, in hops of 32 ms.

    Args:
        sample_rate: of the recording, in Hz; it is resampled to 16 kHz as it comes.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._network = _silero_network()
        self._network.reset_states()
        self._resampler = soxr.ResampleStream(sample_rate, SILERO_RATE, 1, dtype="float32", quality="HQ")
        self._rest = np.empty(0, dtype=np.float32)
        self._scores: list[float] = []

    def add(self, block: np.ndarray) -> None:
        """Take the next samples, (S,)."""
        self._hear(self._resampler.resample_chunk(block))

    def finish(self) -> np.ndarray:
        """Probability of speech in each hop, the last one filled up with silence, (hops,)."""
        self._hear(self._resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True))
        if len(self._rest):
            self._hear(np.zeros(SILERO_HOP - len(self._rest), dtype=np.float32))
        return np.array(self._scores)

    def frames(self, hops: np.ndarray) -> np.ndarray:
        """Where hops begin in the recording, in frames of its own rate."""
        return (hops * SILERO_HOP * self._sample_rate + SILERO_RATE // 2) // SILERO_RATE

    def _hear(self, samples: np.ndarray) -> None:
        import torch

        heard = np.concatenate([self._rest, samples])
        whole = len(heard) // SILERO_HOP * SILERO_HOP
        with _one_thread(), torch.inference_mode():
            hops = torch.from_numpy(heard[:whole]).split(SILERO_HOP) if whole else ()
            self._scores += [self._network(hop, SILERO_RATE).item() for hop in hops]
        self._rest = heard[whole:].copy()


_networks = threading.local()


def _silero_network() -> Any:
    """The network, one for each thread because it carries state; its weights come with the package."""
    if not hasattr(_networks, "silero"):
        with _one_thread(), warnings.catch_warnings():  # which the import sets as well, and leaves so
            warnings.simplefilter("ignore")  # of the package's own use of PyTorch and importlib
            _networks.silero = importlib.import_module("silero_vad").load_silero_vad()
    return _networks.silero


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread, here only: steps as small as the network's take many times as long on several."""
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
