"""Random lists: every row is a recording with its values, or named; every column is used, or counted as ignored."""

import csv
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from source_files import find, write

NAMES = {
    "path": ["path", "audio_filepath", "wav", "file_name", "clip", "Audio Path"],
    "text": ["text", "sentence", "transcription", "wrd", "normalized_text", "raw_text"],
    "speaker": ["speaker", "spk_id", "speaker-id", "user_id"],
    "language": ["language", "lang", "locale"],
    "split": ["split", "subset"],
    "start": ["start", "offset", "begin_time", "start_ms"],
    "end": ["end", "end_time", "stop", "end_ms"],
    "duration": ["duration", "length", "dur", "duration_ms"],
    "channel": ["channel", "audio_channel"],
}
UNKNOWN = ["mood", "up votes", "Bemerkung", "phones", "label", "tgt_text", "n_frames", "source file", "7", "ключ"]
WORDS = ["yes", "No!", "well,", "it's", "größer", "так", "你好", '"quoted"', "a;b", "c|d", "nan", "7.0"]
EMPTY = ["", "NaN", "null", "N/A", "None", "<NA>"]
WORDLESS = ["", "N/A", "<NA>"]
"""Of transcripts; the others may be words there."""


class Truth(NamedTuple):
    """A row as it was meant."""

    values: dict[str, Any]
    """By our field, as they should arrive."""
    written: dict[str, Any]
    """By column, as they are in the list."""
    is_good: bool


def mangled(name: str, draws: random.Random) -> str:
    spellings = [name, name.upper(), name.title(), name.replace("_", " "), name.replace("_", "-"), f"{name}_"]
    return draws.choice(spellings)


def near(path: str, draws: random.Random) -> str:
    ways: list[Callable[[str], str]] = [
        lambda path: path,
        lambda path: path.replace("/", "\\"),
        lambda path: "/".join([*path.split("/")[:-1], path.split("/")[-1].upper()]),
        lambda path: path.removesuffix(".wav"),
        lambda path: path.replace(".wav", ".flac"),
        lambda path: f"/somewhere/else/{path}",
        lambda path: f" {path} ",
        lambda path: unicodedata.normalize("NFD", path),
    ]
    return draws.choice(ways)(path)


def values_of(draws: random.Random, *, is_json: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of a row as they should arrive and as they are written, but for the path."""
    text = " ".join(draws.choices(WORDS, k=draws.randint(2, 5)))
    speaker = f"spk {draws.randrange(3)}"
    start = draws.randrange(100)
    seconds = draws.randint(1, 50)
    meant: dict[str, Any] = {
        "text": text,
        "speaker": speaker,
        "language": draws.choice(["en", "de"]),
        "split": "train",
        "start": float(start),
        "end": float(start + seconds),
        "duration": float(seconds),
        "channel": draws.randrange(2),
    }
    written: dict[str, Any] = dict(meant) | {
        "speaker": draws.choice([speaker, f" {speaker}", speaker.replace(" ", "\u00a0 ")])
    }
    for field in ("text", "speaker", "language", "split", "channel"):
        if draws.random() < 0.2:
            meant[field] = None if field == "channel" else ""
            empty = WORDLESS if field == "text" else EMPTY
            written[field] = draws.choice([*empty, *([None, float("nan")] if is_json else [])])
    return meant, written


def row_of(columns: dict[str, str], others: list[str], path: str, draws: random.Random, *, is_json: bool) -> Truth:
    meant, written = values_of(draws, is_json=is_json)
    is_good = draws.random() < 0.8
    bad = (
        "" if is_good else draws.choice(["missing"] + ["path"] * (len(columns) > 1) + ["start"] * ("start" in columns))
    )
    written["path"] = {"": near(path, draws), "path": "", "missing": f"{path}x/y", "start": path}[bad]
    if bad == "start":
        written["start"] = draws.choice(["soon", -1])
    row: dict[str, Any] = {}
    for field, column in columns.items():
        value = written[field]
        is_ms = column.rstrip("_").lower().replace("-", " ").replace("_", " ").endswith(" ms")
        row[column] = value * 1000 if is_ms and isinstance(value, float) else value
    row |= {name: draws.choice(["", "x y", "nan", 3]) for name in others}
    return Truth(meant, row, is_good)


def write_rows(path: Path, rows: list[dict[str, Any]], draws: random.Random) -> Path:
    if path.suffix == ".jsonl":
        return write(path, "".join(json.dumps(row, ensure_ascii=draws.random() < 0.5) + "\n" for row in rows))
    if path.suffix == ".json":
        keyed = {f"u{i}": row for i, row in enumerate(rows)}
        return write(path, json.dumps(draws.choice([rows, keyed]), indent=draws.choice([None, 2])))
    encoding = draws.choice(["utf-8", "utf-8-sig", "utf-16"])
    if path.suffix == ".tsv":
        lines = ["\t".join(map(str, fields)) for fields in [rows[0], *(row.values() for row in rows)]]
        return write(path, "\n".join(lines).encode(encoding))
    quoting = draws.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=draws.choice([",", ";", "|"]), quoting=quoting)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".json"])
@pytest.mark.parametrize("seed", range(6))
def test_every_row_is_a_recording_or_named(tmp_path: Path, suffix: str, seed: int) -> None:
    draws = random.Random(f"{suffix} {seed}")
    fields = ["path", *draws.sample(list(NAMES)[1:], k=draws.randint(0, 8))]
    if ("start" in fields) != ("end" in fields):
        fields = [field for field in fields if field not in ("start", "end")]
    columns = {field: mangled(draws.choice(NAMES[field]), draws) for field in fields}
    others = draws.sample(UNKNOWN, k=draws.randint(0, 4))
    order = draws.sample([*columns.values(), *others], k=len(columns) + len(others))
    truths = {}
    for i in range(draws.randint(1, 15)):
        name = f"{draws.choice(['a', 'ä ö', 'b.c'])}/té{i:03d}.wav"
        write(tmp_path / name)
        truths[str(tmp_path / name)] = row_of(columns, others, name, draws, is_json=suffix.startswith(".json"))
    rows = [{name: truth.written[name] for name in order} for truth in truths.values()]
    if not any(truth.is_good for truth in truths.values()):
        return
    found = find(write_rows(tmp_path / f"list{suffix}", rows, draws))

    assert len(found.recordings) + len(found.rejected) == len(truths)
    good = {path: truth for path, truth in truths.items() if truth.is_good}
    assert {recording.path for recording in found.recordings} == set(good)
    for recording in found.recordings:
        meant = good[recording.path].values
        arrived = recording._asdict() | {"end": recording.stop_seconds, "start": recording.start_seconds}
        arrived["duration"] = recording.stated_seconds
        assert {field: arrived[field] for field in fields if field != "path"} == {
            field: meant[field] for field in fields if field != "path"
        }
    ignored = Counter(name for truth in good.values() for name in others if truth.written[name] != "")
    assert found.ignored_columns == ignored
    used = Counter(
        (field, f"column {columns[field]}")
        for truth in good.values()
        for field in fields
        if field == "path" or truth.values[field] not in ("", None)
    )
    counted = {
        (field.removesuffix("_ms"), place): num_rows
        for field, places in found.fields.items()
        for place, num_rows in places.items()
        if field != "id"  # keys of a JSON object
    }
    assert counted == dict(used)
    assert {item.reason for item in found.rejected} <= {"wrong line", "no such file"}
    assert all(f"list{suffix}:" in item.path + item.detail for item in found.rejected)
