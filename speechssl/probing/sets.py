"""What a probe learns from and is tested on: samples of shards, and the numbers of their frames."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechssl.config import EvaluationSetConfig, ModelConfig
from speechssl.data.batches import Batch, load_batch
from speechssl.data.corpus import Corpus, check_rate, read_corpus
from speechssl.data.streams import epoch_batches
from speechssl.errors import DataError
from speechssl.frames import num_frames
from speechssl.remote.store import ShardStore, make_store
from speechssl.shards.addresses import redact_all
from speechssl.text.normalisation import clean_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeSet:
    """Samples of at least a frame; what is not known of one is empty."""

    corpus: Corpus
    max_batch_seconds: float
    num_frames: np.ndarray
    """Of the encoder, int64 (N,)."""
    texts: Sequence[str]
    """Cleaned."""
    speakers: Sequence[str]
    languages: Sequence[str]

    def __len__(self) -> int:
        return len(self.num_frames)

    @property
    def bounds(self) -> np.ndarray:
        """Where each sample's frames begin, if all lie one after the other, and their number: (N + 1,)."""
        return np.concatenate([[0], np.cumsum(self.num_frames)])

    def subset(self, chosen: Sequence[int]) -> "ProbeSet":
        """Some samples by their positions, (M,), in their order."""
        rows = np.array(chosen, dtype=np.int64)
        texts, speakers, languages = (
            [names[i] for i in chosen] for names in (self.texts, self.speakers, self.languages)
        )
        return replace(
            self,
            corpus=self.corpus.subset(rows),
            num_frames=self.num_frames[rows],
            texts=texts,
            speakers=speakers,
            languages=languages,
        )

    def batches(self) -> Iterator[tuple[Batch, list[int]]]:
        """Every sample once, long ones first, with the positions of a batch's samples in this set."""
        places = {key: i for i, key in enumerate(self.corpus.keys)}
        for spec in epoch_batches(self.corpus, self.max_batch_seconds):
            batch = load_batch(spec, self.corpus.sample_rate)
            yield batch, [places[key] for key in batch.keys]


def read_set(
    config: EvaluationSetConfig, model: ModelConfig, *, name: str, store: ShardStore | None = None
) -> ProbeSet:
    """Read what the indexes of shards know.

    Args:
        config: of the set.
        model: whose frames are counted, and whose sample rate the shards should have.
        name: key of the set, for messages.
        store: reads shards from elsewhere; that of the configuration if absent.

    Raises:
        DataError: shards are missing or damaged, or of another sample rate, or no sample is as long as a frame.
    """
    corpus = read_corpus(config.shards, with_texts=True, store=store or make_store(config))
    shards = f"{name}.shards ({redact_all(config.shards)})"
    check_rate(corpus, model.sample_rate, name=shards, by="the encoder hears")
    frames = num_frames(corpus.num_samples, model.feature_encoder.conv_layers)
    if not frames.any():
        raise DataError(f"{shards}: no sample is as long as a frame of the encoder")
    if not frames.all():
        logger.warning("%s: left out, shorter than a frame: %d", name, int((frames == 0).sum()))
        corpus = corpus.subset(np.flatnonzero(frames))
    unknown = [""] * len(corpus)
    return ProbeSet(
        corpus=corpus,
        max_batch_seconds=config.max_batch_seconds,
        num_frames=frames[frames > 0],
        texts=[clean_text(text) for text in corpus.texts or unknown],
        speakers=list(corpus.speakers or unknown),
        languages=list(corpus.languages or unknown),
    )
