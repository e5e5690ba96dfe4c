"""A fine-tuned model from its checkpoint, which transcribes recordings of any length."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from speechssl.config import DropoutConfig, HeadConfig, ModelConfig, TranscribeConfig
from speechssl.config.reading import from_dict
from speechssl.data.cells import round_up
from speechssl.decoding.decoder import Decoder, build_decoder, emissions
from speechssl.decoding.long_form import Audio, Recording, Window, open_recording
from speechssl.errors import CheckpointError, DataError
from speechssl.frames import frame_seconds
from speechssl.model.ctc import CtcModel
from speechssl.model.loading import NoRandomWeights, load_weights
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import Checkpoint, load_checkpoint
from speechssl.training.machine import resolve_device


class TimedWord(NamedTuple):
    """A word, and when it was said."""

    text: str
    start_seconds: float
    stop_seconds: float


class Transcript(NamedTuple):
    """What was said in a recording."""

    path: Path | None
    """None of an array."""
    text: str
    words: tuple[TimedWord, ...]
    """Those of the text."""
    confidence: float
    """0 to 1, as of :class:`Hypothesis`."""
    seconds: float
    """Length of the recording."""


class Recogniser(NamedTuple):
    """Model and what is needed to use it."""

    model: CtcModel
    vocabulary: Vocabulary
    config: ModelConfig
    checkpoint: Checkpoint

    def transcribe(self, audio: Audio, sample_rate: int | None = None) -> Transcript:
        """Transcribe one recording as ``speechssl transcribe`` does.

        Args:
            audio: a file, or floating-point samples in -1..1, (S,) or (S, C).
            sample_rate: of samples, in Hz; they are resampled where the model hears another.

        Raises:
            ConfigError: a rate was given for a file.
            DataError: it cannot be read, or is shorter than a frame.
        """
        problems: list[str] = []
        recordings = [open_recording(audio, sample_rate, self.config)]
        found = list(transcribe_recordings(self, recordings, TranscribeConfig(self.checkpoint.path, []), problems))
        if problems:
            raise DataError(problems[0])
        return found[0]


def load_recogniser(path: Path | str, device: torch.device | str = "auto") -> Recogniser:
    """Load a fine-tuning run's best checkpoint, or one checkpoint, in evaluation mode.

    Args:
        path: run or checkpoint.
        device: "auto", "cuda", "mps", "cpu", or one of PyTorch's.

    Raises:
        CheckpointError: missing, damaged, or not of a fine-tuned model.
        ConfigError: the device is not there.
    """
    device = resolve_device(device)
    checkpoint = load_checkpoint(Path(path))
    if checkpoint.kind != "ctc" or checkpoint.vocabulary is None:
        raise CheckpointError(
            f"{checkpoint.path}: a pretrained encoder without a CTC head; run `speechssl finetune` first"
        )
    config = from_dict(ModelConfig, checkpoint.config["model"])
    vocabulary = Vocabulary.from_dict(checkpoint.vocabulary)
    head = from_dict(HeadConfig, checkpoint.config.get("head", {}))
    with NoRandomWeights():
        model = CtcModel(config, DropoutConfig(), len(vocabulary), head)
    load_weights(model, checkpoint.model_state, source=checkpoint.path, copy=False)
    return Recogniser(model.to(device).eval(), vocabulary, config, checkpoint)


class Piece(NamedTuple):
    """A window, of a long recording or all of a short one."""

    recording: Recording
    window: Window


def transcribe_recordings(
    recogniser: Recogniser, recordings: Iterable[Recording], config: TranscribeConfig, problems: list[str]
) -> Iterator[Transcript]:
    """Transcribe in batches of neighbours, yield in order, each when it is done; problems are appended by file."""
    on_cpu = recogniser.model.head.weight.device.type == "cpu"
    max_samples = (config.max_batch_seconds or (40.0 if on_cpu else 80.0)) * recogniser.config.sample_rate
    decoder = build_decoder(config.decoding, recogniser.vocabulary)
    waiting: list[Piece] = []
    for recording in recordings:
        try:
            for window in recording.windows(recogniser.config, config.window_seconds, config.margin_seconds):
                longest = padded_length([window, *(piece.window for piece in waiting)])
                if waiting and longest * (len(waiting) + 1) > max_samples:
                    yield from transcribe_batch(recogniser, decoder, waiting)
                    waiting = []
                waiting.append(Piece(recording, window))
        except DataError as error:
            problems.append(str(error))
            waiting = [piece for piece in waiting if piece.recording is not recording]
    if waiting:
        yield from transcribe_batch(recogniser, decoder, waiting)


@torch.no_grad()
def transcribe_batch(recogniser: Recogniser, decoder: Decoder, pieces: list[Piece]) -> list[Transcript]:
    """One padded batch; returns the transcripts of the recordings that end in it."""
    device = recogniser.model.head.weight.device
    windows = [piece.window for piece in pieces]
    lengths = torch.tensor([len(window.samples) for window in windows])
    audio = torch.zeros(len(windows), padded_length(windows))
    for row, window in zip(audio, windows, strict=True):
        row[: len(window.samples)] = torch.from_numpy(window.samples)
    log_probs = emissions(recogniser.model(audio.to(device), lengths.to(device)).logits)  # (B, T, labels)
    done = []
    for (recording, window), row in zip(pieces, log_probs, strict=True):
        # A copy, without the margins: 21 MB an hour for 30 labels at 50 Hz.
        recording.outputs.append(row[window.first_frame : window.stop_frame].clone())
        if window.is_last:
            done.append(read_transcript(recording, recogniser.config, decoder))
    return done


def read_transcript(recording: Recording, model: ModelConfig, decoder: Decoder) -> Transcript:
    """Transcript of a recording that was heard to its end."""
    log_probs = torch.cat(recording.outputs)  # (T, labels)
    [found] = decoder.decode(log_probs[None], torch.tensor([len(log_probs)]))

    def edge(frame: int) -> float:
        return frame_seconds(frame - 0.5, model.feature_encoder.conv_layers, model.sample_rate)

    words = tuple(TimedWord(word.text, edge(word.first_frame), edge(word.stop_frame)) for word in found.words)
    return Transcript(recording.path, found.text, words, found.confidence, recording.num_samples / model.sample_rate)


def padded_length(windows: Sequence[Window]) -> int:
    """Samples that each window takes up in a batch; few lengths, so that few kernels have to be prepared."""
    return int(round_up(np.array([len(window.samples) for window in windows])).max())
