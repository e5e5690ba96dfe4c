"""What tests of runs by pretext task share: a configuration for each, and a run of it that is not interrupted."""

import functools
from pathlib import Path

from small_runs import CONSTANT, PRETRAIN, SKIPPING, Config, changed, command, train

MASKING: Config = {"time_prob": 0.5, "time_length": 3}
UNITS: Config = {"num_entries": [3, 5], "dim": 6}
TWO_STREAMS = changed(PRETRAIN, data={"num_streams": 2}, schedule=CONSTANT)
TASKS: dict[str, Config] = {
    "contrastive": changed(SKIPPING, dev={"max_batch_seconds": 8}),
    "masked_prediction": {
        **TWO_STREAMS,
        "objective": {"name": "masked_prediction", "units": UNITS, "masking": MASKING},
    },
    "self_distillation": {
        **TWO_STREAMS,
        "objective": {
            "name": "self_distillation",
            "targets": "codebook",
            "codebook": {"num_entries": 7},
            "teacher": {"decay_start": 0.5, "decay_end": 0.9, "ramp_updates": 4, "top_layers": 2},
            "anchor": {"weight": 0.5, "units": UNITS},
            "masking": MASKING,
        },
    },
    "two_view": changed(
        {**PRETRAIN, "objective": {"name": "two_view", "hidden_dim": 9, "final_dim": 5, "temperature": 0.5}},
        data={"num_streams": 4, "max_batch_seconds": 3, "max_seconds": 0.4},
        augmentation={"noise": {"prob": 0.8}, "speed": {"prob": 0.5}, "gain": {"prob": 0.5}},
        schedule=CONSTANT,
        dev={"max_batch_seconds": 4},
    ),
}
"""One that is added is held to what test_objective_runs.py asks of all."""


@functools.cache
def straight_run(task: str, shards: Path) -> Path:
    """A run of one process, made once for all tests."""
    output = shards.parent / "straight" / task
    output.parent.mkdir(exist_ok=True)
    train(command("pretrain", TASKS[task], output, shards))
    return output
