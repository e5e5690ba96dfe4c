"""Decoders of audio files: libsndfile reads what it knows, FFmpeg the rest (M4A, video).

A frame is here what libsndfile calls one: a sample of each channel, at the file's own rate. Three things are not left
to libsndfile, since it gets them wrong silently:

- the length of an MP3 is what its header says or, without one, a guess from the first bit rate, and libsndfile reads
  no further: streams of variable bit rate and joined files lose half of themselves;
- of an Ogg file of several streams, one after the other as web radio writes them, it reads the first;
- a seek in MP3, Vorbis or Opus does not give the samples that decoding from the beginning gives.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from speechssl.errors import DataError

UNKNOWN_FRAMES = 2**62
"""libsndfile gives at least this number where a header has no length (FLAC that was written to a pipe)."""
SEEKABLE_SUBTYPES = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
    | {"ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32"}
)
"""Encodings, FLAC's among them, in which a seek gives the very samples that decoding from the beginning gives."""
MP3_TAGS = (b"Xing", b"Info", b"VBRI")
MP3_HEAD_BYTES = 4096
"""The tag with an MP3's length lies in its first frame, which is shorter than this."""
MP3_TAG_OFFSET = 40
"""It lies no further from the beginning of that frame."""
MP3_SLACK_BYTES = 1 << 14
"""What may follow the last frame of an MP3 besides sound: tags, or a frame that is cut off."""
MP3_FRAME = 1152
"""Samples per frame of an MP3, at most."""
OGG_PAGE_HEADER = 27
"""Bytes before a page's table; four of them, at 14, name its stream."""
OGG_PAGE_BYTES = 1 << 16
"""A page is not longer, apart from its header."""


class Decoder(Protocol):
    """An open file that is decoded from its beginning."""

    format: str
    sample_rate: int
    num_channels: int
    num_frames: int | None
    """None if only decoding tells."""
    can_seek: bool
    """Whether seeking is exact."""

    def read(self, num_frames: int) -> np.ndarray:
        """Next frames, float32 (num_frames, C); fewer only at the end."""

    def seek(self, frame: int) -> None:
        """Go to a frame, if ``can_seek``."""

    def close(self) -> None:
        """Let go of the file."""


@contextmanager
def opened(path: Path) -> Iterator[Decoder]:
    """A decoder that reads all of a file, closed in the end.

    Raises:
        DataError: missing, or of a format that neither libsndfile nor FFmpeg reads.
    """
    decoder = _open(path)
    try:
        yield decoder
    finally:
        decoder.close()


def _open(path: Path) -> Decoder:
    """The first decoder that reads all of a file: libsndfile, the one for MP3, FFmpeg."""
    try:
        decoder = _SndfileDecoder(path)
        if decoder.format == "MP3" and not _mp3_says_its_length(path):
            decoder.close()
            return _Mp3Decoder(path)
        if decoder.format != "OGG" or _is_one_ogg_stream(path):
            return decoder
        decoder.close()
        raise RuntimeError("several Ogg streams, one after the other")
    except (RuntimeError, TypeError) as error:  # soundfile's own errors, and a suffix such as .raw
        if not path.is_file():
            raise DataError(f"{path}: no such audio file") from error
        if shutil.which("ffmpeg") is not None:
            return _FFmpegDecoder(path)
        raise DataError(
            f"{path}: cannot be read as audio ({reason_of(error)}); convert it to WAV or FLAC, or install FFmpeg"
        ) from error


