"""``speechssl plan``: probe the machine, and show what a pretraining run would take."""

from rich.console import Console

from speechssl.config import PlanConfig, PretrainConfig
from speechssl.config.limits import check
from speechssl.config.reading import parse
from speechssl.outputs import check_output_file, has_json, write_json
from speechssl.remote.store import make_store
from speechssl.tasks.initial import resolve_pretraining
from speechssl.tasks.machine_probe import probe_machine
from speechssl.tasks.planning import Geometry, advice, geometries, make_table, update_audio
from speechssl.tasks.sets import load_corpus
from speechssl.training.processes import count_devices
from speechssl.training.ranks import ALONE


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
    devices = count_devices(pretrain.training, pretrain.data.num_streams, ALONE)
    found = geometries(probe_machine(pretrain, devices, config.probe_seconds), pretrain, config, devices)
    audio, updates = update_audio(pretrain, config), pretrain.training.max_updates
    passes = updates * audio * corpus.sample_rate / corpus.num_samples.sum()
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{updates} updates of {audio:.4g} s: {updates * audio / 3600:,.0f} h of audio, {passes:,.1f} passes")
    console.print(make_table(found, with_cost=config.price_per_hour > 0))
    console.print("batch: of one device at a time; update: devices x batches of each")
    console.print("time: of an update, as if the exchange of gradients took none")
    console.print(*advice(found, pretrain, config), sep="\n")
    if config.output is not None:
        write_json(config.output, {"geometries": [item._asdict() for item in found]})
    return found
