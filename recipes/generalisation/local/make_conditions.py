"""Sets to test generalisation on: lists for ``speechssl shard``, audio of those that are made, and what is compared.

    OUTPUT/NAME.tsv           the list of a set
    OUTPUT/audio/NAME/*.flac  the recordings of the test list in one condition: noise, a room, a line, a codec
    OUTPUT/conditions.json    which set is compared with which, for ``speechssl report --conditions``; written last

Run again with the same input it writes the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from conditions import NUM_VOICES, RATE, Condition, Draw, babble, make_conditions, recorded, speech_shaped

from speechssl.audio.folders import find_audio
from speechssl.audio.reading import Samples, read_audio
from speechssl.errors import ConfigError, DataError
from speechssl.files import written_whole
from speechssl.outputs import write_json, write_whole

Row = Mapping[str, str]

MAX_VOICES = 64
VOICE_SECONDS = 60.0
"""Of each training speaker for babble and speech-shaped noise."""
TEST, SEEN = "test", "speakers_seen"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def read_rows(path: Path, *columns: str) -> list[Row]:
    """A tab-separated list with a header; its columns are to be among these.

    Raises:
        DataError: it is missing, empty, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows: list[Row] = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a list with the columns {', '.join(columns)}") from error
    missing = [name for name in columns if not rows or rows[0].get(name) is None]
    if missing:
        raise DataError(f"{path}: no rows with a column {', '.join(missing)}; expected {', '.join(columns)}")
    for number, row in enumerate(rows, start=2):
        if any(row.get(name) is None for name in columns):
            raise DataError(f"{path}, line {number}: has no {', '.join(columns)}; put a tab between the fields")
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """A list of rows that all have the same columns."""
    columns = list(rows[0])
    lines = [columns, *([row[column] for column in columns] for row in rows)]
    write_whole(path, "".join("\t".join(line) + "\n" for line in lines))


def voices_of(rows: Sequence[Row]) -> dict[str, Samples]:
    """What training speakers say, up to a minute of each and a fixed choice of 64 of them; silent ones are left out."""
    by_speaker: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["id"]):
        by_speaker[row["speaker"]].append(row)
    chosen = sorted(by_speaker, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:MAX_VOICES]
    voices = {}
    for speaker in chosen:
        parts: list[Samples] = []
        for row in by_speaker[speaker]:
            if sum(map(len, parts)) < VOICE_SECONDS * RATE:
                parts.append(read_audio(Path(row["path"]), RATE))
        audio = np.concatenate(parts)
        if np.any(audio):
            voices[speaker] = audio
    return voices


def noises_of(voices: Mapping[str, Samples], noise: Path | None) -> dict[str, Draw]:
    """The kinds of noise: recorded if there is a folder of it, and those that are made of training speech."""
    kinds: dict[str, Draw] = {}
    if noise is not None:
        recordings = [read_audio(path, RATE) for path in find_audio([noise])]
        loud = [audio for audio in recordings if np.any(audio)]
        if not loud:
            raise DataError(f"{noise}: all {len(recordings)} recordings of noise are silent; give others")
        kinds["noise"] = recorded(loud)
    return kinds | {"babble": babble(voices), "speech_shaped": speech_shaped(voices)}


def write_condition(condition: Condition, rows: Sequence[Row], clean: Mapping[str, Samples], output: Path) -> None:
    """The recordings of a list as they are in a condition, and their list."""
    folder = output / "audio" / condition.name
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for row in rows:
        path = folder / f"{row['id']}.flac"
        with written_whole(path) as partial:
            audio = condition.apply(clean[row["id"]], row["id"])
            soundfile.write(partial, audio, RATE, format="FLAC", subtype="PCM_16")
        changed.append({**row, "path": str(path.resolve())})
    write_rows(output / f"{condition.name}.tsv", changed)


def groups_of(corpus: Path | None, groups: Path | None) -> dict[str, str]:
    """The group of each speaker, from a list of its own, or from the column group of the corpus's lists."""
    paths = [corpus / f"{name}.tsv" for name in ("train", "test")] if corpus is not None else []
    rows = [row for path in paths if path.is_file() for row in read_rows(path, "speaker") if row.get("group")]
    if groups is not None:
        rows = read_rows(groups, "speaker", "group")
    found: dict[str, str] = {}
    for row in rows:
        if found.setdefault(row["speaker"], row["group"]) != row["group"]:
            raise DataError(
                f"{groups or corpus}: speaker {row['speaker']} is in two groups, {found[row['speaker']]} and "
                f"{row['group']}; a speaker has one"
            )
        if not NAME.fullmatch(row["group"]):
            raise DataError(f"{groups or corpus}: the group {row['group']!r}; expected letters, digits, - and _")
    return found


