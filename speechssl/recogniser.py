"""A fine-tuned model from its checkpoint, which transcribes recordings of any length."""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from speechssl.config import (
    AnyDecoder,
    DropoutConfig,
    HeadConfig,
    ModelConfig,
    TextConfig,
    TranscribeConfig,
)
from speechssl.config.reading import from_dict
from speechssl.decoding.confidence import Calibration, calibration_of
from speechssl.decoding.decoder import Decoder, build_decoder, calibration_name, emissions
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.decoding.hearing import Heard, Windows, hear, pad
from speechssl.decoding.long_form import Audio, Recording, Window, open_recording
from speechssl.decoding.running import RunningDecoder
from speechssl.errors import CheckpointError, DataError
from speechssl.frames import hop_samples
from speechssl.model.ctc import CtcModel
from speechssl.model.loading import NoRandomWeights, load_weights
from speechssl.text.normalisation import Normalizer
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import Checkpoint, load_checkpoint
from speechssl.training.machine import resolve_device
from speechssl.transcripts.aligned import Aligned, align_transcript
from speechssl.transcripts.sources import Transcribed
from speechssl.transcripts.transcript import Clock, Transcript, make_transcript

logger = logging.getLogger(__name__)

PART_SECONDS = 60.0
"""Of a longer recording, what is behind is decoded and let go."""
SETTLING_SECONDS = 10.0
"""What the texts of a beam search have in common is settled so often. Searching all at once finds no better text: old
doubts that nothing will resolve any more take the places of new ones in its beam."""
PAUSE_SECONDS = 0.5
"""A word does not go on behind a longer pause. Of AN4's dev utterances one after the other 27.3% of words are then
wrong, and 30.0% without; of the utterances by themselves no word changes."""
BATCHES_PER_POOL = 4
"""Enough to sort the windows of short files by length, and little enough for transcripts to come early."""


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

    def align(self, audio: Audio, text: str, sample_rate: int | None = None) -> Aligned:
        """Say when each word and character of a known transcript was said, as ``speechssl align`` does.

        Args:
            audio: as of ``transcribe``.
            text: the transcript, with punctuation and in whatever case: what the recogniser cannot write is passed
                over. Of an hour with 50,000 characters it takes 55 MB for emissions and search, but for the audio.
            sample_rate: as of ``transcribe``.

        Raises:
            ConfigError: as of ``transcribe``.
            DataError: the audio cannot be heard, or the transcript has nothing to align, or more than fits.
        """
        item = Transcribed(open_recording(audio, sample_rate, self.config), text)
        [(_, found)] = align_recordings(self, [item])
        if isinstance(found, DataError):
            raise found
        return found

    @torch.no_grad()
    def emissions(self, windows: list[Window]) -> list[Tensor]:
        """Log probabilities of labels in the frames that are kept of each window, float32 (T, labels), on the CPU."""
        device = self.model.head.weight.device
        audio, lengths = pad(windows)
        logits = self.model(audio.to(device), None if lengths is None else lengths.to(device)).logits
        rows = zip(windows, emissions(logits), strict=True)
        return [row[window.first_frame : window.stop_frame].clone() for window, row in rows]

    @property
    def text(self) -> TextConfig:
        """How the transcripts were written that it learned from."""
        return from_dict(TextConfig, self.checkpoint.config.get("text") or {}, source=str(self.checkpoint.path))

    def calibration(self, decoding: AnyDecoder) -> Calibration:
        """Of the confidence of words as a decoder finds them."""
        return calibration_of(self.checkpoint.calibration, calibration_name(decoding))

    def running_decoder(self, decoder: Decoder) -> RunningDecoder:
        """For a recording of any length."""
        max_frames = self.frames_of(PART_SECONDS)
        if isinstance(decoder, GreedyDecoder):  # others know words, and have said where they end
            return RunningDecoder(decoder, self.vocabulary, max_frames, max(1, self.frames_of(PAUSE_SECONDS)))
        from speechssl.decoding.beam import BeamDecoder  # compiled loops: half a second
        from speechssl.decoding.running_beam import RunningBeam

        if isinstance(decoder, BeamDecoder):
            return RunningBeam(decoder, self.vocabulary, self.frames_of(SETTLING_SECONDS))
        return RunningDecoder(decoder, self.vocabulary, max_frames)

    def frames_of(self, seconds: float) -> int:
        """Frames that the model gives for so many seconds."""
        return round(seconds * self.config.sample_rate / hop_samples(self.config.feature_encoder.conv_layers))


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


