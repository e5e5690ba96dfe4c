"""``speechssl plan``: probe the machine, and show what a pretraining run would take."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from speechssl.config import PlanConfig, PretrainConfig
from speechssl.config.limits import check
from speechssl.config.reading import parse
from speechssl.data.corpus import Corpus
from speechssl.errors import DataError
from speechssl.outputs import check_output_file, has_json, write_json
from speechssl.remote.store import make_store
from speechssl.shards.addresses import is_remote
from speechssl.tasks.initial import resolve_pretraining
from speechssl.tasks.machine_probe import probe_machine
from speechssl.tasks.planning import Geometry, advice, exchange_seconds, fitting, geometry, update_audio
from speechssl.tasks.pretraining import make_model
from speechssl.tasks.sets import load_corpus
from speechssl.training.layout import planned_layout
from speechssl.training.memory import available_memory
from speechssl.training.optimizers import count_parameters

SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Micro-batches that are tried, as multiples of the configuration's."""
MEMORY_SHARE = 0.8
"""Of what is free, that the processes may take up."""


def run(config: PlanConfig) -> list[Geometry]:
    """Probe, print a table, write it if asked to.

    Raises:
        ConfigError: the run's configuration cannot be run.
        DataError: shards are missing or damaged, or no micro-batch fits the memory.
    """
    check(config)
    if config.output is not None:
        check_output_file(config.output, has_json("geometries"), what="plan")
    asked = parse(PretrainConfig, ["--config", str(config.pretraining), "--data.shards", *config.shards])
    pretrain, _ = resolve_pretraining(asked)
    check(pretrain)
    pretrain = pretrain.with_min_seconds()
    corpus = load_corpus(pretrain.data.shards, pretrain.model, store=make_store(pretrain.data))
    layout = planned_layout(pretrain.training, pretrain.data.num_streams)
    here = layout.devices
    sizes = [pretrain.data.max_batch_seconds * factor for factor in SIZES]
    memory = MEMORY_SHARE * available_memory() / here
    audio = update_audio(pretrain, config)
    probed = probe_machine(pretrain, sizes, devices=here, seconds=config.probe_seconds, memory_bytes=memory)
    if not probed:
        raise DataError(
            f"no micro-batch of {', '.join(f'{size:g}' for size in sizes)} s has room for the longest sample and fits "
            "into the memory of this machine"
        )
    num_parameters = count_parameters(make_model(pretrain))
    found: list[Geometry] = []
    for devices in config.devices or [layout.world_size]:
        exchange = exchange_seconds(num_parameters, devices, pretrain, config)
        found += [
            geometry(item, devices, pretrain, config, exchange, num_parameters)
            for item in fitting(probed, devices, audio)
        ]
    show(found, pretrain, corpus, config)
    if config.output is not None:
        write_json(config.output, {"geometries": [item._asdict() for item in found]})
    return found


def show(found: Sequence[Geometry], pretrain: PretrainConfig, corpus: Corpus, config: PlanConfig) -> None:
    """The table, and what to make of it."""
    console = Console()
    audio, updates = update_audio(pretrain, config), pretrain.training.max_updates
    total = updates * audio
    passes = total * corpus.sample_rate / corpus.num_samples.sum()
    console.print(
        f"{updates} updates of {audio:.4g} s: {total / 3600:,.0f} h of audio, {passes:,.1f} passes over the shards",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(box=SIMPLE)
    headers = ["devices", "batch", "update", "memory", "audio-s/s", "time", "run"]
    for name in headers + (["cost"] if config.price_per_hour else []):
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
        table.add_row(*cells, *([f"{item.cost:,.2f}"] if config.price_per_hour else []))
    console.print(table)
    lines = [
        "batch: of one device at a time; update: devices x batches of each; time: of an update, reading included",
        *advice(found, pretrain, config, audio_format=audio_format(corpus)),
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def audio_format(corpus: Corpus) -> str | None:
    """In what the first shard of this machine has its audio: FLAC, WAV or Ogg; None if it cannot be told."""
    for row in range(len(corpus)):
        ref = corpus[row]
        if ref.store is None or not is_remote(ref.shard):
            with Path(ref.shard).open("rb") as file:
                file.seek(ref.offset + ref.audio_start)
                return {b"fLaC": "FLAC", b"RIFF": "WAV", b"OggS": "Ogg"}.get(file.read(4))
    return None


def duration(hours: float) -> str:
    """A time as people say it."""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
