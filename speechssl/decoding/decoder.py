"""From emissions, the log probabilities of the labels in each frame, to transcripts."""

from typing import Protocol

from torch import Tensor

from speechssl.config import GreedyConfig
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.text.vocabulary import Vocabulary


class Decoder(Protocol):
    """Searches emissions for what was said."""

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
        """Transcribe a batch.

        Args:
            log_probs: emissions in nats, float32 (B, T, labels), on the CPU.
            lengths: frames of each utterance, (B,); those behind them are ignored.
        """
        ...


def build_decoder(config: GreedyConfig, vocabulary: Vocabulary) -> Decoder:
    """The decoder that a configuration names, for the labels of a model."""
    match config.name:
        case "greedy":
            return GreedyDecoder(vocabulary)


def emissions(logits: Tensor) -> Tensor:
    """Log probabilities of scores (..., labels), as decoders take them."""
    return logits.float().log_softmax(-1).cpu()
