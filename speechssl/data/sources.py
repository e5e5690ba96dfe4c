"""What shards are made of, before anything is decoded: folders, globs, manifests, corpora and tars to recordings.

A million files take seconds: each folder is listed once, each file costs one ``stat``, and what is known of a recording
is a few short strings.
"""

# Strings and os.path throughout: a Path per file costs more time and memory than finding it.
# ruff: noqa: PTH110, PTH112, PTH120, PTH122, PTH207
import glob
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from itertools import groupby

from speechssl.audio.reading import AUDIO_SUFFIXES
from speechssl.data.recordings import Findings, Found, Recording, absolute, printable
from speechssl.data.source_folders import list_folder, read_folder, read_tree
from speechssl.data.source_manifests import list_format, read_manifest, why_no_list
from speechssl.data.source_tars import read_tar
from speechssl.errors import DataError

MANIFEST_SUFFIXES = frozenset({".tsv", ".csv", ".jsonl", ".json"})
LOOKED_FOR = (
    f"A source is a folder with audio files ({', '.join(sorted(AUDIO_SUFFIXES))}), LibriSpeech's "
    "SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt, Common Voice's clips/ beside train.tsv, dev.tsv, test.tsv or "
    "validated.tsv, or webdataset tars; one such audio file or .tar; a manifest (.tsv, .csv, .jsonl, .json of one "
    "object a line); or a glob of these in quotes. Audio of another suffix can be listed in a manifest."
)


def find_recordings(sources: Sequence[str]) -> Found:
    """List the recordings of folders, globs, audio files, manifests, corpora and webdataset tars.

    A file that several sources name is one recording: that with an id in a manifest, else one with a transcript. Keys
    are derived from paths relative to their source, so that a corpus has the same keys wherever it lies.

    Args:
        sources: each recognised by what it is, see ``LOOKED_FOR``.

    Raises:
        DataError: names every source that is not recognised, wrong line of a manifest, transcript that cannot be read,
            folder that cannot be listed, and tar that is cut off or damaged.
    """
    found = Findings()
    unrecognised = [message for source in sources for message in _read_source(source, found)]
    for (root, folder), names in found.files.items():
        read_folder(list_folder(folder, found, names), root, found)
    for message in unrecognised if sources else ["no sources were given"]:
        found.add_problem(message)
    if found.problems:
        num_more = found.num_problems - len(found.problems)
        more = [f"and {num_more} more"] if num_more else []
        raise DataError("\n".join([*found.problems, *more, *([LOOKED_FOR] if unrecognised or not sources else [])]))
    return _finish(found)


def _read_source(source: str, found: Findings) -> list[str]:
    """Read one source; returns what is wrong with it, in a line, if it is not recognised."""
    if os.path.exists(source):
        path = absolute(source)
        return _read_path(path, path if os.path.isdir(path) else os.path.dirname(path), source, found)
    if not glob.has_magic(source):
        return [f"{source}: not found"]
    matches = _outermost(glob.glob(source, recursive=True))
    if not matches:
        return [f"{source}: a glob that matches nothing"]
    root = absolute(_fixed_part(source))
    messages = []
    for path in matches:
        messages += _read_path(absolute(path), root, path, found)
    if len(messages) == len(matches):
        return [f"{source}: none of its {len(matches)} matches is usable, the first for one: {messages[0]}"]
    found.passed_over["unusable match of a glob"] += len(messages)
    return []


def _read_path(path: str, root: str, source: str, found: Findings) -> list[str]:
    """Read a file or folder; returns a line if it is not recognised."""
    suffix = os.path.splitext(path)[1].lower()
    if os.path.isdir(path):
        return read_tree(path, root, source, found)
    if suffix in AUDIO_SUFFIXES:
        folder, name = os.path.split(path)
        found.files.setdefault((root, folder), set()).add(name)
    elif suffix in MANIFEST_SUFFIXES:
        read_manifest(path, source, found)
    elif suffix == ".tar":
        read_tar(path, source, found)
    elif path.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        return [f"{source}: a compressed tar; unpack it, or decompress it to a .tar"]
    elif list_format(path) is not None:
        read_manifest(path, source, found)
    else:
        return [f"{source}: {why_no_list(path) or f'a file with the suffix {suffix!r}'}"]
    return []


