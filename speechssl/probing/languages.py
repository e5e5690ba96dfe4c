"""What language is spoken."""

import numpy as np
import torch

from speechssl.config import ProbeConfig
from speechssl.probing.classes import predict_linear, train_classifier
from speechssl.probing.heads import apply_head
from speechssl.probing.results import Figure, NotProbedError, ProbedLayer, accuracy_interval, error_interval
from speechssl.probing.sets import ProbeSet


class LanguageProbe:
    """Accuracy on the samples of test whose language is one of those of train.

    Args:
        train: what languages are learned from.
        test: scored.
        config: of heads, seeds and intervals.
        device: where heads are trained.

    Raises:
        NotProbedError: a set does not know two languages.
    """

    def __init__(self, train: ProbeSet, test: ProbeSet, config: ProbeConfig, device: torch.device) -> None:
        self._config, self._device = config, device
        names = sorted({language for language in train.languages if language} & set(test.languages))
        if len(names) < 2:
            raise NotProbedError("train and test do not have two languages in common")
        self._rows = [i for i, language in enumerate(train.languages) if language in names]
        self._scored = [i for i, language in enumerate(test.languages) if language in names]
        self._learned = np.array([names.index(train.languages[i]) for i in self._rows])
        self._expected = np.array([names.index(test.languages[i]) for i in self._scored])
        self._speakers = [test.speakers[i] for i in self._scored]

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Accuracy of both heads; the linear one has no seeds."""
        pooled, heard = layer.train.pooled()[self._rows], layer.test.pooled()[self._scored]
        outputs = [self.recurrent(layer, self._config.seed + number) for number in range(self._config.num_seeds)]
        return [
            self.accuracy(layer.name, "linear", [predict_linear(pooled, self._learned, heard)]),
            self.accuracy(layer.name, "recurrent", outputs),
        ]

    def recurrent(self, layer: ProbedLayer, seed: int) -> np.ndarray:
        """Languages by the recurrent head of a seed."""
        train, test = layer.train.split(), layer.test.split()
        heads = self._config.heads
        head = train_classifier([train[i] for i in self._rows], self._learned, heads, seed, self._device)
        scores = torch.stack(apply_head(head, [test[i] for i in self._scored], heads))
        return scores.argmax(1).numpy()

    def accuracy(self, layer: str, head: str, predicted: list[np.ndarray]) -> Figure:
        """Of all seeds, with the interval over speakers."""
        wrong = np.stack([found != self._expected for found in predicted])
        totals = np.ones(len(self._expected))
        interval = error_interval(wrong.mean(0), totals, self._speakers, self._config.bootstrap_samples)
        seeds = tuple((1 - wrong.mean(1)).tolist())
        return Figure(layer, "language", head, "accuracy", float(np.mean(seeds)), seeds, accuracy_interval(interval))
