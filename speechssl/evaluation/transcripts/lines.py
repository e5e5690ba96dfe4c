"""Transcripts a line each: NIST's TRN, ``WORDS (ID)``, and ids followed by words, as Kaldi's ``text`` has them."""

import re
from collections.abc import Sequence
from pathlib import Path

from speechssl.errors import DataError
from speechssl.evaluation.transcripts.spoken import Fault, Spoken, Transcripts, refuse
from speechssl.ingest.lists.paths import looks_like_audio

COMMENT = ";;"
_TRN = re.compile(r"(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)\s*")
_ALTERNATES = re.compile(r"\{[^{}]*\s/\s[^{}]*\}")
SPEAKERS_FILE = "utt2spk"
"""Beside Kaldi's ``text``."""


def looks_like_trn(lines: Sequence[str]) -> bool:
    """Whether most lines end with an id in brackets."""
    return 2 * sum(_TRN.fullmatch(line.strip()) is not None for line in lines) > len(lines)


def read_trn(path: Path, lines: Sequence[str]) -> Transcripts:
    """Read a TRN.

    Raises:
        DataError: names lines without an id, and those with alternatives in braces.
    """
    found, faults = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(COMMENT):
            continue
        match = _TRN.fullmatch(line.strip())
        if match is None:
            faults.append(Fault(number, f"no (ID) at the end of {line.strip()[-40:]!r}"))
        elif has_alternates(match["text"]):
            faults.append(Fault(number, ALTERNATES))
        else:
            found.append(Spoken(match["id"], match["text"], number))
    refuse(path, "trn", faults, len(found) + len(faults), "WORDS (ID), as in `the cat sat (spk1-001)`")
    return Transcripts(path, "trn", found)


ALTERNATES = "alternatives in braces, which are not scored here; keep one of them, or score with NIST's sclite"


def has_alternates(text: str) -> bool:
    """Whether a text holds NIST's alternatives, as in ``{ okay / ok }``."""
    return _ALTERNATES.search(text) is not None


def read_text(path: Path, lines: Sequence[str]) -> Transcripts:
    """Read ids followed by words: up to a tab if there is one on every line, else up to the first space.

    Raises:
        DataError: Kaldi's ``utt2spk`` beside the file, which says the speakers, is damaged.
    """
    rows = [(number, line.strip("\r\n")) for number, line in enumerate(lines, start=1) if line.strip()]
    has_tabs = all("\t" in line for _, line in rows)
    beside = path.with_name(SPEAKERS_FILE)
    speakers = read_speakers(beside) if beside.is_file() else {}
    found = []
    for number, line in rows:
        # The path of a recording may hold tabs, our own transcripts do not.
        name, _, text = line.rpartition("\t") if has_tabs and line.count("\t") > 1 else line.partition("\t")
        if not has_tabs:
            name, text = [*line.split(maxsplit=1), ""][:2]
        name = name.strip()
        columns = {"speaker": speakers[name]} if name in speakers else {}
        found.append(Spoken(name, text, number, columns, is_path=looks_like_audio(name)))
    return Transcripts(path, "text", found)


def read_speakers(path: Path) -> dict[str, str]:
    """Speakers by utterance id, of a file with both on each line.

    Raises:
        DataError: it cannot be read, or names lines that have something else.
    """
    try:
        rows = [(i, line.split()) for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)]
    except (OSError, ValueError) as error:
        raise DataError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if wrong := [number for number, fields in rows if fields and len(fields) != 2]:
        raise DataError(f"{path}, line {wrong[0]}", "expected an utterance id and its speaker, with a space between")
    return {fields[0]: fields[1] for _, fields in rows if fields}
