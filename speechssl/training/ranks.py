"""Which process of a run this one is, known before the processes have found each other; imports no torch."""

import os


def is_first_rank() -> bool:
    """Whether this process has global rank 0, started by torchrun, srun, Fabric, or alone."""
    if "RANK" in os.environ:  # torchrun
        return os.environ["RANK"] == "0"
    if "LOCAL_RANK" in os.environ:  # Fabric's own launcher
        return os.environ["LOCAL_RANK"] == "0" and os.environ.get("NODE_RANK", "0") == "0"
    return os.environ.get("SLURM_PROCID", "0") == "0"
