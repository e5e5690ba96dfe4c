"""Decoders of audio files: libsndfile reads what it knows, FFmpeg the rest, and where one gives up the next goes on.

Of libsndfile's word these things are not taken, since it gets them wrong silently:

- the length of an MP3 is what its header says or, without one, a guess from the first bit rate, and libsndfile reads
  no further: streams of variable bit rate and joined files lose half of themselves;
- what lies behind the length in a header, and files that were joined to the first (``lengths``);
- a seek in MP3, Vorbis or Opus does not give the samples that decoding from the beginning gives.
"""

import errno
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from speechssl.audio import mp3
from speechssl.audio.contents import what_it_is
from speechssl.audio.decoder import Decoder, reason_of, skip
from speechssl.audio.ffmpeg import FFmpegDecoder, has_ffmpeg
from speechssl.audio.findings import AudioError, Finding
from speechssl.audio.lengths import examine
from speechssl.audio.sndfile import FlacDecoder, JoinedDecoder, Mp3Decoder, SndfileDecoder
from speechssl.audio.splicing import Part, SplicedFile

SAMPLE_RATES = (1000, 1 << 20)
"""Hz; what a header says beyond is no sample rate."""
OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that are no recording's fault, and would meet every other one too."""


@contextmanager
def opened(path: Path, *, trusts_header: bool = False) -> Iterator[Decoder]:
    """A decoder that reads all of a file, closed in the end.

    Args:
        path: audio file of any format.
        trusts_header: whether the file was looked at before, and holds what its header says.

    Raises:
        AudioError: missing, not to be read, or of a format that neither libsndfile nor FFmpeg reads.
        OSError: this machine has no room or no handles left.
    """
    decoder = _open(path, trusts_header=trusts_header)
    try:
        if not SAMPLE_RATES[0] <= decoder.sample_rate <= SAMPLE_RATES[1]:
            raise AudioError(
                f"{path}: its header says {decoder.sample_rate} Hz, which is no sample rate; correct the header, or "
                "leave it out"
            )
        yield decoder
    finally:
        decoder.close()


def _open(path: Path, *, trusts_header: bool) -> Decoder:
    """The first decoder that reads all of a file: libsndfile, the one for MP3, FFmpeg."""
    try:
        return _open_plain(path) if trusts_header else _open_with_libsndfile(path)
    except (RuntimeError, TypeError) as error:  # soundfile's own errors, and a suffix such as .raw
        reason = reason_of(error)
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such audio file", "no such file") from error
    except PermissionError as error:
        raise AudioError(
            f"{path}: may not be read, permission denied; give this user the right to, as by chmod u+r",
            "may not be read",
        ) from error
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})", "could not be read") from error
    if has_ffmpeg():
        try:
            return FFmpegDecoder(path)
        except AudioError as error:
            raise _not_audio(path) or error from None
    raise _not_audio(path) or AudioError(
        f"{path}: cannot be read as audio ({reason}); convert it to WAV or FLAC, or install FFmpeg"
    )


def _not_audio(path: Path) -> AudioError | None:
    what = what_it_is(path)
    return None if what is None else AudioError(f"{path}: cannot be read as audio: it is {what}")


def _open_with_libsndfile(path: Path) -> Decoder:
    layout = examine(path)
    if not layout.parts:
        decoder = _open_plain(path)
    elif len(layout.parts) == 1:
        decoder = _open_part(path, layout.parts[0])
    else:
        decoder = JoinedDecoder(path, [partial(_open_part, path, part) for part in layout.parts])
    decoder.findings[:0] = layout.findings
    return decoder


def _open_plain(path: Path) -> Decoder:
    if mp3.may_be(path):
        return _open_mp3(path)
    decoder = SndfileDecoder(path)
    if decoder.format == "FLAC":
        return FlacDecoder(lambda: path, decoder)
    if decoder.format == "MP3":
        decoder.close()
        return _open_mp3(path)
    if decoder.can_seek:
        return decoder
    return _CarryingOn(path, decoder)


def _open_part(path: Path, part: Part) -> Decoder:
    source = partial(SplicedFile, path, part.pieces)
    decoder = SndfileDecoder(source(), can_be_counted=part.can_be_counted)
    decoder.format = part.format or decoder.format
    return FlacDecoder(source, decoder) if part.format == "FLAC" else decoder


def _open_mp3(path: Path) -> Decoder:
    """The frames of an MP3, and no other bytes: libmpg123 writes on the terminal what it thinks of them."""
    walk = mp3.walk(path)
    if walk is None:
        raise RuntimeError("it holds no frames of MPEG audio")
    pieces, has_length, findings = mp3.mend(walk)
    decoder: Decoder
    if not pieces:
        decoder = SndfileDecoder(path)
    elif has_length:
        decoder = SndfileDecoder(SplicedFile(path, pieces))
    else:
        decoder = Mp3Decoder(SplicedFile(path, pieces, endless=True))
    decoder.findings += findings
    return _CarryingOn(path, decoder)


class _CarryingOn:
    """A decoder that is replaced by FFmpeg's where it gives up, or ends before it should.

    Args:
        path: of the file.
        decoder: the first.
    """

    def __init__(self, path: Path, decoder: Decoder) -> None:
        self._path = path
        self._decoder = decoder
        self.format, self.sample_rate = decoder.format, decoder.sample_rate
        self.num_channels, self.num_frames = decoder.num_channels, decoder.num_frames
        self.can_seek, self.is_float = decoder.can_seek, decoder.is_float
        self.is_plain = decoder.is_plain
        self.findings = decoder.findings
        self._position = 0

    def read(self, num_frames: int) -> np.ndarray:
        while True:
            try:
                samples = self._decoder.read(num_frames)
            except RuntimeError as error:
                if not self._replace(reason_of(error)):
                    raise
                continue
            last = self._position + len(samples)
            is_early = len(samples) < num_frames and self.num_frames is not None and last < self.num_frames
            if is_early and self._replace(f"no more than {last} of {self.num_frames} frames"):
                continue
            self._position = last
            return samples

    def _replace(self, reason: str) -> bool:
        """Ask FFmpeg for what follows; False if it is not there, was asked before, or reads something else."""
        if isinstance(self._decoder, FFmpegDecoder) or not has_ffmpeg():
            return False
        try:
            decoder = FFmpegDecoder(self._path)
        except AudioError:
            return False
        is_same = (decoder.sample_rate, decoder.num_channels) == (self.sample_rate, self.num_channels)
        if not is_same or not skip(decoder, self._position):
            decoder.close()
            return False
        self._decoder.close()
        self._decoder = decoder
        second = self._position / self.sample_rate
        detail = f"libsndfile gives up at {second:.2f} s ({reason}), FFmpeg reads on"
        self.findings += [*decoder.findings, Finding("damaged", detail, math.inf, second)]
        decoder.findings = self.findings
        return True

    def seek(self, frame: int) -> None:
        if self._decoder.num_frames is not None:
            self._decoder.seek(frame)
        elif not skip(self._decoder, frame - self._position):
            raise RuntimeError(f"it ends before frame {frame}")
        self._position = frame

    def close(self) -> None:
        self._decoder.close()
