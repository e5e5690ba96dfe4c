"""Characters and words by CTC on frozen frames."""

from collections.abc import Sequence
from typing import NamedTuple

import jiwer
import numpy as np
import torch
from torch import Tensor

from speechssl.config import ProbeConfig
from speechssl.data.transcribed import frames_needed
from speechssl.decoding.decoder import emissions
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.probing.heads import HEADS, Examples, Head, HeadKind, apply_head, ctc_loss, train_head
from speechssl.probing.results import Figure, NotProbedError, ProbedLayer, error_interval
from speechssl.probing.sets import ProbeSet
from speechssl.text.normalisation import clean_text
from speechssl.text.vocabulary import Vocabulary


class Edits(NamedTuple):
    """Of one seed's transcripts, by utterance, (N,) each."""

    characters: np.ndarray
    words: np.ndarray


class CharacterProbe:
    """Character and word error rate of a CTC head, decoded by the best label of each frame.

    Args:
        train: whose characters are the labels.
        test: scored; characters that train does not have are errors.
        config: of heads, seeds and intervals.
        device: where heads are trained.
        kinds: of heads.
        few: whether train is, as of ``train_head``.

    Raises:
        NotProbedError: a set has no transcripts.
    """

    def __init__(
        self,
        train: ProbeSet,
        test: ProbeSet,
        config: ProbeConfig,
        device: torch.device,
        *,
        kinds: Sequence[HeadKind] = HEADS,
        few: bool = False,
    ) -> None:
        frames = train.num_frames.tolist()
        self._learned = [i for i, text in enumerate(train.texts) if text and frames_needed(text) <= frames[i]]
        self._scored = [i for i, text in enumerate(test.texts) if text]
        if not self._learned or not self._scored:
            raise NotProbedError(f"no transcripts in {'train' if not self._learned else 'test'}")
        self._config, self._device = config, device
        self._kinds, self._few = kinds, few
        self._vocabulary = Vocabulary.from_texts(train.texts[i] for i in self._learned)
        self._targets = [torch.tensor(self._vocabulary.encode(train.texts[i])) for i in self._learned]
        self._references = [test.texts[i] for i in self._scored]
        self._speakers = [test.speakers[i] for i in self._scored]

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Error rates of each kind of head."""
        train, test = layer.train.split(), layer.test.split()
        examples = Examples([train[i] for i in self._learned], self._targets)
        heard = [test[i] for i in self._scored]
        figures = []
        for kind in self._kinds:
            edits = [self.edits(layer.dim, kind, examples, heard, i) for i in range(self._config.num_seeds)]
            figures += self.rates(layer.name, kind, edits)
        return figures

    def edits(self, dim: int, kind: HeadKind, examples: Examples, heard: list[Tensor], number: int) -> Edits:
        """Train one head, and count its errors."""
        heads = self._config.heads
        head = Head(dim, len(self._vocabulary), kind, heads).to(self._device)
        train_head(head, examples, ctc_loss, heads, self._config.seed + number, few=self._few)
        decoder = GreedyDecoder(self._vocabulary)
        outputs = [
            clean_text(decoder.decode(emissions(scores[None]), torch.tensor([len(scores)]))[0].text)
            for scores in apply_head(head, heard, heads)
        ]
        return count_edits(self._references, outputs)

    def rates(self, layer: str, kind: HeadKind, edits: Sequence[Edits]) -> list[Figure]:
        """Both error rates over all seeds, with their intervals."""
        totals = {
            "cer": np.array([len(text) for text in self._references]),
            "wer": np.array([len(text.split()) for text in self._references]),
        }
        figures = []
        for measure, total in totals.items():
            counts = np.stack([item.characters if measure == "cer" else item.words for item in edits])
            rates = tuple((counts.sum(1) / total.sum()).tolist())
            interval = error_interval(counts.mean(0), total, self._speakers, self._config.bootstrap_samples)
            figures.append(Figure(layer, "ctc", kind, measure, float(np.mean(rates)), rates, interval))
        return figures


def count_edits(references: Sequence[str], hypotheses: Sequence[str]) -> Edits:
    """Edits that turn each hypothesis into its reference."""
    characters: list[int] = []
    words: list[int] = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        for counts, process in ((characters, jiwer.process_characters), (words, jiwer.process_words)):
            found = process(reference, hypothesis)
            counts.append(found.substitutions + found.deletions + found.insertions)
    return Edits(np.array(characters), np.array(words))
