"""``speechssl align``: when each word of known transcripts was said, and which transcripts are wrong."""

from rich.console import Console
from rich.progress import track

from speechssl.config import AlignConfig
from speechssl.config.limits import check
from speechssl.errors import DataError
from speechssl.ingest.sources import find_recordings
from speechssl.outputs import check_output_folder, has_json_lines
from speechssl.recogniser import align_recordings, load_recogniser
from speechssl.training.machine import configure_cpu
from speechssl.transcripts.alignment_files import (
    ALIGNMENT_FILE,
    CTM_FILE,
    LEFT_OUT_FILE,
    SCORES_FILE,
    AlignmentFolder,
    has_ctm,
    is_scores,
)
from speechssl.transcripts.sources import open_sources

OURS = {
    ALIGNMENT_FILE: has_json_lines("key", "score", "words"),
    CTM_FILE: has_ctm,
    SCORES_FILE: is_scores,
    LEFT_OUT_FILE: is_scores,
}


def run(config: AlignConfig) -> AlignmentFolder:
    """Align every recording, and name the worst and those that cannot be aligned.

    Raises:
        ConfigError: the output cannot be written.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: sources that are not recognised, or without any transcript that can be aligned.
    """
    check(config)
    check_output_folder(config.output, ours=OURS)
    found = find_recordings(config.sources, config.output)
    configure_cpu()
    recogniser = load_recogniser(config.checkpoint, config.accelerator)
    sources = open_sources(found.recordings, recogniser.config.sample_rate)
    aligned = align_recordings(recogniser, sources, config.max_batch_seconds)
    console = Console(stderr=True)
    with AlignmentFolder(config) as folder:
        for lost in found.rejected:
            folder.add(lost.key, lost.path, "", DataError(f"{lost.path}: {lost.reason}: {lost.detail}"))
        for item, result in track(aligned, "aligning", len(found.recordings), console=console, transient=True):
            folder.add(item.key, item.path, item.text, result)
    print(folder.summary())
    return folder
