"""Audio files as libsndfile reads them, up to damage or to the end."""

import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from speechssl.audio.containers import after_id3
from speechssl.audio.findings import AudioError, Finding, reason_of
from speechssl.audio.mp3 import SplicedFile, holds_frames

UNKNOWN_FRAMES = 2**62
"""libsndfile gives at least this number where a header has no length (FLAC that was written to a pipe) ..."""
UNKNOWN_FLAC_FRAMES = (1 << 36) - 1
"""... or this one, of FLAC."""
SEEKABLE_SUBTYPES = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
    | {"ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32"}
)
"""Encodings, FLAC's among them, in which a seek gives the very samples that decoding from the beginning gives."""
SKIPPED_FRAMES = 1 << 16
"""Frames decoded at a time on the way to others."""
SALVAGED_FRAMES = 64
"""Frames decoded at a time on the way to damage: a divisor of the lengths of FLAC's blocks."""
READ_AHEAD = 1 << 14
"""Bytes that libFLAC may have read behind its last frame, at most."""
BEGINNINGS = re.compile(
    rb"fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02|(RIFF|RIFX|RF64|BW64)....WAVE|FORM....AIF[FC]|caff\x00\x01\x00\x00|NIST_1A\n",
    re.DOTALL,
)
"""Of other files, so long that no frame of FLAC holds them by chance."""


class _SequentialFile(soundfile.SoundFile):
    """soundfile seeks after every read to where it is, if it can; in MP3 and Opus that changes what comes next."""

    def seekable(self) -> bool:
        return False


class SndfileDecoder:
    """What libsndfile reads. A frame is what it calls one: a sample of each channel, at the file's own rate.

    It ends where libsndfile meets damage, which is named.

    Args:
        path: of the file.
        source: what to read, if not the file itself.
    """

    def __init__(self, path: Path, source: Path | SplicedFile | None = None) -> None:
        self._path = path
        self._source: BinaryIO | SplicedFile
        if isinstance(source, SplicedFile):
            self._source = source
        else:
            self._source = path.open("rb", buffering=0)
            self._begin = after_id3(self._source, 0)
        try:
            self._file = self._open()
        except BaseException:
            self._source.close()
            raise
        self.format: str = self._file.format
        """libsndfile's name of the container, as in "WAV"."""
        self.sample_rate: int = self._file.samplerate
        self.num_channels: int = self._file.channels
        count, subtype = self._file.frames, self._file.subtype
        is_known = count < UNKNOWN_FRAMES and (self.format, count) != ("FLAC", UNKNOWN_FLAC_FRAMES)
        self.num_frames = int(count) if is_known else None
        """None if only decoding tells."""
        self.can_seek = self.num_frames is not None and subtype in SEEKABLE_SUBTYPES
        """Whether seeking is exact; else it leads somewhere near, if the number of frames is known."""
        self.is_float = subtype in ("FLOAT", "DOUBLE")
        """Whether the file holds floating-point numbers, which know no full scale."""
        self.findings: list[Finding] = []
        """What is to be said of the file; damage is added when it is met."""
        self._position = 0
        self._has_ended = False

    def _open(self) -> _SequentialFile:
        if isinstance(self._source, SplicedFile):
            self._source.seek(0)
            return _SequentialFile(self._source)
        os.lseek(self._source.fileno(), 0, os.SEEK_SET)
        return _SequentialFile(self._source.fileno(), closefd=False)

    def read(self, num_frames: int) -> np.ndarray:
        """Next frames, float32 (num_frames, C); fewer only at the end."""
        if self._has_ended:
            return np.empty((0, self.num_channels), np.float32)
        try:
            samples = self._file.read(num_frames, dtype="float32", always_2d=True)
        except RuntimeError as error:
            samples = self._salvage(num_frames, reason_of(error))
        self._position += len(samples)
        if self.format == "FLAC" and self._position == self.num_frames:
            self._check_end()
        return samples

    def seek(self, frame: int) -> None:
        """Go to a frame, if ``can_seek``; else somewhere near it, if the number of frames is known.

        Raises:
            RuntimeError: it is in damage.
        """
        if self._has_ended:
            self._reopen()
        self._file.seek(frame)
        self._position, self._has_ended = frame, False

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self._source.close()

    def _reopen(self) -> None:
        self._file.close()
        self._file = self._open()

    def _salvage(self, num_frames: int, reason: str) -> np.ndarray:
        """Frames before damage: libsndfile gives nothing of what it is asked for if there is damage in it."""
        self._reopen()
        pieces = [np.empty((0, self.num_channels), np.float32)]
        at, stop = self._position, self._position + num_frames
        try:
            if self.can_seek:
                self._file.seek(self._position)
            else:
                for start in range(0, self._position, SKIPPED_FRAMES):
                    self._file.read(min(SKIPPED_FRAMES, self._position - start), dtype="float32")
            while at < stop:
                step = min(SALVAGED_FRAMES - at % SALVAGED_FRAMES, stop - at)
                pieces.append(self._file.read(step, dtype="float32", always_2d=True))
                at += step
        except RuntimeError:
            self._has_ended = True
        samples = np.concatenate(pieces)
        found = (self._position + len(samples)) / self.sample_rate
        stated = self.num_frames / self.sample_rate if self.num_frames is not None else float("inf")
        detail = f"libsndfile reads {found:.2f} s, what follows is damaged or missing ({reason})"
        self.findings.append(Finding("cut off", detail, stated - found, found))
        return samples

    def _check_end(self) -> None:
        """Raise AudioError if more follows than a tag."""
        assert not isinstance(self._source, SplicedFile)
        file = self._source.fileno()
        at, size = os.lseek(file, 0, os.SEEK_CUR), os.fstat(file).st_size
        start = max(self._begin + 8, at - READ_AHEAD)  # not at its own beginning
        near = os.pread(file, at + READ_AHEAD - start, start)
        rest = near[at - start :]
        is_joined = BEGINNINGS.search(near) is not None or holds_frames(near)
        if is_joined or (len(rest) > 128 and any(rest) and not rest.startswith((b"ID3", b"TAG", b"APETAGEX"))):
            raise AudioError(
                f"{self._path}: more follows the {self._position / self.sample_rate:.2f} s that its header says, in "
                f"the last of its {size} bytes; split it if files were joined, or write it anew, as with FFmpeg",
                "more behind its end",
            )
