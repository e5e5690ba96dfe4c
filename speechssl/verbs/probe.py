"""``speechssl probe``: what each layer of an encoder knows."""

from typing import Any

from rich.console import Console

from speechssl import __version__
from speechssl.config import ProbeConfig
from speechssl.config.limits import check
from speechssl.config.reading import to_dict
from speechssl.model.loading import weights_digest
from speechssl.outputs import check_output_folder, has_json, is_plot, write_json
from speechssl.probing.assembly import Probes, Subject, build_probes, build_sources, load_subject, score_layers
from speechssl.probing.label_free import AlignmentOfLayers
from speechssl.probing.results import Figure
from speechssl.probing.showing import make_table, plot_probe
from speechssl.shards.addresses import redact_all
from speechssl.training.machine import configure_cpu

RESULT_FILE = "probe.json"
PLOT_FILE = "probe.png"
PROBE_FILES = {RESULT_FILE: has_json("figures", "left_out"), PLOT_FILE: is_plot}


def run(config: ProbeConfig) -> list[Figure]:
    """Score all layers, write ``probe.json`` and ``probe.png``, print the table.

    Raises:
        ConfigError: no shards, no such layer, or files of other origins would be replaced.
        CheckpointError: no checkpoint there, or no recogniser as aligner.
        DataError: shards are missing or damaged, or nothing can be scored.
    """
    check(config)
    check_output_folder(config.output, ours=PROBE_FILES)
    configure_cpu()
    subject = load_subject(config)
    sources = build_sources(config, subject)
    found = build_probes(config, subject)
    config.output.mkdir(parents=True, exist_ok=True)
    figures = score_layers(config, subject, sources, found)
    write_results(config, subject, figures, found)
    return figures


def write_results(config: ProbeConfig, subject: Subject, figures: list[Figure], found: Probes) -> None:
    """Write both files and print the table."""
    cka = found.probes.get("cka")
    common = (cka.names, cka.matrix()) if isinstance(cka, AlignmentOfLayers) else None
    result = describe(config, subject) | {
        "figures": [figure.plain() for figure in figures],
        "cka": None if common is None else {"layers": common[0], "values": common[1]},
        "left_out": found.left_out,
    }
    write_json(config.output / RESULT_FILE, result)
    checkpoint = subject.embedder.checkpoint
    title = f"{checkpoint.path.parent.parent.name}, update {checkpoint.update}: what its layers know (%)"
    plot_probe(figures, common, title, config.output / PLOT_FILE)
    table = make_table(figures, title)
    console = Console()
    # A line that a narrow terminal breaks can be read, cells that are cut short cannot.
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1_000)).maximum)
    console.print(table)
    lines = [f"left out: {name}: {why}" for name, why in found.left_out.items()]
    lines += [str(config.output / name) for name in PROBE_FILES]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def describe(config: ProbeConfig, subject: Subject) -> dict[str, Any]:
    """All that decides the figures."""
    checkpoint = subject.embedder.checkpoint
    sets = {"train": (config.train, subject.train), "test": (config.test, subject.test)}
    return {
        "checkpoint": str(checkpoint.path),
        "update": checkpoint.update,
        "weights": weights_digest(checkpoint.encoder_state),
        "version": __version__,
        "config": {name: value for name, value in to_dict(config).items() if name not in ("output", "train", "test")},
        "sets": {
            name: {
                "shards": redact_all(given.shards),
                "data": samples.corpus.digest(),
                "num_utterances": len(samples),
                "seconds": samples.corpus.seconds,
                "num_speakers": len({speaker for speaker in samples.speakers if speaker}),
            }
            for name, (given, samples) in sets.items()
        },
    }
