"""The probe of a run that pretrains: linear CTC heads on one block, small enough for three hundredths of its time.

What ``speechssl probe`` does for all layers and tasks with files between, for one task in memory.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from speechssl.config import HeadTrainingConfig, ModelConfig, PretrainConfig, ProbeConfig, TrainingProbeConfig
from speechssl.data.corpus import Corpus, warn_shared
from speechssl.data.transcribed import frames_needed
from speechssl.embedder import load_encoder
from speechssl.errors import DataError
from speechssl.probing.characters import CharacterProbe
from speechssl.probing.features import EncoderLayers, LayerFrames, fill
from speechssl.probing.results import Figure, ProbedLayer
from speechssl.probing.sets import ProbeSet, read_set
from speechssl.remote.store import make_store
from speechssl.seeding import Purpose, numpy_generator
from speechssl.shards.addresses import redact_all
from speechssl.training.resume import describe_corpus

BATCH_FRAMES, LEARNING_RATE, DROPOUT = 2_000, 2e-2, 0.5
"""Of heads that learn from two minutes: docs/decisions.md has what others gave."""
RESAMPLES = 1_000
"""Behind the 95% interval, for which few will do."""


class ProbeSample(NamedTuple):
    """What every probe of a run learns from and is scored on."""

    train: ProbeSet
    test: ProbeSet

    def describe(self, config: TrainingProbeConfig, model: ModelConfig) -> dict[str, Any]:
        """What decides the scores besides the encoder, as plain values: scores of other ones do not compare."""
        return {
            "train": describe_corpus(self.train.corpus),
            "test": describe_corpus(self.test.corpus),
            "settings": {
                "layers": probed_layers(config, model),
                "seconds": config.seconds,
                "updates": config.updates,
                "num_heads": config.num_heads,
            },
        }


def read_sample(config: PretrainConfig, learned: Corpus) -> ProbeSample | None:
    """Draw the utterances of a run's probe; None if it has none.

    Args:
        config: resolved, of the run.
        learned: what the encoder learns from, for a warning of what it is scored on as well.

    Raises:
        DataError: shards are missing or damaged, of another sample rate than the model's, or hold no transcripts.
    """
    if not config.probe.is_on:
        return None
    found = []
    for name, data in (("train", config.probe.train), ("test", config.probe.test)):
        samples = read_set(data, config.model, name=f"probe.{name}", store=make_store(data, config.data))
        usable = [
            i
            for i, text in enumerate(samples.texts)
            if text and (name == "test" or frames_needed(text) <= samples.num_frames[i])
        ]
        if not usable:
            raise DataError(
                f"probe.{name}.shards ({redact_all(data.shards)}): none of the {len(samples)} samples has a transcript "
                "that fits into its frames, and the probe is a character error rate; name shards that `speechssl "
                "shard LIST FOLDER --require_text` made of transcribed recordings, or leave the section probe out"
            )
        found.append(draw(samples.subset(usable), config.probe.seconds))
    sample = ProbeSample(*found)
    warn_shared(learned.identities, sample.test.corpus, name="probe.test")
    warn_shared(sample.train.corpus.identities, sample.test.corpus, name="probe.test", by="the heads")
    return sample


def draw(samples: ProbeSet, seconds: float) -> ProbeSet:
    """Utterances of all speakers in turn, up to an amount of audio, and one at least; the same in every run."""
    turns: dict[str, int] = {}
    keyed = []
    for i in numpy_generator(0, Purpose.PROBE_CHOICES, 2).permutation(len(samples)).tolist():
        speaker = samples.speakers[i]
        turns[speaker] = turns.get(speaker, 0) + 1
        keyed.append((turns[speaker], i))
    order = [i for _, i in sorted(keyed, key=lambda item: item[0])]
    ends = np.cumsum(samples.corpus.num_samples[order]) / samples.corpus.sample_rate
    return samples.subset(order[: max(1, int((ends <= seconds).sum()))])


def probed_layers(config: TrainingProbeConfig, model: ModelConfig) -> list[str]:
    """Those of the configuration, or else the block in the middle, the later of two; features if there is no block."""
    blocks = model.context.num_layers
    middle = f"block_{min(blocks // 2 + 1, blocks)}" if blocks else "features"
    return list(dict.fromkeys(config.layers)) or [middle]


class TrainingProbe:
    """Scores the encoder of a checkpoint; reads its audio once, and keeps it.

    Args:
        config: of the probe.
        sample: to learn from, and to be scored on.
        device: where the encoder computes; heads do so on the CPU, whose CTC is the same every time.
        precision: of the encoder's matrix products.

    Raises:
        DataError: audio is damaged or missing.
    """

    def __init__(
        self, config: TrainingProbeConfig, sample: ProbeSample, device: torch.device, precision: str = "fp32"
    ) -> None:
        self._config, self._sample = config, sample
        self._device, self._in_bf16 = device, precision == "bf16"
        self._batches = [list(samples.batches()) for samples in sample]
        heads = ProbeConfig(
            checkpoint=Path(),  # comes with each call
            output=Path(),
            train=config.train,
            test=config.test,
            heads=HeadTrainingConfig(
                dropout=DROPOUT, updates=config.updates, max_batch_frames=BATCH_FRAMES, learning_rate=LEARNING_RATE
            ),
            num_seeds=config.num_heads,
            bootstrap_samples=RESAMPLES,
        )
        self._characters = CharacterProbe(*sample, heads, torch.device("cpu"), kinds=("linear",), few=True)

    def __call__(self, checkpoint: Path) -> dict[str, float]:
        """Character error rate of the best layer, its 95% interval over speakers (or utterances, if those are few or
        not known), and its noise, the standard error over heads; where there are several layers, the rate of each.

        Raises:
            CheckpointError: the checkpoint is damaged.
        """
        encoder = load_encoder(checkpoint, self._device).encoder
        source = EncoderLayers(encoder, probed_layers(self._config, encoder.config))
        train, test = (self._frames(source, i) for i in range(2))
        with torch.random.fork_rng(devices=[]):  # heads are made with weights that the run's own generator would draw
            figures = [self._score(*layer) for layer in zip(source.names, train, test, strict=True)]
        best = min(figures, key=lambda figure: figure.value)
        found = {"probe_cer": best.value, "probe_noise": best.spread / len(best.seeds) ** 0.5}
        if best.interval is not None:
            found |= {"probe_cer_low": best.interval.low, "probe_cer_high": best.interval.high}
        if len(figures) > 1:
            found |= {f"probe_cer_{figure.layer}": figure.value for figure in figures}
        return found

    def _frames(self, source: EncoderLayers, number: int) -> list[LayerFrames]:
        """Each layer of one of the two sets."""
        bounds = self._sample[number].bounds
        layers = [np.empty((int(bounds[-1]), dim), dtype=np.float32) for dim in source.dims]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bf16):
            fill(layers, source, self._batches[number], bounds)
        return [LayerFrames(torch.from_numpy(frames), bounds) for frames in layers]

    def _score(self, name: str, train: LayerFrames, test: LayerFrames) -> Figure:
        layer = ProbedLayer(name, train.standardized(train), test.standardized(train), test)
        return next(figure for figure in self._characters.score(layer) if figure.measure == "cer")
