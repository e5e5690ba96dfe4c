"""``speechssl transcribe``: audio of any format, rate, channel count and length, or a live stream, to text."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechssl.audio.folders import find_audio
from speechssl.config import TranscribeConfig
from speechssl.config.limits import check
from speechssl.errors import DataError
from speechssl.live import transcribe_stream
from speechssl.recogniser import Recogniser, load_recogniser, transcribe_recordings
from speechssl.training.machine import configure_cpu, release_after_new_shapes
from speechssl.transcripts.progress import shown_progress
from speechssl.transcripts.sources import STDIN, open_audio
from speechssl.transcripts.transcript import Transcript
from speechssl.transcripts.writing import opened_writer, plan_output

logger = logging.getLogger(__name__)


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
    recogniser: Recogniser, paths: Sequence[Path], config: TranscribeConfig, problems: list[str]
) -> Iterator[Transcript]:
    """Transcribe files, in order, each when it and those before it are done; problems are appended by file."""
    recordings = open_audio(paths, recogniser.config)
    with shown_progress(paths, "transcribing", is_shown=config.output is not None) as passed:
        yield from transcribe_recordings(recogniser, recordings, config, problems, passed)
