"""Seeds as pure functions of what they are for, so that no result depends on what was drawn before."""

import numpy as np
import torch

WEIGHTS, NOISE, MASKS, DEV, UNITS = 0, 1, 2, 3, 4


def derive_seed(seed: int, *key: int) -> int:
    """A 63-bit seed that differs for every (seed, key)."""
    state = np.random.SeedSequence([seed, *key]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def seed_noise(seed: int, update: int, stream: int) -> None:
    """Seed what torch draws inside the network (dropout, layer drop, Gumbel noise) for one micro-batch."""
    torch.manual_seed(derive_seed(seed, NOISE, update, stream))


def mask_generator(seed: int, update: int, stream: int) -> torch.Generator:
    """Host generator for the masks and negatives of one micro-batch."""
    return torch.Generator().manual_seed(derive_seed(seed, MASKS, update, stream))
