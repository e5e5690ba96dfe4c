"""Shards: how they are made of audio, and proved whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from speechssl.config.limits import (
    Amount,
    AmountOrZero,
    CountOrZero,
    Limit,
    Megabytes,
    SampleRate,
    Section,
    Seed,
    Share,
    Workers,
)

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True)
class SegmentationConfig(Section):
    """Cut long recordings into segments of speech."""

    method: Literal["auto", "silero", "energy", "none"] = "auto"
    """How speech is found. "silero": the network of the package silero-vad; "energy": sound that rises above the noise
    floor, music and slamming doors included; "auto": silero where it is installed, else energy; "none": it is not, and
    recordings are cut into pieces of max_seconds."""
    threshold: Annotated[float, Limit(0, 1, low_is_in=False, high_is_in=False)] = 0.5
    """Speech reaches this, and lasts for as long as it is not below 0.7 of it. silero: probability of speech, 0 to 1;
    energy: level above the noise floor, of which 1 is 12 dB."""
    min_speech_seconds: AmountOrZero = 0.25
    """Less speech than this between two pauses is taken for noise."""
    min_silence_seconds: AmountOrZero = 0.5
    """Shorter pauses do not end a segment."""
    padding_seconds: AmountOrZero = 0.2
    """Margin that is kept before and after the speech of a segment; two segments share the pause between them."""
    max_seconds: Amount = 15.0
    """Longest segment, margins included; longer speech is cut where it is quietest in the last third of these."""
    min_seconds: AmountOrZero = 1.0
    """Shortest segment, margins included, at most a third of max_seconds: a shorter one joins the one before or after
    it if they are no further apart than this, else it is dropped and counted."""

    def problems(self) -> Iterator[str]:
        if 3 * self.min_seconds > self.max_seconds:
            yield f"min_seconds is {self.min_seconds:g}, expected at most a third of max_seconds ({self.max_seconds:g})"


@dataclass(frozen=True)
class ShardConfig(Section):
    """Turn audio of any kind, and its transcripts, into verified webdataset shards with an index."""

    sources: list[str]
    """Folders of audio, quoted globs, audio files, lists (tables, JSON, those of NeMo, SpeechBrain, Kaldi, fairseq and
    lhotse), LibriSpeech or Common Voice folders, webdataset tars. Lists have columns path and, where known, text,
    speaker, language, id, split, start, end, duration, channel, or other names that are usual for them."""
    output: Path
    """Folder of the shards. A finished set is left alone if it was made from the same sources and options; an
    unfinished one goes on."""
    sample_rate: SampleRate = 16000
    """Samples per second in the shards; other rates are resampled by soxr."""
    format: Literal["flac", "opus", "wav"] = "flac"
    """Encoding in the shards: 16 bit without loss ("flac", "wav"), or a tenth of the size ("opus")."""
    max_shard_megabytes: Megabytes = 256.0
    """Size at which a shard is closed, estimated from the lengths of its recordings."""
    min_seconds: AmountOrZero = 0.0
    """Shorter recordings are left out and counted."""
    max_seconds: Amount = 3600.0
    """Longer recordings are left out and counted, unless they are cut."""
    cut_above_seconds: Amount = 30.0
    """Recordings without transcript that are longer than this are cut at pauses."""
    segmentation: SegmentationConfig = SegmentationConfig()
    """How they are cut."""
    require_text: bool = False
    """Leave out and count recordings without a transcript."""
    text_case: Literal["upper", "lower", "keep"] = "upper"
    """Case of the stored transcripts."""
    leave_out: Path | None = None
    """List of recordings that are left out and counted, by their keys in its first column, as left_out.tsv of
    `speechssl align`."""
    deduplicate: bool = True
    """Leave out and count recordings whose audio is that of another one, sample for sample."""
    min_level_db: Annotated[float, Limit(-1_000, 100)] = -90.0
    """Quieter recordings (mean level, dB below full scale) are left out and counted; silent ones always are."""
    max_clipped_share: Share = 1.0
    """Recordings with a larger share of samples at full scale are left out and counted."""
    max_bad_share: Share = 0.5
    """Largest share of the recordings that may be damaged, missing or wrongly listed; up to it they are left out, named
    and counted, beyond it nothing is made. What options leave out does not count."""
    channel: Literal["mix", "each"] | CountOrZero = "mix"
    """Of recordings of several channels: their mean, a recording of each, or one of them, counted from 0. A column
    channel of a list goes first."""
    split: Literal["none", "source", "draw"] = "none"
    """"source": a folder per part that the sources name (Common Voice, LibriSpeech, a column split); "draw": folders
    train, dev and test, by speaker, or by recording where the speaker is not known."""
    dev_share: Share = 0.05
    """Share of the audio for dev, if the split is drawn."""
    test_share: Share = 0.05
    """Share of the audio for test, if the split is drawn."""
    split_seed: Seed = 0
    """Seed of the split."""
    engine: Literal["local", "ray"] = "local"
    """Where the work is done: processes of this machine, or the tasks of a Ray cluster (extra speechssl[ray]), whose
    machines must see the sources and the output under the same paths."""
    num_workers: Workers = 0
    """Processes, or Ray tasks at a time; 0: as many as there are cores."""

    def problems(self) -> Iterator[str]:
        if self.min_seconds > self.max_seconds:
            yield f"min_seconds ({self.min_seconds:g}) is above max_seconds ({self.max_seconds:g})"
        if self.format == "opus" and self.sample_rate not in OPUS_RATES:
            yield f"sample_rate is {self.sample_rate}, but Opus has {', '.join(map(str, OPUS_RATES))} only"
        if self.split == "draw" and self.dev_share + self.test_share >= 1:
            yield (
                f"dev_share and test_share are {self.dev_share:g} and {self.test_share:g}, expected below 1 together"
            )


@dataclass(frozen=True)
class VerifyConfig(Section):
    """Prove that shards and their indexes are whole, or say what is wrong with which sample."""

    shards: list[str]
    """Shard files, folders of shards, or globs: of one sample rate, with each key once in a folder."""
    decode: bool = True
    """Decode every sample. Without it damaged audio shows only where an index has the checksum of what it was."""
    write_index: bool = False
    """Write the missing or stale indexes of shards that are otherwise sound, shards made elsewhere among them. Decodes
    in any case."""
    report: Path | None = None
    """JSON file for all findings."""
    num_workers: Workers = 0
    """Processes; 0: one per core."""
