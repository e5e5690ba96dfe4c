"""What a pretraining run would take: time, memory and cost, for the micro-batches that fit and the devices at hand."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE
from rich.table import Table

from speechssl.config import PlanConfig, PretrainConfig
from speechssl.tasks.machine_probe import Probed
from speechssl.training.machine import resolve_accelerator

READING_SHARE = 0.02
"""Of an update's time, from which on reading is spoken of."""
WORTH_A_CHANGE = 0.03
"""What a row must save to be advised: less is within what a probe of half a minute can tell."""


class Geometry(NamedTuple):
    """One way to make the updates of a run, if devices exchanged their gradients at no cost."""

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
    reading_share: float
    """Of an update's time that devices wait for audio, or on CPUs read it."""


def geometries(probed: Sequence[Probed], pretrain: PretrainConfig, config: PlanConfig, here: int) -> list[Geometry]:
    """A row for each number of devices that is asked for, or those ``here``, and each size of micro-batches."""
    audio = update_audio(pretrain, config)
    return [
        geometry(item, devices, pretrain, config)
        for devices in config.devices or [here]
        for item in fitting(probed, devices, audio)
    ]


def fitting(probed: Sequence[Probed], devices: int, audio: float) -> list[Probed]:
    """Micro-batches with which an update of the devices has no more audio than it should; the smallest in any case."""
    most = audio / devices * (1 + 1e-9)
    return [item for item in probed if item.batch_seconds <= most] or [probed[0]]


def update_audio(pretrain: PretrainConfig, config: PlanConfig) -> float:
    """Seconds of audio that an update is to have."""
    return config.update_hours * 3600 or pretrain.data.num_streams * pretrain.data.max_batch_seconds


def geometry(probed: Probed, devices: int, pretrain: PretrainConfig, config: PlanConfig) -> Geometry:
    """A run with micro-batches of one size on so many devices."""
    accumulation = max(1, math.ceil(update_audio(pretrain, config) / (devices * probed.batch_seconds) - 1e-9))
    learning = accumulation * probed.micro_batch_seconds + probed.step_seconds
    seconds = learning + reading_seconds(accumulation * probed.read_seconds, learning, pretrain)
    hours = pretrain.training.max_updates * seconds / 3600
    return Geometry(
        devices=devices,
        batch_seconds=probed.batch_seconds,
        num_streams=accumulation * devices,
        accumulation=accumulation,
        peak_bytes=probed.peak_bytes,
        audio_seconds_per_second=devices * accumulation * probed.audio_seconds / seconds,
        update_seconds=seconds,
        hours=hours,
        cost=hours * devices * config.price_per_hour,
        reading_share=1 - learning / seconds,
    )


def reading_seconds(reading: float, learning: float, pretrain: PretrainConfig) -> float:
    """What reading adds to an update in which a device learns for so long: on CPUs all, for their cores do both."""
    workers = pretrain.data.num_workers
    if workers == 0 or resolve_accelerator(pretrain.training.accelerator) == "cpu":
        return reading
    return max(0.0, reading / workers - learning)


def make_table(found: Sequence[Geometry], *, with_cost: bool) -> Table:
    """A row for each geometry."""
    table = Table(box=SIMPLE)
    headers = ["devices", "batch", "update", "memory", "audio-s/s", "time", "run"]
    for name in headers + (["cost"] if with_cost else []):
        table.add_column(name, justify="right", no_wrap=True)
    for item in found:
        cells = [
            str(item.devices),
            f"{item.batch_seconds:g} s",
            f"{item.devices} x {item.accumulation}",
            f"{item.peak_bytes / 2**30:.1f} GiB",
            f"{item.audio_seconds_per_second:,.0f}",
            f"{item.update_seconds:.3g} s",
            duration(item.hours),
        ]
        table.add_row(*cells, *([f"{item.cost:,.2f}"] if with_cost else []))
    return table


def duration(hours: float) -> str:
    """A time as people say it."""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def advice(found: Sequence[Geometry], pretrain: PretrainConfig, config: PlanConfig) -> list[str]:
    """What to make of the rows of the table: what could be changed for the better, and nothing that is so already."""
    lines = []
    if (share := max(item.reading_share for item in found)) > READING_SHARE:
        lines.append(
            f"reading audio takes up to {share:.0%} of an update; shards of WAV, more data.num_workers beside a GPU "
            "and less augmentation shorten that"
        )
    audio = update_audio(pretrain, config)
    kept = [item for item in found if item.num_streams * item.batch_seconds <= audio * (1 + 1e-9)]
    lines += [
        f"{item.devices} devices: updates of {item.num_streams * item.batch_seconds:g} s, more than {audio:g} s"
        for item in found
        if item not in kept
    ]
    return lines + (geometry_advice(kept, pretrain) if kept else [])


def geometry_advice(kept: Sequence[Geometry], pretrain: PretrainConfig) -> list[str]:
    """The options of the fastest row, if they would change anything worth a change."""
    best = min(kept, key=lambda item: item.hours)
    options = (best.devices, pretrain.data.max_batch_seconds, pretrain.data.num_streams)
    same = [item for item in kept if (item.devices, item.batch_seconds, item.num_streams) == options]
    if same and same[0].hours <= best.hours * (1 + WORTH_A_CHANGE):
        return ["the configuration's batches are as fast as any tried"]
    gain = f", {same[0].hours / best.hours - 1:.0%} faster than as configured" if same else ""
    return [
        f"fastest: --data.max_batch_seconds {best.batch_seconds:g} --data.num_streams {best.num_streams}, on "
        f"{best.devices} device(s){gain}"
    ]
