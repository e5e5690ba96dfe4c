"""What audio files are called, and how they begin; and what has the name of one and is something else."""

from pathlib import Path

from speechssl.audio.mpeg import header_of

SOUND_SUFFIXES = frozenset(
    {
        # libsndfile reads these.
        *(".wav", ".wave", ".rf64", ".bwf", ".bw64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp1", ".mp2", ".mp3"),
        *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".8svx", ".svx", ".sd2", ".avr"),
        *(".paf", ".pvf", ".ircam"),
        # FFmpeg reads these.
        *(".m4a", ".m4b", ".m4r", ".mp4a", ".f4a", ".aac", ".adts", ".mpga", ".mpa", ".m2a", ".wma", ".asf"),
        *(".amr", ".awb", ".3ga", ".ac3", ".eac3", ".ape", ".wv", ".tta", ".tak", ".shn", ".mpc", ".spx"),
        *(".mka", ".weba", ".ra", ".dsf", ".dff", ".gsm", ".g722", ".aa3", ".oma", ".qcp"),
    }
)
"""Of sound alone, in lower case."""
VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".webm", ".mkv", ".avi", ".wmv", ".flv", ".f4v", ".3gp", ".3g2", ".ogv"),
        *(".ogx", ".mpg", ".mpeg", ".m2ts", ".vob", ".rm", ".rmvb", ".mxf"),
    }
)
"""Of what has pictures too; a recording, unless a file of sound alone has its name."""
AUDIO_SUFFIXES = SOUND_SUFFIXES | VIDEO_SUFFIXES
"""Of all that a folder is searched for; a file without one of them is known by how it begins."""

HEAD_BYTES = 2048
"""Of a file, by which ``begins_as_audio`` knows it."""
_MAGIC = (
    *(b"fLaC", b"OggS", b"ID3\x02", b"ID3\x03", b"ID3\x04", b"NIST_1A", b".snd", b"dns.", b"caff\0", b"riff\x2e\x91"),
    *(b"Creative Voice File", b"PVF1\n", b"ALawSoundFile", b"\x64\xa3\x01\0", b"\x64\xa3\x02\0", b"\x64\xa3\x03\0"),
    *(b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR", b"wvpk", b"TTA1", b"tBaK", b"ajkg\x02"),
    *(b"MPCK", b"DSD \x1c\0\0\0", b"FRM8", b"FLV\x01", b".ra\xfd", b".RMF\0\0", b"\0\0\x01\xba", b"\x7f\xfe\x80\x01"),
)
_CHUNKED = {
    b"RIFF": (b"WAVE", b"AVI ", b"QLCM"),
    b"RIFX": (b"WAVE",),
    b"RF64": (b"WAVE",),
    b"BW64": (b"WAVE",),
    b"FORM": (b"AIFF", b"AIFC", b"8SVX", b"16SV"),
}
"""By the first four bytes, what may stand at byte 8."""
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")
"""The first of an MP4 or QuickTime file, after its length, which is short."""
_PICTURE_BRANDS = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jp2 ", b"jpx ")
_TS_PACKET = 188
_ARCHIVES = (b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!")
_SHOWN_CHARACTERS = 60


def begins_as_audio(head: bytes) -> bool:
    """Whether a file that begins with these bytes (HEAD_BYTES, or all of it) is audio, or a video that may have sound.

    Only what says so plainly counts: the files are those whose names say nothing.
    """
    if head[8:12] in _CHUNKED.get(head[:4], ()):
        return True
    if head.startswith(_MAGIC):
        return True
    if head[:1] == b"\0" and head[4:8] in _BOXES:
        return head[4:8] != b"ftyp" or head[8:12] not in _PICTURE_BRANDS
    return _is_transport_stream(head) or _is_mpeg_audio(head) or _is_adts(head)


def _is_transport_stream(head: bytes) -> bool:
    """Whether there is an MPEG transport packet where each should begin; those of cameras have a time before each."""
    return any(
        len(head) > 3 * size and all(head[start + i * size] == 0x47 for i in range(4))
        for start, size in ((0, _TS_PACKET), (4, _TS_PACKET + 4))
    )


def _is_mpeg_audio(head: bytes) -> bool:
    """Whether two frames of MPEG audio follow each other."""
    frame = header_of(head[:4])
    return frame is not None and header_of(head[frame.size : frame.size + 4]) is not None


def _is_adts(head: bytes) -> bool:
    """Whether two frames of AAC follow each other, each with its length in its header."""

    def size_at(offset: int) -> int:
        header = head[offset : offset + 6]
        if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
            return 0
        return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5

    size = size_at(0)
    return size > 7 and size_at(size) > 7


def what_it_is(path: Path) -> str | None:
    """What a file is that is no audio, in words, with what to do; None if nothing says so.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not any(head):
        return "empty, or zeros, as a download or a copy leaves that broke off; get it again"
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return "an archive; unpack it, or name it as a source if it is a tar"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the audio itself with `git lfs pull`"
    text = head.decode(errors="ignore").strip("\ufeff \t\r\n")  # whose last letter may be cut
    if len(text.encode()) >= len(head.strip()) - 6 and all(letter.isprintable() or letter.isspace() for letter in text):
        return f"text that begins {text[:_SHOWN_CHARACTERS]!r}; get the audio itself"
    return None
