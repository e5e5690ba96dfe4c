"""Lists without a header: fairseq's, those of Multilingual LibriSpeech, and rows of an id and a text."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from speechssl.ingest.lists.opening import open_list
from speechssl.ingest.lists.paths import Paths, looks_like_audio
from speechssl.ingest.lists.rows import Listed, Row
from speechssl.ingest.lists.tables import Table
from speechssl.ingest.recordings import Findings
from speechssl.shards.fields import columns_of

_FAIRSEQ_ROW = re.compile(r"[^\t]+\t[0-9]+\s*")
_MLS_ROW = re.compile(r"([0-9]+)_([0-9]+)_([0-9]+)\t[^\t]*")  # the segments.txt beside it has more columns
_ALIKE = 0.4
"""Least likeness of a text and its normalised form: those of LJSpeech are 0.9 and more, a name and a text are 0.2."""


def _are_most(are: Iterable[bool]) -> bool:
    """Whether it is true of more than half: one row that is wrong does not make a list another one."""
    counts = Counter(are)
    return counts[True] > counts[False]


def looks_like_fairseq(lines: Sequence[str]) -> bool:
    """Whether the first line is a folder, and the others are paths, tabs and numbers of samples."""
    rows = [line for line in lines[1:] if line.strip()]
    if not rows or "\t" in lines[0].strip() or columns_of((lines[0].strip(),)):
        return False
    return _are_most(bool(_FAIRSEQ_ROW.fullmatch(row)) for row in rows)


def fairseq_list(path: str, found: Findings) -> Listed:
    """Rows of a .tsv of fairseq, with the words of the .wrd beside it, or the letters of the .ltr."""
    stem = os.path.splitext(path)[0]
    words = next((stem + suffix for suffix in (".wrd", ".ltr") if os.path.isfile(stem + suffix)), "")
    texts: list[str] = []
    if words:
        found.used.add(words)
        with open_list(words) as file:
            texts = [_from_letters(line) if words.endswith(".ltr") else line.strip() for line in file]
    with open_list(path) as file:
        lines = [line.rstrip("\r\n") for line in file]
    root = os.path.join(os.path.dirname(path), lines[0].strip())
    num_rows = sum(bool(line.strip()) for line in lines[1:])
    while len(texts) > num_rows and not texts[-1]:
        texts.pop()  # empty lines at the end
    problem = ""
    if words and len(texts) != num_rows:
        problem = (
            f"{os.path.basename(words)} has {len(texts)} lines for {num_rows} files, so that it cannot be known which "
            "text is whose; write both again"
        )
    place = {"path": "path", "text": os.path.basename(words) or "text", "frames": "number of samples"}

    def rows() -> Iterator[Row]:
        number = 0
        for line, row in enumerate(lines[1:], start=2):
            if not row.strip():
                continue
            name, _, frames = row.partition("\t")
            text = texts[number] if number < len(texts) else ""
            number += 1
            if problem or not frames.strip().isdecimal():
                yield Row(line, problem=problem or f"{row!r}, expected a path, a tab and the number of samples")
                continue
            name = name if os.path.isdir(root) else os.path.join(lines[0].strip(), name)
            yield Row(line, {"path": name, place["text"]: text, "number of samples": int(frames)})

    return Listed(rows(), place, "fairseq's", root=os.path.normpath(root) if os.path.isdir(root) else "")


def _from_letters(line: str) -> str:
    """Words of a line of fairseq's letters: "H E L L O | Y O U |"."""
    return "".join(line.split()).replace("|", " ").strip()


class HeaderlessTable(NamedTuple):
    """A table whose columns are known by what is in them."""

    table: Table
    columns: dict[str, str]
    """By field."""


def headerless_table(lines: Sequence[str], folder: str) -> HeaderlessTable | None:
    """What rows of an id or a path and a text are, of audio that lies there; None if they are no such rows.

    LJSpeech has an id, a text, and the text normalised; lists of VITS a path, a speaker's number if there are several,
    and a text; OpenSLR's line_index.tsv an id and a text.
    """
    return next(filter(None, (_split_by(delimiter, lines, folder) for delimiter in "|\t")), None)


def _split_by(delimiter: str, lines: Sequence[str], folder: str) -> HeaderlessTable | None:
    rows = [line.strip("\r\n").split(delimiter) for line in lines if line.strip()]
    width = len(rows[0]) if rows else 0
    if width not in (2, 3) or not _are_most(len(row) == width for row in rows):
        return None
    rows = [row for row in rows if len(row) == width]
    paths = Paths(folder)
    if not (
        any(" " in row[-1].strip() for row in rows) and any(paths.exact(row[0]) or paths.near(row[0]) for row in rows)
    ):
        return None
    header = tuple(f"column {number}" for number in range(1, width + 1))
    are_paths = all(looks_like_audio(row[0]) for row in rows)
    columns = {"path": header[0], "text": header[-1]} | ({} if are_paths else {"id": header[0]})
    if width == 3 and not all(difflib.SequenceMatcher(None, row[1], row[2]).ratio() > _ALIKE for row in rows):
        if not are_paths or not all(row[1].strip().isdecimal() for row in rows):
            return None
        columns["speaker"] = header[1]
    return HeaderlessTable(Table(delimiter, header, 0, is_quoted=False), columns)


def looks_like_mls(lines: Sequence[str], folder: str) -> bool:
    """Whether rows are ids SPEAKER_BOOK_NUMBER, tabs and texts, beside a folder of audio."""
    is_form = _are_most(bool(_MLS_ROW.fullmatch(line.strip("\r\n"))) for line in lines)
    return is_form and os.path.isdir(os.path.join(folder, "audio"))


def mls_list(path: str) -> Listed:
    """Rows of a transcripts.txt of Multilingual LibriSpeech: audio/SPEAKER/BOOK/SPEAKER_BOOK_NUMBER.flac."""
    names = ("path", "text", "speaker", "recording", "id")

    def rows() -> Iterator[Row]:
        with open_list(path) as file:
            for line, row in enumerate(file, start=1):
                utterance, _, text = row.strip("\r\n").partition("\t")
                if match := _MLS_ROW.fullmatch(row.strip("\r\n")):
                    speaker, book = match[1], match[2]
                    audio = os.path.join("audio", speaker, book, f"{utterance}.flac")
                    values = (audio, text, speaker, f"{speaker}_{book}", utterance)
                    yield Row(line, dict(zip(names, values, strict=True)))
                elif row.strip():
                    yield Row(line, problem=f"begins with {utterance!r}, expected SPEAKER_BOOK_NUMBER and a tab")

    return Listed(rows(), dict(zip(names, names, strict=True)), "transcripts.txt's")
