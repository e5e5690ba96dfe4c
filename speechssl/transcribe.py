"""Transcribe audio files of any format, rate, channel count and length."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from speechssl.audio.blocks import read_blocks_at
from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.config import TranscribeConfig
from speechssl.data.batching import round_up
from speechssl.decoding.decoder import Decoder, build_decoder, emissions
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.decoding.long_form import Window, cut_windows, shape_of
from speechssl.errors import ConfigError, DataError
from speechssl.frames import receptive_field_samples
from speechssl.outputs import Lines, check_output_file, whole_file
from speechssl.recogniser import Recogniser, load_recogniser
from speechssl.training.machine import release_after_new_shapes, resolve_accelerator, settle_cpu


class Transcript(NamedTuple):
    """One file's result."""

    path: Path
    seconds: float
    hypothesis: Hypothesis


@dataclass
class Recording:
    """A file that is being transcribed."""

    path: Path
    num_samples: int = 0
    """Read so far, at the model's rate."""
    emissions: list[Tensor] = field(default_factory=list)
    """Of its windows so far, (T, labels) each without what is not kept: 21 MB an hour for 30 labels at 50 Hz."""


class Piece(NamedTuple):
    """A window, of a long recording or all of a short one."""

    recording: Recording
    window: Window


def run(config: TranscribeConfig) -> None:
    """Transcribe files in the order given; what cannot be read is named at the end, after everything else is done.

    Raises:
        ConfigError: no audio, or windows that are all margin.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: names each file that could not be read.
    """
    if config.window_seconds <= 2 * config.margin_seconds:
        raise ConfigError(
            f"window_seconds is {config.window_seconds:g}, expected more than twice margin_seconds, "
            f"{2 * config.margin_seconds:g}: the margins of a window are not kept"
        )
    paths = find_audio(config.audio)
    check_output(config.output, paths)
    settle_cpu()
    recogniser = load_recogniser(config.checkpoint, torch.device(resolve_accelerator(config.accelerator)))
    encoder = recogniser.model.encoder
    for module in (encoder.feature_encoder, encoder.context.position, recogniser.model):
        release_after_new_shapes(module)
    problems: list[str] = []
    with result_file(config.output) as file:
        lines = Lines(file, are_json=config.format == "jsonl")
        console = Console(stderr=True)
        shown = track(paths, "transcribing", console=console, disable=config.output is None, transient=True)
        for item in transcribe(recogniser, shown, config, problems):
            lines.write(format_transcript(item, config))
    if problems:
        raise DataError(f"{len(problems)} of {len(paths)} files were not transcribed:\n" + "\n".join(problems))


def check_output(output: Path | None, recordings: Sequence[Path]) -> None:
    """Try the output; what is there may be replaced if it holds nothing but earlier transcripts of these recordings.

    Raises:
        ConfigError: it cannot be written, is one of the recordings, or holds something else.
    """
    if output is None:
        if sys.stdout is None:
            raise ConfigError("standard output is closed; give a file for the transcripts with --output")
        return
    names = {str(path) for path in recordings} | {os.path.realpath(path) for path in recordings}

    def is_ours(path: Path) -> bool:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            found = (path_of(line.removesuffix("\n")) for line in file)
            return all(name is not None and (name in names or os.path.realpath(name) in names) for name in found)

    what = "transcripts of these recordings alone"
    check_output_file(output, is_ours, what=what, inputs=recordings, called="the recordings")


def path_of(line: str) -> str | None:
    """The recording of a line of output; None for a line that is none."""
    path, tab, _ = line.rpartition("\t")
    if tab:
        return path
    content = json.loads(line)
    is_ours = isinstance(content, dict) and content.keys() == {"path", "text", "seconds", "confidence"}
    return content["path"] if is_ours else None


@contextmanager
def result_file(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that has its name when it is whole."""
    if output is None:
        yield sys.stdout
        return
    with whole_file(output) as file:
        yield file


def find_audio(sources: list[Path]) -> list[Path]:
    """Files as given, folders by their audio files, in order of name.

    Raises:
        ConfigError: nothing was given, or a folder holds none.
    """
    paths: list[Path] = []
    for source in sources:
        if source.is_dir():
            found = sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
            if not found:
                raise ConfigError(f"{source}: no audio files here ({', '.join(sorted(AUDIO_SUFFIXES))})")
            paths += found
        else:
            paths.append(source)
    if not paths:
        raise ConfigError("no audio files were given")
    return paths


def transcribe(
    recogniser: Recogniser, paths: Iterable[Path], config: TranscribeConfig, problems: list[str]
) -> Iterator[Transcript]:
    """Transcribe in batches of neighbours, yield in order, each when it is done; problems are appended by file."""
    rate = recogniser.config.sample_rate
    on_cpu = recogniser.model.head.weight.device.type == "cpu"
    max_batch_seconds = config.max_batch_seconds or (40.0 if on_cpu else 80.0)
    decoder = build_decoder(config.decoding, recogniser.vocabulary)
    waiting: list[Piece] = []
    for path in paths:
        recording = Recording(path)
        try:
            for window in windows_of(recording, recogniser, config):
                longest = padded_length([window, *(piece.window for piece in waiting)])
                if waiting and longest * (len(waiting) + 1) > max_batch_seconds * rate:
                    yield from transcribe_batch(recogniser, decoder, waiting)
                    waiting = []
                waiting.append(Piece(recording, window))
        except DataError as error:
            problems.append(str(error))
            waiting = [piece for piece in waiting if piece.recording is not recording]
    if waiting:
        yield from transcribe_batch(recogniser, decoder, waiting)


def windows_of(recording: Recording, recogniser: Recogniser, config: TranscribeConfig) -> Iterator[Window]:
    """Windows of a file, which is read meanwhile; a short one is one window.

    Raises:
        DataError: it cannot be read, or is shorter than a frame.
    """
    rate, conv_layers = recogniser.config.sample_rate, recogniser.config.feature_encoder.conv_layers

    def counted() -> Iterator[np.ndarray]:
        for block in read_blocks_at(recording.path, rate):
            recording.num_samples += len(block)
            yield block

    squeeze = recogniser.config.context.squeeze
    shape = shape_of(config.window_seconds, config.margin_seconds, rate, conv_layers, squeeze=squeeze)
    for window in cut_windows(counted(), conv_layers, shape):
        if window.stop_frame == 0:
            raise DataError(
                f"{recording.path}: {recording.num_samples} samples at {rate} Hz, expected at least "
                f"{receptive_field_samples(conv_layers)}, one frame"
            )
        yield window


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
        recording.emissions.append(row[window.first_frame : window.stop_frame].clone())
        if window.is_last:
            whole = torch.cat(recording.emissions)
            [hypothesis] = decoder.decode(whole[None], torch.tensor([len(whole)]))
            done.append(Transcript(recording.path, recording.num_samples / recogniser.config.sample_rate, hypothesis))
    return done


def padded_length(windows: Sequence[Window]) -> int:
    """Samples that each window takes up in a batch; few lengths, so that few kernels have to be prepared."""
    return int(round_up(np.array([len(window.samples) for window in windows])).max())


def format_transcript(item: Transcript, config: TranscribeConfig) -> str:
    """One line of output."""
    if config.format == "text":
        return f"{item.path}\t{item.hypothesis.text}"
    content = {
        "path": str(item.path),
        "text": item.hypothesis.text,
        "seconds": round(item.seconds, 3),
        "confidence": round(item.hypothesis.confidence, 4),
    }
    return json.dumps(content, ensure_ascii=False)
