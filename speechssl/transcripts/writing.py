"""Where transcripts go: lines of one file, or a file for each recording."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from speechssl.config import TranscribeConfig, TranscriptFormat
from speechssl.errors import ConfigError
from speechssl.evaluation.transcripts.names import field_name, short_names
from speechssl.outputs import Lines, check_output_file, check_output_folder, whole_file, write_whole
from speechssl.transcripts.formats import (
    ONE_FILE_EACH,
    SUFFIXES,
    ctm_lines,
    json_line,
    one_line,
    text_line,
    whole_file_of,
)
from speechssl.transcripts.sources import STDIN
from speechssl.transcripts.transcript import Transcript

LEDGER = "transcripts.jsonl"
"""In a folder of transcripts: each as a JSON line, with the name and the SHA-256 of its file. A file that was changed
since, as subtitles that someone corrected, is not replaced."""


class Writer(Protocol):
    """Takes transcripts, in the order of the recordings."""

    def write(self, item: Transcript) -> None:
        """Write one, at once."""
        ...


class Plan(NamedTuple):
    """Where transcripts go."""

    output: Path | None
    """None: standard output."""
    format: TranscriptFormat
    names: dict[Path, str]
    """By the path of each recording: its name in CTM, or its file in the folder ``output``."""
    is_folder: bool


def plan_output(config: TranscribeConfig, paths: Sequence[Path]) -> Plan:
    """Choose the format, and try the output; what is there may be replaced if it is an earlier result.

    Args:
        config: with ``output`` and ``format``.
        paths: of the recordings, each once.

    Raises:
        ConfigError: the output cannot be written, is one of the recordings, or holds something else.
    """
    output, kind = config.output, format_of(config)
    if output is None:
        if sys.stdout is None:
            raise ConfigError("standard output is closed; give a file for the transcripts with --output")
        if kind in ONE_FILE_EACH and len(paths) > 1:
            raise ConfigError(f"{kind} is a file for each of {len(paths)} recordings; give a folder with --output")
        return Plan(None, kind, ctm_names(paths), is_folder=False)
    names_a_file = output.suffix.lower() in SUFFIXES and not output.is_dir()
    if kind in ONE_FILE_EACH and names_a_file and len(paths) > 1:
        raise ConfigError(
            f"output is {output}, a file, and {kind} is a file for each of {len(paths)} recordings; give a folder"
        )
    if kind in ONE_FILE_EACH and not names_a_file:
        names = file_names(paths, ONE_FILE_EACH[kind])
        check_folder(output, names)
        return Plan(output, kind, dict(zip(paths, names, strict=True)), is_folder=True)
    inputs = [path for path in paths if path != STDIN]
    if kind in ONE_FILE_EACH or kind == "ctm":
        if os.path.lexists(output):
            raise ConfigError(f"output is {output}, which is there already; give another file, or move it away")
        check_output_file(output, lambda _: False, what="", inputs=inputs, called="the recordings")
    else:
        check_lines(output, paths)
    return Plan(output, kind, ctm_names(paths), is_folder=False)


def format_of(config: TranscribeConfig) -> TranscriptFormat:
    """The format that is asked for, by name or by the suffix of the output.

    Raises:
        ConfigError: the suffix is of none, and there is no such file, of which more is said elsewhere.
    """
    if config.format != "auto":
        return config.format
    suffix = "" if config.output is None else config.output.suffix.lower()
    if suffix == ".json":
        raise ConfigError(f"output is {config.output}, expected .jsonl: transcripts are a JSON object on each line")
    if config.output is not None and suffix not in ("", *SUFFIXES) and not os.path.lexists(config.output):
        raise ConfigError(
            f"output is {config.output}, and {suffix} names no format, expected one of {', '.join(SUFFIXES)}; give "
            "--format text for a file of another name"
        )
    return SUFFIXES.get(suffix, "text")


def ctm_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Recordings as fields of CTM, each another one, by which its path is found again."""
    names = short_names(["standard_input" if path == STDIN else str(path) for path in paths])
    return dict(zip(paths, map(field_name, names), strict=True))


def file_names(paths: Sequence[Path], suffix: str) -> list[str]:
    """A file for each recording: its own name, below the folder that all are in, with another suffix.

    Where two would be the same, as for ``a.wav`` and ``a.mp3``, both keep the suffix that they have; a number tells
    apart what is still the same.
    """
    absolute = [Path(os.path.abspath(path)) if path != STDIN else Path("/standard_input") for path in paths]  # noqa: PTH100
    folder = os.path.commonpath([path.parent for path in absolute])
    own = [os.path.relpath(path, folder) for path in absolute]
    bare = [str(Path(name).with_suffix("")) for name in own]
    counts: dict[str, int] = {}
    for name in bare:
        counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
    taken: set[str] = set()
    names = []
    for name, whole in zip(bare, own, strict=True):
        stem = name if counts[name.casefold()] == 1 else whole
        number, chosen = 1, f"{stem}{suffix}"
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{stem}_{number}{suffix}"
        taken.add(chosen.casefold())
        names.append(chosen)
    return names


