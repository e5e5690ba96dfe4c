"""A strict walk over one shard: every byte is accounted for, and whatever readers would pass over is named.

Python's tarfile, and webdataset with it, takes a damaged or cut-off header for the end of the archive: the rest of the
shard is lost without a word. Here the walk must reach the end mark (two blocks of zeros), and nothing may follow it.
Samples are put together as webdataset does: adjacent members whose names agree up to the first dot of the base name.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from speechssl.data.members import MEMBER_SUFFIXES

BLOCK = tarfile.BLOCKSIZE
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]+")
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENSIONS = (*_LONG_NAMES, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_PAX_RECORD = re.compile(rb"(\d{1,8}) ([^=\n]+)=")
_MAX_EXTENSION_BYTES = 1 << 20
_MAX_ZERO_TAIL = 1 << 20
_CHUNK = 1 << 20
_MAKE_AGAIN = "copy the shard again from where it is whole, or make it again"


class Finding(NamedTuple):
    """One thing that is wrong, and where."""

    shard: str
    """Path of the shard, or of the file beside it, that the finding is about."""
    kind: str
    """Short and the same for all of its kind, to count by."""
    key: str
    """Sample, or empty if it is about more than one."""
    offset: int | None
    """Byte of the shard; None if there is none to name."""
    detail: str
    """What was found, what was expected, what to do."""


class MemberRange(NamedTuple):
    """Content of one member."""

    offset: int
    """First byte of its data in the tar."""
    size: int
    """Bytes."""


class ScannedSample(NamedTuple):
    """Adjacent members of one key."""

    key: str
    offset: int
    """First byte of its first tar header."""
    size: int
    """Bytes of its members, headers and padding included."""
    members: dict[str, MemberRange]
    """By what follows the key and its dot, in lower case, in order of the tar."""

    @property
    def audio_suffix(self) -> str | None:
        """Suffix of the first audio member, which is the one that is read; None if there is none."""
        return next((suffix for suffix in self.members if suffix in MEMBER_SUFFIXES), None)


class TarScan(NamedTuple):
    """What a shard holds up to its end, or up to where it cannot be read any further."""

    samples: list[ScannedSample]
    findings: list[Finding]


class _Member(NamedTuple):
    name: str
    offset: int
    """First byte of its first header, be that one with a long name."""
    data_offset: int
    size: int
    end: int
    """First byte after its padding."""
    is_file: bool


@dataclass
class _Group:
    key: str
    offset: int
    end: int
    members: dict[str, MemberRange] = field(default_factory=dict)
    dotted_name: str = ""


class _DamageError(Exception):
    """The walk cannot go on."""

    def __init__(self, kind: str, offset: int, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.offset = offset


def scan_tar(shard: Path) -> TarScan:
    """Walk over all members of a shard, reading their headers only.

    Raises:
        OSError: the shard cannot be read.
    """
    groups: list[_Group] = []
    findings: list[Finding] = []
    with shard.open("rb") as file:
        try:
            for member in _walk(file, shard.stat().st_size):
                _add(member, groups, findings, str(shard))
        except _DamageError as damage:
            findings.append(Finding(str(shard), damage.kind, "", damage.offset, str(damage)))
    findings += _judge_groups(groups, str(shard))
    findings.sort(key=lambda finding: finding.offset or 0)
    if not groups and not findings:
        findings.append(Finding(str(shard), "no samples", "", 0, "an empty archive, expected samples; make it again"))
    return TarScan([ScannedSample(g.key, g.offset, g.end - g.offset, g.members) for g in groups], findings)


def shown(name: str) -> str:
    """A key or member name for a message: as it is if it is plain, else quoted with its odd characters escaped."""
    return name if re.fullmatch(r"[\w./-]+", name, re.ASCII) else ascii(name)


def _walk(file: BinaryIO, end: int) -> Iterator[_Member]:
    """Members up to the end mark; raises _DamageError where there is no whole member and no end mark."""
    offset = 0
    while (header := _read_header(file, offset, end)) is not None:
        start, name, size = offset, "", None
        while header.type in _EXTENSIONS:
            extended_name, extended_size = _read_extension(file, header, offset, end)
            # Of several extensions the first wins: tarfile applies it last.
            name, size = name or extended_name, extended_size if size is None else size
            offset += BLOCK + _padded(header.size)
            following = _read_header(file, offset, end)
            if following is None:
                raise _DamageError(
                    "damaged header", offset, f"zeros where the member of a long name was; {_MAKE_AGAIN}"
                )
            header = following
        member = _member(header, name or header.name, header.size if size is None else size, start, offset)
        if member.end > end:
            missing = member.data_offset + member.size - end
            found = f"{missing} bytes of {member.size} are missing" if missing > 0 else "its padding is missing"
            raise _DamageError(
                "truncated inside data", end, f"cut off inside {shown(member.name)}: {found}; {_MAKE_AGAIN}"
            )
        yield member
        offset = member.end
    _check_end(file, offset, end)


def _read_header(file: BinaryIO, offset: int, end: int) -> tarfile.TarInfo | None:
    """Header at an offset; None for a block of zeros."""
    file.seek(offset)
    block = file.read(BLOCK)
    if len(block) < BLOCK and not any(block):
        raise _DamageError("no end mark", offset, f"ends without the two blocks of zeros that end a tar; {_MAKE_AGAIN}")
    if len(block) < BLOCK:
        raise _DamageError(
            "truncated inside a header", offset, f"{len(block)} bytes of a header of {BLOCK}; {_MAKE_AGAIN}"
        )
    if not any(block):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        reason = "a compressed file, decompress it" if block.startswith(b"\x1f\x8b") else str(error)
        raise _damaged(offset, end, reason) from error
    if header.size < 0 or header.type == tarfile.GNUTYPE_SPARSE:
        raise _damaged(offset, end, "a negative size" if header.size < 0 else "a sparse file, which is not supported")
    return header


def _damaged(offset: int, end: int, reason: str) -> _DamageError:
    return _DamageError(
        "damaged header",
        offset,
        f"not a tar header ({reason}): readers lose the {end - offset} bytes from here on; {_MAKE_AGAIN}",
    )


def _read_extension(file: BinaryIO, header: tarfile.TarInfo, offset: int, end: int) -> tuple[str, int | None]:
    """Name and size that a GNU or pax header gives to the next member; empty and None if it does not."""
    if offset + BLOCK + _padded(header.size) > end:
        raise _DamageError("truncated inside a header", end, f"cut off inside a long name; {_MAKE_AGAIN}")
    if header.size > _MAX_EXTENSION_BYTES:
        raise _damaged(offset, end, f"a long name of {header.size} bytes")
    data = file.read(header.size)
    if header.type in _LONG_NAMES:
        return (_decoded(data.partition(b"\0")[0]) if header.type == tarfile.GNUTYPE_LONGNAME else ""), None
    try:
        records = _pax_records(data)
        size = int(records[b"size"]) if b"size" in records else None
    except ValueError as error:
        raise _damaged(offset, end, f"a pax header with {error}") from error
    is_global = header.type == tarfile.XGLTYPE and records.keys() & {b"path", b"size"}
    if is_global or (size or 0) < 0 or any(keyword.startswith(b"GNU.sparse") for keyword in records):
        raise _damaged(offset, end, "a pax header of a kind that shards do not have")
    return _decoded(records.get(b"path", b"")), size


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """Records "LENGTH KEYWORD=VALUE\\n" of a pax header; LENGTH counts the whole record."""
    records, position = {}, 0
    while position < len(data):
        match = _PAX_RECORD.match(data, position)
        stop = position + int(match[1]) if match else 0
        if match is None or stop <= match.end() or data[stop - 1 : stop] != b"\n":
            raise ValueError(f"no whole record at its byte {position}")
        records[match[2]] = data[match.end() : stop - 1]
        position = stop
    return records


def _member(header: tarfile.TarInfo, name: str, size: int, start: int, offset: int) -> _Member:
    # As tarfile has it: folders and links have no data whatever their size field says, unknown types have.
    has_data = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
    size = size if has_data else 0
    data_offset = offset + BLOCK
    name = "" if header.isdir() else name
    return _Member(name, start, data_offset, size, data_offset + _padded(size), header.isreg())


def _check_end(file: BinaryIO, offset: int, end: int) -> None:
    """Prove that two blocks of zeros stand at the offset, and that nothing but zeros follows."""
    if end < offset + 2 * BLOCK:
        raise _DamageError("no end mark", offset, f"ends with one block of zeros instead of two; {_MAKE_AGAIN}")
    file.seek(offset)
    position = offset
    while chunk := file.read(_CHUNK):
        zeros = len(chunk) - len(chunk.lstrip(b"\0"))
        if zeros < len(chunk):
            raise _DamageError(
                "data after the end mark",
                position + zeros,
                f"zeros at byte {offset} end the archive, but data follow, which readers do not see: "
                f"a zeroed block, or two tars in one file; {_MAKE_AGAIN}",
            )
        position += len(chunk)
    if end - offset > _MAX_ZERO_TAIL:
        raise _DamageError(
            "zeros in place of data",
            offset,
            f"{end - offset} bytes of zeros up to the end, where writers put some 10,000: "
            f"the shard was probably not written to its end; {_MAKE_AGAIN}",
        )


def _add(member: _Member, groups: list[_Group], findings: list[Finding], shard: str) -> None:
    """Put a member into the last group, or begin one; name it if readers would pass over it."""
    folder, slash, base = member.name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not member.name or (dot and not stem) or re.match(r"__[^/]*__($|/)", member.name):
        return  # folders, hidden files, and what webdataset keeps for itself
    if not member.is_file or not dot:
        detail = f"{shown(member.name)} is not a file named KEY.SUFFIX and readers pass over it; rename or remove it"
        findings.append(Finding(shard, "skipped member", "", member.offset, detail))
        return
    key, suffix = folder + slash + stem, suffix.lower()
    if not groups or groups[-1].key != key or suffix in groups[-1].members:
        groups.append(_Group(key, member.offset, member.end))
    group = groups[-1]
    group.end = member.end
    group.members[suffix] = MemberRange(member.data_offset, member.size)
    if "." in suffix:
        group.dotted_name = group.dotted_name or member.name


def _judge_groups(groups: list[_Group], shard: str) -> list[Finding]:
    """Name half-samples, repeated keys and keys that are not allowed."""
    by_key: dict[str, list[_Group]] = {}
    for group in groups:
        by_key.setdefault(group.key, []).append(group)
    findings = []
    for key, same in by_key.items():
        suffixes = [suffix for group in same for suffix in group.members]
        dotted_name = next((group.dotted_name for group in same if group.dotted_name), "")
        verdicts = [_judge_key(key, dotted_name), _judge_audio(suffixes, dotted_name)]
        if len(same) > 1:
            verdicts.append(_judge_repetition(same, is_interleaved=len(set(suffixes)) == len(suffixes)))
        findings += [Finding(shard, kind, key, same[0].offset, detail) for kind, detail in filter(None, verdicts)]
    return findings


def _judge_key(key: str, dotted_name: str) -> tuple[str, str] | None:
    if dotted_name:
        detail = (
            f"the member {shown(dotted_name)} has more than one dot, and readers cut its name at the first: "
            "different samples become one; rename it"
        )
        return "dotted key", detail
    if not KEY_PATTERN.fullmatch(key):
        return "invalid key", f"{shown(key)}, expected letters, digits, _ and - only; rename its members"
    return None


def _judge_audio(suffixes: list[str], dotted_name: str) -> tuple[str, str] | None:
    audio = [suffix for suffix in dict.fromkeys(suffixes) if suffix in MEMBER_SUFFIXES]
    if not audio and not dotted_name:
        found, expected = ", ".join(map(shown, suffixes)), ", ".join(sorted(MEMBER_SUFFIXES))
        return "half-sample", f"no audio: its members are {found}, expected one of {expected}; make the shard again"
    if len(audio) > 1:
        return "several audio members", f"{', '.join(audio)}, and only the first is read; keep one"
    return None


def _judge_repetition(same: list[_Group], *, is_interleaved: bool) -> tuple[str, str]:
    where = f"at bytes {', '.join(str(group.offset) for group in same[:3])}"
    if is_interleaved:
        detail = (
            f"its members are not adjacent ({where}), so that readers see {len(same)} parts of a sample; "
            "make the shard again with the members of a key together"
        )
        return "interleaved members", detail
    return "duplicate key", f"{len(same)} times, {where}; a key must occur once: rename or remove the others"


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
