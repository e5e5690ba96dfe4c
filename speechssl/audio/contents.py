"""What a file is that is no audio, whatever its name says: a page of an error, a pointer, an archive, text, nothing."""

import re
from pathlib import Path

JUDGED_BYTES = 1 << 16
TEXT = bytes([7, 8, 9, 10, 12, 13, 27, *range(32, 127), *range(128, 256)])
BEGINNINGS = {
    b"PK\3\4": "a ZIP archive; unpack it",
    b"\x1f\x8b": "gzip data; unpack it",
    b"BZh": "bzip2 data; unpack it",
    b"\xfd7zXZ\0": "xz data; unpack it",
    b"\x28\xb5\x2f\xfd": "zstd data; unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"PAR1": "a Parquet table; export the audio that it holds",
    b"\x89HDF": "an HDF5 file; export the audio that it holds",
    b"\x93NUMPY": "a NumPy array; write it as WAV",
    b"SQLite format": "an SQLite database",
    b"\x7fELF": "a program",
}


def what_it_is(path: Path) -> str | None:
    """In words, with what to do; None if nothing says that it is no audio.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(JUDGED_BYTES)
    if not head:
        return "empty; get it again"
    if not any(head):
        return "zeros only, as what a download or a copy leaves that never ended; get it again"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the audio itself with `git lfs pull`"
    for beginning, words in BEGINNINGS.items():
        if head.startswith(beginning):
            return words
    if head[257:262] == b"ustar":
        return "a tar; name it as a source with the suffix .tar"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:256].lower()
    if re.match(rb"<!doctype html|<html|<head|<body|<script", start):
        return "a web page, as servers send for what is not there or asks for a login; get it again"
    if start.startswith(b"<?xml") or (start.startswith(b"<") and b">" in start):
        return "XML, as servers send for what is not there; get it again"
    if start.startswith((b"{", b"[")) and not head.translate(None, TEXT):
        return "JSON; get the audio itself"
    if not head.translate(None, TEXT) and _is_unicode(head):
        return "text; get the audio itself"
    return None


def _is_unicode(data: bytes) -> bool:
    """Whether bytes are text in UTF-8, as the end of what was read may cut a letter."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(data) - 3 and len(data) == JUDGED_BYTES
    return True
