"""What a layer tells apart by itself: no head is trained, labels only judge."""

import numpy as np
import torch
from torch import Tensor

from speechssl.config import ProbeConfig
from speechssl.evaluation.abx import Tokens, abx_errors
from speechssl.evaluation.geometry import effective_rank, linear_cka
from speechssl.evaluation.unit_quality import UnitQuality, unit_quality
from speechssl.probing.aligned import AlignedSet
from speechssl.probing.classes import sklearn_seed
from speechssl.probing.results import Figure, NotProbedError, ProbedLayer
from speechssl.probing.sets import ProbeSet
from speechssl.seeding import Purpose, numpy_generator

MAX_FRAMES = 10_000
"""Of a set, evenly over it, of which ranks and alignments of layers are taken."""
MAX_TOKENS, MAX_OTHERS = 10, 5
"""Of a label and speaker, and other speakers that X is of: the cost of ABX grows with the squares."""
MAX_TOKEN_FRAMES = 40
"""Longer tokens are no characters but errors of the alignment."""


class UnitProbe:
    """Agreement of k-means units, fitted to the frames of train, with the characters of test.

    Args:
        aligned: characters of test.
        test: whose they are.
        config: number of units, and seeds.
    """

    def __init__(self, aligned: AlignedSet, test: ProbeSet, config: ProbeConfig) -> None:
        self._config = config
        self._labels = aligned.labels.numpy()
        self._inside = aligned.inside(test.num_frames)

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Each measure over the seeds of k-means.

        Raises:
            NotProbedError: there are fewer frames than units.
        """
        seeds = [self.quality(layer, self._config.seed + number) for number in range(self._config.num_seeds)]
        figures = []
        for name in UnitQuality._fields:
            values = tuple(float(getattr(found, name)) for found in seeds)
            figures.append(Figure(layer.name, "units", "none", name, float(np.mean(values)), values))
        return figures

    def quality(self, layer: ProbedLayer, seed: int) -> UnitQuality:
        """Of the units of one seed."""
        from sklearn.cluster import MiniBatchKMeans  # takes a second

        points, size = layer.train.x.numpy(), self._config.num_units
        if len(points) < size:
            raise NotProbedError(f"train has {len(points)} frames for {size} units; give fewer with --num_units")
        means = MiniBatchKMeans(size, batch_size=8192, n_init=3, max_iter=100, random_state=sklearn_seed(seed))
        units = means.fit(points).predict(layer.test.x[self._inside].numpy())
        return unit_quality(self._labels, units)


class AbxProbe:
    """ABX error of characters, within and across speakers.

    Args:
        aligned: characters of test.
        test: whose they are.
        config: whose seed chooses the tokens.

    Raises:
        NotProbedError: no two tokens of a speaker are of one character.
    """

    def __init__(self, aligned: AlignedSet, test: ProbeSet, config: ProbeConfig) -> None:
        rng = numpy_generator(config.seed, Purpose.PROBE_CHOICES, 1)
        found = choose_tokens(find_tokens(aligned, test), rng)
        self._spans = [(row, start, stop) for row, start, stop, _, _ in found]
        self._labels = np.array([label for *_, label, _ in found])
        self._speakers = np.unique([speaker for *_, speaker in found], return_inverse=True)[1] if found else np.empty(0)
        pairs = list(zip(self._labels.tolist(), self._speakers.tolist(), strict=True))
        if len(set(pairs)) == len(pairs) or len(set(self._labels.tolist())) < 2:
            raise NotProbedError("test has too few characters of speakers that are known")

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Both errors; across speakers only where characters are of several."""
        frames = layer.test.split()
        tokens = Tokens([frames[row][start:stop] for row, start, stop in self._spans], self._labels, self._speakers)
        errors = abx_errors(tokens, max_others=MAX_OTHERS)
        found = {name: value for name, value in errors._asdict().items() if not np.isnan(value)}
        return [Figure(layer.name, "abx", "none", name, value, (value,)) for name, value in found.items()]


FoundToken = tuple[int, int, int, int, str]
"""Sample, first frame, the one after the last, label, speaker."""


def find_tokens(aligned: AlignedSet, test: ProbeSet) -> list[FoundToken]:
    """Stretches of frames of each character but the space, of speakers that are known."""
    tokens: list[FoundToken] = []
    for row, (alignment, speaker) in enumerate(zip(aligned.alignments, test.speakers, strict=True)):
        if alignment is None or not speaker:
            continue
        positions, counts = torch.unique_consecutive(alignment.positions, return_counts=True)
        stops = counts.cumsum(0)
        for position, start, stop in zip(positions.tolist(), (stops - counts).tolist(), stops.tolist(), strict=True):
            label = int(alignment.labels[start])
            if position >= 0 and label != aligned.word_boundary and stop - start <= MAX_TOKEN_FRAMES:
                tokens.append((row, start, stop, label, speaker))
    return tokens


def choose_tokens(tokens: list[FoundToken], rng: np.random.Generator) -> list[FoundToken]:
    """At most ``MAX_TOKENS`` of each label and speaker, drawn, in their order."""
    chosen = []
    groups: dict[tuple[int, str], list[int]] = {}
    for place, (*_, label, speaker) in enumerate(tokens):
        groups.setdefault((label, speaker), []).append(place)
    for _, places in sorted(groups.items()):
        chosen += rng.permutation(places)[:MAX_TOKENS].tolist()
    return [tokens[place] for place in sorted(chosen)]


class RankProbe:
    """Effective rank of a layer."""

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Of the frames of test as they are."""
        value = effective_rank(evenly(layer.raw.x))
        return [Figure(layer.name, "rank", "none", "effective_rank", value, (value,))]


class AlignmentOfLayers:
    """Linear CKA of all pairs of layers: a :class:`Probe` that has figures at its end only."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._frames: list[Tensor] = []

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Keep what is to be compared."""
        self.names.append(layer.name)
        self._frames.append(evenly(layer.raw.x))
        return []

    def matrix(self) -> list[list[float]]:
        """Of each layer with each, in order."""
        size = len(self._frames)
        result = [[1.0] * size for _ in range(size)]
        for i in range(size):
            for j in range(i):
                result[i][j] = result[j][i] = linear_cka(self._frames[i], self._frames[j])
        return result


def evenly(x: Tensor) -> Tensor:
    """At most ``MAX_FRAMES`` of the frames, (N, D), evenly over them."""
    step = -(-len(x) // MAX_FRAMES)
    return x[::step].clone()
