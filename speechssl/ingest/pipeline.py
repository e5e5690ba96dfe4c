"""Sources to shards, in steps that can be killed: list, scan, plan, make; finished steps are kept beside the shards.

The folder of an unfinished set holds ``.unfinished/``: what was scanned, and the counts of the shards that are whole. A
set is finished when ``report.json`` is there, which is written last.
"""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track

from speechssl.config import ShardConfig
from speechssl.config.reading import to_dict
from speechssl.cores import num_cores
from speechssl.errors import DataError
from speechssl.ingest.accounting import check_bad_share, settle
from speechssl.ingest.clips import Clip, Scanned, audio_hash, scan, split_duplicates
from speechssl.ingest.engines import Engine
from speechssl.ingest.left_out import read_left_out
from speechssl.ingest.packing import ShardPlan, plan_shards
from speechssl.ingest.recordings import Found, Member, Note, Recording, Rejected, file_size
from speechssl.ingest.set_folder import prepare_folder
from speechssl.ingest.shard_maker import ShardOutcome, make_shard
from speechssl.outputs import write_whole
from speechssl.shards.listing import UNFINISHED

SCAN_FILE = "scan.jsonl"
SCAN_CHUNK = 64
HASH_CHUNK = 64
# Chunks, more of them in small files, and seconds of audio, that threads have done before processes have started.
SMALL_SCAN = 16
LIGHT_SCAN, LIGHT_BYTES = 64, 1 << 30
SMALL_SECONDS = 7200
# Options that change nothing in the shards.
FREE_OPTIONS = ("sources", "output", "engine", "num_workers", "max_bad_share")
VERSION = 2
"""Of what is made of sources, and said of it; a set of another version is another set."""


class Made(NamedTuple):
    """All that is known of a set when its last shard is whole."""

    scanned: list[Scanned]
    """What each recording gave, in the order in which they were found."""
    outcomes: list[ShardOutcome]
    """Of the shards that hold something."""
    rejected: list[Rejected]
    """Clips that were left out after the scan, by their keys."""
    notes: list[Note]
    """Of recordings when they were found, scanned and read, one for each file and kind."""


def make_fingerprint(found: Found, config: ShardConfig) -> str:
    """Digest of the recordings, with the sizes of their files, and of the options that shape the shards."""
    options = {name: value for name, value in to_dict(config).items() if name not in FREE_OPTIONS}
    if config.leave_out is not None:
        options["leave_out"] = read_left_out(config.leave_out)
    else:
        del options["leave_out"]  # so that sets from before there was the option are what they were
    digest = hashlib.sha256(json.dumps([VERSION, options], sort_keys=True).encode())
    sizes: dict[str, int] = {}
    for recording in found.recordings:
        if recording.path not in sizes:
            sizes[recording.path] = file_size(recording.path)
        digest.update(json.dumps([*recording[:1], sizes[recording.path], *recording[2:]]).encode())
    for item in found.rejected:
        digest.update(json.dumps(item.reason).encode())
    return digest.hexdigest()


def make_set(config: ShardConfig, found: Found, mark: str, engine: Engine, console: Console) -> Made:
    """Everything from the list of recordings to whole shards; what was done under the same mark is not done again.

    Raises:
        DataError: the folder holds something else, or cannot be written; too many recordings are bad.
    """
    work = prepare_folder(config.output, mark)
    scanned = scan_all(config, found.recordings, work, engine, console)
    so_far = settle(found, scanned, [])
    check_bad_share(so_far.rejected, so_far.num_found, config.max_bad_share, outcome="No shard was made")
    clips = [clip for result in scanned for clip in result.clips]
    check_unique(clips)
    rejected: list[Rejected] = []
    if config.deduplicate:
        clips, rejected = split_duplicates(clips, partial(hash_all, engine))
    outcomes = make_all(config, plan_shards(clips, config), work, engine, console)
    rejected = rejected + [item for outcome in outcomes for item in outcome.rejected]
    notes = found.notes + [item for result in scanned for item in result.notes]
    notes += [item for outcome in outcomes for item in outcome.notes]
    return Made(scanned, [outcome for outcome in outcomes if outcome.num_samples], rejected, one_of_each(notes))


def one_of_each(notes: Sequence[Note]) -> list[Note]:
    """One note for each file and kind, however many of its segments had it: the first, and how many others."""
    details: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)  # in order, each once
    for path, kind, detail in notes:
        details[path, kind][detail] = None
    return [
        Note(path, kind, f"{next(iter(found))}{f'; {len(found) - 1} more of this kind' if len(found) > 1 else ''}")
        for (path, kind), found in details.items()
    ]


def check_unique(clips: Sequence[Clip]) -> None:
    """Raise DataError if two clips have one key, as a piece of one recording and another recording may."""
    first: dict[str, Clip] = {}
    for clip in clips:
        other = first.setdefault(clip.key, clip)
        if other is not clip:
            raise DataError(
                f"{other.name} and {clip.name}: one, and a piece of the other, have the key {clip.key}; rename one, or "
                "give them ids in a manifest"
            )


