"""What a probe is made of: the encoder, the sets, the layers that are scored, and the tasks that score them."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from speechssl.config import ModelConfig, ProbeConfig
from speechssl.embedder import Embedder, load_encoder
from speechssl.errors import DataError
from speechssl.probing.aligned import AlignedSet, align_set
from speechssl.probing.baselines import SpectralLayers, random_encoder
from speechssl.probing.characters import CharacterProbe
from speechssl.probing.features import EncoderLayers, Layer, LayerSource, write_layers
from speechssl.probing.label_free import AbxProbe, AlignmentOfLayers, RankProbe, UnitProbe
from speechssl.probing.languages import LanguageProbe
from speechssl.probing.results import Figure, NotProbedError, Probe, ProbedLayer
from speechssl.probing.sets import ProbeSet, read_set
from speechssl.probing.speakers import IdentificationProbe, SpeakerHeads, VerificationProbe
from speechssl.training.machine import resolve_accelerator

logger = logging.getLogger(__name__)


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


def score_layers(config: ProbeConfig, subject: Subject, sources: Sequence[LayerSource], found: Probes) -> list[Figure]:
    """Figures of every task for every layer; a task that turns out to be impossible moves to ``found.left_out``."""
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


def probed_layers(sources: Sequence[LayerSource], subject: Subject, folder: Path) -> Iterator[ProbedLayer]:
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
