"""Words of a path: which frames each takes up, and how probable its spelling is there."""

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl.decoding.hypothesis import Word
from speechssl.text.vocabulary import Vocabulary


def words_of_path(path: Tensor, log_probs: Tensor, vocabulary: Vocabulary) -> tuple[Word, ...]:
    """Words that a path of CTC spells; repeats collapse, blanks vanish.

    A word lasts from the first frame of its first letter to the last one of its last letter, as the token spans of
    torchaudio's ``merge_tokens`` do.

    Args:
        path: label of each frame, int64 (T,).
        log_probs: emissions in nats, float32 (T, labels), on the CPU.
        vocabulary: of the labels.
    """
    runs, counts = torch.unique_consecutive(path, return_counts=True)
    labels, edges = runs.tolist(), [0, *counts.cumsum(0).tolist()]  # edges of the runs, in frames
    spelt = vocabulary.spell(labels)
    owners = [run for run, text in enumerate(spelt) for _ in text]  # of each character
    found = [
        (match[0], owners[match.start()], owners[match.end() - 1] + 1) for match in re.finditer(r"\S+", "".join(spelt))
    ]
    spans = [(edges[first], edges[stop]) for _, first, stop in found]
    spellings = [[label for label in labels[first:stop] if label != vocabulary.blank] for _, first, stop in found]
    probabilities = spelling_probabilities(log_probs, spans, spellings, blank=vocabulary.blank)
    nexts = [*(first for _, first, _ in found[1:]), len(labels)]
    spaces = [
        next((edges[run] for run in range(stop, following) if spelt[run].isspace()), None)
        for (_, _, stop), following in zip(found, nexts, strict=False)  # no word has no next one
    ]
    return tuple(
        Word(text, *span, probability, space)
        for (text, _, _), span, probability, space in zip(found, spans, probabilities, spaces, strict=True)
    )


def spelling_probabilities(
    log_probs: Tensor, spans: Sequence[tuple[int, int]], spellings: Sequence[Sequence[int]], *, blank: int
) -> list[float]:
    """Probability that the frames of each word spell it, by whatever path: CTC's forward sum over these frames alone
    (Graves et al. 2006, section 4.1).

    A label per frame is a distribution of its own, so this is the posterior of the spelling among all spellings. It
    ranks words by whether they are right better than the mean or the least probability of their letters does.

    Args:
        log_probs: emissions in nats, float32 (T, labels), on the CPU.
        spans: first frame of each word, and the one after its last.
        spellings: labels of each word; they fit into its frames.
        blank: number of the blank.
    """
    if not spans:
        return []
    frames = pad_sequence([log_probs[first:stop] for first, stop in spans])  # (T of the longest, words, labels)
    losses = F.ctc_loss(
        frames,
        torch.tensor([label for spelling in spellings for label in spelling]),
        torch.tensor([stop - first for first, stop in spans]),
        torch.tensor([len(spelling) for spelling in spellings]),
        blank=blank,
        reduction="none",
    )
    return (-losses).exp().clamp(0, 1).tolist()
