"""Recordings of a source to parts in a folder: heard, represented, written, one part after the other."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from speechssl.config import EmbedConfig, ModelConfig
from speechssl.decoding.hearing import Heard
from speechssl.decoding.long_form import Recording
from speechssl.embedding.formats import Features, WritePart
from speechssl.embedding.parts import Part, PartFolder
from speechssl.embedding.representation import Kept, Representation, frame_times
from speechssl.embedding.sources import Entry, Source
from speechssl.errors import DataError
from speechssl.files import written_whole
from speechssl.frames import num_frames

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What makes features of recordings."""

    config: EmbedConfig
    model: ModelConfig
    representation: Representation
    hear: Callable[[Iterable[Recording]], Generator[Heard[Kept], None, None]]
    """Lets the encoder hear recordings, in order."""
    write: WritePart

    def features_of(self, entry: Entry, heard: Heard[Kept]) -> Features:
        """What is written of a recording.

        Raises:
            DataError: numbers that are none, or that the type in the files cannot hold.
        """
        values = self.representation.joined(heard.in_order()).numpy()
        dtype = self.config.dtype
        with np.errstate(over="ignore"):
            values = values.astype(dtype)
        layers = dict(zip(self.representation.names, values, strict=True))
        for name, layer in layers.items():
            if not np.isfinite(layer).all():
                remedy = "give --dtype float32" if dtype == "float16" else "the checkpoint is damaged, or the audio"
                raise DataError(entry.path or entry.key, f"{name} has values that {dtype} cannot hold", remedy)
        num_samples = heard.recording.num_samples
        return Features(
            key=entry.key,
            layers=layers,
            times=frame_times(num_samples, self.model).numpy(),
            seconds=num_samples / self.model.sample_rate,
            text=entry.text,
            speaker=entry.speaker,
            language=entry.language,
            path=entry.path,
        )


def write_parts(work: Work, source: Source, folder: PartFolder) -> None:
    """Write the parts that are not there yet; what cannot be read is noted in them.

    Raises:
        DataError: shards cannot be had, or features cannot be stored.
    """
    folder.begin()
    sizes = source.sizes
    done = sum(part.num_entries for part in folder.parts)
    if done:
        logger.info("%s: %d parts, of %d recordings, are there already", folder.path, len(folder.parts), done)
    columns = (TextColumn("embedding"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    entries = source.entries(done)
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=sum(sizes))
        progress.advance(task, sum(sizes[:done]))
        while done < len(sizes):
            features: list[Features] = []
            unread: dict[str, str] = {}
            for entry, heard in hear_part(work, entries):
                if heard.problem:
                    unread[entry.key] = heard.problem
                else:
                    features.append(work.features_of(entry, heard))
                progress.advance(task, sizes[done])
                done += 1
            folder.add(write_part(work, folder.next_path, features, unread))


def hear_part(work: Work, entries: Iterator[Entry]) -> Iterator[tuple[Entry, Heard[Kept]]]:
    """Take as many recordings as a part holds, and yield what is heard in them, in order.

    Batches do not reach from one part into the next: those of a part are the same after an interruption.
    """
    taken: list[Entry] = []
    with closing(work.hear(take_part(work, entries, taken))) as found:
        for number, heard in enumerate(found):
            yield taken[number], heard


def take_part(work: Work, entries: Iterator[Entry], taken: list[Entry]) -> Iterator[Recording]:
    """Recordings of the next part; each has been read when the next one is asked for, and its length is known."""
    layers = work.model.feature_encoder.conv_layers
    bytes_per_vector = work.model.context.dim * np.dtype(work.config.dtype).itemsize
    max_samples = work.config.max_part_hours * 3600 * work.model.sample_rate
    num_samples = num_bytes = 0
    for entry in entries:
        taken.append(entry)
        yield entry.recording
        num_samples += entry.recording.num_samples
        num_vectors = work.representation.num_vectors(num_frames(entry.recording.num_samples, layers))
        num_bytes += bytes_per_vector * num_vectors
        if num_samples >= max_samples or num_bytes >= work.config.max_part_megabytes * 1e6:
            return


def write_part(work: Work, path: Path, features: list[Features], unread: dict[str, str]) -> Part:
    """Write a part, if there is anything in it."""
    num_bytes = 0
    if features:
        with written_whole(path) as partial:
            work.write(partial, features, work.config.pooling != "none")
            num_bytes = partial.stat().st_size
    return Part(
        name=path.name,
        num_recordings=len(features),
        num_frames=sum(len(item.times) for item in features),
        seconds=sum(item.seconds for item in features),
        num_bytes=num_bytes,
        unread=unread,
    )
