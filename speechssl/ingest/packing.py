"""Which clips go into which shard, before any is encoded: so that shards can be made anywhere, in any order."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from speechssl.config import ShardConfig
from speechssl.errors import DataError
from speechssl.ingest.clips import Clip

# Bytes per audio sample in the shards, about: 16 bits, FLAC's usual gain on speech, and Opus at 24 kbit/s and 16 kHz.
BYTES_PER_SAMPLE = {"wav": 2.0, "flac": 1.1, "opus": 0.19}
# Tar headers, metadata and padding of a sample.
BYTES_PER_CLIP = 2560


class ShardPlan(NamedTuple):
    """One shard to be made."""

    name: str
    """Path relative to the output folder, without suffix."""
    clips: list[Clip]


def plan_shards(clips: Sequence[Clip], config: ShardConfig) -> list[ShardPlan]:
    """Shards of about ``config.max_shard_megabytes``, the clips in order, each part of a split by itself."""
    plans = []
    for folder, part in sorted(assign_splits(clips, config).items()):
        plans += [
            ShardPlan(f"{folder}/shard-{number:06d}" if folder else f"shard-{number:06d}", chosen)
            for number, chosen in enumerate(pack(part, config))
        ]
    return plans


def pack(clips: Sequence[Clip], config: ShardConfig) -> list[list[Clip]]:
    """Cut clips into runs of equal size, about, and not above that of a shard by more than a clip.

    A last run with what is left over would keep one worker busy, or one stream poor.
    """
    per_second = BYTES_PER_SAMPLE[config.format] * config.sample_rate
    ends = np.cumsum([BYTES_PER_CLIP + clip.seconds * per_second for clip in clips])
    if not len(ends):
        return []
    num_runs = math.ceil(ends[-1] / (config.max_shard_megabytes * 1e6))
    bounds = np.searchsorted(ends, ends[-1] * np.arange(1, num_runs) / num_runs)
    runs = np.split(np.arange(len(clips)), bounds)
    return [[clips[i] for i in run] for run in runs if len(run)]


def assign_splits(clips: Sequence[Clip], config: ShardConfig) -> dict[str, list[Clip]]:
    """Clips by the folder they go to: "" without a split, the source's own name for a part, or train, dev and test."""
    if config.split == "none":
        return {"": list(clips)}
    if config.split == "source":
        names = [clip.split or "unsplit" for clip in clips]
    else:
        part_of = draw_parts(clips, config.dev_share, config.test_share, config.split_seed)
        names = [part_of[group_of(clip)] for clip in clips]
    parts: dict[str, list[Clip]] = defaultdict(list)
    for clip, name in zip(clips, names, strict=True):
        parts[name].append(clip)
    return dict(parts)


def group_of(clip: Clip) -> str:
    """What must not be on both sides of a split: a speaker, or a recording of nobody known."""
    return f"speaker {clip.speaker}" if clip.speaker else f"recording {clip.recording}"


def draw_parts(clips: Sequence[Clip], dev_share: float, test_share: float, seed: int) -> dict[str, str]:
    """Part of each group: whole groups in an order drawn from the seed, until dev and test have their share of seconds.

    The order depends on a group's name and the seed alone, so that more audio moves few groups. The largest groups
    (more than half of a share) stay in train, where they make the least difference, unless a part would be empty: it
    gets the smallest group then.

    Raises:
        DataError: fewer groups than parts.
    """
    seconds: dict[str, float] = defaultdict(float)
    for clip in clips:
        seconds[group_of(clip)] += clip.seconds
    order = sorted(seconds, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())
    total = sum(seconds.values())
    part_of = dict.fromkeys(order, "train")
    for part, share in (("test", test_share), ("dev", dev_share)):
        wanted, taken = share * total, 0.0
        for group in order:
            fits = part_of[group] == "train" and taken < wanted and seconds[group] <= max(wanted / 2, 1e-9)
            if fits:
                part_of[group] = part
                taken += seconds[group]
        if wanted > 0 and taken == 0:
            left = [group for group in order if part_of[group] == "train"]
            if len(left) < 2:
                raise DataError(
                    f"split is draw, but there are {len(order)} speakers or recordings to draw {part} from, and train "
                    "needs one too; give speakers in a manifest, more audio, or a share of 0"
                )
            part_of[min(left, key=seconds.__getitem__)] = part
    return part_of
