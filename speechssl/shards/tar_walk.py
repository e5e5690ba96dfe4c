"""The members of a tar, as tarfile reads them: every byte is accounted for up to the end mark.

tarfile, and webdataset with it, takes a damaged or cut-off header for the end of the archive: the rest of the tar is
lost without a word. Here the walk must reach the end mark (two blocks of zeros), and nothing may follow it.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

BLOCK = tarfile.BLOCKSIZE
_MAX_ZERO_TAIL = 1 << 20
_CHUNK = 1 << 20


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
    """The walk cannot go on.

    Args:
        kind: short and the same for all of its kind, to count by.
        offset: byte of the tar.
        found: what was found there.
    """

    def __init__(self, kind: str, offset: int, found: str) -> None:
        super().__init__(f"{found}; copy the shard again from where it is whole, or make it again")
        self.kind = kind
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
    offset, problem = 0, ""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
            while (info := tar.next()) is not None:
                if info.size < 0 or info.issparse():
                    problem = "a negative size" if info.size < 0 else "a sparse file, which is not supported"
                    break
                if tar.offset > end:
                    found = f"cut off inside {printable(info.name)}, {tar.offset - end} bytes before its end"
                    raise DamageError("truncated inside data", end, found)
                yield _member(info, tar.offset)
                offset = tar.offset
    except (tarfile.TarError, RecursionError, ValueError, OverflowError, MemoryError) as error:
        # Many extended headers in a row end in recursion; what is no number, or a huge one, in the others.
        problem = str(error) or type(error).__name__
    _check_end(file, offset, end, problem)


def _member(info: tarfile.TarInfo, stop: int) -> TarMember:
    target = info.linkname if info.islnk() or info.issym() else ""
    # Folders and links have no data, whatever their size field says.
    content = MemberRange(info.offset_data, info.size if stop > info.offset_data else 0)
    return TarMember(info.name, _kind_of(info), target, info.offset, content, stop)


def _kind_of(info: tarfile.TarInfo) -> Literal["file", "folder", "hard link", "symbolic link", "other"]:
    if info.isdir():
        return "folder"
    if info.isreg():
        return "file"
    return "hard link" if info.islnk() else "symbolic link" if info.issym() else "other"


def _check_end(file: BinaryIO, offset: int, end: int, problem: str) -> None:
    """Prove that two blocks of zeros stand where tarfile has stopped, and that nothing but zeros follows.

    Args:
        file: the tar.
        offset: where it has stopped.
        end: bytes of the tar.
        problem: what tarfile says of it, if it says anything.
    """
    has_run_out = file.tell() >= end
    file.seek(offset)
    block = file.read(BLOCK)
    if any(block) and (len(block) < BLOCK or (problem and has_run_out and offset + BLOCK < end)):
        found = f"the last {end - offset} bytes are a part of a header, or of a long name"
        raise DamageError("truncated inside a header", offset, found)
    if any(block):
        reason = "a compressed file, decompress it" if block.startswith(b"\x1f\x8b") else problem or "bad checksum"
        found = f"not a tar header ({reason}): readers lose the {end - offset} bytes from here on"
        raise DamageError("damaged header", offset, found)
    if end < offset + 2 * BLOCK:
        raise DamageError("no end mark", offset, "ends without the two blocks of zeros that end a tar")
    file.seek(offset)
    position = offset
    while chunk := file.read(_CHUNK):
        zeros = len(chunk) - len(chunk.lstrip(b"\0"))
        if zeros < len(chunk):
            found = f"zeros at byte {offset} end the archive, but data follow, which readers do not see"
            raise DamageError("data after the end mark", position + zeros, f"{found}: two tars in one file, or a hole")
        position += len(chunk)
    if end - offset > _MAX_ZERO_TAIL:
        found = f"{end - offset} bytes of zeros up to the end, where writers put some 10,000"
        raise DamageError("zeros in place of data", offset, found)
