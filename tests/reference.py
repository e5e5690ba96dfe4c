"""Slow oracles: loops over single numbers, written from the papers' equations and not from the package."""

import itertools
import math
import re

import torch
from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())


def contrastive_loss(contexts: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Equation 3 of wav2vec 2.0, summed over all masked frames; distractors of the target's own codes do not count.

    contexts and targets (B, M, final), codes (B, M, G), negatives (B, M, N).
    """
    total = torch.zeros((), dtype=contexts.dtype)
    for b in range(contexts.shape[0]):
        for m in range(contexts.shape[1]):
            positive = torch.exp(cosine(contexts[b, m], targets[b, m]) / temperature)
            denominator = positive
            for n in negatives[b, m].tolist():
                if codes[b, n].tolist() != codes[b, m].tolist():
                    denominator = denominator + torch.exp(cosine(contexts[b, m], targets[b, n]) / temperature)
            total = total - torch.log(positive / denominator)
    return total


def masked_prediction_loss(logits: list[Tensor], units: Tensor, mask: Tensor) -> Tensor:
    """Equation 1 of HuBERT with its weight at 1, summed over masked frames and codebooks.

    logits (B, T, V) for each codebook, units (B, T, codebooks), mask (B, T).
    """
    total = torch.zeros((), dtype=logits[0].dtype)
    for b in range(mask.shape[0]):
        for t in range(mask.shape[1]):
            if mask[b, t]:
                for c, scores in enumerate(logits):
                    total = total - torch.log(torch.exp(scores[b, t, units[b, t, c]]) / torch.exp(scores[b, t]).sum())
    return total


def two_view_loss(views: Tensor, recordings: list[int], temperature: float) -> Tensor:
    """Equation 1 of SimCLR summed over all views (2, N, P); views of one recording are no distractors of each other."""
    total = torch.zeros((), dtype=views.dtype)
    for v in range(2):
        for i in range(views.shape[1]):
            positive = torch.exp(cosine(views[v, i], views[1 - v, i]) / temperature)
            denominator = positive
            for w in range(2):
                for j in range(views.shape[1]):
                    if recordings[j] != recordings[i]:
                        denominator = denominator + torch.exp(cosine(views[v, i], views[w, j]) / temperature)
            total = total - torch.log(positive / denominator)
    return total


def nearest(points: Tensor, codebook: Tensor) -> list[int]:
    """The entry (V, P) at the least distance from each of the points (N, P)."""
    found = []
    for point in points:
        distances = [float(((point - entry) ** 2).sum()) for entry in codebook]
        found.append(distances.index(min(distances)))
    return found


def data2vec_target(layers: list[Tensor]) -> Tensor:
    """Section 3.3 of data2vec, for speech: every channel of every layer (B, T, D) normalised over time, then the mean
    over layers, (B, T, D)."""
    batch, frames, dim = layers[0].shape
    target = torch.zeros(batch, frames, dim, dtype=layers[0].dtype)
    for layer in layers:
        for b in range(batch):
            for d in range(dim):
                values = [float(layer[b, t, d]) for t in range(frames)]
                mean = sum(values) / frames
                variance = sum((value - mean) ** 2 for value in values) / frames
                for t in range(frames):
                    target[b, t, d] += (values[t] - mean) / math.sqrt(variance + 1e-5) / len(layers)
    return target


def data2vec_loss(predictions: Tensor, targets: Tensor, mask: Tensor, beta: float) -> float:
    """Equation 2 of data2vec, over the root of the dimension, summed over masked frames; squared errors for beta 0."""
    total = 0.0
    for b in range(mask.shape[0]):
        for t in range(mask.shape[1]):
            for x, y in zip(predictions[b, t].tolist(), targets[b, t].tolist(), strict=True):
                error = abs(x - y)
                squared = error**2 if beta == 0 else 0.5 * error**2 / beta
                total += bool(mask[b, t]) * (squared if beta == 0 or error < beta else error - 0.5 * beta)
    return total / math.sqrt(predictions.shape[-1])


def annealed(update: int, start: float, end: float, updates: int) -> float:
    """The decay of data2vec's teacher: a straight line over the updates, then its end."""
    return end if update >= updates else start + (end - start) * update / updates


def moved_codebook(
    sums: list[list[float]], counts: list[float], frames: list[list[float]], decay: float
) -> tuple[list[list[float]], list[float]]:
    """Equations 4 to 6 of DinoSR: sums and counts of the entries after an update's frames."""
    entries = [[value / count for value in row] for row, count in zip(sums, counts, strict=True)]
    nearest_to: list[list[list[float]]] = [[] for _ in entries]
    for frame in frames:
        distances = [sum((x - e) ** 2 for x, e in zip(frame, entry, strict=True)) for entry in entries]
        nearest_to[distances.index(min(distances))].append(frame)
    new_sums, new_counts = [], []
    for row, count, given in zip(sums, counts, nearest_to, strict=True):
        if not given:
            new_sums.append(row)
            new_counts.append(count)
            continue
        new_sums.append([decay * value + (1 - decay) * sum(frame[d] for frame in given) for d, value in enumerate(row)])
        new_counts.append(decay * count + (1 - decay) * len(given))
    return new_sums, new_counts


def diversity_loss(scores: Tensor) -> Tensor:
    """(G V - sum of perplexities) / (G V) of the softmax averaged over frames; scores (frames, G, V)."""
    frames, groups, entries = scores.shape
    total = torch.zeros((), dtype=scores.dtype)
    for g in range(groups):
        entropy = torch.zeros((), dtype=scores.dtype)
        for v in range(entries):
            mean = torch.zeros((), dtype=scores.dtype)
            for t in range(frames):
                mean = mean + torch.exp(scores[t, g, v]) / torch.exp(scores[t, g]).sum() / frames
            entropy = entropy - mean * torch.log(mean + 1e-7)
        total = total + torch.exp(entropy)
    return (groups * entries - total) / (groups * entries)


def straight_through_lookup(scores: Tensor, noise: Tensor, codebook: Tensor, temperature: float) -> Tensor:
    """Value: the chosen entries; gradient: as if the soft mixture had been taken. scores, noise (frames, G, V)."""
    rows = []
    for t in range(scores.shape[0]):
        parts = []
        for g in range(scores.shape[1]):
            soft = torch.softmax((scores[t, g] + noise[t, g]) / temperature, 0)
            chosen = int(soft.argmax())
            mixture = sum(soft[v] * codebook[g, v].detach() for v in range(len(soft)))
            parts.append(codebook[g, chosen] + mixture - mixture.detach())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def conv_frames(num_samples: int, layers: list[tuple[int, int, int]]) -> int:
    """Count the positions at which every kernel fits."""
    length = num_samples
    for _, kernel, stride in layers:
        length = sum(1 for start in range(0, length, stride) if start + kernel <= length)
    return length


def relative_bucket(offset: int, num_buckets: int, max_distance: int) -> int:
    """Section III-B of WavLM, with powers of whole numbers in place of logarithms: with q = n / 4,
    q log(d / q) / log(m / q) >= k where (d / q)^q >= (m / q)^k.
    """
    quarter, distance = num_buckets // 4, abs(offset)
    bucket = distance
    if distance >= quarter:
        bucket = quarter
        for k in range(1, quarter):
            if distance**quarter * quarter**k >= max_distance**k * quarter**quarter:
                bucket = quarter + k
    return bucket + (2 * quarter if offset > 0 else 0)


def gated_bias(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, distance_bias: Tensor) -> Tensor:
    """Section III-B of WavLM: d + g_update d + (1 - g_update) s g_reset d, its gates from x as in the published code.

    x (T, D), weight (8, D / heads), bias (8,), scale (heads,), distance_bias (heads, T, T); gives (heads, T, T).
    """
    heads, frames = distance_bias.shape[:2]
    width = x.shape[1] // heads
    result = torch.zeros_like(distance_bias)
    for h in range(heads):
        for i in range(frames):
            scores = weight @ x[i, h * width : (h + 1) * width] + bias
            update = 1 / (1 + torch.exp(scores[:4].sum()))
            reset = 1 / (1 + torch.exp(-scores[4:].sum()))
            for j in range(frames):
                d = distance_bias[h, i, j]
                result[h, i, j] = d + update * d + (1 - update) * scale[h] * reset * d
    return result


def words_of_path(path: list[int], labels: list[str], blank: int) -> list[tuple[str, int, int]]:
    """Words of a CTC path: (text, first frame, the one after the last); the label "|" is a space.

    Frame by frame: each character with the frames of its label, then what lies between the spaces.
    """
    text, frames = "", []
    for t, label in enumerate(path):
        spelt = "" if label == blank else labels[label].replace("|", " ")
        if t > 0 and path[t - 1] == label:
            for i in range(len(frames) - len(spelt), len(frames)):
                frames[i] = (frames[i][0], t + 1)
        else:
            text += spelt
            frames += [(t, t + 1)] * len(spelt)
    return [(found[0], frames[found.start()][0], frames[found.end() - 1][1]) for found in re.finditer(r"\S+", text)]


def gumbel_temperature(update: int, start: float, end: float, decay: float) -> float:
    """Multiply once per update, stop at the floor."""
    temperature = start
    for _ in range(update):
        temperature *= decay
        if temperature < end:
            return end
    return max(temperature, end)


def uniform_chi_square(counts: list[int]) -> float:
    """Chi-square statistic against equal counts, as standard deviations from its mean."""
    expected = sum(counts) / len(counts)
    statistic = sum((count - expected) ** 2 / expected for count in counts)
    freedom = len(counts) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


def kneser_ney(sentences: list[list[str]], order: int, history: list[str], word: str) -> float:
    """Probability of a word, interpolated modified Kneser-Ney, from the sentences anew for every count."""
    grams = [["<s>", *words, "</s>"] for words in sentences]

    def count(gram: list[str]) -> int:
        length = len(gram)
        places = [(s, i) for s in grams for i in range(len(s) - length + 1) if s[i : i + length] == gram]
        if length == order or gram[0] == "<s>":
            return len(places)
        return len({s[i - 1] for s, i in places if i > 0})

    vocabulary = sorted({word for words in grams for word in words} - {"<s>"})
    every = {tuple(s[i : i + n]) for n in range(1, order + 1) for s in grams for i in range(len(s) - n + 1)}

    def discount(amount: int, length: int) -> float:
        amounts = [count(list(gram)) for gram in every if len(gram) == length and gram != ("<s>",)]
        n = [sum(a == k for a in amounts) for k in range(1, 5)]
        found = [0.5, 1.0, 1.5]
        if min(n) > 0:
            share = n[0] / (n[0] + 2 * n[1])
            better = [k + 1 - (k + 2) * share * n[k + 1] / n[k] for k in range(3)]
            found = better if all(0 <= better[k] <= k + 1 for k in range(3)) else found
        return 0.0 if amount == 0 else found[min(amount, 3) - 1]

    def probability(history: list[str], word: str) -> float:
        length = len(history) + 1
        lower = probability(history[1:], word) if history else 1 / (len(vocabulary) + 1)
        counts = {other: count([*history, other]) for other in vocabulary}
        total = sum(counts.values())
        if total == 0:
            return lower
        left = sum(discount(amount, length) for amount in counts.values())
        own = counts.get(word, 0)
        return (own - discount(own, length) + left * lower) / total

    return probability(history[max(0, len(history) - order + 1) :], word)


def backoff_log_prob(log_probs: dict[str, float], weights: dict[str, float], history: list[str], word: str) -> float:
    """The definition of ARPA: the longest n-gram that is there, and the weights of the histories that were too long."""
    gram = " ".join([*history, word])
    if gram in log_probs:
        return log_probs[gram]
    return weights.get(" ".join(history), 0.0) + backoff_log_prob(log_probs, weights, history[1:], word)


def texts_of_paths(log_probs: Tensor, labels: list[str]) -> dict[str, float]:
    """Log probability of every text that emissions (T, labels) can be read as, summed over all paths.

    labels: the first one is the blank, "" for it; " " for the space.
    """
    sums: dict[str, float] = {}
    for path in itertools.product(range(len(labels)), repeat=len(log_probs)):
        kept = [label for t, label in enumerate(path) if label and (t == 0 or label != path[t - 1])]
        text = " ".join("".join(labels[label] for label in kept).split())
        sums[text] = sums.get(text, 0.0) + math.exp(sum(float(log_probs[t, label]) for t, label in enumerate(path)))
    return {text: math.log(total) for text, total in sums.items()}
