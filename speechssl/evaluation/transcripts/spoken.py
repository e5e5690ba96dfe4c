"""What a file of transcripts holds, whatever its format."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from speechssl.errors import DataError

Format = Literal["json", "table", "trn", "text", "ctm", "stm"]
Side = Literal["reference", "hypothesis"]
NAMES: dict[Format, str] = {
    "json": "JSON",
    "table": "a table",
    "trn": "TRN",
    "text": "ids and words",
    "ctm": "CTM",
    "stm": "STM",
}
MAX_NAMED = 3
"""Lines that a message names."""


class Spoken(NamedTuple):
    """One utterance."""

    id: str
    text: str
    line: int
    columns: Mapping[str, str | float] = {}
    """What else is known of it: ``speaker``, ``language``, ``seconds``, and others as the file calls them."""
    is_path: bool = False
    """Whether the id is the path of its audio, for want of another."""


class Word(NamedTuple):
    """A word of a CTM."""

    file: str
    channel: str
    middle: float
    """Seconds."""
    text: str


class Segment(NamedTuple):
    """A segment of an STM, of which each is an utterance."""

    file: str
    channel: str
    start: float
    """Seconds."""
    stop: float
    spoken: Spoken | None
    """None: what is said in it is not scored."""


class Transcripts(NamedTuple):
    """A file of transcripts."""

    path: Path
    format: Format
    utterances: Sequence[Spoken] = ()
    words: Sequence[Word] = ()
    """Of a CTM, which knows no utterances."""
    segments: Sequence[Segment] = ()
    """Of an STM; its utterances are those of the segments."""
    text_field: str = ""
    """Of a table or JSON, that the texts are from."""
    is_output: bool = False
    """Whether it is a recogniser's output by its content: words with times, or with confidences."""

    @property
    def shown(self) -> str:
        """The file and what it was taken for."""
        return f"{self.path} (read as {NAMES[self.format]})"


class Fault(NamedTuple):
    """What is wrong with a line."""

    line: int
    what: str


def refuse(path: Path, kind: Format, faults: Sequence[Fault], num_lines: int, expected: str) -> None:
    """Raise DataError, in one line, for what is wrong with a file, if anything is."""
    if faults:
        first = "; ".join(f"line {fault.line}: {fault.what}" for fault in faults[:MAX_NAMED])
        more = f" and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
        raise DataError(
            f"{path}: {len(faults)} of {num_lines} lines cannot be read as {NAMES[kind]} ({first}{more}); "
            f"expected {expected}"
        )


def by_id(path: Path, utterances: Iterable[Spoken]) -> dict[str, Spoken]:
    """Utterances by their ids.

    Raises:
        DataError: names ids that are there more than once.
    """
    found: defaultdict[str, list[Spoken]] = defaultdict(list)
    for item in utterances:
        found[item.id].append(item)
    if repeated := {name: items for name, items in found.items() if len(items) > 1}:
        shown = "; ".join(
            f"{name} on lines {', '.join(str(item.line) for item in items[:MAX_NAMED])}"
            + (f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else "")
            for name, items in list(repeated.items())[: 2 * MAX_NAMED]
        )
        more = f"; and {len(repeated) - 2 * MAX_NAMED} more" if len(repeated) > 2 * MAX_NAMED else ""
        raise DataError(
            f"{path}: {len(repeated)} ids are there more than once ({shown}{more}); expected one transcript for each "
            "utterance"
        )
    return {name: items[0] for name, items in found.items()}
