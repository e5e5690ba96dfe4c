"""``speechssl transcribe``: audio of any format, rate, channel count and length, or a live stream, to text."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from speechssl.audio.blocks import read_blocks_at
from speechssl.audio.folders import find_audio
from speechssl.audio.standard_input import copied_input, live_blocks, standard_input
from speechssl.config import TranscribeConfig
from speechssl.config.limits import check
from speechssl.decoding.long_form import Recording, open_recording
from speechssl.errors import DataError
from speechssl.live import LiveTranscriber, Progress
from speechssl.recogniser import Recogniser, load_recogniser, transcribe_recordings
from speechssl.training.machine import configure_cpu, release_after_new_shapes
from speechssl.transcripts.progress import shown_progress
from speechssl.transcripts.transcript import Transcript
from speechssl.transcripts.writing import opened_writer, plan_output

logger = logging.getLogger(__name__)

STDIN = Path("-")
STREAM_SECONDS = 1.0
"""A stream is heard again when so much more of it has come."""


def run(config: TranscribeConfig) -> None:
    """Transcribe files in the order given; what cannot be read is named at the end, after everything else is done.

    Raises:
        ConfigError: no audio, windows that are all margin, or an output that cannot be written.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: names each file that could not be read.
    """
    check(config)
    paths = [STDIN] if config.stream is not None else list(dict.fromkeys(find_audio(config.audio)))
    plan = plan_output(config, paths)
    configure_cpu()
    recogniser = load_recogniser(config.checkpoint, config.accelerator)
    encoder = recogniser.model.encoder
    for module in (encoder.feature_encoder, encoder.context.position, recogniser.model):
        release_after_new_shapes(module)
    if plan.format in ("jsonl", "ctm") and recogniser.calibration(config.decoding).num_words == 0:
        logger.info("the confidence of words is as the model has it; `speechssl calibrate` makes it exact")
    problems: list[str] = []
    with opened_writer(plan) as writer:
        if config.stream is not None:
            writer.write(transcribe_stream(recogniser, config))
        else:
            for item in transcribe(recogniser, paths, config, problems):
                writer.write(item)
    if problems:
        raise DataError(f"{len(problems)} of {len(paths)} files were not transcribed:\n" + "\n".join(problems))


def transcribe(
    recogniser: Recogniser, paths: Iterable[Path], config: TranscribeConfig, problems: list[str]
) -> Iterator[Transcript]:
    """Transcribe files, in order, each when it and those before it are done; problems are appended by file."""
    paths = list(paths)
    recordings = open_all(paths, recogniser)
    with shown_progress(paths, "transcribing", is_shown=config.output is not None) as passed:
        yield from transcribe_recordings(recogniser, recordings, config, problems, passed)


def open_all(paths: Iterable[Path], recogniser: Recogniser) -> Iterator[Recording]:
    """Recordings, of which each is read before the next one is asked for."""
    for path in paths:
        if path != STDIN:
            yield open_recording(path, None, recogniser.config)
            continue
        with ExitStack() as stack:
            copy = stack.enter_context(copied_input())
            yield Recording(path, renamed(read_blocks_at(copy, recogniser.config.sample_rate), copy))


def renamed(blocks: Iterator[np.ndarray], copy: Path) -> Iterator[np.ndarray]:
    """The same blocks; problems are those of standard input, and not of its copy."""
    try:
        yield from blocks
    except DataError as error:
        raise DataError(str(error).replace(str(copy), "standard input")) from error


def transcribe_stream(recogniser: Recogniser, config: TranscribeConfig) -> Transcript:
    """Transcribe raw audio on standard input until it ends, and say in between what is heard."""
    live = LiveTranscriber(recogniser, config)
    rate = config.stream or recogniser.config.sample_rate
    for block in live_blocks(standard_input(), rate, recogniser.config.sample_rate, STREAM_SECONDS):
        show(live.hear(block), config)
    return live.finish()


def show(progress: Progress, config: TranscribeConfig) -> None:
    """Say what is heard so far: as JSON lines on standard output, or on a terminal in one line that changes."""
    if config.format == "jsonl" and config.output is None:
        print(json.dumps(progress._asdict() | {"seconds": round(progress.seconds, 3)}, ensure_ascii=False), flush=True)
    elif sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\x1b[2K{progress.seconds:.0f} s {progress.partial[-70:]}", end="", file=sys.stderr, flush=True)
