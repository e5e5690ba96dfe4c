"""How transcripts are found in what a recogniser gives."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from speechssl.config.limits import Amount, AmountOrZero, Count, Limit, Section
from speechssl.config.streams import NO_SHARDS, EvaluationSetConfig
from speechssl.config.text import TextConfig

Nats = Annotated[float, Limit(-1_000, 1_000)]


@dataclass(frozen=True)
class GreedyConfig(Section):
    """Decoding by the best label of each frame."""

    name: Literal["greedy"] = "greedy"
    """Decoder."""


@dataclass(frozen=True)
class BeamConfig(Section):
    """Decoding by a search for the best text, with a language model, a list of words, or neither."""

    name: Literal["beam"] = "beam"
    """Decoder."""
    language_model: Path | None = None
    """ARPA file, compressed or not, as `speechssl lm` makes it."""
    weight: AmountOrZero = 0.5
    """Of the language model's log probabilities beside those of the sound; `speechssl tune` finds it on a dev set."""
    word_score: Nats = 1.0
    """Added for each word, in nats: language models favour few words; tuned with the weight."""
    unknown_score: Nats = -10.0
    """Added for each word that is neither in the language model nor in the list, in nats."""
    words: Literal["any", "listed"] = "any"
    """"listed": no words but those of the list, or else of the language model, and hotwords; "any": others too."""
    word_list: Path | None = None
    """Text file of words, one per line."""
    unit: Literal["words", "characters"] = "words"
    """What the language model is of; characters for scripts without spaces."""
    hotwords: list[str] = field(default_factory=list)
    """Words, or the words of phrases, that are likelier here than elsewhere: names, terms."""
    hotword_score: Nats = 5.0
    """Added for each hotword, in nats."""
    beam_width: Annotated[int, Limit(1, 100_000)] = 50
    """Texts that the search goes on with after each frame."""
    beam_threshold: Amount = 12.0
    """Texts so far below the best, in nats, are given up."""
    label_threshold: Amount = 8.0
    """Labels so far below the best of a frame, in nats, are passed over."""

    def problems(self) -> Iterator[str]:
        if self.words == "listed" and not (self.language_model or self.word_list):
            yield "words is listed, but neither language_model nor word_list is given"
        if self.unit == "characters" and (self.words == "listed" or self.word_list or self.hotwords):
            yield "unit is characters, which knows no words: leave out words, word_list and hotwords"


AnyDecoder = GreedyConfig | BeamConfig


@dataclass(frozen=True)
class LanguageModelConfig(Section):
    """Estimate an n-gram language model from text or from the transcripts of shards, for beam search."""

    output: Path
    """ARPA file; compressed if its name ends in .gz. A language model that is there is replaced."""
    text: list[Path] = field(default_factory=list)
    """Text files in UTF-8, compressed or not, one sentence per line."""
    shards: list[str] = field(default_factory=list)
    """Shards whose transcripts are text too: those that the recogniser learned from, never what it is scored on."""
    order: Annotated[int, Limit(1, 10)] = 4
    """Words of the longest n-grams; 3 for small texts."""
    prune: AmountOrZero = 0.0
    """Leave out n-grams without which the perplexity rises by less than this share: 1e-8 a few, 1e-6 most; 0 none."""
    vocabulary_size: Count | None = None
    """Keep so many of the most frequent words, the others count as unknown; absent: all."""
    unit: Literal["words", "characters"] = "words"
    """What the model is of; characters for scripts without spaces."""
    writing: TextConfig = TextConfig()
    """How the text is written: as the recogniser writes, whose text section may be given. Its case is upper unless its
    shards were made with another --text_case."""
    dev_text: list[Path] = field(default_factory=list)
    """Held-out text, whose perplexity is told."""
    dev_shards: list[str] = field(default_factory=list)
    """Shards whose transcripts are held-out text too."""

    def problems(self) -> Iterator[str]:
        if not (self.text or self.shards):
            yield (
                f"text and shards are both empty, and output is {self.output}; name text files before it, or with "
                "--shards those whose transcripts are the text"
            )


@dataclass(frozen=True)
class TuneConfig(Section):
    """Find the weight of a language model and the score of a word on a dev set, for evaluate and transcribe."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint."""
    data: EvaluationSetConfig
    """Transcribed audio to choose on: a dev set, never the test set. Its utterances must not be in the text of the
    language model: the weight would come out too high. Only of shards that `speechssl lm` had is that warned of."""
    output: Path
    """Folder for decoding.yaml, which --config of evaluate and transcribe takes, tune.json and tune.png. An earlier
    tuning in it is replaced, which is told, unless its decoding.yaml was changed since."""
    decoding: BeamConfig = BeamConfig()
    """The search; its weight and word_score are what is tuned."""
    weights: list[AmountOrZero] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0])
    """Weights to try."""
    word_scores: list[Nats] = field(default_factory=lambda: [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0])
    """Word scores to try, each with each weight."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of matrix products."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""

    def problems(self) -> Iterator[str]:
        if not self.data.shards:
            yield f"data.shards {NO_SHARDS}"
        if not self.decoding.language_model:
            yield "decoding.language_model is absent; name the ARPA file whose weight is looked for"
