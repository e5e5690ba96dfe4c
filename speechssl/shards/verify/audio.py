"""Encoded audio that is what its own format says, to the last sample."""

import hashlib
import io

import numpy as np
import soundfile

from speechssl.audio.ogg import read_page
from speechssl.shards.verify.results import MAKE_AGAIN, AudioFacts

_DECODED_AT_ONCE = 1 << 18
# Programs that write a WAV file to a pipe put the largest number there is, signed or not, less some header.
_LENGTH_UNKNOWN = 0x7FFF0000


class ContentError(Exception):
    """A member that cannot be used."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def check_audio(data: bytes, *, decode: bool) -> AudioFacts:
    """Number of samples and rate of an encoded mono file.

    With ``decode`` it is decoded in pieces, and what the format itself carries as proof is used: the MD5 of the
    samples in FLAC, the checksums and numbers of the pages in Ogg, whose damaged pages decoders drop silently, and the
    length of a WAV file, which they shorten to what is there.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            facts = AudioFacts(file.frames, file.samplerate)
            if file.channels != 1:
                raise ContentError("not mono", f"{file.channels} channels, expected 1; {MAKE_AGAIN}")
            if decode and file.format == "OGG":
                _check_pages(data)
            if decode and data[:4] == b"RIFF":
                _check_length(data)
            num_decoded = _decode(file, data) if decode else facts.num_samples
    except RuntimeError as error:
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        raise ContentError("corrupt audio", f"cannot be decoded ({reason}); {MAKE_AGAIN}") from error
    if num_decoded != facts.num_samples:
        detail = f"{num_decoded} samples, expected {facts.num_samples} as its header says; {MAKE_AGAIN}"
        raise ContentError("corrupt audio", detail)
    if not num_decoded:
        raise ContentError("corrupt audio", f"holds no samples; {MAKE_AGAIN}")
    return facts


def _decode(file: soundfile.SoundFile, data: bytes) -> int:
    """Decode to the end and return the number of samples."""
    bits, wanted = _flac_proof(data)
    width = 16 if bits <= 16 else 32
    digest, num_samples = hashlib.md5(usedforsecurity=False), 0
    while len(block := file.read(_DECODED_AT_ONCE, dtype=f"int{width}" if bits else "float32")):
        num_samples += len(block)
        if bits:  # the MD5 is that of little-endian integers in as few bytes as hold them
            integers = (block >> (width - bits)).astype(f"<i{width // 8}", copy=False)
            digest.update(integers.view(np.uint8).reshape(len(block), -1)[:, : -(-bits // 8)].tobytes())
        elif not np.isfinite(block).all():
            raise ContentError("corrupt audio", f"holds samples that are not finite numbers; {MAKE_AGAIN}")
    if bits and digest.digest() != wanted:
        raise ContentError("corrupt audio", f"its samples are not those of the MD5 in its header; {MAKE_AGAIN}")
    return num_samples


def _flac_proof(data: bytes) -> tuple[int, bytes]:
    """Bits per sample and MD5 of the samples, from the STREAMINFO block of a FLAC file; 0 bits if it has no MD5."""
    md5 = data[26:42]
    if data[:4] != b"fLaC" or not any(md5):
        return 0, b""
    return (int.from_bytes(data[18:26], "big") >> 36 & 31) + 1, md5


def _check_length(data: bytes) -> None:
    """Check the length in a WAV file's header, unless it was written to a pipe, when nobody knew it yet."""
    expected = int.from_bytes(data[4:8], "little") + 8
    if len(data) + 1 < expected < _LENGTH_UNKNOWN:
        raise ContentError("corrupt audio", f"{len(data)} bytes of {expected} in its header; {MAKE_AGAIN}")


def _check_pages(data: bytes) -> None:
    """Check CRC-32 and number of every page of an Ogg file (RFC 3533, section 6)."""
    position, next_number = 0, dict[int, int]()
    while position < len(data):
        page = read_page(data, position, len(data))
        if page is None:
            raise ContentError("corrupt audio", f"its Ogg page at byte {position} is damaged; {MAKE_AGAIN}")
        number = int.from_bytes(data[position + 18 : position + 22], "little")
        if number != next_number.get(page.stream, number):
            detail = f"Ogg page {number} at byte {position}, expected page {next_number[page.stream]}; {MAKE_AGAIN}"
            raise ContentError("corrupt audio", detail)
        next_number[page.stream] = number + 1
        position += page.size
