"""The other verbs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from speechssl.config.decoding import AnyDecoder, GreedyConfig
from speechssl.config.limits import Amount, AmountOrZero, Count, FactorOrZero, Section, Size
from speechssl.config.streams import NO_SHARDS, EvaluationSetConfig


@dataclass(frozen=True)
class EvaluateConfig(Section):
    """Transcribe shards with a fine-tuned model and report its error rates with intervals."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint."""
    data: EvaluationSetConfig
    """Transcribed audio."""
    output: Path
    """Folder for hypotheses.jsonl and metrics.json; an evaluation of the same weights and data in it is left alone."""
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
class TranscribeConfig(Section):
    """Transcribe audio files of any format, rate and channel count."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint."""
    audio: list[Path]
    """Audio files, or folders of them: after CHECKPOINT, or as --audio FILE ..."""
    output: Path | None = None
    """File for the result; standard output if absent."""
    format: Literal["text", "jsonl"] = "text"
    """"text": path, a tab and the transcript per line; "jsonl": with seconds and confidence."""
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
        if self.window_seconds <= 2 * self.margin_seconds:
            yield (
                f"window_seconds is {self.window_seconds:g}, expected more than twice margin_seconds, "
                f"{2 * self.margin_seconds:g}: the margins of a window are not kept"
            )


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
