"""All randomness of a run: every draw has a generator of its own, a pure function of (seed, purpose, key).

So no result depends on what was drawn before, on the number of processes, or on where a run was interrupted.
"""

from enum import Enum, unique
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@unique
class Purpose(Enum):
    """What a draw is for: whose generators draw it, and its number among theirs.

    NumPy's generators and PyTorch's make different sequences of equal seeds, so each library counts from 0. A number
    stays what it is: with another one a run that goes on would draw otherwise than it began.
    """

    ORDER = ("numpy", 0)  # of samples, by stream, source, epoch and window
    CROPS = ("numpy", 1)  # where they begin, by stream, source and micro-batch
    MIXTURE = ("numpy", 2)  # which source a micro-batch is of, by stream and cycle
    SPEED = ("numpy", 3)  # of a micro-batch, by stream and update
    AUGMENTATION = ("numpy", 4)  # all else that is done to a sample, by stream, update and key
    PROBE_CHOICES = ("numpy", 5)  # of utterances that are held out, and of tokens
    SECOND_VIEW = ("numpy", 6)  # as AUGMENTATION, to the other crop of a sample
    CONDITIONS = ("numpy", 7)  # in which recordings are tested, by kind and key
    WEIGHTS = ("torch", 0)  # of a new model
    NOISE = ("torch", 1)  # inside the network, by update and stream
    MASKS = ("torch", 2)  # and negatives, by update and stream
    DEV = ("torch", 3)  # the seed of crops and masks of held-out audio
    UNITS = ("torch", 4)  # that are predicted
    PROBE_HEADS = ("torch", 5)  # their weights and dropout
    PROBE_ORDER = ("torch", 6)  # of a head's samples, by epoch

    @property
    def number(self) -> int:
        """Among the purposes of its library."""
        return self.value[1]


def derive_seed(seed: int, purpose: Purpose, *key: int) -> int:
    """A 63-bit seed that differs for every (seed, purpose, key).

    Keys of a purpose have one length: NumPy takes short ones for longer ones that end in zeros.
    """
    state = np.random.SeedSequence([seed, purpose.number, *key]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def numpy_generator(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """NumPy's generator for one draw."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose.number, *key])))


def torch_generator(seed: int, purpose: Purpose, *key: int) -> "torch.Generator":
    """PyTorch's generator for one draw, on the host."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, purpose, *key))


def seed_torch(seed: int, purpose: Purpose, *key: int) -> None:
    """Seed what PyTorch draws without being given a generator: weights, dropout, layer drop, Gumbel noise."""
    import torch

    torch.manual_seed(derive_seed(seed, purpose, *key))
