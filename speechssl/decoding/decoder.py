"""From emissions, the log probabilities of the labels in each frame, to transcripts."""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from speechssl.config import BeamConfig, GreedyConfig
from speechssl.config.decoding import AnyDecoder
from speechssl.config.reading import to_dict
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.errors import DataError
from speechssl.text.vocabulary import Vocabulary

_FILES = ("language_model", "word_list")
"""Keys of a search that name files."""


class Decoder(Protocol):
    """Searches emissions for what was said."""

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
        """Transcribe a batch.

        Args:
            log_probs: emissions in nats, float32 (B, T, labels), on the CPU.
            lengths: frames of each utterance, (B,); those behind them are ignored.
        """
        ...


def build_decoder(config: AnyDecoder, vocabulary: Vocabulary) -> Decoder:
    """The decoder that a configuration names, for the labels of a model.

    Raises:
        DataError: a language model or a list of words cannot be read, or holds nothing that the labels can spell.
    """
    match config:
        case GreedyConfig():
            return GreedyDecoder(vocabulary)
        case BeamConfig():
            from speechssl.decoding.beam import BeamDecoder  # compiled loops: half a second

            return BeamDecoder(vocabulary, config)


def describe_decoding(config: AnyDecoder) -> dict[str, Any]:
    """All that decides what a decoder finds, as plain values: the configuration, and digests of the files it names.

    Raises:
        DataError: a file cannot be read.
    """
    found = to_dict(config)
    if isinstance(config, BeamConfig):
        files = {name: path for name in _FILES if (path := getattr(config, name)) is not None}
        found["sha256"] = {name: file_digest(path) for name, path in files.items()}
    return found


def calibration_name(config: AnyDecoder) -> str:
    """What the confidence of its words is calibrated as: another language model, or another weight, finds other words.

    Raises:
        DataError: a file cannot be read.
    """
    if isinstance(config, GreedyConfig):
        return config.name
    settings = {name: value for name, value in describe_decoding(config).items() if name not in _FILES}
    return f"{config.name} {hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}", f"cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def emissions(logits: Tensor) -> Tensor:
    """Log probabilities of scores (..., labels), as decoders take them."""
    return logits.float().log_softmax(-1).cpu()
