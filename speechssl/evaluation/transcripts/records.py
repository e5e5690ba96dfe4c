"""Transcripts with fields: JSON lines, and tables with a header; ours, NeMo's, and what else names its fields."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechssl.errors import DataError
from speechssl.evaluation.transcripts.spoken import Fault, Side, Spoken, Transcripts, refuse
from speechssl.ingest.lists.tables import Table, rows_of, table_of
from speechssl.shards.fields import columns_of, fold
from speechssl.shards.values import read_json

_TEXTS: dict[Side, frozenset[str]] = {
    "reference": frozenset({"reference", "ref", "referencetext", "reftext", "groundtruth"}),
    "hypothesis": frozenset(
        {"hypothesis", "hyp", "predtext", "prediction", "pred", "predictedtext", "hypothesistext", "hyptext"}
        | {"asr", "asrtext", "recognized", "recognised", "decoded"}
    ),
}
"""Names that say which side a text is on, folded; else it is what any list calls its text."""
_CONFIDENCES = frozenset({"confidence", "avglogprob"})
_NO_GROUPS = frozenset(
    {"words", "nbest", "alternatives", "timestamps", *_CONFIDENCES}
    | {"numwords", "substitutions", "deletions", "insertions", "charactererrors", "numcharacters"}
)
"""Parts of an output, and what a score says of it."""
_OUR_NAMES = {"speaker": "speaker", "language": "language", "duration": "seconds"}


def looks_like_table(lines: Sequence[str], suffix: str) -> Table | None:
    """The table that lines are, by a header that names an id or a path, and a text; None if they are none."""
    table = table_of(lines, suffix)
    if table is None or not {"id", "path"} & table.columns.keys():
        return None
    has_text = any(_text_column(table.header, side) is not None for side in _TEXTS)
    return table if has_text and len(table.header) > 1 else None


def read_table(path: Path, lines: Sequence[str], side: Side) -> Transcripts:
    """Read a table.

    Raises:
        DataError: it has no such header, or names lines that do not fit it.
    """
    table = looks_like_table(lines, path.suffix)
    if table is None:
        raise DataError(
            str(path),
            f"no header with an id or a path, and a text, in its first line {lines[0].strip()[:60]!r}",
            "name its columns (id, text, speaker ...)",
        )
    found, faults, num = [], [], 0
    for row in rows_of(iter(lines), table):
        num += 1
        what = row.problem or _spoken(row.values, int(row.line), side)
        found.append(what) if isinstance(what, Spoken) else faults.append(Fault(int(row.line), what))
    refuse(path, "table", faults, num, _expected(side))
    field = _text_column(table.header, side) or ""
    return Transcripts(path, "table", found, text_field=field, is_output=_is_output(table.header, side))


def read_records(path: Path, lines: Sequence[str], side: Side) -> Transcripts:
    """Read JSON: an object a line, an array of objects, or an object of objects by their ids.

    Raises:
        DataError: names what cannot be read, and objects without an id or a text.
    """
    records, faults = _records(lines)
    num, found = len(records) + len(faults), []
    for line, record in records:
        what = _spoken(record, line, side) if isinstance(record, dict) else "no object"
        found.append(what) if isinstance(what, Spoken) else faults.append(Fault(line, what))
    refuse(path, "json", faults, num, _expected(side))
    names = dict.fromkeys(name for _, record in records for name in record)
    field = _text_column(names, side) or ""
    return Transcripts(path, "json", found, text_field=field, is_output=_is_output(names, side))


def _records(lines: Sequence[str]) -> tuple[list[tuple[int, Any]], list[Fault]]:
    """Values with their lines, or places in an array, and what is no JSON."""
    whole = "".join(lines)
    records: list[tuple[int, Any]] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                records.append((number, read_json(line)))
            except (ValueError, RecursionError) as error:
                faults.append(Fault(number, f"no JSON ({error})"))
    is_one = len(records) == 1 and not faults and not _is_record(records[0][1])
    if faults or is_one:
        try:
            content = records[0][1] if is_one else read_json(whole)
        except (ValueError, RecursionError):
            return records, faults
        if isinstance(content, dict) and all(isinstance(value, dict) for value in content.values()):
            content = [{"id": key, **value} for key, value in content.items()]
        if isinstance(content, list):
            return list(enumerate(content, start=1)), []
    return records, faults


def _is_record(value: Any) -> bool:
    """Whether a value is one utterance, not a list or an object of them."""
    return isinstance(value, dict) and not (value and all(isinstance(inner, dict) for inner in value.values()))


def _spoken(values: Mapping[str, Any], line: int, side: Side) -> Spoken | str:
    """An utterance, or what it lacks."""
    names = tuple(values)
    columns, text = columns_of(names), _text_column(names, side)
    key = next((columns[field] for field in ("id", "path") if _said(values.get(columns.get(field, "")))), None)
    if text is None:
        return f"no text in {', '.join(names)[:80]}"
    if key is None:
        return f"no id and no path in {', '.join(names)[:80]}"
    content = values[text]
    if content is not None and not isinstance(content, str | int | float):
        return f"{text} is a {type(content).__name__}, expected text"
    return Spoken(
        id=str(values[key]).strip(),
        text="" if content is None else str(content),
        line=line,
        columns=_others(values, {key, text, columns.get("path", "")}),
        is_path=key == columns.get("path") != columns.get("id"),
    )


def _others(values: Mapping[str, Any], taken: Iterable[str]) -> dict[str, str | float]:
    """What else is known of an utterance."""
    ours = {name: _OUR_NAMES[field] for field, name in columns_of(tuple(values)).items() if field in _OUR_NAMES}
    texts = frozenset().union(*_TEXTS.values()) | _NO_GROUPS
    return {
        ours.get(name, name): value
        for name, value in values.items()
        if name not in taken and fold(name) not in texts and _said(value)
    }


def _said(value: Any) -> bool:
    """Whether a value is a text that is not empty, or a number that is one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return bool(value.strip()) if isinstance(value, str) else math.isfinite(value)


def _text_column(names: Iterable[str], side: Side) -> str | None:
    """The field of a side's text: one that says so, or else the text that any list has."""
    names = tuple(names)
    certain = next((name for name in names if fold(name) in _TEXTS[side]), None)
    other = _TEXTS["hypothesis" if side == "reference" else "reference"]
    plain = columns_of(tuple(name for name in names if fold(name) not in other)).get("text")
    return certain or plain


def _is_output(names: Iterable[str], side: Side) -> bool:
    """Whether fields are a recogniser's alone: confidences, and no text that is said to be the reference."""
    folded = {fold(name) for name in names}
    return bool(folded & _CONFIDENCES) and not (side == "reference" and folded & _TEXTS["reference"])


def _expected(side: Side) -> str:
    name = "reference" if side == "reference" else "hypothesis, pred_text"
    return f"an id or the path of the audio, and a text ({name} or text), for each utterance"
