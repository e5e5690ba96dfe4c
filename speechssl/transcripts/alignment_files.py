"""The files of ``speechssl align``: alignments, scores with the worst first, and what to leave out."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from speechssl.config import AlignConfig
from speechssl.errors import DataError
from speechssl.ingest.recordings import key_of
from speechssl.outputs import whole_file, write_whole
from speechssl.transcripts.aligned import Aligned, aligned_line
from speechssl.transcripts.formats import ctm_lines, one_line, text_grid

ALIGNMENT_FILE = "alignment.jsonl"
CTM_FILE = "alignment.ctm"
SCORES_FILE = "scores.tsv"
LEFT_OUT_FILE = "left_out.tsv"
GRIDS = "textgrids"
SCORES_HEADER = "key\tscore\tseconds\tworst_score\tworst_word\ttext"
LEFT_OUT_HEADER = "key\treason\ttext"
SHOWN = 5


class Scored(NamedTuple):
    """A line of scores.tsv, in order of its score."""

    score: float
    key: str
    seconds: float
    worst_score: float
    worst_word: str
    text: str


def is_scores(path: Path) -> bool:
    """Whether a file is a table of these."""
    with path.open(encoding="utf-8") as file:
        return file.readline().rstrip("\n") in (SCORES_HEADER, LEFT_OUT_HEADER)


def has_ctm(path: Path) -> bool:
    """Whether each line is one of CTM."""
    with path.open(encoding="utf-8") as file:
        return all(len(line.split(" ")) == 6 for line in file)


class AlignmentFolder:
    """Writes alignments as they come, and the tables when all are there.

    Args:
        config: with the folder, the formats, and the share that is left out.
    """

    def __init__(self, config: AlignConfig) -> None:
        self._config = config
        self._stack = ExitStack()
        self._lines: IO[str]
        self._ctm: IO[str] | None = None
        self.scored: list[Scored] = []
        """The worst first, once all are there."""
        self.left_out: list[tuple[str, str, str]] = []
        """Key, reason and text: what cannot be aligned, then the worst."""
        self.num_unaligned = 0
        self.num_unknown = 0
        """Characters that the recogniser cannot write."""

    def __enter__(self) -> "AlignmentFolder":
        folder = self._config.output
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = self._stack.enter_context(whole_file(folder / ALIGNMENT_FILE))
        if "ctm" in self._config.formats:
            self._ctm = self._stack.enter_context(whole_file(folder / CTM_FILE))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        self._stack.__exit__(kind, error, trace)

    def add(self, key: str, path: str, text: str, found: Aligned | DataError) -> None:
        """Write what came of a recording."""
        if isinstance(found, DataError):
            self.num_unaligned += 1
            self.left_out.append((key, one_line(str(found)), text))
            return
        self.num_unknown += found.num_unknown
        worst = min(((word.score, word.text) for word in found.words if word.score is not None), default=(0.0, ""))
        self.scored.append(Scored(found.score, key, found.seconds, worst[0], worst[1], text))
        self._lines.write(aligned_line(key, path, found) + "\n")
        name = key_of(key)
        if self._ctm is not None:
            self._ctm.writelines(f"{line}\n" for line in ctm_lines(name, found.timed_words()))
        if "textgrid" in self._config.formats:
            grids = self._config.output / GRIDS
            grids.mkdir(exist_ok=True)
            write_whole(grids / f"{name}.TextGrid", text_grid(found.seconds, found.tiers()))

    def _finish(self) -> None:
        """Write the tables."""
        if not self.scored:
            reason = f"; the first: {self.left_out[0][1]}" if self.left_out else ""
            raise DataError(f"none of {self.num_unaligned} recordings could be aligned{reason}")
        self.scored.sort()
        num_worst = round(self._config.leave_out * len(self.scored))
        for item in self.scored[:num_worst]:
            reason = f"score {item.score:.2f}, {item.worst_score:.2f} at {item.worst_word}"
            self.left_out.append((item.key, reason, item.text))
        rows = [
            f"{x.key}\t{x.score:.4f}\t{x.seconds:.2f}\t{x.worst_score:.4f}\t{x.worst_word}\t{one_line(x.text)}"
            for x in self.scored
        ]
        self._write(SCORES_FILE, SCORES_HEADER, rows)
        rows = [f"{key}\t{reason}\t{one_line(text)}" for key, reason, text in self.left_out]
        self._write(LEFT_OUT_FILE, LEFT_OUT_HEADER, rows)

    def _write(self, name: str, header: str, rows: Sequence[str]) -> None:
        write_whole(self._config.output / name, "\n".join([header, *rows]) + "\n")

    def summary(self) -> str:
        """What was aligned, and what is left out, by name."""
        folder = self._config.output
        lines = [f"{folder}: {len(self.scored)} recordings aligned, {self.num_unaligned} not; the worst scores:"]
        lines += [f"  {x.score:8.2f}  {x.key}  {x.text[:60]}" for x in self.scored[:SHOWN]]
        if self.num_unknown:
            lines.append(f"{self.num_unknown} characters were passed over, which the recogniser cannot write")
        if self._config.leave_out and not round(self._config.leave_out * len(self.scored)):
            lines.append(
                f"leave_out {self._config.leave_out:g} of {len(self.scored)} recordings is less than one: none"
            )
        if self.left_out:
            named = ", ".join(key or reason for key, reason, _ in self.left_out[:SHOWN])
            more = f" and {len(self.left_out) - SHOWN} more" if len(self.left_out) > SHOWN else ""
            lines.append(f"left out by `speechssl shard --leave_out {folder / LEFT_OUT_FILE}`: {named}{more}")
        return "\n".join(lines)
