"""Decoders by libsndfile, and what it does not do by itself: joined files, damage, all of an MP3."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from speechssl.audio import mp3
from speechssl.audio.decoder import Decoder
from speechssl.audio.findings import AudioError, Finding
from speechssl.audio.splicing import SplicedFile

UNKNOWN_FRAMES = 2**62
"""libsndfile gives at least this number where a header has no length (FLAC that was written to a pipe)."""
SEEKABLE_SUBTYPES = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
    | {"ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32"}
)
"""Encodings, FLAC's among them, in which a seek gives the very samples that decoding from the beginning gives."""
BLOCK = 4096
"""Frames that are silent or not as a whole where a FLAC file is damaged: those of its blocks, mostly."""

Source = Path | SplicedFile


class _SequentialFile(soundfile.SoundFile):
    """soundfile seeks after every read to where it is, if it can; in MP3 and Opus that changes what comes next."""

    def seekable(self) -> bool:
        return False


def _open(source: Source) -> _SequentialFile:
    try:
        # As bytes: soundfile fails on names that are no text in the encoding of the system.
        return _SequentialFile(os.fsencode(source) if isinstance(source, Path) else source)
    except BaseException:
        if isinstance(source, SplicedFile):
            source.close()
        raise


class SndfileDecoder:
    """What libsndfile reads, at its word.

    Args:
        source: what to read.
        can_be_counted: whether its word for the length can be taken.
    """

    def __init__(self, source: Source, *, can_be_counted: bool = True) -> None:
        self._source = source
        self._file = _open(source)
        self.format: str = self._file.format
        self.is_plain = isinstance(source, Path)
        self.sample_rate: int = self._file.samplerate
        self.num_channels: int = self._file.channels
        is_known = can_be_counted and self._file.frames < UNKNOWN_FRAMES
        self.num_frames = int(self._file.frames) if is_known else None
        subtype = self._file.subtype
        self.can_seek = self.num_frames is not None and subtype in SEEKABLE_SUBTYPES
        self.is_float = subtype in ("FLOAT", "DOUBLE")
        self.findings: list[Finding] = []

    def read(self, num_frames: int) -> np.ndarray:
        return self._file.read(num_frames, dtype="float32", always_2d=True)

    def seek(self, frame: int) -> None:
        self._file.seek(frame)

    def close(self) -> None:
        self._file.close()
        if isinstance(self._source, SplicedFile):
            self._source.close()


