"""How much is left to be heard, on a terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from speechssl.audio.decoders import opened
from speechssl.errors import DataError

_USUAL_BYTES_PER_SECOND = 16_000
"""Of a file whose header does not say how long it is."""


@contextmanager
def shown_progress(paths: Sequence[Path], what: str, *, is_shown: bool) -> Iterator[Callable[[float], None]]:
    """A bar with the remaining time on standard error, if that is a terminal; gives what is told of heard seconds."""
    console = Console(stderr=True)
    if not (is_shown and console.is_terminal):
        yield lambda seconds: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=sum(map(stated_seconds, paths)))
        yield lambda seconds: progress.advance(task, seconds)


def stated_seconds(path: Path) -> float:
    """How long a file is, by its header or else by its size; 0 of what cannot be read, which is told in its turn."""
    try:
        with opened(path) as decoder:
            if decoder.num_frames is not None:
                return decoder.num_frames / decoder.sample_rate
        return path.stat().st_size / _USUAL_BYTES_PER_SECOND
    except (DataError, OSError):
        return 0.0
