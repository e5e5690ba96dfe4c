"""The members of a tar, one header after the other: every byte is accounted for up to the end mark.

Python's tarfile, and webdataset with it, takes a damaged or cut-off header for the end of the archive: the rest of the
tar is lost without a word. Here the walk must reach the end mark (two blocks of zeros), and nothing may follow it.
"""

import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Literal, NamedTuple

BLOCK = tarfile.BLOCKSIZE
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENSIONS = (*_LONG_NAMES, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_PAX_RECORD = re.compile(rb"(\d{1,8}) ([^=\n]+)=")
_MAX_EXTENSION_BYTES = 1 << 20
_MAX_ZERO_TAIL = 1 << 20
_CHUNK = 1 << 20
_MAKE_AGAIN = "copy the shard again from where it is whole, or make it again"


class MemberRange(NamedTuple):
    """Content of one member."""

    offset: int
    """First byte of its data in the tar."""
    size: int
    """Bytes."""


class TarMember(NamedTuple):
    """One entry of a tar."""

    name: str
    """Bytes that are not UTF-8 are surrogates."""
    kind: Literal["file", "folder", "hard link", "symbolic link", "other"]
    target: str
    """What a link leads to, as the tar has it."""
    offset: int
    """First byte of its first header, be that one with a long name."""
    content: MemberRange
    """Empty if it is no file."""
    end: int
    """First byte after its padding."""


class DamageError(Exception):
    """The walk cannot go on."""

    def __init__(self, kind: str, offset: int, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        """Short and the same for all of its kind, to count by."""
        self.offset = offset


def printable(name: str) -> str:
    """A key or member name for a message: as it is if it is plain, else quoted with its odd characters escaped."""
    return name if re.fullmatch(r"[\w./-]+", name, re.ASCII) else ascii(name)


def walk_members(file: BinaryIO, end: int) -> Iterator[TarMember]:
    """Members up to the end mark, reading their headers only.

    Args:
        file: the tar.
        end: its bytes.

    Raises:
        DamageError: where there is neither a whole member nor the end mark, or what follows it is no padding.
        OSError: it cannot be read.
    """
    offset = 0
    while (header := _read_header(file, offset, end)) is not None:
        start, extended = offset, dict[str, str]()
        while header.type in _EXTENSIONS:
            # Of several extensions the first wins: tarfile applies it last.
            extended = _read_extension(file, header, offset, end) | extended
            offset += BLOCK + _padded(header.size)
            following = _read_header(file, offset, end)
            if following is None:
                raise DamageError("damaged header", offset, f"zeros where the member of a long name was; {_MAKE_AGAIN}")
            header = following
        member = _member(header, extended, start, offset)
        if member.end > end:
            missing = sum(member.content) - end
            lost = f"{missing} bytes of {member.content.size} are missing" if missing > 0 else "its padding is missing"
            raise DamageError(
                "truncated inside data", end, f"cut off inside {printable(member.name)}: {lost}; {_MAKE_AGAIN}"
            )
        yield member
        offset = member.end
    _check_end(file, offset, end)


def _read_header(file: BinaryIO, offset: int, end: int) -> tarfile.TarInfo | None:
    """Header at an offset; None for a block of zeros."""
    file.seek(offset)
    block = file.read(BLOCK)
    if len(block) < BLOCK and not any(block):
        raise DamageError("no end mark", offset, f"ends without the two blocks of zeros that end a tar; {_MAKE_AGAIN}")
    if len(block) < BLOCK:
        raise DamageError(
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


def _damaged(offset: int, end: int, reason: str) -> DamageError:
    return DamageError(
        "damaged header",
        offset,
        f"not a tar header ({reason}): readers lose the {end - offset} bytes from here on; {_MAKE_AGAIN}",
    )


def _read_extension(file: BinaryIO, header: tarfile.TarInfo, offset: int, end: int) -> dict[str, str]:
    """What a GNU or pax header says of the next member, under the keywords of pax."""
    if offset + BLOCK + _padded(header.size) > end:
        raise DamageError("truncated inside a header", end, f"cut off inside a long name; {_MAKE_AGAIN}")
    if header.size > _MAX_EXTENSION_BYTES:
        raise _damaged(offset, end, f"a long name of {header.size} bytes")
    data = file.read(header.size)
    if header.type in _LONG_NAMES:
        keyword = "path" if header.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
        records = {keyword: _decoded(data.partition(b"\0")[0])}
    else:
        try:
            records = _pax_records(data)
            size = int(records.get("size", 0))
        except ValueError as error:
            raise _damaged(offset, end, f"a pax header with {error}") from error
        is_global = header.type == tarfile.XGLTYPE and records.keys() & {"path", "linkpath", "size"}
        if is_global or size < 0 or any(keyword.startswith("GNU.sparse") for keyword in records):
            raise _damaged(offset, end, "a pax header of a kind that shards do not have")
    return {keyword: value for keyword, value in records.items() if value}


def _pax_records(data: bytes) -> dict[str, str]:
    """Records "LENGTH KEYWORD=VALUE\\n" of a pax header; LENGTH counts the whole record."""
    records, position = {}, 0
    while position < len(data):
        match = _PAX_RECORD.match(data, position)
        stop = position + int(match[1]) if match else 0
        if match is None or stop <= match.end() or data[stop - 1 : stop] != b"\n":
            raise ValueError(f"no whole record at its byte {position}")
        records[_decoded(match[2])] = _decoded(data[match.end() : stop - 1])
        position = stop
    return records


def _member(header: tarfile.TarInfo, extended: Mapping[str, str], start: int, offset: int) -> TarMember:
    # As tarfile has it: folders and links have no data whatever their size field says, unknown types have.
    has_data = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
    content = MemberRange(offset + BLOCK, int(extended.get("size", header.size)) if has_data else 0)
    target = extended.get("linkpath", header.linkname) if header.islnk() or header.issym() else ""
    name, end = extended.get("path", header.name), content.offset + _padded(content.size)
    return TarMember(name, _kind_of(header), target, start, content, end)


def _kind_of(header: tarfile.TarInfo) -> Literal["file", "folder", "hard link", "symbolic link", "other"]:
    if header.isdir():
        return "folder"
    if header.isreg():
        return "file"
    return "hard link" if header.islnk() else "symbolic link" if header.issym() else "other"


def _check_end(file: BinaryIO, offset: int, end: int) -> None:
    """Prove that two blocks of zeros stand at the offset, and that nothing but zeros follows."""
    if end < offset + 2 * BLOCK:
        raise DamageError("no end mark", offset, f"ends with one block of zeros instead of two; {_MAKE_AGAIN}")
    file.seek(offset)
    position = offset
    while chunk := file.read(_CHUNK):
        zeros = len(chunk) - len(chunk.lstrip(b"\0"))
        if zeros < len(chunk):
            raise DamageError(
                "data after the end mark",
                position + zeros,
                f"zeros at byte {offset} end the archive, but data follow, which readers do not see: "
                f"a zeroed block, or two tars in one file; {_MAKE_AGAIN}",
            )
        position += len(chunk)
    if end - offset > _MAX_ZERO_TAIL:
        raise DamageError(
            "zeros in place of data",
            offset,
            f"{end - offset} bytes of zeros up to the end, where writers put some 10,000: "
            f"the shard was probably not written to its end; {_MAKE_AGAIN}",
        )


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
