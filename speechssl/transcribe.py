"""Transcribe audio files of any format, rate and channel count."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from speechssl.audio.reading import AUDIO_SUFFIXES, read_audio
from speechssl.config import TranscribeConfig
from speechssl.data.batching import round_up
from speechssl.decoding.greedy import Hypothesis, greedy_decode
from speechssl.errors import ConfigError, DataError
from speechssl.frames import receptive_field_samples
from speechssl.recogniser import Recogniser, load_recogniser
from speechssl.training.machine import resolve_accelerator, settle_cpu


class Transcript(NamedTuple):
    """One file's result."""

    path: Path
    seconds: float
    hypothesis: Hypothesis


def run(config: TranscribeConfig) -> None:
    """Transcribe files in the order given; what cannot be read is named at the end, after everything else is done.

    Raises:
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: names each file that could not be read.
    """
    paths = find_audio(config.audio)
    settle_cpu()
    recogniser = load_recogniser(config.checkpoint, torch.device(resolve_accelerator(config.accelerator)))
    problems: list[str] = []
    lines = [format_transcript(item, config) for item in transcribe(recogniser, paths, config, problems)]
    text = "".join(f"{line}\n" for line in lines)
    if config.output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        partial = config.output.with_name(f".partial_{config.output.name}")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, config.output)  # noqa: PTH105
    if problems:
        raise DataError(f"{len(problems)} of {len(paths)} files were not transcribed:\n" + "\n".join(problems))


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
    recogniser: Recogniser, paths: list[Path], config: TranscribeConfig, problems: list[str]
) -> Iterator[Transcript]:
    """Transcribe in batches of neighbours, yield in order; problems are appended by file."""
    rate = recogniser.config.sample_rate
    shortest = receptive_field_samples(recogniser.config.feature_encoder.conv_layers)
    waiting: list[tuple[Path, torch.Tensor]] = []
    for path in paths:
        try:
            audio = torch.from_numpy(read_audio(path, rate))
        except DataError as error:
            problems.append(str(error))
            continue
        if len(audio) < shortest:
            problems.append(f"{path}: {len(audio)} samples at {rate} Hz, expected at least {shortest}, one frame")
            continue
        longest = padded_length([audio, *(x for _, x in waiting)])
        if waiting and longest * (len(waiting) + 1) > config.max_batch_seconds * rate:
            yield from transcribe_batch(recogniser, waiting)
            waiting = []
        waiting.append((path, audio))
    if waiting:
        yield from transcribe_batch(recogniser, waiting)


@torch.no_grad()
def transcribe_batch(recogniser: Recogniser, files: list[tuple[Path, torch.Tensor]]) -> list[Transcript]:
    """One padded batch."""
    device = recogniser.model.head.weight.device
    rate = recogniser.config.sample_rate
    lengths = torch.tensor([len(audio) for _, audio in files])
    audio = torch.zeros(len(files), padded_length([audio for _, audio in files]))
    for row, (_, samples) in zip(audio, files, strict=True):
        row[: len(samples)] = samples
    output = recogniser.model(audio.to(device), lengths.to(device))
    hypotheses = greedy_decode(output.logits, output.lengths, recogniser.vocabulary)
    return [
        Transcript(path, len(audio) / rate, hypothesis)
        for (path, audio), hypothesis in zip(files, hypotheses, strict=True)
    ]


def padded_length(audio: Sequence[torch.Tensor]) -> int:
    """Samples that each recording takes up in a batch; few lengths, so that few kernels have to be prepared."""
    return int(round_up(np.array([len(samples) for samples in audio])).max())


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