def _outermost(matches: list[str]) -> list[str]:
    """Matches of a glob but those in a folder that is matched itself: ``data/**`` matches everything twice over."""
    folders = {path.rstrip(os.sep) for path in matches if os.path.isdir(path)}

    def is_inside(path: str) -> bool:
        parent = os.path.dirname(path)
        return parent in folders or (parent not in ("", path) and is_inside(parent))

    matches = sorted(path.rstrip(os.sep) or os.sep for path in matches)
    return [path for path in matches if not is_inside(path)] if folders else matches


def _fixed_part(pattern: str) -> str:
    """Deepest folder of a glob without wildcards."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder


def _finish(found: Findings) -> Found:
    """Drop what several sources name, and make the keys unique."""
    recordings = _without_repeats(found)
    _make_keys_unique(recordings, {recording.key for recording in found.named})
    if found.named:
        recordings += found.named
        recordings.sort(key=lambda recording: (*_place(recording), recording.key))
    return Found(
        recordings,
        sorted(found.rejected),
        dict(sorted((+found.passed_over).items())),
        notes=sorted(found.notes),
        ignored=sorted(item for item in found.ignored if item.path not in found.used),
        fields=_by_field(found.fields),
        ignored_columns={printable(name): count for name, count in found.ignored_columns.most_common()},
    )


def _by_field(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Counts of places by the field that was found in them."""
    fields: dict[str, dict[str, int]] = {}
    for (field, place), count in sorted(counts.items()):
        fields.setdefault(field, {})[printable(place)] = count
    return fields


def _place(recording: Recording) -> tuple[str, float, float, int, int]:
    """Where the audio is, as an order of all recordings."""
    stop = math.inf if recording.stop_seconds is None else recording.stop_seconds
    offset = recording.member.offset if recording.member else -1
    return (
        recording.path,
        recording.start_seconds or 0.0,
        stop,
        offset,
        -1 if recording.channel is None else recording.channel,
    )


def _without_repeats(found: Findings) -> list[Recording]:
    """Recordings without an id, each place once and in order; whichever is not kept is rejected."""
    named = {_place(recording): recording for recording in found.named}
    kept = []
    found.unnamed.sort(key=_place)
    for place, repeats in groupby(found.unnamed, key=_place):
        # What is known decides, not the order of the sources.
        candidates = sorted(repeats, key=lambda recording: (not recording.text, not recording.speaker, recording[:7]))
        first = named.get(place)
        if first is None:
            first = candidates.pop(0)
            kept.append(first)
        for other in candidates:
            differs = other.text not in ("", first.text)
            reason = "listed twice, with another transcript" if differs else "listed twice"
            found.reject(other.path, reason, f"kept as {first.key!r}" + (f", {first.text!r}" if differs else ""))
    return kept


def _make_keys_unique(recordings: list[Recording], taken: set[str]) -> None:
    """Give recordings whose keys clash a hash of their path; ids of manifests, ``taken``, stay as they are."""
    seen = set(taken)
    clashing: set[str] = set()
    for recording in recordings:
        (clashing if recording.key in seen else seen).add(recording.key)
    groups: dict[str, list[int]] = {key: [] for key in clashing}
    for i, recording in enumerate(recordings):
        if recording.key in groups:
            groups[recording.key].append(i)
    for key in sorted(groups):
        # Relative to the folder that they share, so that the keys are the same wherever the corpus lies.
        shared = os.path.commonpath([os.path.dirname(recordings[i].path) for i in groups[key]])
        for i in groups[key]:
            name = _unique_key(recordings[i], shared, seen)
            seen.add(name)
            recordings[i] = recordings[i]._replace(key=name)


def _unique_key(recording: Recording, folder: str, seen: set[str]) -> str:
    member = recording.member.name if recording.member else ""
    parts = [os.path.relpath(recording.path, folder), member, recording.start_seconds, recording.stop_seconds]
    parts += [] if recording.channel is None else [recording.channel]
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=20).hexdigest()
    # Eight digits are enough for all but a few of a million.
    return next(
        name for length in (8, 16, 40) if (name := f"{recording.key}_{digest[:length]}".lstrip("_")) not in seen
    )