def compare_groups(test: Sequence[Row], train: Sequence[Row], group: Mapping[str, str], output: Path) -> list[Any]:
    """A list for each group of test speakers; each is compared with the one that has most training speech."""
    members: dict[str, list[Row]] = defaultdict(list)
    for row in test:
        members[group.get(row["speaker"], "")].append(row)
    unknown = {row["speaker"] for row in members.pop("", [])}
    if group and not members:
        raise DataError(f"none of the test speakers has a group; they are named as {test[0]['speaker']}")
    if len(members) < 2:
        if group:
            print(f"groups: all test speakers that have one are in {next(iter(members))}; nothing to compare")
        return []
    if unknown:
        print(f"groups: {len(unknown)} test speakers have none, and are in no group: {', '.join(sorted(unknown))}")
    heard: dict[str, float] = dict.fromkeys(members, 0.0)
    for row in train:
        if group.get(row["speaker"]) in heard:
            heard[group[row["speaker"]]] += float(row["seconds"])
    most = max(sorted(members), key=lambda name: heard[name])
    for name, rows in sorted(members.items()):
        write_rows(output / f"group_{name}.tsv", rows)
        people = len({row["speaker"] for row in rows})
        print(f"group_{name:16} {people} test speakers, {heard[name] / 60:.1f} minutes of training speech")
    others = sorted(members.keys() - {most})
    return [comparison("group", f"{name} against {most}", f"group_{name}", f"group_{most}") for name in others]


def comparison(
    family: str, label: str, condition: str, reference: str = TEST, snr_db: int | None = None
) -> dict[str, Any]:
    """One entry of ``conditions.json``."""
    return {"family": family, "label": label, "condition": condition, "reference": reference, "snr_db": snr_db}


def add_corpus(text: str, output: Path) -> dict[str, Any]:
    """The test list of another corpus, as it is, with paths that count from anywhere."""
    name, separator, folder = text.partition("=")
    if not separator or not NAME.fullmatch(name):
        raise ConfigError(f"--other is '{text}'; expected NAME=DIR, with letters, digits, - and _ in the name")
    path = Path(folder) / "test.tsv"
    rows = read_rows(path, "path", "text")
    write_rows(
        output / f"other_{name}.tsv", [{**row, "path": str((path.parent / row["path"]).resolve())} for row in rows]
    )
    return comparison("corpus", f"corpus {name}", f"other_{name}")


def texts_known(rows: Sequence[Row], train: Sequence[Row]) -> int:
    """Sentences of a list that the labels have too."""
    texts = {row["text"] for row in train}
    return sum(row["text"] in texts for row in rows)


def make(options: argparse.Namespace) -> None:
    """Everything; lists of an earlier time that are not made now go.

    Raises:
        ConfigError, DataError: something is missing or makes no sense.
    """
    lists, output = options.lists, options.output
    output.mkdir(parents=True, exist_ok=True)
    for path in (output / "conditions.json", *output.glob("*.tsv")):
        path.unlink(missing_ok=True)
    columns = ("id", "path", "speaker", "seconds")
    untranscribed = read_rows(lists / "pretrain.tsv", *columns)
    train, test, seen = (read_rows(lists / f"{name}.tsv", *columns, "text") for name in ("train_full", "test", "seen"))
    write_rows(output / f"{SEEN}.tsv", seen)
    entries = [comparison("speakers", "unseen against seen", TEST, SEEN)]
    entries += compare_groups(test, train, groups_of(options.corpus, options.groups), output)
    clean = {row["id"]: read_audio(Path(row["path"]), RATE) for row in test}
    for condition in make_conditions(noises_of(voices_of(untranscribed), options.noise)):
        write_condition(condition, test, clean, output)
        label = condition.name if condition.snr_db is None else f"{condition.family} {condition.snr_db} dB"
        entries.append(comparison(condition.family, label, condition.name, snr_db=condition.snr_db))
    entries += [add_corpus(text, output) for text in options.other]
    twice = {entry["label"] for entry in entries if entries.count(entry) > 1}
    if twice:
        raise ConfigError(f"--other: {', '.join(sorted(twice))} is named twice; give each corpus a name of its own")
    notes = [
        f"speakers_seen: {len(seen)} sentences of training speakers, in neither labels nor pretraining; "
        f"{texts_known(seen, train)} of these sentences and {texts_known(test, train)} of the {len(test)} of test are "
        "among the transcripts that labels are taken from",
        "noise: mean power of the whole recording over that of the noise; the same noise at every level, "
        f"{NUM_VOICES} training speakers in babble",
    ]
    write_json(output / "conditions.json", {"comparisons": entries, "notes": notes})
    print(f"{len(entries)} comparisons; {notes[0]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, help="folder with the lists of an4's prepare.py")
    parser.add_argument("output", type=Path, help="folder for lists and audio")
    parser.add_argument("--corpus", type=Path, help="whose lists may have a column group")
    parser.add_argument("--groups", type=Path, help="list with the columns speaker and group, instead")
    parser.add_argument("--noise", type=Path, help="folder of recorded noise")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=DIR", help="corpus with a test.tsv")
    try:
        make(parser.parse_args())
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
