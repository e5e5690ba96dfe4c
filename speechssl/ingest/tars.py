"""Recordings of webdataset tars: members, of which one is audio and the others say what is known of it."""

import os
from collections.abc import Mapping
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

    def refuse(reason: str, detail: str) -> None:
        if is_alone:
            found.add_problem(f"{source}: {detail}")
        else:
            found.reject(path, reason, detail)

    if not is_utf8(path):
        refuse("name is not UTF-8", "its name is not UTF-8; rename it")
        return
    num_before, num_known, fields = len(found.unnamed), len(found.unnamed) + len(found.rejected), dict(found.fields)
    try:
        with open(path, "rb") as file:
            tar = _Tar(path, file, found)
            tar.add_samples()
        recordings = found.unnamed[num_before:]
        uncount_texts(fields, settle_texts([recordings], source, found), found)
        found.unnamed[num_before:] = recordings
        note_values(source, found)
    except OSError as error:
        refuse("unreadable file", f"cannot be read ({error.strerror})")
        return
    if tar.damage is not None:
        where = f"{tar.damage.kind} at byte {tar.damage.offset}"
        refuse("damaged tar", f"{where}: {tar.damage}")
        for key, members in tar.samples.items():
            if not is_alone and any(_is_audio(suffix) for suffix in members):
                found.reject(f"{path}: {key}", "in a damaged tar", where)
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


