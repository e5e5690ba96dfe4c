"""What a pretraining run would take: time, memory and cost, for the micro-batches that fit and the devices at hand."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from speechssl.config import PlanConfig, PretrainConfig
from speechssl.cores import num_cores
from speechssl.data.augmented import is_active
from speechssl.tasks.machine_probe import Probed
from speechssl.training.machine import resolve_accelerator

GRADIENT_BYTES = 4
"""Of one gradient."""
REDUCED_BYTES = {False: GRADIENT_BYTES, True: 2}
"""Of one gradient as it is exchanged, by training.reduce_in_bf16."""
READING_SHARE = 0.02
"""Of an update's time, from which on reading is spoken of."""
WORTH_A_CHANGE = 0.03
"""What a row must save to be advised: less is within what a probe of half a minute can tell."""
ONE_SIZE = "no other size of batches keeps the update and has room for the longest sample"
BACKWARD_SHARE = 2 / 3
"""Of a micro-batch's time; behind it the exchange of gradients hides."""


class Geometry(NamedTuple):
    """One way to make the updates of a run."""

    devices: int
    batch_seconds: float
    """Of a micro-batch (data.max_batch_seconds)."""
    num_streams: int
    """Micro-batches of an update (data.num_streams)."""
    accumulation: int
    """Micro-batches of one device in an update."""
    peak_bytes: int
    """Of one device or process."""
    audio_seconds_per_second: float
    """Of all devices together."""
    update_seconds: float
    """Time of an update."""
    hours: float
    """Of the whole run."""
    cost: float
    exchange_share: float
    """Of an update's time that devices wait for each other's gradients."""
    reading_share: float
    """Of an update's time that devices wait for audio, or on CPUs read it."""


def fitting(probed: Sequence[Probed], devices: int, audio: float) -> list[Probed]:
    """Micro-batches with which an update of the devices has no more audio than it should; the smallest in any case."""
    most = audio / devices * (1 + 1e-9)
    return [item for item in probed if item.batch_seconds <= most] or [probed[0]]


def update_audio(pretrain: PretrainConfig, config: PlanConfig) -> float:
    """Seconds of audio that an update is to have."""
    return config.update_hours * 3600 or pretrain.data.num_streams * pretrain.data.max_batch_seconds


def exchange_seconds(num_parameters: int, devices: int, pretrain: PretrainConfig, config: PlanConfig) -> float:
    """Time in which a ring of devices sums its gradients: 2 (W - 1) / W times their bytes over the link's speed."""
    if devices == 1 or config.link_gigabytes_per_second == 0:
        return 0.0
    traffic = 2 * (devices - 1) / devices * num_parameters * REDUCED_BYTES[pretrain.training.reduce_in_bf16]
    return traffic / (config.link_gigabytes_per_second * 1e9)


def geometry(
    probed: Probed,
    devices: int,
    pretrain: PretrainConfig,
    config: PlanConfig,
    exchange: float = 0.0,
    num_parameters: int = 0,
) -> Geometry:
    """A run with micro-batches of one size on so many devices.

    The exchange begins when the last micro-batch's backward pass does; what it takes longer is waited for, and so is
    what reading takes longer than learning.
    """
    accumulation = max(1, math.ceil(update_audio(pretrain, config) / (devices * probed.batch_seconds) - 1e-9))
    waiting = max(0.0, exchange - BACKWARD_SHARE * probed.micro_batch_seconds)
    learning = accumulation * probed.micro_batch_seconds + probed.step_seconds + waiting
    seconds = learning + reading_seconds(accumulation * probed.read_seconds, learning, pretrain)
    hours = pretrain.training.max_updates * seconds / 3600
    return Geometry(
        devices=devices,
        batch_seconds=probed.batch_seconds,
        num_streams=accumulation * devices,
        accumulation=accumulation,
        # With several devices, another copy of the gradients in the buckets that are exchanged.
        peak_bytes=probed.peak_bytes + (GRADIENT_BYTES * num_parameters if devices > 1 else 0),
        audio_seconds_per_second=devices * accumulation * probed.audio_seconds / seconds,
        update_seconds=seconds,
        hours=hours,
        cost=hours * devices * config.price_per_hour,
        exchange_share=waiting / seconds,
        reading_share=1 - learning / seconds,
    )


def reading_seconds(reading: float, learning: float, pretrain: PretrainConfig) -> float:
    """What reading adds to an update in which a device learns for so long: on CPUs all, for their cores do both."""
    workers = pretrain.data.num_workers
    if workers == 0 or resolve_accelerator(pretrain.training.accelerator) == "cpu":
        return reading
    return max(0.0, reading / workers - learning)


def advice(
    found: Sequence[Geometry], pretrain: PretrainConfig, config: PlanConfig, *, audio_format: str | None
) -> list[str]:
    """What to make of the rows of the table: what could be changed for the better, and nothing that is so already."""
    lines = reading_advice(max(item.reading_share for item in found), pretrain, audio_format)
    if pretrain.training.strategy == "fsdp":
        lines.append(
            "planned as ddp: fsdp needs less memory, and sends weights round twice for every micro-batch"
            if max(item.devices for item in found) > 1
            else "fsdp shares a model among devices; on a single one it changes nothing"
        )
    audio = update_audio(pretrain, config)
    kept = [item for item in found if item.num_streams * item.batch_seconds <= audio * (1 + 1e-9)]
    lines += [
        f"{item.devices} devices: updates of {item.num_streams * item.batch_seconds:g} s, more than {audio:g} s"
        for item in found
        if item not in kept
    ]
    return lines + (geometry_advice(kept, pretrain) if kept else [])


def reading_advice(share: float, pretrain: PretrainConfig, audio_format: str | None) -> list[str]:
    """How to wait less for audio, of which an update's time is a share."""
    if share <= READING_SHARE:
        return []
    remedies = []
    workers = pretrain.data.num_workers
    if resolve_accelerator(pretrain.training.accelerator) != "cpu" and workers < num_cores():
        remedies.append(f"raise data.num_workers (now {workers})")
    if audio_format not in ("WAV", "FLAC"):
        remedies.append("make the shards anew as FLAC or WAV")
    elif audio_format == "FLAC":
        remedies.append("make the shards anew as WAV")
    if is_active(pretrain.augmentation):
        remedies.append("augment less")
    return [f"reading audio takes up to {share:.0%} of an update" + (f": {', or '.join(remedies)}" if remedies else "")]


def geometry_advice(kept: Sequence[Geometry], pretrain: PretrainConfig) -> list[str]:
    """The options of the fastest row, if they would change anything worth a change."""
    best = min(kept, key=lambda item: item.hours)
    options = (pretrain.data.max_batch_seconds, pretrain.data.num_streams)
    same = [item for item in kept if item.devices == best.devices and (item.batch_seconds, item.num_streams) == options]
    if same and same[0].hours <= best.hours * (1 + WORTH_A_CHANGE):
        where = f" on {best.devices} devices" if best.devices > 1 else ""
        return [f"the configuration's batches are as fast as any tried{where}" if len(kept) > 1 else ONE_SIZE]
    gain = f", {same[0].hours / best.hours - 1:.0%} faster than as configured" if same else ""
    return [
        f"fastest: --data.max_batch_seconds {best.batch_seconds:g} --data.num_streams {best.num_streams}, on "
        f"{best.devices} device(s){gain}"
    ]
