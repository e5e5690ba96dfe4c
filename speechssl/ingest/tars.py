"""Recordings of webdataset tars: members, of which one is audio and the others say what is known of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from speechssl.audio.formats import AUDIO_SUFFIXES, HEAD_BYTES, SOUND_SUFFIXES, begins_as_audio
from speechssl.ingest.describing import note_values, settle_texts, uncount_texts
from speechssl.ingest.recordings import Findings, Member, Recording, composed_form, key_of, printable
from speechssl.ingest.sidecars import UnreadableError, describe_beside, field_of
from speechssl.ingest.tar_links import LinkError, TarLinks
from speechssl.shards.tar_walk import DamageError, MemberRange, TarMember, walk_members
from speechssl.shards.values import is_utf8
from speechssl.shards.webdataset_alone import is_reserved, split_name

_LINKS = ("hard link", "symbolic link")
_LIST_SUFFIXES = ("csv", "tsv", "jsonl", "trans.txt")


@dataclass
class _Contents:
    """What a tar holds, by key and suffix; members of one sample need not be adjacent."""

    samples: dict[str, dict[str, MemberRange]] = field(default_factory=dict)
    broken: dict[str, dict[str, str]] = field(default_factory=dict)
    """Links that lead nowhere, with the reason."""
    repeated: dict[str, set[str]] = field(default_factory=dict)
    """Suffixes that occur twice."""
    damage: DamageError | None = None
    """Where the walk ended, if it was not at the end."""


def read_tar(path: str, source: str, found: Findings, *, is_alone: bool = False) -> None:
    """Recordings of a webdataset tar, whose audio is not read.

    Args:
        path: absolute.
        source: the same as it was given, for messages.
        found: where they are added.
        is_alone: whether it was named itself, so that its damage is an error. One of many is left out by name, with its
            samples: what belongs to them may lie behind the damage.
    """
    if path in found.read:
        return
    found.read.add(path)
    if not is_utf8(path):
        _refuse(path, source, "name is not UTF-8", "its name is not UTF-8; rename it", found, is_alone=is_alone)
        return
    num_before, num_known, fields = len(found.unnamed), len(found.unnamed) + len(found.rejected), dict(found.fields)
    try:
        with open(path, "rb") as file:
            contents = _contents_of(file, path, found)
            if contents.damage is None:
                for key, members in contents.samples.items():
                    _TarSample(path, key, members, contents, file, found).add()
        recordings = found.unnamed[num_before:]
        uncount_texts(fields, settle_texts([recordings], source, found), found)
        found.unnamed[num_before:] = recordings
        note_values(source, found)
    except OSError as error:
        detail = f"cannot be read ({error.strerror})"
        _refuse(path, source, "unreadable file", detail, found, is_alone=is_alone)
        return
    if contents.damage is not None:
        damage = contents.damage
        detail = f"{damage.kind} at byte {damage.offset}: {damage}"
        _refuse(path, source, "damaged tar", detail, found, is_alone=is_alone)
        for key, members in contents.samples.items():
            if not is_alone and any(_is_audio(suffix) for suffix in members):
                found.reject(f"{path}: {key}", "in a damaged tar", f"{damage.kind} at byte {damage.offset}")
    elif len(found.unnamed) + len(found.rejected) == num_known:
        if is_alone:
            found.add_problem(f"{source}: no samples, expected members KEY.SUFFIX, as webdataset has them")
        else:
            found.ignore(path, "tar without samples")


def audio_of_tar(path: str) -> list[Member] | None:
    """Audio members of a tar, by their suffixes; None if it cannot be read to its end."""
    try:
        with open(path, "rb") as file:
            return [
                Member(os.path.normpath(member.name), *member.content)
                for member in walk_members(file, os.stat(path).st_size)
                if member.kind == "file" and not is_reserved(member.name) and _is_audio(split_name(member.name)[1])
            ]
    except (OSError, DamageError):
        return None


def _refuse(path: str, source: str, reason: str, detail: str, found: Findings, *, is_alone: bool) -> None:
    if is_alone:
        found.add_problem(f"{source}: {detail}")
    else:
        found.reject(path, reason, detail)


def _contents_of(file: BinaryIO, path: str, found: Findings) -> _Contents:
    """Samples up to the end, or to where the tar is damaged; names what is none."""
    contents = _Contents()
    size = os.stat(path).st_size
    links: list[TarMember] = []
    try:
        for member in walk_members(file, size):
            if member.kind == "folder":
                continue
            if is_reserved(member.name):
                found.ignore(f"{path}: {member.name}", "hidden tar member")
            elif member.kind in _LINKS:
                links.append(member)
            elif member.kind == "file":
                _put(member, member.content, contents)
            else:
                found.ignore(f"{path}: {member.name}", "tar member that is no file")
    except DamageError as damage:
        contents.damage = damage
        return contents
    if links:
        resolver = TarLinks(walk_members(file, size))
        for link in links:
            try:
                _put(link, resolver.resolve(link), contents)
            except LinkError as error:
                key, suffix = split_name(link.name)
                contents.broken.setdefault(link.name if key is None else key, {})[suffix] = str(error)
        for key in contents.broken:
            contents.samples.setdefault(key, {})
    return contents


def _put(member: TarMember, content: MemberRange, contents: _Contents) -> None:
    """Add a member to its sample; one without a dot has no suffix, and is the sample of its name."""
    key, suffix = split_name(member.name)
    if key is None:
        key = member.name
    members = contents.samples.setdefault(key, {})
    if suffix in members:
        contents.repeated.setdefault(key, set()).add(suffix)
    members[suffix] = content


def _is_audio(suffix: str) -> bool:
    return f".{suffix.rpartition('.')[2]}" in AUDIO_SUFFIXES


@dataclass
class _TarSample:
    """Members of one key, of which one is the audio."""

    path: str
    key: str
    members: Mapping[str, MemberRange]
    contents: _Contents
    file: BinaryIO
    found: Findings

    def add(self) -> None:
        """Add its recording, or say why it has none; name the members that are not used."""
        broken = self.contents.broken.get(self.key, {})
        for suffix in broken:
            if not _is_audio(suffix) and not field_of(suffix):
                self._ignore(suffix, "link in a tar that leads nowhere")
        lost = next(filter(_is_audio, broken), None) or next(filter(field_of, broken), None)
        if any(_is_audio(suffix) or field_of(suffix) for suffix in self.contents.repeated.get(self.key, ())):
            self._reject("", "duplicate key", "several members have the same name; a key must occur once: rename one")
        elif lost is not None:
            self._reject(lost, "broken link", f"{broken[lost]}; make the tar again, or follow links (tar -h)")
        else:
            self._add_whole()

    def _add_whole(self) -> None:
        dotted = [suffix for suffix in self.members if "." in suffix and _is_audio(suffix)]
        for suffix in dotted:
            detail = "webdataset cuts names at their first dot, and different samples become one; rename it"
            self._reject(suffix, "dotted key", detail)
        audio = self._audio_suffixes(dotted)
        if len(audio) == 1:
            self._describe(audio[0], dotted)
        elif audio:
            names = ", ".join(self.members)
            self._reject("", "several audio members", f"its members are {names}; expected one with audio")
        elif not dotted and any(field_of(suffix) for suffix in self.members):
            names = ", ".join(self.members)
            self._reject("", "no audio member", f"its members are {names}; expected one with audio")
        else:
            for suffix in self.members.keys() - set(dotted):
                self._ignore(suffix, _reason(suffix))

    def _audio_suffixes(self, dotted: list[str]) -> list[str]:
        """Suffixes of its audio: that of sound alone sooner than that of a video, and only then by content."""
        named = [suffix for suffix in self.members if suffix not in dotted and _is_audio(suffix)]
        sound = [suffix for suffix in named if f".{suffix}" in SOUND_SUFFIXES]
        if named or dotted:
            return sound or named
        unknown = [suffix for suffix in self.members if not field_of(suffix)]
        return [suffix for suffix in unknown if begins_as_audio(self._read(self.members[suffix], HEAD_BYTES))]

    def _describe(self, audio: str, dotted: list[str]) -> None:
        contents = {suffix: place for suffix, place in self.members.items() if suffix != audio and field_of(suffix)}
        place = self.members[audio]
        recording = Recording(
            key_of(self.key),
            self.path,
            member=Member(printable(self._name(audio)), place.offset, place.size),
        )
        stem = self.key.rpartition("/")[2]
        try:
            beside = describe_beside(recording, contents, self._read, stem, "in the tar", self.found)
        except UnreadableError as error:
            self._reject("", "unreadable transcript", str(error))
            return
        for suffix, reason in beside.ignored:
            self._ignore(suffix, reason)
        for suffix in self.members.keys() - contents.keys() - {audio, *dotted}:
            self._ignore(suffix, "video beside its audio" if _is_audio(suffix) else _reason(suffix))
        if not place.size:
            self._reject(audio, "empty file", "it has no bytes")
            return
        self.found.fields.update(beside.origins)
        recording = beside.recording
        if not recording.recording:
            # Shards of speechssl name the file that they were made from; elsewhere the word means other things.
            source = beside.values.get("source")
            stem, suffix = os.path.splitext(source) if isinstance(source, str) else ("", "")
            origin = stem if suffix.lower() in AUDIO_SUFFIXES else self.key
            recording = recording._replace(recording=composed_form(printable(origin)))
        self.found.unnamed.append(recording)

    def _read(self, place: MemberRange, size: int | None = None) -> bytes:
        self.file.seek(place.offset)
        return self.file.read(place.size if size is None else min(size, place.size))

    def _name(self, suffix: str) -> str:
        return f"{self.key}.{suffix}" if suffix else self.key

    def _ignore(self, suffix: str, reason: str) -> None:
        self.found.ignore(f"{self.path}: {self._name(suffix)}", reason)

    def _reject(self, suffix: str, reason: str, detail: str) -> None:
        self.found.reject(f"{self.path}: {self._name(suffix)}", reason, detail)


def _reason(suffix: str) -> str:
    """Why a member is not used that is neither audio nor says anything of it."""
    if suffix.endswith(_LIST_SUFFIXES):
        return "list in a tar, which is not read; unpack the tar"
    return f"tar member .{suffix.rpartition('.')[2]}" if suffix else "tar member without KEY.SUFFIX"
