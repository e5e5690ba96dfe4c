"""Recordings of webdataset tars: members, of which one is audio and the others say what is known of it."""

import os
from collections.abc import Mapping
from typing import BinaryIO

from speechssl.audio.formats import AUDIO_SUFFIXES, HEAD_BYTES, begins_as_audio
from speechssl.ingest.describing import note_values
from speechssl.ingest.recordings import Findings, Member, Recording, Refusal, composed_form, key_of, printable
from speechssl.ingest.sidecars import UnreadableError, describe_beside, field_of
from speechssl.shards.tar_walk import DamageError, MemberRange, TarMember, walk_members
from speechssl.shards.values import is_utf8
from speechssl.shards.webdataset_alone import is_reserved, split_name

_LINKS = ("hard link", "symbolic link")
_DUPLICATE = ("duplicate key", "several members have the same name; rename one")


def read_tar(path: str, found: Findings) -> Refusal | None:
    """Add the recordings of a webdataset tar, whose audio is not read; returns why it cannot be used.

    Of a damaged one nothing is: what belongs to a sample may lie behind the damage.

    Args:
        path: absolute.
        found: where they are added.
    """
    if path in found.read:
        return None
    found.read.add(path)
    if not is_utf8(path):
        return Refusal("name is not UTF-8", "its name is not UTF-8; rename it")
    num_known = len(found.unnamed) + len(found.rejected)
    try:
        with open(path, "rb") as file:
            tar = _Tar(path, file, found)
            if tar.damage is None:
                tar.add_samples()
    except OSError as error:
        return Refusal("unreadable file", f"cannot be read ({error.strerror})")
    note_values(path, found)
    if tar.damage is not None:
        where = f"{tar.damage.kind} at byte {tar.damage.offset}"
        for key, members in tar.samples.items():
            if any(map(_is_audio, members)):
                found.reject(f"{path}: {key}", "in a damaged tar", where)
        return Refusal("damaged tar", f"{where}: {tar.damage}")
    if len(found.unnamed) + len(found.rejected) == num_known:
        return Refusal("tar without samples", "no samples, expected members KEY.SUFFIX, as webdataset has them")
    return None


class _Tar:
    """What a tar holds, by key and suffix, up to its end or to where it is damaged; members need not be adjacent."""

    def __init__(self, path: str, file: BinaryIO, found: Findings) -> None:
        self.samples: dict[str, dict[str, MemberRange]] = {}
        self.damage: DamageError | None = None
        self._unusable: dict[str, tuple[str, str]] = {}
        """Reason and detail of samples that cannot be used, by key."""
        self._repeated: dict[str, list[MemberRange]] = {}
        """Members of one name, by key, of which only the content tells whether they are audio."""
        self._path = path
        self._file = file
        self._found = found
        try:
            for member in walk_members(file, os.stat(path).st_size):
                self._take(member)
        except DamageError as damage:
            self.damage = damage

    def _take(self, member: TarMember) -> None:
        """Put a member into its sample; one without a dot has no suffix, and is the sample of its name."""
        if member.kind == "folder":
            return
        if is_reserved(member.name):
            self._found.ignore(f"{self._path}: {member.name}", "hidden tar member")
            return
        key, suffix = split_name(member.name)
        key = member.name if key is None else key
        is_known = _is_audio(suffix) or bool(field_of(suffix))
        if member.kind != "file" and not (is_known and member.kind in _LINKS):
            self._found.ignore(f"{self._path}: {member.name}", "tar member that is no file")
            return
        members = self.samples.setdefault(key, {})
        if member.kind in _LINKS:
            detail = f"{member.name} is a link; make the tar again with what it leads to (tar -h --hard-dereference)"
            self._unusable[key] = ("link in a tar", detail)
        elif suffix in members and is_known:
            self._unusable[key] = _DUPLICATE
        elif suffix in members:
            self._repeated.setdefault(key, []).extend((members[suffix], member.content))
        members[suffix] = member.content

    def add_samples(self) -> None:
        """Add the recording of each sample, or say why it has none; name the members that are not used."""
        for key, members in self.samples.items():
            if any(begins_as_audio(self._read(place, HEAD_BYTES)) for place in self._repeated.get(key, ())):
                self._unusable.setdefault(key, _DUPLICATE)
            if key in self._unusable:
                self._reject(key, "", *self._unusable[key])
            else:
                self._add(key, members)

    def _add(self, key: str, members: dict[str, MemberRange]) -> None:
        dotted = [suffix for suffix in members if "." in suffix and _is_audio(suffix)]
        for suffix in dotted:
            detail = "webdataset cuts names at their first dot, and different samples become one; rename it"
            self._reject(key, suffix, "dotted key", detail)
        audio = [suffix for suffix in members if suffix not in dotted and _is_audio(suffix)]
        if not audio and not dotted:
            unknown = [suffix for suffix in members if not field_of(suffix)]
            audio = [suffix for suffix in unknown if begins_as_audio(self._read(members[suffix], HEAD_BYTES))]
        if len(audio) == 1:
            self._describe(key, members, audio[0], dotted)
        elif audio or (not dotted and any(map(field_of, members))):
            reason = "several audio members" if audio else "no audio member"
            self._reject(key, "", reason, f"its members are {', '.join(members)}; expected one with audio")
        else:
            for suffix in members.keys() - set(dotted):
                self._ignore(key, suffix, _reason(suffix))

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
            self._ignore(key, suffix, _reason(suffix))
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
    return f"tar member .{suffix.rpartition('.')[2]}" if suffix else "tar member without KEY.SUFFIX"