def reason_of(error: Exception) -> str:
    """Last line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


class _SequentialFile(soundfile.SoundFile):
    """soundfile seeks after every read to where it is, if it can; in MP3 and Opus that changes what comes next."""

    def seekable(self) -> bool:
        return False


class _SndfileDecoder:
    """What libsndfile reads, at its word."""

    def __init__(self, path: Path) -> None:
        self._file = _SequentialFile(path)
        self.format: str = self._file.format
        self.sample_rate: int = self._file.samplerate
        self.num_channels: int = self._file.channels
        self.num_frames = None if self._file.frames >= UNKNOWN_FRAMES else int(self._file.frames)
        self.can_seek = self.num_frames is not None and self._file.subtype in SEEKABLE_SUBTYPES

    def read(self, num_frames: int) -> np.ndarray:
        return self._file.read(num_frames, dtype="float32", always_2d=True)

    def seek(self, frame: int) -> None:
        self._file.seek(frame)

    def close(self) -> None:
        self._file.close()


class _Mp3Decoder:
    """An MP3 without a true length: everything that is there, the encoder's delay at its beginning included."""

    format = "MP3"
    num_frames: int | None = None
    can_seek = False

    def __init__(self, path: Path) -> None:
        self._bytes = _Mp3Bytes(path)
        try:
            self._file = _SequentialFile(self._bytes)
        except RuntimeError:
            self._bytes.close()
            raise
        self.sample_rate: int = self._file.samplerate
        self.num_channels: int = self._file.channels
        self._rest = np.empty((0, self.num_channels), dtype=np.float32)
        self._ended = False

    def read(self, num_frames: int) -> np.ndarray:
        pieces, found = [self._rest], len(self._rest)
        while found < num_frames and not self._ended:
            pieces.append(self._next_frame())
            found += len(pieces[-1])
        samples = np.concatenate(pieces)
        self._rest = samples[num_frames:]
        return samples[:num_frames]

    def _next_frame(self) -> np.ndarray:
        """One at a time, since soundfile throws away what it has when it meets what is not a frame."""
        reason = "sound of another sample rate follows"
        try:
            samples = self._file.read(MP3_FRAME, dtype="float32", always_2d=True)
        except RuntimeError as error:
            samples, reason = self._rest[:0], reason_of(error)
        self._ended = len(samples) < MP3_FRAME
        if self._ended and not self._bytes.is_near_end():
            raise RuntimeError(reason)
        return samples

    def seek(self, frame: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._file.close()
        self._bytes.close()


class _Mp3Bytes:
    """An MP3 as libsndfile has to see it to read all of it: huge, and without the tag that says how long it is."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._size = path.stat().st_size
        self._tag = _find_mp3_tag(self._file)
        self._file.seek(0)
        self._asked_for_size = False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        self._asked_for_size = whence == os.SEEK_END and offset == 0
        self._file.seek(offset, whence)

    def tell(self) -> int:
        return 1 << 40 if self._asked_for_size else self._file.tell()

    def readinto(self, buffer: memoryview) -> int:
        start = self._file.tell()
        data = bytearray(self._file.read(len(buffer)))
        if self._tag is not None:
            for i in range(self._tag - start, self._tag - start + 4):
                if 0 <= i < len(data):
                    data[i] = 0
        buffer[: len(data)] = data
        return len(data)

    def is_near_end(self) -> bool:
        """Whether nothing is left but what may follow the last frame."""
        return self._size - self._file.tell() <= MP3_SLACK_BYTES

    def close(self) -> None:
        self._file.close()


def _mp3_says_its_length(path: Path) -> bool:
    """Whether an MP3 has a tag with its length in frames and bytes, and is as large as that."""
    with path.open("rb") as file:
        tag = _find_mp3_tag(file)
        if tag is None:
            return False
        file.seek(tag)
        head = file.read(16)
    flags = int.from_bytes(head[4:8], "big")
    if head.startswith(b"VBRI") or flags & 3 != 3:
        return False
    stated = int.from_bytes(head[12:16], "big")
    found = path.stat().st_size - tag + MP3_TAG_OFFSET  # counted from the beginning of the first frame, or before
    return stated <= found <= stated + MP3_SLACK_BYTES


def _find_mp3_tag(file: BinaryIO) -> int | None:
    """Byte at which the tag with the length of an MP3 begins; None if it has none."""
    start = 0
    while (head := file.read(10)).startswith(b"ID3") and len(head) == 10:
        size = 0
        for byte in head[6:]:  # 7 bits in each
            size = size << 7 | byte & 127
        start += 10 + size
        file.seek(start)
    file.seek(start)
    data = file.read(MP3_HEAD_BYTES)
    found = [at for at in map(data.find, MP3_TAGS) if at >= 0]
    return start + min(found) if found else None


def _is_one_ogg_stream(path: Path) -> bool:
    """Whether the last page of an Ogg file is of the stream that its first page is of."""
    with path.open("rb") as file:
        first = file.read(OGG_PAGE_HEADER)
        file.seek(-min(path.stat().st_size, OGG_PAGE_BYTES + OGG_PAGE_HEADER), os.SEEK_END)
        tail = file.read()
    at = tail.rfind(b"OggS", 0, len(tail) - OGG_PAGE_HEADER + 4)
    return at < 0 or tail[at + 14 : at + 18] == first[14:18]


class _FFmpegDecoder:
    """What only FFmpeg reads, through a pipe: it waits until its output is taken, so nothing piles up."""

    format = "FFmpeg"
    num_frames: int | None = None
    can_seek = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115, a pipe that nobody empties would fill up
        # AU, because its header is six numbers and may leave the length open. Playlists must not reach the network.
        source = ["-protocol_whitelist", "file", "-i", f"file:{path}", "-map", "0:a:0", "-map_metadata", "-1"]
        self._process = subprocess.Popen(
            ["ffmpeg", "-nostdin", "-v", "error", "-xerror", *source, "-f", "au", "-c:a", "pcm_f32be", "pipe:1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._messages,
        )
        header = self._take(24)
        if len(header) < 24:
            self._check_status()
            self.close()
            raise DataError(f"{path}: holds no samples")
        self._take(int.from_bytes(header[4:8], "big") - 24)
        self.sample_rate = int.from_bytes(header[16:20], "big")
        self.num_channels = int.from_bytes(header[20:24], "big")

    def read(self, num_frames: int) -> np.ndarray:
        frame_bytes = 4 * self.num_channels
        data = self._take(num_frames * frame_bytes)
        if len(data) < num_frames * frame_bytes:
            self._check_status()
        whole = len(data) // frame_bytes * frame_bytes
        return np.frombuffer(data[:whole], dtype=">f4").astype(np.float32).reshape(-1, self.num_channels)

    def _take(self, size: int) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(size)

    def _check_status(self) -> None:
        """Once there is no more output, raise DataError unless FFmpeg was content."""
        if self._process.wait() == 0:
            return
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        self.close()
        reason = lines[-1] if lines else f"exit status {self._process.returncode}"
        raise DataError(
            f"{self._path}: cannot be read as audio, not by FFmpeg either ({reason}); convert it to WAV or FLAC, or "
            "leave it out"
        )

    def seek(self, frame: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()
        self._messages.close()
