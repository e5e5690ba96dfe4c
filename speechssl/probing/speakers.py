"""Who speaks: identification of known speakers, verification of unknown ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from speechssl.config import ProbeConfig
from speechssl.evaluation.verification import cosine_trials, equal_error_rate
from speechssl.probing.classes import discriminant_space, predict_linear, train_classifier
from speechssl.probing.features import LEAST_DEVIATION
from speechssl.probing.heads import Head, apply_head
from speechssl.probing.results import Figure, NotProbedError, ProbedLayer, accuracy_interval, error_interval
from speechssl.probing.sets import ProbeSet
from speechssl.seeding import Purpose, numpy_generator

HELD_OUT_SHARE = 0.25
"""Of each speaker's utterances in train, one at least: those that identification is scored on."""


class Split(NamedTuple):
    """Positions of the samples of train that speakers are learned from, and of those that are held out."""

    learned: np.ndarray
    held_out: np.ndarray


class SpeakerHeads:
    """Recurrent heads that tell the speakers of train apart, which both tasks use.

    Args:
        train: whose speakers are learned; those of one utterance are left out.
        config: of heads and seeds.
        device: where heads are trained.

    Raises:
        NotProbedError: train does not know two speakers of two utterances.
    """

    def __init__(self, train: ProbeSet, config: ProbeConfig, device: torch.device) -> None:
        self.config, self._device = config, device
        self.rows = repeated(train.speakers)
        """Positions of the samples of train that are used."""
        self.names, self.speakers = np.unique(np.array(train.speakers)[self.rows], return_inverse=True)
        if len(self.names) < 2:
            raise NotProbedError("train does not know two speakers with two utterances each")
        self._trained: tuple[str, list[Head]] = ("", [])

    def split(self, number: int) -> Split:
        """What the head of a seed does not learn from."""
        rng = numpy_generator(self.config.seed + number, Purpose.PROBE_CHOICES, 0)
        held_out = np.zeros(len(self.speakers), dtype=bool)
        for speaker in range(len(self.names)):
            own = rng.permutation(np.flatnonzero(self.speakers == speaker))
            held_out[own[: max(1, int(HELD_OUT_SHARE * len(own)))]] = True
        return Split(np.flatnonzero(~held_out), np.flatnonzero(held_out))

    def trained(self, layer: ProbedLayer) -> list[Head]:
        """The head of each seed on a layer; those of the last layer are kept."""
        if self._trained[0] != layer.name:
            frames = layer.train.split()
            heads = []
            for number in range(self.config.num_seeds):
                learned = self.split(number).learned
                chosen = [frames[i] for i in self.rows[learned]]
                seed = self.config.seed + number
                heads.append(train_classifier(chosen, self.speakers[learned], self.config.heads, seed, self._device))
            self._trained = (layer.name, heads)
        return self._trained[1]


class IdentificationProbe:
    """Accuracy on held-out utterances of each speaker of train, others for each seed."""

    def __init__(self, heads: SpeakerHeads) -> None:
        self._heads = heads

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Accuracy of both heads."""
        heads, frames = self._heads, layer.train.split()
        pooled = layer.train.pooled()[heads.rows]
        linear, recurrent = [], []
        for number, head in enumerate(heads.trained(layer)):
            learned, held_out = heads.split(number)
            linear.append(predict_linear(pooled[learned], heads.speakers[learned], pooled[held_out]))
            heard = [frames[i] for i in heads.rows[held_out]]
            recurrent.append(torch.stack(apply_head(head, heard, heads.config.heads)).argmax(1).numpy())
        return [self.accuracy(layer.name, "linear", linear), self.accuracy(layer.name, "recurrent", recurrent)]

    def accuracy(self, layer: str, head: str, predicted: list[np.ndarray]) -> Figure:
        """Of all seeds, with the interval over speakers."""
        heads = self._heads
        expected = [heads.speakers[heads.split(number).held_out] for number in range(len(predicted))]
        wrong = [found != right for found, right in zip(predicted, expected, strict=True)]
        size = len(heads.names)
        errors = np.bincount(np.concatenate(expected), weights=np.concatenate(wrong), minlength=size)
        totals = np.bincount(np.concatenate(expected), minlength=size)
        interval = error_interval(errors, totals, heads.names.tolist(), heads.config.bootstrap_samples)
        seeds = tuple(float(1 - item.mean()) for item in wrong)
        return Figure(layer, "speaker", head, "accuracy", float(np.mean(seeds)), seeds, accuracy_interval(interval))


class VerificationProbe:
    """Equal error rate of all pairs of utterances of test, of speakers whom train does not have.

    Pairs are scored by the cosine of means and standard deviations over the frames ("none"), of those after linear
    discriminant analysis on train ("linear"), and of what the heads of identification have before their last layer.

    Args:
        heads: trained on other speakers.
        train: the same set.
        test: whose speakers are compared.

    Raises:
        NotProbedError: test does not know two other speakers of two utterances.
    """

    def __init__(self, heads: SpeakerHeads, train: ProbeSet, test: ProbeSet) -> None:
        self._heads = heads
        known = set(train.speakers)
        unseen = ["" if speaker in known else speaker for speaker in test.speakers]
        self._rows = repeated(unseen)
        names, self._speakers = np.unique(np.array(unseen)[self._rows], return_inverse=True)
        if len(names) < 2:
            raise NotProbedError("test does not know two speakers, other than those of train, with two utterances each")

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Error rate of each kind of embedding."""
        heads, frames = self._heads, layer.test.split()
        heard = [frames[i] for i in self._rows]
        train, test = layer.train.pooled()[heads.rows], layer.test.pooled()[self._rows]
        outputs = [apply_head(head, heard, heads.config.heads, embed=True) for head in heads.trained(layer)]
        embeddings = {
            "none": [(test - train.mean(0)) / np.maximum(train.std(0), LEAST_DEVIATION)],
            "linear": [discriminant_space(train, heads.speakers, test)],
            "recurrent": [torch.stack(embedded).numpy() for embedded in outputs],
        }
        return [self.error_rate(layer.name, head, found) for head, found in embeddings.items()]

    def error_rate(self, layer: str, head: str, embeddings: list[np.ndarray]) -> Figure:
        """Of all seeds."""
        seeds = tuple(equal_error_rate(cosine_trials(found, self._speakers)) for found in embeddings)
        return Figure(layer, "verification", head, "eer", float(np.mean(seeds)), seeds)


def repeated(names: Sequence[str]) -> np.ndarray:
    """Positions of what is named, and has a name that occurs more than once."""
    kinds, places, counts = np.unique(
        np.array(names, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    return np.flatnonzero((counts[places] > 1) & (kinds[places] != ""))