def scan_all(
    config: ShardConfig, recordings: Sequence[Recording], work: Path, engine: Engine, console: Console
) -> list[Scanned]:
    """Scan every recording, in order; results are appended to a file as they come."""
    chunks = [recordings[i : i + SCAN_CHUNK] for i in range(0, len(recordings), SCAN_CHUNK)]
    done = read_scan(work / SCAN_FILE)
    left = [i for i in range(len(chunks)) if i not in done]
    with (work / SCAN_FILE).open("a", encoding="utf-8") as file:
        waiting = [chunks[i] for i in left]
        results = engine.map(partial(scan_chunk, config=config), waiting, is_small=is_small_scan(waiting))
        for position, scanned in track(results, "scanning", len(left), console=console, disable=not left):
            done[left[position]] = scanned
            file.write(json.dumps([left[position], scanned]) + "\n")
            file.flush()
    return [item for i in range(len(chunks)) for item in done[i]]


def is_small_scan(chunks: Sequence[Sequence[Recording]]) -> bool:
    """Whether to start processes for a scan would take longer than the scan itself."""
    if SMALL_SCAN <= len(chunks) < LIGHT_SCAN:
        return sum(file_size(path) for path in {item.path for chunk in chunks for item in chunk}) < LIGHT_BYTES
    return len(chunks) < SMALL_SCAN


def scan_chunk(recordings: Sequence[Recording], config: ShardConfig) -> list[Scanned]:
    """Scan some recordings."""
    return [scan(recording, config) for recording in recordings]


def read_scan(path: Path) -> dict[int, list[Scanned]]:
    """What was scanned before, by the number of its chunk; a last line that was cut off is dropped."""
    done: dict[int, list[Scanned]] = {}
    if not path.is_file():
        return done
    lines = path.read_bytes().split(b"\n")
    for line in lines[:-1]:
        number, scanned = json.loads(line)
        done[number] = [scanned_from(values) for values in scanned]
    if lines[-1]:
        with path.open("r+b") as file:
            file.truncate(sum(len(line) + 1 for line in lines[:-1]))
    return done


def scanned_from(values: list[Any]) -> Scanned:
    """What a recording gave, back from plain values."""
    clips, rejected, *facts, notes = values
    clips, rejected, notes = map(clip_from, clips), (Rejected(*x) for x in rejected), (Note(*x) for x in notes)
    return Scanned._make([list(clips), list(rejected), *facts, list(notes)])


def clip_from(values: list[Any]) -> Clip:
    """A clip back from plain values."""
    key, path, member, *rest = values
    clip = Clip(key, path, None if member is None else Member(*member), *rest)
    return clip._replace(channels=tuple(clip.channels))


def hash_all(engine: Engine, clips: Sequence[Clip]) -> list[str]:
    """Hashes of the clips' audio, in order."""
    chunks = [clips[i : i + HASH_CHUNK] for i in range(0, len(clips), HASH_CHUNK)]
    hashes = dict(engine.map(hash_chunk, chunks, is_small=len(chunks) < SMALL_SCAN))
    return [value for i in range(len(chunks)) for value in hashes[i]]


def hash_chunk(clips: Sequence[Clip]) -> list[str]:
    """Hashes of some clips."""
    return [audio_hash(clip) for clip in clips]


def make_all(
    config: ShardConfig, plans: Sequence[ShardPlan], work: Path, engine: Engine, console: Console
) -> list[ShardOutcome]:
    """Make every shard that is not whole yet; outcomes in the order of the plans."""
    outcomes = {i: outcome for i, plan in enumerate(plans) if (outcome := read_outcome(work, config.output, plan))}
    left = [i for i in range(len(plans)) if i not in outcomes]
    is_small = sum(clip.seconds for i in left for clip in plans[i].clips) < SMALL_SECONDS
    # Twice as many as cores, so that a last shard that is made alone has all of them.
    threads = math.ceil(2 * num_cores() / max(1, min(len(left), engine.num_workers)))
    function = partial(make_and_note, output=config.output, config=config, num_threads=threads)
    results = engine.map(function, [plans[i] for i in left], is_small=is_small)
    for position, outcome in track(results, "making shards", len(left), console=console, disable=not left):
        outcomes[left[position]] = outcome
    return [outcomes[i] for i in range(len(plans))]


def make_and_note(plan: ShardPlan, output: Path, config: ShardConfig, num_threads: int) -> ShardOutcome:
    """Make a shard, then write down that it is whole."""
    outcome = make_shard(plan, output, config, num_threads)
    path = outcome_path(output / UNFINISHED, plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(outcome)))
    return outcome


def outcome_path(work: Path, plan: ShardPlan) -> Path:
    """File that says that a shard is whole."""
    return work / f"{plan.name}.outcome.json"


def read_outcome(work: Path, output: Path, plan: ShardPlan) -> ShardOutcome | None:
    """Outcome of a shard that is whole; None if it has to be made."""
    try:
        outcome = ShardOutcome.from_json(json.loads(outcome_path(work, plan).read_text(encoding="utf-8")))
        shard = output / f"{plan.name}.tar"
        if outcome.num_samples and shard.stat().st_size != outcome.num_bytes:
            return None
    except (OSError, ValueError, TypeError):
        return None
    return outcome
