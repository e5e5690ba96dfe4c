"""Measures of a representation against loops over single numbers, written from the papers' equations."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from speechssl.evaluation import abx
from speechssl.evaluation.abx import AbxErrors, Tokens, abx_errors
from speechssl.evaluation.geometry import effective_rank, linear_cka
from speechssl.evaluation.unit_quality import unit_quality
from speechssl.evaluation.verification import Trials, cosine_trials, equal_error_rate


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def oracle_units(labels: list[int], units: list[int]) -> tuple[float, float, float, float]:
    n = len(labels)
    joint, of_label, of_unit = Counter(zip(labels, units, strict=True)), Counter(labels), Counter(units)
    label_purity = sum(max(joint[y, z] for y in of_label) for z in of_unit) / n
    unit_purity = sum(max(joint[y, z] for z in of_unit) for y in of_label) / n
    information = sum(c / n * math.log(c * n / (of_label[y] * of_unit[z])) for (y, z), c in joint.items())
    entropies = [-sum(c / n * math.log(c / n) for c in counts.values()) for counts in (of_label, of_unit)]
    return label_purity, unit_purity, 2 * information / sum(entropies), information / entropies[0]


def oracle_eer(scores: list[float], targets: list[bool]) -> float:
    """Where straight lines between the points of all thresholds meet equal rates."""
    points = []
    for threshold in [math.inf, *sorted(set(scores), reverse=True)]:
        accepted = [s >= threshold for s in scores]
        false_accepts = sum(a and not t for a, t in zip(accepted, targets, strict=True)) / targets.count(False)
        false_rejects = sum(t and not a for a, t in zip(accepted, targets, strict=True)) / targets.count(True)
        points.append((false_accepts, false_rejects))
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 >= y1:
            share = (y0 - x0) / ((y0 - x0) + (x1 - y1))
            return x0 + share * (x1 - x0)
    raise AssertionError


def oracle_rank(vectors: np.ndarray) -> float:
    values = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False)
    total, entropy = sum(values), 0.0
    for value in values:
        entropy -= value / total * math.log(value / total)
    return math.exp(entropy)


def oracle_cka(x: np.ndarray, y: np.ndarray) -> float:
    """By the kernels of pairs of frames, as Kornblith et al. define it (equations 3 and 4)."""
    n = len(x)

    def kernel(v: np.ndarray) -> list[list[float]]:
        mean = [sum(row[d] for row in v) / n for d in range(v.shape[1])]
        centred = [[row[d] - mean[d] for d in range(v.shape[1])] for row in v]
        return [[sum(a * b for a, b in zip(one, other, strict=True)) for other in centred] for one in centred]

    def hsic(k: list[list[float]], m: list[list[float]]) -> float:
        return sum(k[i][j] * m[i][j] for i in range(n) for j in range(n))

    k, m = kernel(x), kernel(y)
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def oracle_warped(a: np.ndarray, b: np.ndarray) -> float:
    """Mean angle, as a share of half a turn, along the cheapest of all paths, each of which is walked."""

    def angle(i: int, j: int) -> float:
        cosine = sum(a[i] * b[j]) / math.sqrt(sum(a[i] ** 2) * sum(b[j] ** 2))
        return math.acos(max(-1.0, min(1.0, cosine))) / math.pi

    def walks(i: int, j: int) -> list[tuple[float, int]]:
        if i == 0 and j == 0:
            return [(angle(0, 0), 1)]
        before = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        found = [walk for k, m in before if k >= 0 and m >= 0 for walk in walks(k, m)]
        return [(cost + angle(i, j), steps + 1) for cost, steps in found]

    cost, steps = min(walks(len(a) - 1, len(b) - 1))
    return cost / steps


def oracle_abx(frames: list[np.ndarray], labels: list[int], speakers: list[int]) -> AbxErrors:
    names, kinds, distance = sorted(set(speakers)), sorted(set(labels)), {}
    for x in range(len(frames)):
        for other in range(len(frames)):
            distance[x, other] = oracle_warped(frames[x], frames[other])

    def cell(one: int, two: int, own: int, of_x: int) -> float | None:
        total, count = 0.0, 0
        for x in range(len(frames)):
            for a in range(len(frames)):
                for b in range(len(frames)):
                    is_triple = labels[x] == labels[a] == one and labels[b] == two and x != a
                    if is_triple and speakers[a] == speakers[b] == own and speakers[x] == of_x:
                        nearer = distance[x, a] - distance[x, b]
                        total += 1.0 if nearer > 0 else 0.5 if nearer == 0 else 0.0
                        count += 1
        return total / count if count else None

    def over_pairs(people: list[tuple[int, int]]) -> float:
        means = []
        for one in kinds:
            for two in kinds:
                found = [cell(one, two, own, of_x) for own, of_x in people if one != two]
                if values := [value for value in found if value is not None]:
                    means.append(sum(values) / len(values))
        return sum(means) / len(means)

    pairs = [(own, of_x) for own in names for of_x in names]
    return AbxErrors(over_pairs([p for p in pairs if p[0] == p[1]]), over_pairs([p for p in pairs if p[0] != p[1]]))


def test_unit_quality_agrees_with_loops(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 5, 300)
    units = np.where(rng.random(300) < 0.6, labels * 2 + rng.integers(0, 2, 300), rng.integers(0, 10, 300))
    assert tuple(unit_quality(labels, units)) == pytest.approx(oracle_units(labels.tolist(), units.tolist()), abs=1e-12)


def test_units_that_are_the_labels_are_perfect_under_any_names(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 5, 100)
    assert tuple(unit_quality(labels, rng.permutation(5)[labels] + 7)) == pytest.approx((1, 1, 1, 1))
    assert unit_quality(labels, np.zeros(100, dtype=int)).pnmi == pytest.approx(0)


def test_a_unit_for_every_frame_has_full_information_and_low_unit_purity(rng: np.random.Generator) -> None:
    found = unit_quality(rng.integers(0, 5, 100), np.arange(100))
    assert (found.label_purity, found.pnmi) == pytest.approx((1, 1))
    assert found.unit_purity == pytest.approx(0.05)
    assert found.nmi < 0.7


def test_no_frames_are_named() -> None:
    with pytest.raises(ValueError, match="no frames"):
        unit_quality([], [])


@pytest.mark.parametrize("digits", [6, 1])
def test_equal_error_rate_agrees_with_loops_even_if_scores_tie(rng: np.random.Generator, digits: int) -> None:
    targets = rng.random(80) < 0.3
    scores = np.round(rng.normal(0, 1, 80) + targets, digits)
    expected = oracle_eer(scores.tolist(), targets.tolist())
    assert 0.05 < expected < 0.5
    assert equal_error_rate(Trials(scores, targets)) == pytest.approx(expected, abs=1e-12)


def test_equal_error_rate_of_perfect_and_of_useless_scores() -> None:
    targets = np.array([True, True, False, False])
    assert equal_error_rate(Trials(np.array([4.0, 3.0, 2.0, 1.0]), targets)) == 0
    assert equal_error_rate(Trials(np.zeros(4), targets)) == 0.5
    with pytest.raises(ValueError, match="4 of 4 trials are targets"):
        equal_error_rate(Trials(np.zeros(4), np.ones(4, dtype=bool)))


def test_trials_are_all_pairs(rng: np.random.Generator) -> None:
    embeddings, speakers = rng.normal(size=(5, 3)), np.array([0, 0, 1, 1, 2])
    trials = cosine_trials(embeddings, speakers)
    expected = []
    for i in range(5):
        for j in range(i + 1, 5):
            norms = math.sqrt(sum(embeddings[i] ** 2) * sum(embeddings[j] ** 2))
            expected.append((sum(embeddings[i] * embeddings[j]) / norms, speakers[i] == speakers[j]))
    assert trials.scores.tolist() == pytest.approx([score for score, _ in expected], abs=1e-12)
    assert trials.is_target.tolist() == [same for _, same in expected]


def test_effective_rank_agrees_with_singular_values(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(50, 6)) * [5, 3, 1, 1, 0.2, 0.1] + 7
    assert effective_rank(torch.from_numpy(vectors)) == pytest.approx(oracle_rank(vectors), rel=1e-6)
    assert math.isnan(effective_rank(torch.full((3, 2), float("inf"))))


def test_cka_agrees_with_the_kernels_of_pairs(rng: np.random.Generator) -> None:
    x = rng.normal(size=(20, 4)) + 3
    y = x[:, :3] @ rng.normal(size=(3, 5)) + rng.normal(size=(20, 5))
    found = linear_cka(torch.from_numpy(x), torch.from_numpy(y))
    assert 0.2 < found < 0.95
    assert found == pytest.approx(oracle_cka(x, y), abs=1e-12)


def test_cka_heeds_neither_rotation_nor_scale(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.normal(size=(30, 4)))
    rotation = torch.linalg.qr(torch.from_numpy(rng.normal(size=(4, 4)))).Q
    assert linear_cka(x, 3 * x @ rotation - 5) == pytest.approx(1, abs=1e-12)


def drawn_tokens(rng: np.random.Generator) -> tuple[list[np.ndarray], list[int], list[int]]:
    """Of 1 to 4 frames; speaker 2 lacks a label, and has another only once."""
    labels, speakers, frames = [], [], []
    for speaker, own in enumerate([[0, 0, 1, 1, 2, 2], [0, 0, 1, 2], [0, 1, 1]]):
        for label in own:
            centre = np.eye(4)[label] + 0.5 * np.eye(4)[3] * speaker
            frames.append((centre + 0.6 * rng.normal(size=(rng.integers(1, 5), 4))).astype(np.float32))
            labels.append(label)
            speakers.append(speaker)
    return frames, labels, speakers


def test_abx_agrees_with_loops(rng: np.random.Generator) -> None:
    frames, labels, speakers = drawn_tokens(rng)
    expected = oracle_abx([f.astype(np.float64) for f in frames], labels, speakers)
    tokens = Tokens([torch.from_numpy(f) for f in frames], np.array(labels), np.array(speakers))
    assert 0.05 < expected.within < expected.across < 0.6
    assert tuple(abx_errors(tokens)) == pytest.approx(tuple(expected), abs=1e-12)


def test_abx_heeds_neither_the_order_of_tokens_nor_the_scale_of_frames(rng: np.random.Generator) -> None:
    frames, labels, speakers = drawn_tokens(rng)
    order = rng.permutation(len(frames))
    one = Tokens([torch.from_numpy(f) for f in frames], np.array(labels), np.array(speakers))
    other = Tokens([5 * one.frames[i] for i in order], one.labels[order], one.speakers[order])
    assert tuple(abx_errors(one)) == pytest.approx(tuple(abx_errors(other)), abs=1e-12)


def test_abx_of_equal_tokens_is_chance_and_of_one_speaker_not_across() -> None:
    equal = Tokens([torch.ones(2, 3)] * 4, np.array([0, 0, 1, 1]), np.zeros(4, dtype=int))
    assert abx_errors(equal).within == 0.5
    assert math.isnan(abx_errors(equal).across)


def test_abx_compares_each_speaker_with_the_next_ones(rng: np.random.Generator, monkeypatch) -> None:
    frames, labels, speakers = drawn_tokens(rng)
    tokens = Tokens([torch.from_numpy(f) for f in frames], np.array(labels), np.array(speakers))
    num_compared = []
    original = abx.token_distances
    monkeypatch.setattr(abx, "token_distances", lambda *xs: num_compared.append(len(xs[0])) or original(*xs))
    limited = abx_errors(tokens, max_others=1)
    assert num_compared == [6, 4, 4, 3, 3, 6]
    assert limited.within == abx_errors(tokens, max_others=0).within
    assert limited.across != abx_errors(tokens).across


def test_abx_agrees_with_fastabx(rng: np.random.Generator) -> None:
    fastabx = pytest.importorskip("fastabx", reason="needs the fastabx package (Python 3.12 or newer)")
    polars = pytest.importorskip("polars", reason="comes with fastabx")
    frames, labels, speakers = drawn_tokens(rng)
    bounds = np.cumsum([0, *map(len, frames)]).tolist()
    places = dict(enumerate(pairwise(bounds)))

    def score(**conditions: list[str]) -> float:
        data = torch.from_numpy(np.concatenate(frames))
        accessor = fastabx.InMemoryAccessor(places, data, torch.device("cpu"))
        dataset = fastabx.Dataset(polars.DataFrame({"label": labels, "speaker": speakers}), accessor)
        return fastabx.Score(fastabx.Task(dataset, on="label", **conditions), "angular").collapse(levels=["speaker"])

    tokens = Tokens([torch.from_numpy(f) for f in frames], np.array(labels), np.array(speakers))
    expected = score(by=["speaker"]), score(across=["speaker"])
    assert tuple(abx_errors(tokens)) == pytest.approx(expected, abs=1e-6)
