"""The other verbs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from speechssl.config.decoding import AnyDecoder, GreedyConfig
from speechssl.config.limits import (
    Amount,
    AmountOrZero,
    Count,
    CountOrZero,
    FactorOrZero,
    SampleRate,
    Section,
    Share,
    Size,
)
from speechssl.config.streams import NO_SHARDS, EvaluationSetConfig
from speechssl.config.text import TextConfig

TranscriptFormat = Literal["text", "jsonl", "srt", "vtt", "ctm", "textgrid"]


@dataclass(frozen=True)
class EvaluateConfig(Section):
    """Transcribe shards with a fine-tuned model and report its error rates with intervals."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint."""
    data: EvaluationSetConfig
    """Transcribed audio."""
    output: Path
    """Folder for hypotheses.jsonl, score.json (rates by speaker, language and length, confusions, the worst utterances)
    and metrics.json; an evaluation of the same weights and data in it is left alone."""
    text: TextConfig = TextConfig()
    """How references and outputs are written; absent, as the recogniser's transcripts were in training."""
    bootstrap_samples: Size = 10_000
    """Resamples behind the 95% interval: of speakers if the shards know all, and at least 10; else of utterances."""
    decoding: AnyDecoder = GreedyConfig()
    """How transcripts are found in what the model gives."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of matrix products."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""

    def problems(self) -> Iterator[str]:
        if not self.data.shards:
            yield f"data.shards {NO_SHARDS}"


@dataclass(frozen=True)
class ScoreConfig(Section):
    """Score the output of any recogniser against references, and compare two systems in pairs."""

    reference: Path
    """References: JSON lines, a table with a header (id or path, text, speaker ...), TRN, STM, Kaldi's text, or the
    folder of an evaluation."""
    hypothesis: list[Path] = field(default_factory=list)
    """Outputs of a system in any of these formats or CTM; as --hypothesis FILE ... one for each of its seeds. None: the
    references' file holds them too, as hypothesis or pred_text."""
    other: list[Path] = field(default_factory=list)
    """Outputs of a second system, likewise, which is compared with the first utterance by utterance."""
    output: Path | None = None
    """Folder for score.json, and for each system's first outputs with their errors in utterances.jsonl or
    other_utterances.jsonl."""
    case: Literal["keep", "lower", "upper"] = "keep"
    """What becomes of the letters of both sides."""
    by: list[str] = field(default_factory=list)
    """Columns of the references to break the error rates down by, and "length" for their words; all that have few
    values if absent."""
    speakers: Path | None = None
    """File with an utterance id and its speaker on each line, for references that do not tell; utt2spk beside Kaldi's
    text is read anyway."""
    reference_format: Literal["auto", "json", "table", "trn", "text", "ctm", "stm"] = "auto"
    """Format of the references; "auto" goes by what is in them, "text" is an id and words."""
    hypothesis_format: Literal["auto", "json", "table", "trn", "text", "ctm", "stm"] = "auto"
    """Format of all outputs. Words of a CTM go to the segments of an STM by their middles, as in sclite, and to other
    references by file and channel."""
    bootstrap_samples: Size = 10_000
    """Resamples behind intervals and p-values: of speakers if all are known, and at least 10; else of utterances."""
    show: CountOrZero = 10
    """Confusions of each kind, and groups of speakers, on the terminal; a third as many of the worst utterances."""


