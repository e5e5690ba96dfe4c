"""Archives among recordings: compressed ones, and tars that hold what lies unpacked beside them."""

import os
from collections.abc import Mapping, Sequence

from speechssl.ingest.recordings import Member

_COMPRESSED_TARS = (".tar.gz", ".tgz", ".taz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_COMMANDS = {
    **dict.fromkeys((*_COMPRESSED_TARS, ".tar.z", ".tar.lz", ".tar.lz4", ".tar.lzma"), "tar -xf"),
    ".zip": "unzip",
    ".7z": "7z x",
    ".rar": "unrar x",
    ".gz": "gunzip",
    ".bz2": "bunzip2",
    ".xz": "unxz",
    ".zst": "unzstd",
}
_NUM_COMPARED = 8
_BYTES_COMPARED = 1 << 16


def unpacking_command(name: str) -> str:
    """Command that unpacks a file of this name, but for the name; empty if it is no archive that must be unpacked."""
    name = name.lower()
    return next((command for suffix, command in _COMMANDS.items() if name.endswith(suffix)), "")


def archive_reason(name: str) -> str:
    """Why an archive is ignored, the same for all of its kind; empty if it is none."""
    name = name.lower()
    suffix = next((suffix for suffix in _COMMANDS if name.endswith(suffix)), "")
    return f"archive {suffix}, to be unpacked with {_COMMANDS[suffix]}" if suffix else ""


def is_unpacked(tar: str, members: Sequence[Member], paths_by_name: Mapping[str, Sequence[str]]) -> bool:
    """Whether all audio of a tar lies unpacked where it would be, by names and sizes, and by bytes of some.

    Args:
        tar: absolute path.
        members: its audio.
        paths_by_name: audio files of the folder that the tar is in, by the last part of their paths.
    """
    places = [_place_of(tar, member, paths_by_name) for member in members]
    if not members or not all(places):
        return False
    step = max(1, len(members) // _NUM_COMPARED)
    try:
        with open(tar, "rb") as file:
            for member, place in list(zip(members, places, strict=True))[::step]:
                file.seek(member.offset)
                with open(place, "rb") as other:
                    size = min(member.size, _BYTES_COMPARED)
                    if file.read(size) != other.read(size):
                        return False
    except OSError:
        return False
    return True


def _place_of(tar: str, member: Member, paths_by_name: Mapping[str, Sequence[str]]) -> str:
    """File that a member was unpacked to; empty if there is none of its name and size."""
    name = member.name.lstrip("/")
    folder, _, inside = name.partition("/")
    # Whoever unpacks into a folder of the archive's name often leaves out the archive's own.
    endings = [f"/{name}", *([f"{os.path.dirname(tar)}/{inside}"] if inside else [])]
    endings += [f"{os.path.splitext(tar)[0]}/{inside}"] if inside and folder else []
    for path in paths_by_name.get(os.path.basename(name), ()):
        if path.endswith(tuple(endings)) and _size(path) == member.size:
            return path
    return ""


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return -1
