"""What a file of a source is: audio, a list of recordings, a tar, or something that is passed over with a reason."""

import os
import stat
from typing import Literal, NamedTuple

from speechssl.audio.formats import AUDIO_SUFFIXES, HEAD_BYTES, begins_as_audio
from speechssl.ingest.lists.formats import LIST_SUFFIXES, is_list

_ARCHIVES = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst")
_LISTS_WITHOUT_SUFFIX = frozenset({"text", "segments"})
"""Kaldi's."""
_NEVER_AUDIO = frozenset(
    {
        *(".phn", ".wrd", ".textgrid", ".eaf", ".srt", ".vtt", ".ass", ".ctm", ".stm", ".rttm", ".uem", ".mlf", ".xml"),
        *(".npy", ".npz", ".pt", ".pth", ".pkl", ".h5", ".hdf5", ".ark", ".parquet", ".arrow", ".f0", ".ltr", ".km"),
        *(".md", ".pdf", ".html", ".htm", ".rst", ".tex", ".doc", ".docx", ".xls", ".xlsx", ".rtf", ".log", ".index"),
        *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".bmp", ".tif", ".tiff"),
        *(".py", ".sh", ".c", ".h", ".cpp", ".js", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".sha256", ".md5"),
    }
)
"""Of these there may be one for each recording; to open each would take longer than to find it."""


class FileKind(NamedTuple):
    """What a file is."""

    kind: Literal["audio", "list", "tar", "unreadable", "other"]
    reason: str = ""
    """Why it is passed over, short and the same for all of its kind."""


def kind_of_name(name: str) -> FileKind | None:
    """What a file is, by its name; None if only its content tells."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in AUDIO_SUFFIXES:
        return FileKind("audio")
    if suffix == ".tar":
        return FileKind("tar")
    if suffix in _NEVER_AUDIO:
        return FileKind("other", suffix)
    is_archive = suffix in _ARCHIVES and not may_be_list(name)
    return FileKind("other", f"archive {suffix}, to be unpacked") if is_archive else None


def may_be_list(name: str) -> bool:
    """Whether a file of this name may list recordings."""
    lower = os.path.basename(name).lower().removesuffix(".gz")
    return os.path.splitext(lower)[1] in LIST_SUFFIXES or lower in _LISTS_WITHOUT_SUFFIX


def kind_of_file(path: str) -> FileKind:
    """What a file is, by its name, and by how it begins where the name does not tell."""
    name = os.path.basename(path)
    known = kind_of_name(name)
    if known is not None:
        return known
    suffix = os.path.splitext(name)[1].lower()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return FileKind("other", "no file: a pipe or a device")
        if not os.access(path, os.R_OK):
            return FileKind("unreadable", "Permission denied")
        if may_be_list(name):
            if is_list(path):
                return FileKind("list")
            if suffix:
                return FileKind("other", f"{suffix}, neither a list nor beside audio")
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        return FileKind("other", "link that leads nowhere")
    except OSError as error:
        return FileKind("unreadable", error.strerror or str(error))
    if begins_as_audio(head):
        return FileKind("audio")
    if head[257:262] == b"ustar":
        return FileKind("tar")
    return FileKind("other", suffix or "no suffix")
