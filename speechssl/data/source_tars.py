"""Recordings of webdataset tars: members, of which one is audio and the others say what is known of it."""

# Strings and os.path throughout: a Path per file costs more time and memory than finding it.
# ruff: noqa: PTH122, PTH123
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from speechssl.audio.reading import AUDIO_SUFFIXES
from speechssl.data.fields import columns_of, describe, note_values
from speechssl.data.recordings import TRANSCRIPT_SUFFIXES, Findings, Member, Recording, is_utf8, key_of, printable
from speechssl.data.tar_scan import MemberRange, scan_tar

# What readers of a webdataset stumble over, but not whoever looks up all members of a key.
_HARMLESS_FINDINGS = frozenset(
    {"half-sample", "dotted key", "invalid key", "several audio members", "skipped member", "interleaved members"}
)


def read_tar(path: str, source: str, found: Findings) -> None:
    """Recordings of a webdataset tar, whose audio is not read."""
    if path in found.read:
        return
    found.read.add(path)
    if not is_utf8(path):
        found.add_problem(f"{source}: its name is not UTF-8; rename it")
        return
    samples: dict[str, dict[str, MemberRange]] = {}
    try:
        scan = scan_tar(Path(path))
        damages = [finding for finding in scan.findings if finding.kind not in _HARMLESS_FINDINGS]
        for finding in damages:
            key = f"{finding.key}: " if finding.key else ""
            found.add_problem(f"{source}: {key}{finding.kind} at byte {finding.offset}: {finding.detail}")
        for sample in scan.samples:
            samples.setdefault(sample.key, {}).update(sample.members)  # members need not be adjacent
        if not samples and not damages:
            found.add_problem(f"{source}: no samples, expected members KEY.SUFFIX, as webdataset has them")
        with open(path, "rb") as file:
            for key, members in samples.items() if not damages else ():
                _add_tar_sample(path, source, key, members, file, found)
        note_values(source, found)
        found.passed_over["tar member without KEY.SUFFIX"] += sum(f.kind == "skipped member" for f in scan.findings)
    except OSError as error:
        found.add_problem(f"{source}: cannot be read ({error.strerror})")


def _add_tar_sample(
    path: str, source: str, key: str, members: Mapping[str, MemberRange], file: BinaryIO, found: Findings
) -> None:
    audio = [suffix for suffix in members if f".{suffix}" in AUDIO_SUFFIXES]
    dotted = [suffix for suffix in members if "." in suffix and os.path.splitext(suffix)[1] in AUDIO_SUFFIXES]
    for suffix in dotted:
        detail = "webdataset cuts names at their first dot, and different samples become one; rename it"
        found.reject(f"{path}: {key}.{suffix}", "dotted key", detail)
    if len(audio) != 1:
        if audio or not dotted:
            reason = "several audio members" if audio else "no audio member"
            found.reject(f"{path}: {key}", reason, f"its members are {', '.join(members)}; expected one with audio")
        return
    try:
        known = _tar_description(members, file, found)
    except (ValueError, RecursionError) as error:
        found.add_problem(f"{source}: {key}: {error}; make the tar again")
        return
    place = members[audio[0]]
    recording = known._replace(
        key=key_of(key),
        path=path,
        recording=known.recording or printable(key),
        member=Member(printable(f"{key}.{audio[0]}"), place.offset, place.size),
    )
    if place.size:
        found.unnamed.append(recording)
    else:
        found.reject(f"{path}: {key}.{audio[0]}", "empty file", "it has no bytes")


def _tar_description(members: Mapping[str, MemberRange], file: BinaryIO, found: Findings) -> Recording:
    """What is known of a tar's sample; raises ValueError if that is damaged."""

    def content(suffix: str) -> bytes:
        file.seek(members[suffix].offset)
        return file.read(members[suffix].size)

    values = json.loads(content("json")) if "json" in members else {}
    if not isinstance(values, dict):
        raise ValueError(f"its .json is a {type(values).__name__}, expected an object")
    columns = columns_of(tuple(values))
    known = describe(values, columns, found)
    # Shards of speechssl name the file that they were made from; elsewhere the word means other things.
    source = values.get("source")
    if not known.recording and isinstance(source, str) and os.path.splitext(source)[1].lower() in AUDIO_SUFFIXES:
        known = known._replace(recording=printable(os.path.splitext(source)[0]))
    transcript = next((suffix[1:] for suffix in TRANSCRIPT_SUFFIXES if suffix[1:] in members), None)
    if known.text or transcript is None:
        return known
    return known._replace(text=" ".join(content(transcript).decode("utf-8-sig").split()))
