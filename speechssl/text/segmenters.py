"""How a transcript is cut into what its labels stand for."""

import base64
import functools
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from speechssl.config import SentencePieceTargets
from speechssl.errors import CheckpointError, ConfigError
from speechssl.text.graphemes import split_graphemes

_WORD_START = "\u2581"
"""What SentencePiece writes for the space before a word."""


class Segmenter(Protocol):
    """Cuts transcripts into the texts of labels: joined, they are the transcript again, but for spaces at its ends."""

    name: str

    def split(self, text: str) -> list[str]:
        """Texts of labels in order; what no label stands for is cut into characters."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""


class Characters:
    """A label is a character."""

    name = "characters"

    def split(self, text: str) -> list[str]:
        return list(text)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}


class Graphemes(Characters):
    """A label is a grapheme cluster."""

    name = "graphemes"

    def split(self, text: str) -> list[str]:
        return split_graphemes(text)


class Phonemes(Characters):
    """A label is a phoneme with the space behind it; transcripts are phonemes with spaces between them."""

    name = "phonemes"

    def split(self, text: str) -> list[str]:
        return [f"{phoneme} " for phoneme in text.split()]


class LongestMatch(Characters):
    """A label is the longest that the text goes on with, for labels of which nobody knows how they were found.

    Args:
        texts: of the labels.
    """

    name = "longest match"

    def __init__(self, texts: Iterable[str]) -> None:
        longest_first = sorted(filter(None, texts), key=lambda text: (-len(text), text))
        self._unit = re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)

    def split(self, text: str) -> list[str]:
        return self._unit.findall(text)


class SentencePieces:
    """A label is a piece of a word, with the space before it if it begins one (Kudo and Richardson 2018).

    Args:
        model: as SentencePiece writes it.
    """

    name = "sentencepiece"

    def __init__(self, model: bytes) -> None:
        self.model = model

    @classmethod
    def train(cls, texts: Sequence[str], config: SentencePieceTargets) -> "SentencePieces":
        """Find pieces in transcripts.

        Raises:
            ConfigError: SentencePiece is not installed, or there cannot be so many pieces.
        """
        model = io.BytesIO()
        try:
            _sentencepiece().SentencePieceTrainer.train(
                sentence_iterator=iter(sorted(filter(None, texts))),
                model_writer=model,
                vocab_size=config.num_pieces + 1,  # and that of the unknown
                model_type=config.algorithm,
                character_coverage=1.0,
                normalization_rule_name="identity",  # transcripts are normalised
                hard_vocab_limit=config.algorithm != "unigram",
                bos_id=-1,
                eos_id=-1,
                num_threads=1,
                minloglevel=4,
            )
        except RuntimeError as error:
            found = re.search(r"<= (\d+)|(\d+) <= required_chars|required_chars=(\d+)", str(error))
            limit = "" if found is None else f"; the library says {found[0]}"
            raise ConfigError(
                f"targets.num_pieces is {config.num_pieces}, which the {len(texts)} training transcripts do not allow: "
                f"at least one for each character, at most what repeats{limit}"
            ) from error
        return cls(model.getvalue())

    @functools.cached_property
    def _processor(self) -> Any:
        return _sentencepiece().SentencePieceProcessor(model_proto=self.model)

    @functools.cached_property
    def pieces(self) -> list[str]:
        """Texts of all pieces, in their order."""
        found = self._processor
        ids = (i for i in range(found.get_piece_size()) if not (found.is_unknown(i) or found.is_control(i)))
        return [found.id_to_piece(i).replace(_WORD_START, " ") for i in ids]

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.pieces)

    def split(self, text: str) -> list[str]:
        units: list[str] = []
        for piece in self._processor.encode(text, out_type=str):
            unit = piece.replace(_WORD_START, " ")
            units.extend([unit] if unit in self._known else list(unit))
        return units

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "model": base64.b64encode(self.model).decode("ascii")}


def read_segmenter(content: dict[str, Any] | None, texts: Sequence[str]) -> Segmenter:
    """The one that a checkpoint tells of; of one that tells of none, what its labels' texts look like.

    Raises:
        CheckpointError: one that this version does not know.
    """
    match content:
        case None:
            longer = [text for text in texts if len(text) > 1]
            if not longer:
                return Characters()
            return Phonemes() if all(text.endswith(" ") for text in texts if text != " ") else LongestMatch(texts)
        case {"name": "graphemes"}:
            return Graphemes()
        case {"name": "phonemes"}:
            return Phonemes()
        case {"name": "sentencepiece", "model": str(model)}:
            return SentencePieces(base64.b64decode(model))
    raise CheckpointError(
        f"the checkpoint's labels are cut by {content.get('name')!r}, which this version does not know; fine-tune again"
    )


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise ConfigError(
            "labels that are pieces of words need SentencePiece to cut transcripts: pip install "
            "'speechssl[sentencepiece]', or another --targets.name"
        ) from error
    return sentencepiece