@torch.no_grad()
def transcribe_recordings(
    recogniser: Recogniser,
    recordings: Iterable[Recording],
    config: TranscribeConfig,
    problems: list[str],
    passed: Callable[[float], None] = lambda seconds: None,
) -> Generator[Transcript, None, None]:
    """Transcribe in batches of windows of like lengths, yield in order, each when it is done.

    Recordings are read in another thread, some batches ahead. What was heard is decoded and let go, so that memory does
    not grow with a recording, but for its words.

    Args:
        recogniser: transcribes.
        recordings: to hear.
        config: how.
        problems: appended to, by file.
        passed: is told of the audio that was heard, in seconds, as it goes on.
    """
    on_cpu = recogniser.model.head.weight.device.type == "cpu"
    decoder = build_decoder(config.decoding, recogniser.vocabulary)
    clock, calibration = Clock(recogniser.config), recogniser.calibration(config.decoding)
    frames_per_second = recogniser.frames_of(1000.0) / 1000
    running: dict[int, RunningDecoder] = {}  # by the recording's id: it lives until it is yielded

    def take(heard: Heard[Tensor], log_probs: Tensor) -> None:
        key = id(heard.recording)
        if key not in running:
            running[key] = recogniser.running_decoder(decoder)
        running[key].add(log_probs)
        passed(len(log_probs) / frames_per_second)

    found = hear(
        recordings,
        recogniser.config,
        recogniser.emissions,
        max_batch_seconds=config.max_batch_seconds or (40.0 if on_cpu else 80.0),
        windows=Windows(config.window_seconds, config.margin_seconds),
        batches_per_pool=BATCHES_PER_POOL,
        take=take,
    )
    with closing(found):
        for heard in found:
            decoding = running.pop(id(heard.recording), None)
            if heard.problem or decoding is None:
                problems.append(heard.problem)
            else:
                seconds = heard.recording.num_samples / recogniser.config.sample_rate
                yield make_transcript(heard.recording.path, decoding.finish(), clock, calibration, seconds)


def align_recordings(
    recogniser: Recogniser, items: Iterable[Transcribed], max_batch_seconds: float | None = None
) -> Generator[tuple[Transcribed, Aligned | DataError], None, None]:
    """Align transcripts with recordings, in order; what cannot be aligned comes with what is wrong.

    Args:
        recogniser: hears them.
        items: read as ``transcribe_recordings`` does.
        max_batch_seconds: padded audio per batch, in seconds; 80 if absent, and 40 on a CPU.
    """
    on_cpu = recogniser.model.head.weight.device.type == "cpu"
    clock, rate = Clock(recogniser.config), recogniser.config.sample_rate
    normalizer = Normalizer(recogniser.text)
    opened: deque[Transcribed] = deque()

    def recordings() -> Iterator[Recording]:
        for item in items:
            opened.append(item)
            yield item.recording

    seconds = max_batch_seconds or (40.0 if on_cpu else 80.0)
    with closing(hear(recordings(), recogniser.config, recogniser.emissions, max_batch_seconds=seconds)) as found:
        for heard in found:
            item = opened.popleft()
            try:
                if heard.problem:
                    raise DataError(heard.problem)
                length = heard.recording.num_samples / rate
                log_probs = torch.cat(heard.in_order())
                yield item, align_transcript(log_probs, item.text, recogniser.vocabulary, clock, length, normalizer)
            except DataError as error:
                yield item, error