class _Tar:
    """What a tar holds, by key and suffix, up to its end or to where it is damaged; members need not be adjacent."""

    def __init__(self, path: str, file: BinaryIO, found: Findings) -> None:
        self.samples: dict[str, dict[str, MemberRange]] = {}
        self.damage: DamageError | None = None
        self._broken: dict[str, dict[str, str]] = {}
        """Links that lead nowhere, with the reason."""
        self._repeated: dict[str, set[str]] = {}
        """Suffixes that occur twice."""
        self._path = path
        self._file = file
        self._found = found
        size = os.stat(path).st_size
        try:
            links = [member for member in walk_members(file, size) if self._take(member)]
        except DamageError as damage:
            self.damage = damage
            return
        resolver = TarLinks(walk_members(file, size) if links else ())
        for link in links:
            try:
                self._put(link, resolver.resolve(link))
            except LinkError as error:
                key, suffix = split_name(link.name)
                self._broken.setdefault(link.name if key is None else key, {})[suffix] = str(error)
        for key in self._broken:
            self.samples.setdefault(key, {})

    def _take(self, member: TarMember) -> bool:
        """Put a file into its sample, and name what is none; whether it is a link, whose target may follow."""
        if is_reserved(member.name) and member.kind != "folder":
            self._found.ignore(f"{self._path}: {member.name}", "hidden tar member")
        elif member.kind in _LINKS:
            return True
        elif member.kind == "file":
            self._put(member, member.content)
        elif member.kind != "folder":
            self._found.ignore(f"{self._path}: {member.name}", "tar member that is no file")
        return False

    def _put(self, member: TarMember, content: MemberRange) -> None:
        """Add a member to its sample; one without a dot has no suffix, and is the sample of its name."""
        key, suffix = split_name(member.name)
        key = member.name if key is None else key
        members = self.samples.setdefault(key, {})
        if suffix in members:
            self._repeated.setdefault(key, set()).add(suffix)
        members[suffix] = content

    def add_samples(self) -> None:
        """Add the recording of each sample, unless the tar is damaged."""
        for key, members in self.samples.items() if self.damage is None else ():
            self._add(key, members)

    def _add(self, key: str, members: dict[str, MemberRange]) -> None:
        """Add the recording of a sample, or say why it has none; name the members that are not used."""
        broken = self._broken.get(key, {})
        for suffix in broken:
            if not _is_audio(suffix) and not field_of(suffix):
                self._ignore(key, suffix, "link in a tar that leads nowhere")
        lost = next(filter(_is_audio, broken), None) or next(filter(field_of, broken), None)
        if any(_is_audio(suffix) or field_of(suffix) for suffix in self._repeated.get(key, ())):
            detail = "several members have the same name; a key must occur once: rename one"
            self._reject(key, "", "duplicate key", detail)
            return
        if lost is not None:
            detail = f"{broken[lost]}; make the tar again, or follow links (tar -h)"
            self._reject(key, lost, "broken link", detail)
            return
        dotted = [suffix for suffix in members if "." in suffix and _is_audio(suffix)]
        for suffix in dotted:
            detail = "webdataset cuts names at their first dot, and different samples become one; rename it"
            self._reject(key, suffix, "dotted key", detail)
        audio = self._audio_suffixes(members, dotted)
        if len(audio) == 1:
            self._describe(key, members, audio[0], dotted)
        elif audio or (not dotted and any(field_of(suffix) for suffix in members)):
            reason = "several audio members" if audio else "no audio member"
            self._reject(key, "", reason, f"its members are {', '.join(members)}; expected one with audio")
        else:
            for suffix in members.keys() - set(dotted):
                self._ignore(key, suffix, _reason(suffix))

    def _audio_suffixes(self, members: Mapping[str, MemberRange], dotted: list[str]) -> list[str]:
        """Suffixes of its audio: that of sound alone sooner than that of a video, and only then by content."""
        named = [suffix for suffix in members if suffix not in dotted and _is_audio(suffix)]
        sound = [suffix for suffix in named if f".{suffix}" in SOUND_SUFFIXES]
        if named or dotted:
            return sound or named
        unknown = [suffix for suffix in members if not field_of(suffix)]
        return [suffix for suffix in unknown if begins_as_audio(self._read(members[suffix], HEAD_BYTES))]

    def _describe(self, key: str, members: Mapping[str, MemberRange], audio: str, dotted: list[str]) -> None:
        contents = {suffix: place for suffix, place in members.items() if suffix != audio and field_of(suffix)}
        place, name = members[audio], printable(_name(key, audio))
        recording = Recording(key_of(key), self._path, member=Member(name, place.offset, place.size))
        try:
            beside = describe_beside(recording, contents, self._read, key.rpartition("/")[2], "in the tar", self._found)
        except UnreadableError as error:
            self._reject(key, "", "unreadable transcript", str(error))
            return
        for suffix, reason in beside.ignored:
            self._ignore(key, suffix, reason)
        for suffix in members.keys() - contents.keys() - {audio, *dotted}:
            self._ignore(key, suffix, "video beside its audio" if _is_audio(suffix) else _reason(suffix))
        if not place.size:
            self._reject(key, audio, "empty file", "it has no bytes")
            return
        self._found.fields.update(beside.origins)
        recording = beside.recording
        if not recording.recording:
            # Shards of speechssl name the file that they were made from; elsewhere the word means other things.
            source = beside.values.get("source")
            stem, suffix = os.path.splitext(source) if isinstance(source, str) else ("", "")
            origin = stem if suffix.lower() in AUDIO_SUFFIXES else key
            recording = recording._replace(recording=composed_form(printable(origin)))
        self._found.unnamed.append(recording)

    def _read(self, place: MemberRange, size: int | None = None) -> bytes:
        self._file.seek(place.offset)
        return self._file.read(place.size if size is None else min(size, place.size))

    def _ignore(self, key: str, suffix: str, reason: str) -> None:
        self._found.ignore(f"{self._path}: {_name(key, suffix)}", reason)

    def _reject(self, key: str, suffix: str, reason: str, detail: str) -> None:
        self._found.reject(f"{self._path}: {_name(key, suffix)}", reason, detail)


def _name(key: str, suffix: str) -> str:
    return f"{key}.{suffix}" if suffix else key


def _is_audio(suffix: str) -> bool:
    return f".{suffix.rpartition('.')[2]}" in AUDIO_SUFFIXES


def _reason(suffix: str) -> str:
    """Why a member is not used that is neither audio nor says anything of it."""
    if suffix.endswith(_LIST_SUFFIXES):
        return "list in a tar, which is not read; unpack the tar"
    return f"tar member .{suffix.rpartition('.')[2]}" if suffix else "tar member without KEY.SUFFIX"