def check_lines(output: Path, paths: Sequence[Path]) -> None:
    """Try a file of lines; one that holds nothing but earlier transcripts of these recordings may be replaced.

    Raises:
        ConfigError: it cannot be written, is one of the recordings, or holds something else.
    """
    names = {one_line(str(path)) for path in paths} | {os.path.realpath(path) for path in paths}

    def is_ours(path: Path) -> bool:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            found = (path_of(line.removesuffix("\n")) for line in file)
            return all(name is not None and (name in names or os.path.realpath(name) in names) for name in found)

    what = "transcripts of these recordings alone"
    inputs = [path for path in paths if path != STDIN]
    check_output_file(output, is_ours, what=what, inputs=inputs, called="the recordings")


def path_of(line: str) -> str | None:
    """The recording of a line of output; None for a line that is none."""
    path, tab, _ = line.rpartition("\t")
    if tab:
        return path
    content = json.loads(line)
    keys = content.keys() - {"words"} if isinstance(content, dict) else set()
    return one_line(content["path"]) if keys == {"path", "text", "seconds", "confidence"} else None


def check_folder(folder: Path, names: Sequence[str]) -> None:
    """Try a folder for files of these names; those of an earlier time may be replaced if they are as they were written.

    Raises:
        ConfigError: it cannot be written, or files in it are of another origin, or were changed since.
    """
    check_output_folder(folder, ours={LEDGER: lambda path: bool(read_ledger(path.parent))})
    known = read_ledger(folder)
    foreign = [
        name
        for name in names
        if os.path.lexists(folder / name) and digest_of((folder / name).read_bytes()) not in known.get(name, ())
    ]
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ConfigError(
            f"output is {folder}, where {', '.join(map(one_line, foreign[:3]))}{more} would be replaced, which this "
            "command did not write, or which was changed since; choose another folder, or move it away"
        )


def read_ledger(folder: Path) -> dict[str, set[str]]:
    """Digests of what was written, by the name of the file."""
    known: dict[str, set[str]] = {}
    for content in ledger_entries(folder):
        known.setdefault(content["file"], set()).add(content["sha256"])
    return known


def ledger_entries(folder: Path) -> list[dict[str, Any]]:
    """What the ledger of a folder holds; without the line that a kill has cut off."""
    found = []
    if (folder / LEDGER).is_file():
        for line in (folder / LEDGER).read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
            with suppress(ValueError):
                content = json.loads(line)
                if isinstance(content, dict) and {"path", "file", "sha256"} <= content.keys():
                    found.append(content)
    return found


def _is_as_written(path: Path, digest: str) -> bool:
    return path.is_file() and digest_of(path.read_bytes()) == digest


def digest_of(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def opened_writer(plan: Plan) -> Iterator[Writer]:
    """What writes transcripts as planned; a file of lines has its name when it is whole."""
    if plan.is_folder:
        assert plan.output is not None
        yield FolderWriter(plan.output, plan.names, plan.format)
        return
    with nullcontext(sys.stdout) if plan.output is None else whole_file(plan.output) as file:
        yield LineWriter(Lines(file, are_json=plan.format == "jsonl"), plan)


class LineWriter:
    """Writes lines, at once.

    Args:
        lines: of the file.
        plan: where they go.
    """

    def __init__(self, lines: Lines, plan: Plan) -> None:
        self._lines = lines
        self._plan = plan

    def write(self, item: Transcript) -> None:
        """As of :class:`Writer`."""
        for line in self._made(item):
            self._lines.write(line)

    def _made(self, item: Transcript) -> Iterable[str]:
        match self._plan.format:
            case "text":
                return [text_line(item)]
            case "jsonl":
                return [json_line(item)]
            case "ctm":
                return ctm_lines(self._plan.names[Path(item.path or "-")], item.words)
            case kind:
                return whole_file_of(item, kind).removesuffix("\n").split("\n")


class FolderWriter:
    """Writes a file for each recording, whole or not at all, and says so in the ledger first.

    Args:
        folder: to write in.
        names: of the files, by the paths of the recordings.
        kind: format.
    """

    def __init__(self, folder: Path, names: Mapping[Path, str], kind: TranscriptFormat) -> None:
        self._folder = folder
        self._names = names
        self._kind = kind
        folder.mkdir(parents=True, exist_ok=True)
        kept = [x for x in ledger_entries(folder) if _is_as_written(folder / x["file"], x["sha256"])]
        write_whole(folder / LEDGER, "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in kept))

    def write(self, item: Transcript) -> None:
        """As of :class:`Writer`."""
        name, text = self._names[Path(item.path or "-")], whole_file_of(item, self._kind)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = digest_of(text.encode("utf-8", "surrogateescape"))
        content = json.loads(json_line(item)) | {"file": name, "sha256": digest}
        with (self._folder / LEDGER).open("a", encoding="utf-8", errors="surrogateescape") as ledger:
            ledger.write(json.dumps(content, ensure_ascii=False) + "\n")
        write_whole(path, text)
