"""Decoders of audio files: libsndfile reads what it knows, FFmpeg the rest.

Of libsndfile's word these things are not taken, since it gets them wrong silently: the length of an MP3 (``mp3``),
damaged pages of Ogg (``ogg``), what a header says beyond the end of a file, and what lies behind the end that it says
(``containers``). A seek in MP3, Vorbis or Opus does not give the samples that decoding from the beginning gives.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.audio import mp3
from speechssl.audio.containers import check_extent, read_extent
from speechssl.audio.ffmpeg import FFmpegDecoder, has_ffmpeg
from speechssl.audio.findings import AudioError, reason_of
from speechssl.audio.formats import what_it_is
from speechssl.audio.ogg import check_pages
from speechssl.audio.sndfile import SndfileDecoder

SAMPLE_RATES = (1000, 1 << 20)
"""Hz; what a header says beyond is no sample rate."""
OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that are no recording's fault, and would meet every other one too."""
CODEC_FRAMES = 4
"""Frames of MPEG audio that the delay and the padding of an encoder take away, at most."""

Decoder = SndfileDecoder | FFmpegDecoder


@contextmanager
def opened(path: Path) -> Iterator[Decoder]:
    """A decoder of a file of any format, closed in the end.

    Raises:
        AudioError: missing, not to be read, of a format that neither libsndfile nor FFmpeg reads, or with more audio
            in it than they read.
        OSError: this machine has no room or no handles left.
    """
    try:
        extent = read_extent(path)
        decoder = _open(path)
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
    try:
        if not SAMPLE_RATES[0] <= decoder.sample_rate <= SAMPLE_RATES[1]:
            raise AudioError(
                f"{path}: its header says {decoder.sample_rate} Hz, which is no sample rate; correct the header, or "
                "leave it out"
            )
        seconds = (decoder.num_frames or 0) / decoder.sample_rate
        if extent is not None:
            decoder.findings += check_extent(path, extent, seconds)
        if decoder.format == "OGG":
            decoder.findings += check_pages(path, seconds)
        yield decoder
    finally:
        decoder.close()


def _open(path: Path) -> Decoder:
    """The first decoder that reads a file: libsndfile's, by frames if it is MP3, or FFmpeg's."""
    try:
        if mp3.may_be(path):
            return _open_mp3(path)
        decoder = SndfileDecoder(path)
        if decoder.format != "MP3":
            return decoder
        decoder.close()
        return _open_mp3(path)
    except (RuntimeError, ValueError) as error:  # soundfile's own errors, and that of mapping an empty file
        reason = reason_of(error)
    what = what_it_is(path)
    if has_ffmpeg():
        try:
            return FFmpegDecoder(path)
        except AudioError as error:
            if what is None:
                raise error from None
    if what is None:
        raise AudioError(f"{path}: cannot be read as audio ({reason}); convert it to WAV or FLAC, or install FFmpeg")
    raise AudioError(f"{path}: cannot be read as audio: it is {what}")


def _open_mp3(path: Path) -> SndfileDecoder:
    found = mp3.walk(path)
    decoder = SndfileDecoder(path, mp3.source_of(path, found))
    expected, stated = found.num_frames * found.first.num_samples, decoder.num_frames
    if stated is None or abs(expected - stated) > CODEC_FRAMES * found.first.num_samples:
        decoder.close()
        raise RuntimeError(f"libsndfile reads {stated} of its {expected} samples")
    decoder.findings += mp3.findings_of(found)
    return decoder
