"""Recordings for a model to hear: audio, and transcribed ones of the sources that ``speechssl shard`` takes."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechssl.audio.blocks import read_blocks_at
from speechssl.audio.standard_input import copied_input
from speechssl.config import ModelConfig, ShardConfig
from speechssl.decoding.long_form import Recording, open_recording
from speechssl.errors import DataError
from speechssl.ingest.clips import Clip, name_of, read_clip, scan
from speechssl.ingest.recordings import Recording as Found
from speechssl.ingest.recordings import printable

STDIN = Path("-")


class Transcribed(NamedTuple):
    """A recording and what was said in it."""

    recording: Recording
    text: str
    key: str = ""
    """Its name in shards that are made of it."""
    path: str = ""
    """File, and member of a tar."""


def open_sources(found: Iterable[Found], sample_rate: int) -> Iterator[Transcribed]:
    """Recordings as ``speechssl shard`` would take them; each is read after it was asked for, before the next one.

    What cannot be read, or has no transcript, says so when it is read.
    """
    config = ShardConfig(["-"], Path("-"), require_text=True, text_case="keep", max_seconds=1e9)
    for item in found:
        scanned = scan(item, config)
        path = printable(name_of(item))
        if scanned.clips:
            [clip] = scanned.clips  # no recording with a transcript is cut
            yield Transcribed(Recording(None, _blocks(clip, item, sample_rate)), clip.text, clip.key, path)
        else:
            problem = scanned.rejected[0]
            yield Transcribed(Recording(None, _failing(f"{problem.reason}: {problem.detail}")), "", item.key, path)


def _blocks(clip: Clip, item: Found, sample_rate: int) -> Iterator[np.ndarray]:
    """Its samples: of a whole file block by block, so that hours of it are not in memory."""
    is_whole = item.start_seconds is None and item.stop_seconds is None
    if is_whole and item.member is None and item.channel is None:
        yield from read_blocks_at(Path(clip.path), sample_rate)
    else:
        yield read_clip(clip, sample_rate)


def _failing(problem: str) -> Iterator[np.ndarray]:
    raise DataError(problem)
    yield


def open_audio(paths: Iterable[Path], model: ModelConfig) -> Iterator[Recording]:
    """Recordings of files and of standard input, of which each is read before the next one is asked for."""
    for path in paths:
        if path != STDIN:
            yield open_recording(path, None, model)
            continue
        with ExitStack() as stack:
            copy = stack.enter_context(copied_input())
            yield Recording(path, _renamed(read_blocks_at(copy, model.sample_rate), copy))


def _renamed(blocks: Iterator[np.ndarray], copy: Path) -> Iterator[np.ndarray]:
    """The same blocks; problems are those of standard input, and not of its copy."""
    try:
        yield from blocks
    except DataError as error:
        raise DataError(str(error).replace(str(copy), "standard input")) from error