@dataclass(frozen=True)
class TranscribeConfig(Section):
    """Transcribe audio files of any format, rate and channel count, or a live stream."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint."""
    audio: list[Path] = field(default_factory=list)
    """Audio files, or folders of them: after CHECKPOINT, or as --audio FILE ...; - is a file on standard input."""
    output: Path | None = None
    """File for the result, or a folder for a file for each recording (srt, vtt, textgrid); standard output if absent.
    What is there is replaced if it is an earlier result of these recordings, unchanged."""
    format: Literal["auto", "text", "jsonl", "srt", "vtt", "ctm", "textgrid"] = "auto"
    """"text": path, a tab and the transcript per line; "jsonl": with words, their times and confidence; "srt", "vtt":
    subtitles; "ctm": a line per word, which begins with the recording's name, or with so much of its path as tells
    recordings apart, spaces as %20; "textgrid": for Praat; "auto": by the suffix of output, text without one."""
    stream: SampleRate | None = None
    """Transcribe raw audio on standard input as it comes, at this many samples a second: signed 16 bit, little-endian,
    one channel. With --format jsonl a line a second says what is heard so far, and the last one all."""
    max_batch_seconds: Amount | None = None
    """Padded audio per batch, in seconds; absent: 80, and 40 on a CPU, which takes less memory and as much time."""
    window_seconds: Amount = 30.0
    """A longer recording is heard in windows of this length, so that memory does not grow with it."""
    margin_seconds: Amount = 3.0
    """Neighbouring windows overlap by twice this much: at each side, what is heard for the sake of the rest alone."""
    decoding: AnyDecoder = GreedyConfig()
    """How transcripts are found in what the model gives."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""

    def problems(self) -> Iterator[str]:
        if self.stream is not None and self.audio:
            yield "stream is what standard input brings; give it or audio"
        if self.audio.count(Path("-")) > 1:
            yield "audio holds - twice, and there is one standard input"
        if self.window_seconds <= 2 * self.margin_seconds:
            yield (
                f"window_seconds is {self.window_seconds:g}, expected more than twice margin_seconds, "
                f"{2 * self.margin_seconds:g}: the margins of a window are not kept"
            )


@dataclass(frozen=True)
class AlignConfig(Section):
    """Say when each word of known transcripts was said, and find transcripts that are wrong."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint."""
    sources: list[str]
    """Transcribed audio as `speechssl shard` takes it: lists, corpora, folders with transcripts, tars."""
    output: Path
    """Folder for alignment.jsonl, scores.tsv (the worst first) and left_out.tsv."""
    formats: list[Literal["ctm", "textgrid"]] = field(default_factory=list)
    """Others to write beside alignment.jsonl: alignment.ctm, or a TextGrid of words and characters for each recording
    in textgrids/."""
    leave_out: Share = 0.05
    """Share of the recordings, those of the worst scores, that left_out.tsv names, beside those that cannot be aligned;
    `speechssl shard --leave_out` makes shards without them."""
    max_batch_seconds: Amount | None = None
    """Padded audio per batch, in seconds; absent: 80, and 40 on a CPU."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""

    def problems(self) -> Iterator[str]:
        if not self.sources:
            yield "sources is empty; name lists, folders or tars of transcribed audio"


@dataclass(frozen=True)
class CalibrateConfig(Section):
    """Fit the confidence of words on held-out speech, and say how far it can be trusted."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint, which keeps what was fitted."""
    data: EvaluationSetConfig
    """Transcribed audio that was not trained on, as the dev set."""
    check: EvaluationSetConfig = EvaluationSetConfig()
    """Other transcribed audio on which the error is measured too, as the test set."""
    output: Path | None = None
    """Folder for calibration.json and reliability.png, which are of check if that names shards, else of data."""
    decoding: AnyDecoder = GreedyConfig()
    """How transcripts are found; each way has a calibration of its own."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""

    def problems(self) -> Iterator[str]:
        if not self.data.shards:
            yield f"data.shards {NO_SHARDS}"


@dataclass(frozen=True)
class ReportConfig(Section):
    """Gather what the arms of a recipe wrote, or a single run, into results.json, a table and plots."""

    experiment: Path
    """Folder of the recipe's outputs, or of one run of pretraining or fine-tuning; results.json and the plots go to its
    top."""
    recipe: str = ""
    """Name of the recipe in the records; that of the folder if absent."""
    conditions: Path | None = None
    """List of the sets that are compared, conditions.json as recipes/generalisation writes it; adds
    generalisation.json, .md and .png."""


@dataclass(frozen=True)
class PlanConfig(Section):
    """Say what a pretraining run would take on this machine and on others, from a probe of half a minute."""

    pretraining: Path
    """Configuration of the run, as for `speechssl pretrain --config`."""
    shards: list[str]
    """Shards that it would learn from."""
    probe_seconds: Amount = 30.0
    """Time for trying batches of several sizes, in seconds."""
    update_hours: AmountOrZero = 0.0
    """Audio of an update that is kept whatever the size of the micro-batches, in hours (1.56 as published for base); 0:
    that of the configuration."""
    devices: list[Count] = field(default_factory=list)
    """Numbers of devices to plan for, as if each were like those here; those of the configuration if none is given."""
    price_per_hour: AmountOrZero = 0.0
    """Of one device, in any currency; 0 tells no cost."""
    output: Path | None = None
    """JSON file for the figures."""


@dataclass(frozen=True)
class ImportConfig(Section):
    """Make a checkpoint of a model from elsewhere, and prove that it computes the same."""

    checkpoint: Path
    """Hugging Face folder of a wav2vec 2.0, HuBERT, WavLM or data2vec-audio model; torchaudio:NAME for a pipeline of
    torchaudio's (such as torchaudio:WAV2VEC2_ASR_BASE_960H); a checkpoint of fairseq's or Microsoft's WavLM (.pt).
    Nothing in a file is executed."""
    output: Path
    """Folder for the checkpoint, which --init, evaluate and transcribe take; it must not exist yet."""
    labels: Path | None = None
    """Dictionary (dict.ltr.txt) of a recogniser of fairseq's whose checkpoint holds none, as early ones do not."""
    tolerance: FactorOrZero = 1e-4
    """Largest difference at any stage, as a share of the stage's largest value, that counts as rounding."""
    proof: bool = True
    """Run both sides and compare every stage; what differs is not written."""


@dataclass(frozen=True)
class ExportConfig(Section):
    """Hand a checkpoint on in a format that others load, and prove that it computes the same there."""

    checkpoint: Path
    """Run folder (its best checkpoint, or else its newest) or one checkpoint."""
    output: Path
    """Folder for the model; it must not exist yet."""
    to: Literal["huggingface", "onnx"] = "huggingface"
    """"huggingface": a folder for from_pretrained, with a model card; "onnx": a graph for onnxruntime (extra
    speechssl[onnx]), of any model, with its labels beside it."""
    license: str = ""
    """Licence of the weights for the model card, as in "apache-2.0"; yours to choose."""
    tolerance: FactorOrZero = 1e-4
    """Largest difference at any stage, as a share of the stage's largest value, that counts as rounding."""
    proof: bool = True
    """Run both sides and compare every stage; what differs is not written."""
