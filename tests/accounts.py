"""Every set of shards that any test makes is counted again, from the listing of its sources and from its files."""

import functools
import io
import json
import tarfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from speechssl.config import ShardConfig
from speechssl.ingest.sources import find_recordings
from speechssl.verbs import shard as ingest

Members = dict[str, dict[str, bytes]]


@pytest.fixture(scope="session", autouse=True)
def sets_that_add_up() -> Iterator[None]:
    """Check each set right after it was made, or taken as it was."""
    original = ingest.run
    ingest.run = checking(original)
    yield
    ingest.run = original


def checking(run: Callable[[ShardConfig], Any]) -> Callable[[ShardConfig], Any]:
    @functools.wraps(run)
    def checked(config: ShardConfig) -> Any:
        report = run(config)
        check_set(config)
        return report

    return checked


def check_set(config: ShardConfig) -> None:
    """Recordings found are those used and those rejected by reason, and all that is counted is there."""
    report = json.loads((config.output / "report.json").read_text())
    found = find_recordings(config.sources, config.output)
    samples = read_samples(config.output)
    used: dict[str, list[dict[str, Any]]] = defaultdict(list)
    keys = {recording.key for recording in found.recordings}
    for key, members in samples.items():
        used[recording_of(key, keys)].append(json.loads(members["json"]))
    rejected, notes, ignored = (rows_of(config.output / f"{name}.tsv") for name in ("rejected", "notes", "ignored"))

    assert report["num_found"] == len(found.recordings) + len(found.rejected)
    assert report["num_found"] == report["num_used"] + sum(report["num_rejected"].values())
    assert report["num_used"] == len(used)
    assert report["num_rejected"] == Counter(reason for _, reason, _ in rejected)
    left_out = [item.path for item in found.rejected]
    left_out += [name_of(recording) for recording in found.recordings if recording.key not in used]
    assert sorted(path for path, *_ in rejected) == sorted(left_out)

    assert report["num_samples"] == len(samples)
    assert report["num_with_text"] == sum(any(values.get("text") for values in said) for said in used.values())
    assert report["num_with_speaker"] == sum(any(values.get("speaker") for values in said) for said in used.values())
    assert report["hours"] * 3600 == pytest.approx(sum(map(seconds_of, samples.values())), abs=1e-3)
    assert report["notes"] | {
        f"piece left out, {reason}": count for reason, count in report["pieces_left_out"].items()
    } == Counter(kind for _, kind, _ in notes)
    assert Counter(reason for _, reason in ignored) <= Counter(report["ignored"])


def read_samples(folder: Path) -> Members:
    """Members of all samples in the shards of a folder and of its parts, by key and suffix."""
    samples: Members = defaultdict(dict)
    for shard in sorted(folder.rglob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                samples[key][suffix] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return samples


def recording_of(key: str, recordings: set[str]) -> str:
    """The recording that a sample is of, or a piece of: the longest key that it begins with."""
    while key not in recordings:
        assert "-" in key, "a sample of no recording"
        key = key.rpartition("-")[0]
    return key


def rows_of(path: Path) -> list[list[str]]:
    """Rows of a table below its header; a table without any is not there."""
    if not path.exists():
        return []
    rows = [line.split("\t") for line in path.read_text().removesuffix("\n").split("\n")]
    assert len(rows) > 1
    return rows[1:]


def name_of(recording: Any) -> str:
    return f"{recording.path}: {recording.member.name}" if recording.member else recording.path


def seconds_of(members: dict[str, bytes]) -> float:
    [audio] = [data for suffix, data in members.items() if suffix != "json"]
    info = soundfile.info(io.BytesIO(audio))
    return info.frames / info.samplerate