class FlacDecoder:
    """A FLAC file; blocks of it that are damaged are silent.

    libsndfile reads nothing after damage, but it can be opened anew behind it. Every block is silent or not by itself,
    so that the same is read from wherever one begins.

    Args:
        source: gives what to read, each time from its beginning.
        decoder: of it, just opened.
    """

    def __init__(self, source: Callable[[], Source], decoder: SndfileDecoder) -> None:
        self._source = source
        self._decoder = decoder
        self.format, self.sample_rate = self._decoder.format, self._decoder.sample_rate
        self.num_channels, self.num_frames = self._decoder.num_channels, self._decoder.num_frames
        self.can_seek, self.is_float = self._decoder.can_seek, self._decoder.is_float
        self.is_plain = self._decoder.is_plain
        self.findings: list[Finding] = []
        self._position = 0
        self._is_lost = False
        """Whether libsndfile is elsewhere, as it cannot be brought into damage."""

    def read(self, num_frames: int) -> np.ndarray:
        samples = None if self._is_lost else self._read_on(num_frames)
        if samples is None:
            samples = self._read_blocks(num_frames)
        self._position += len(samples)
        return samples

    def _read_on(self, num_frames: int) -> np.ndarray | None:
        """The next frames, if nothing is damaged there."""
        try:
            samples = self._decoder.read(num_frames)
        except RuntimeError:
            if self.can_seek:
                return None
            raise
        expected = num_frames if self.num_frames is None else min(num_frames, self.num_frames - self._position)
        return samples if len(samples) >= expected or not self.can_seek else None

    def seek(self, frame: int) -> None:
        self._position = frame
        self._is_lost = False
        try:
            self._decoder.seek(frame)
        except RuntimeError:
            self._is_lost = not self._start_at(frame)

    def close(self) -> None:
        self._decoder.close()

    def _start_at(self, frame: int) -> bool:
        """Open the file anew at a frame; False if that is in damage, or at the end."""
        self._decoder.close()
        self._decoder = SndfileDecoder(self._source())
        try:
            self._decoder.seek(frame)
        except RuntimeError:
            return False
        return True

    def _read_blocks(self, num_frames: int) -> np.ndarray:
        """The same frames, block by block."""
        assert self.num_frames is not None
        start, stop = self._position, min(self.num_frames, self._position + num_frames)
        samples = np.zeros((stop - start, self.num_channels), dtype=np.float32)
        silent: list[tuple[int, int]] = []
        for first in range(start // BLOCK * BLOCK, stop, BLOCK):
            last = min(first + BLOCK, self.num_frames)
            block = self._read_block(first, last)
            if block is None:
                is_next = silent and silent[-1][1] == first
                silent.append((silent.pop()[0] if is_next else first, last))
                continue
            inside = slice(max(start, first), min(stop, last))
            samples[inside.start - start : inside.stop - start] = block[inside.start - first : inside.stop - first]
        self._is_lost = not self._start_at(stop)
        for first, last in silent:  # whoever reads on into the same damage is told of it again: it is another's gap
            begin, end = first / self.sample_rate, last / self.sample_rate
            detail = f"{end - begin:.2f} s at {begin:.2f} s are damaged, and silent now"
            self.findings.append(Finding("damaged", detail, end - begin, begin, end))
        return samples

    def _read_block(self, first: int, last: int) -> np.ndarray | None:
        if not self._start_at(first):
            return None
        try:
            samples = self._decoder.read(last - first)
        except RuntimeError:
            return None
        return samples if len(samples) == last - first else None


class Mp3Decoder:
    """An MP3 without a true length: everything that is there, the encoder's delay at its beginning included.

    Args:
        source: its frames, as a file that seems endless.
    """

    format = "MP3"
    num_frames: int | None = None
    can_seek = is_plain = is_float = False

    def __init__(self, source: SplicedFile) -> None:
        self._source = source
        self._file = _open(source)
        self.sample_rate: int = self._file.samplerate
        self.num_channels: int = self._file.channels
        self.findings: list[Finding] = []
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
            samples = self._file.read(mp3.FRAME_SAMPLES, dtype="float32", always_2d=True)
        except RuntimeError as error:
            samples, reason = self._rest[:0], str(error)
        self._ended = len(samples) < mp3.FRAME_SAMPLES
        if self._ended and self._source.bytes_left > mp3.SLACK_BYTES:
            raise RuntimeError(reason)
        return samples

    def seek(self, frame: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._file.close()
        self._source.close()


class JoinedDecoder:
    """Several files, one after the other, of which one is open at a time.

    Args:
        path: for messages.
        openers: open each of them.

    Raises:
        AudioError: they differ in sample rate or number of channels.
    """

    def __init__(self, path: Path, openers: Sequence[Callable[[], Decoder]]) -> None:
        self._openers = openers
        self.findings: list[Finding] = []
        self._starts: list[int | None] = [0]
        self.can_seek = self.is_float = True
        self.is_plain = False
        for number, opener in enumerate(openers):
            decoder = opener()
            decoder.close()
            if number == 0:
                self.format, self.sample_rate, self.num_channels = _kind_of(decoder)
            elif _kind_of(decoder)[1:] != (self.sample_rate, self.num_channels):
                raise AudioError(
                    f"{path}: is {len(openers)} files, one after the other, of different kinds: {self.sample_rate} Hz "
                    f"and {self.num_channels} channels, then {decoder.sample_rate} Hz and {decoder.num_channels}; "
                    "split it",
                    "joined files",
                )
            before, count = self._starts[-1], decoder.num_frames
            self._starts.append(None if before is None or count is None else before + count)
            self.can_seek &= decoder.can_seek
            self.is_float &= decoder.is_float
        self.num_frames = self._starts[-1]
        self._number = 0
        self._decoder = openers[0]()
        self._position = 0

    def read(self, num_frames: int) -> np.ndarray:
        pieces = [np.empty((0, self.num_channels), dtype=np.float32)]
        left = num_frames
        while left > 0:
            num_before = len(self._decoder.findings)
            pieces.append(self._decoder.read(left))
            self._take_findings(num_before)
            self._position += len(pieces[-1])
            left -= len(pieces[-1])
            if left > 0:
                if self._number + 1 == len(self._openers):
                    break
                self._go_to(self._number + 1)
        return np.concatenate(pieces)

    def _take_findings(self, num_before: int) -> None:
        start = self._starts[self._number]
        seconds = (self._position if start is None else start) / self.sample_rate
        self.findings += [finding.moved(seconds) for finding in self._decoder.findings[num_before:]]

    def _go_to(self, number: int) -> None:
        self._decoder.close()
        self._number, self._decoder = number, self._openers[number]()

    def seek(self, frame: int) -> None:
        starts = [start for start in self._starts[:-1] if start is not None]
        number = max(i for i, start in enumerate(starts) if start <= frame)
        if number != self._number:
            self._go_to(number)
        self._decoder.seek(frame - starts[number])
        self._position = frame

    def close(self) -> None:
        self._decoder.close()


def _kind_of(decoder: Decoder) -> tuple[str, int, int]:
    return decoder.format, decoder.sample_rate, decoder.num_channels
