"""``speechssl probe``: what each layer of an encoder knows."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from speechssl import __version__
from speechssl.config import ModelConfig, ProbeConfig
from speechssl.config.limits import check
from speechssl.config.reading import to_dict
from speechssl.embedder import Embedder, load_encoder
from speechssl.errors import DataError
from speechssl.model.loading import weights_digest
from speechssl.outputs import check_output_folder, has_json, is_plot, write_json
from speechssl.probing.aligned import AlignedSet, align_set
from speechssl.probing.baselines import SpectralLayers, random_encoder
from speechssl.probing.characters import CharacterProbe
from speechssl.probing.features import EncoderLayers, Layer, LayerSource, write_layers
from speechssl.probing.label_free import AbxProbe, AlignmentOfLayers, RankProbe, UnitProbe
from speechssl.probing.languages import LanguageProbe
from speechssl.probing.results import Figure, NotProbedError, Probe, ProbedLayer
from speechssl.probing.sets import ProbeSet, read_set
from speechssl.probing.showing import make_table, plot_probe
from speechssl.probing.speakers import IdentificationProbe, SpeakerHeads, VerificationProbe
from speechssl.shards.addresses import redact_all
from speechssl.training.machine import configure_cpu, resolve_accelerator

logger = logging.getLogger(__name__)

RESULT_FILE = "probe.json"
PLOT_FILE = "probe.png"
PROBE_FILES = {RESULT_FILE: has_json("figures", "left_out"), PLOT_FILE: is_plot}


class Subject(NamedTuple):
    """What is probed, and on what."""

    embedder: Embedder
    train: ProbeSet
    test: ProbeSet
    device: torch.device

    @property
    def model(self) -> ModelConfig:
        """Of the encoder."""
        return self.embedder.encoder.config


class Probes(NamedTuple):
    """The tasks that can be scored, and why others cannot."""

    probes: dict[str, Probe]
    left_out: dict[str, str]


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
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=config.output, prefix=".features_") as folder:
        for layer in probed_layers(sources, subject, Path(folder)):
            for name, probe in list(found.probes.items()):
                try:
                    figures += probe.score(layer)
                except NotProbedError as error:
                    found.left_out[name] = str(error)
                    del found.probes[name]
            logger.info("%s: done", layer.name)
    write_results(config, subject, figures, found)
    return figures


def load_subject(config: ProbeConfig) -> Subject:
    """Encoder and sets."""
    device = torch.device(resolve_accelerator(config.accelerator))
    embedder = load_encoder(config.checkpoint, device)
    model = embedder.encoder.config
    sets = read_set(config.train, model, name="train"), read_set(config.test, model, name="test")
    return Subject(embedder, *sets, device)


def build_sources(config: ProbeConfig, subject: Subject) -> list[LayerSource]:
    """The encoder's layers, then those that it has to beat."""
    own = EncoderLayers(subject.embedder.encoder, config.layers)
    sources: list[LayerSource] = [own]
    for name in dict.fromkeys(config.baselines):
        match name:
            case "log_mel" | "mfcc":
                sources.append(SpectralLayers(subject.model, name))
            case "random":
                encoder = random_encoder(subject.model, config.seed).to(subject.device)
                ends = list(dict.fromkeys((own.names[0], own.names[-1])))
                sources.append(EncoderLayers(encoder, ends, prefix="random_"))
    return sources


def build_probes(config: ProbeConfig, subject: Subject) -> Probes:
    """The tasks that the sets have labels for.

    Raises:
        DataError: there is none.
    """
    builders = probe_builders(config, subject)
    found = Probes({}, {})
    for name in dict.fromkeys(config.tasks):
        try:
            found.probes[name] = builders[name]()
        except NotProbedError as error:
            found.left_out[name] = str(error)
            logger.warning("left out: %s: %s", name, error)
    if not found.probes:
        why = "\n  ".join(f"{name}: {reason}" for name, reason in found.left_out.items())
        raise DataError(f"nothing can be probed:\n  {why}")
    return found


def probe_builders(config: ProbeConfig, subject: Subject) -> dict[str, Callable[[], Probe]]:
    """How each task is made."""
    train, test, device = subject.train, subject.test, subject.device

    @cache
    def alignment() -> AlignedSet:
        return align_set(config.aligner, test, subject.model, device)

    @cache
    def heads() -> SpeakerHeads:
        return SpeakerHeads(train, config, device)

    return {
        "ctc": lambda: CharacterProbe(train, test, config, device),
        "speaker": lambda: IdentificationProbe(heads()),
        "verification": lambda: VerificationProbe(heads(), train, test),
        "language": lambda: LanguageProbe(train, test, config, device),
        "units": lambda: UnitProbe(alignment(), test, config),
        "abx": lambda: AbxProbe(alignment(), test, config),
        "rank": RankProbe,
        "cka": AlignmentOfLayers,
    }


def probed_layers(sources: list[LayerSource], subject: Subject, folder: Path) -> Iterator[ProbedLayer]:
    """Every layer in memory, one after the other; a source's files go when all of its layers were seen."""
    sets = {"train": subject.train, "test": subject.test}
    for source in sources:
        layers: list[Layer] = list(write_layers(source, sets, folder))
        for layer in layers:
            train = layer.frames("train", subject.train.bounds)
            raw = layer.frames("test", subject.test.bounds)
            yield ProbedLayer(layer.name, train.standardized(train), raw.standardized(train), raw)
        for path in folder.iterdir():
            path.unlink()


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
