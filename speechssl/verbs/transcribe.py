"""``speechssl transcribe``: audio files of any format, rate, channel count and length to text."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import track

from speechssl.audio.folders import find_audio
from speechssl.config import TranscribeConfig
from speechssl.config.limits import check
from speechssl.decoding.long_form import open_recording
from speechssl.errors import ConfigError, DataError
from speechssl.outputs import Lines, check_output_file, whole_file
from speechssl.recogniser import Recogniser, Transcript, load_recogniser, transcribe_recordings
from speechssl.training.machine import configure_cpu, release_after_new_shapes


def run(config: TranscribeConfig) -> None:
    """Transcribe files in the order given; what cannot be read is named at the end, after everything else is done.

    Raises:
        ConfigError: no audio, or windows that are all margin.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: names each file that could not be read.
    """
    check(config)
    paths = find_audio(config.audio)
    check_output(config.output, paths)
    configure_cpu()
    recogniser = load_recogniser(config.checkpoint, config.accelerator)
    encoder = recogniser.model.encoder
    for module in (encoder.feature_encoder, encoder.context.position, recogniser.model):
        release_after_new_shapes(module)
    problems: list[str] = []
    with nullcontext(sys.stdout) if config.output is None else whole_file(config.output) as file:
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


def transcribe(
    recogniser: Recogniser, paths: Iterable[Path], config: TranscribeConfig, problems: list[str]
) -> Iterator[Transcript]:
    """Transcribe files in batches of neighbours, in order, each when it is done; problems are appended by file."""
    recordings = (open_recording(path, None, recogniser.config) for path in paths)
    return transcribe_recordings(recogniser, recordings, config, problems)


def format_transcript(item: Transcript, config: TranscribeConfig) -> str:
    """One line of output."""
    if config.format == "text":
        return f"{item.path}\t{item.text}"
    content = {
        "path": str(item.path),
        "text": item.text,
        "seconds": round(item.seconds, 3),
        "confidence": round(item.confidence, 4),
    }
    return json.dumps(content, ensure_ascii=False)
