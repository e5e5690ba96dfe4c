"""The run log: every figure of a run to the terminal, to JSON lines and to TensorBoard."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from speechssl.outputs import write_whole

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

LineKind = Literal["train", "dev"]

LOG_FILE = "log.jsonl"
SUMMARY_FILE = "summary.json"
"""Written when a run has finished."""


# How the terminal shows the figures that have a customary form, in this order; others follow as they come.
_SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "loss": ("loss", "{:.3f}".format),
    "divergence": ("divergence", "{:.3f}".format),
    "wer": ("WER", "{:.1%}".format),
    "cer": ("CER", "{:.1%}".format),
    "probe_cer": ("probe CER", "{:.1%}".format),
    "accuracy": ("accuracy", "{:.3f}".format),
    "chance": ("chance", "{:.3f}".format),
    "perplexity": ("perplexity", "{:.1f}".format),
    "masked_share": ("masked", "{:.1%}".format),
    "effective_rank": ("rank", "{:.1f}".format),
    "gradient_norm": ("grad", "{:.2f}".format),
    "learning_rate": ("lr", "{:.1e}".format),
    "blank_share": ("blank", "{:.1%}".format),
    "empty_share": ("empty", "{:.1%}".format),
    "padding_share": ("padding", "{:.1%}".format),
    "probe_share": ("probing", "{:.1%}".format),
    "bad_samples": ("damaged", "{:.0f}".format),
    "audio_seconds_per_second": ("audio-s/s", "{:.0f}".format),
}
# In log.jsonl and TensorBoard; the terminal's lines are long enough.
_FILE_ONLY = frozenset(
    {"diversity_loss", "feature_energy", "wait_share", "prediction_deviation", "teacher_movement", "anchor_chance"}
    | {"probe_noise", "probe_seconds", "same_share", "one_label_share"}
)


class RunConsole(Console):
    """A console whose reader may leave, as ``head`` does: the run goes on, and its figures are in its files."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class RunLog:
    """Log of one run, to be used in a ``with`` statement.

    The terminal (standard error) shows a progress bar if it is one, and plain lines if it is a file or a pipe.
    ``RUN/log.jsonl`` gets one object per line: ``kind``, ``update``, ``wall_seconds`` and the figures.
    ``RUN/tensorboard`` gets the same as ``<kind>/<figure>``, in a single file of events.

    Args:
        run: Run folder; made if absent.
        total_updates: Length of the run.
        start_update: Updates done before; lines past it, which a killed run logged after its last checkpoint, are
            dropped, since they are about to be written again. At 0 the log of an earlier attempt is.
        scored: Whether scores of ``start_update`` on held-out data stay; else they are about to be written again.
        enabled: False makes every method do nothing, for the ranks that do not log.
        console: Where to show the figures; standard error if absent.
    """

    def __init__(
        self,
        run: Path,
        total_updates: int,
        *,
        start_update: int = 0,
        scored: bool = True,
        enabled: bool = True,
        console: Console | None = None,
    ) -> None:
        self._run = run
        self._total_updates = total_updates
        self._start_update = start_update
        self._scored = scored
        self._enabled = enabled
        self._console = console or RunConsole(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("update"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not (enabled and self._console.is_terminal),
        )
        self._task = self._progress.add_task("", total=total_updates, completed=start_update)
        self._earlier_seconds = 0.0
        self._started = time.monotonic()

    def __enter__(self) -> "RunLog":
        self._started = time.monotonic()
        if self._enabled:
            self._run.mkdir(parents=True, exist_ok=True)
            path = self._run / LOG_FILE
            self._earlier_seconds = truncate_log(path, self._start_update, scored=self._scored)
            self._tensorboard = self._redraw(read_log(path))
            self._file = path.open("a", encoding="utf-8")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._enabled:
            self._progress.stop()
            self._file.close()
            self._tensorboard.close()

    def _redraw(self, records: list[dict[str, Any]]) -> "SummaryWriter":
        """A new file of events that holds the log so far, in place of those that earlier attempts have left.

        TensorBoard draws every file of a folder. It can be told to forget what lies past a step in those before, but
        puts them in order by the clocks of the machines that wrote them.
        """
        # Imported here since it takes seconds, and only the rank that logs needs it.
        from torch.utils.tensorboard import SummaryWriter

        folder = self._run / "tensorboard"
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        # A TensorBoard that is open forgets what it has read.
        writer = SummaryWriter(folder, purge_step=0, flush_secs=10)
        began = time.time() - self._earlier_seconds
        for record in records:
            for name in record.keys() - {"kind", "update", "wall_seconds"}:
                value = math.nan if record[name] is None else record[name]
                when = began + record["wall_seconds"]
                writer.add_scalar(f"{record['kind']}/{name}", value, record["update"], walltime=when)
        return writer

    @property
    def wall_seconds(self) -> float:
        """Seconds that the run has taken, those before it was resumed included."""
        return self._earlier_seconds + time.monotonic() - self._started

    def advance(self, update: int) -> None:
        """Move the progress bar; cheap enough for every update."""
        if self._enabled:
            self._progress.update(self._task, completed=update)

    def message(self, text: str) -> None:
        """Print a line for the person who watches, above the progress bar."""
        if self._enabled:
            self._console.print(text, markup=False, soft_wrap=True)

    def log(self, update: int, metrics: Mapping[str, float], *, kind: LineKind = "train") -> None:
        """Write the figures of one update everywhere.

        Args:
            update: Updates done.
            metrics: Figures by name; one that is not finite becomes null in log.jsonl.
            kind: "train" for means over the updates since the last line, "dev" for scores on held-out data.
        """
        if not self._enabled:
            return
        record: dict[str, Any] = {"kind": kind, "update": update, "wall_seconds": round(self.wall_seconds, 3)}
        record |= {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._tensorboard.add_scalar(f"{kind}/{name}", value, update)
        self.advance(update)
        self.message(format_line(update, self._total_updates, metrics, kind=kind))


def format_line(update: int, total_updates: int, metrics: Mapping[str, float], *, kind: LineKind) -> str:
    """One terminal line: how far the run is, then the figures with their names and customary digits."""
    width = len(str(total_updates))
    parts = [f"{kind:<5} {update:>{width}}/{total_updates}"]
    groups = sorted(name for name in metrics if name.startswith("perplexity_"))
    # A task puts the score that chooses its checkpoints first.
    first = [name for name in list(metrics)[:1] if kind == "dev" and name in _SHOWN]
    for name in dict.fromkeys([*first, *_SHOWN]):
        label, show = _SHOWN[name]
        if name == "perplexity" and groups:
            parts.append(f"{label} {'+'.join(show(metrics[group]) for group in groups)}")
        elif name in metrics:
            parts.append(show_figure(name, metrics[name]))
    rest = (name for name in metrics if name not in _SHOWN and name not in groups and not _is_file_only(name))
    parts += [show_figure(name, metrics[name]) for name in rest]
    return "  ".join(parts)


def _is_file_only(name: str) -> bool:
    return name in _FILE_ONLY or name.startswith("probe_cer_")  # of each layer


def show_figure(name: str, value: float) -> str:
    """A figure with its customary name and digits."""
    label, show = _SHOWN.get(name, (name, "{:.4g}".format))
    return f"{label} {show(value)}"


def truncate_log(path: Path, update: int, *, scored: bool = True) -> float:
    """Drop the lines past an update, at 0 all, and a last line that was cut off by a kill.

    Args:
        path: of the log; it may be absent.
        update: updates done.
        scored: whether scores of this update on held-out data stay.

    Returns:
        ``wall_seconds`` of the last line that stays, 0 if none does.
    """
    if not path.is_file():
        return 0.0
    kept = [record for record in read_log(path) if update > 0 and record["update"] <= update]
    if not scored:
        kept = [record for record in kept if (record["kind"], record["update"]) != ("dev", update)]
    write_whole(path, "".join(json.dumps(record) + "\n" for record in kept))
    return kept[-1]["wall_seconds"] if kept else 0.0


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a run's log.jsonl in order, none if it is absent.

    A last line that is cut off is left out, and others that are damaged with a warning.
    """
    records: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                logger.warning("%s, line %d: damaged (%s), and left out", path, number, error.msg)
    return records


def read_summary(run: Path) -> dict[str, Any]:
    """What a run came to; {} until it has finished."""
    path = run / SUMMARY_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
