"""Speech from espeak-ng, one fresh process per voice.

The library keeps state between utterances and between voices (flutter position, gain control, echo), which even
terminating and initialising it again does not clear. A process of its own makes what a voice says depend on that voice
and its texts alone. Run as a script, this file is that process: it needs nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

SAMPLE_RATE = 22050
"""Samples per second of espeak-ng's own synthesiser."""

_SYNCHRONOUS = 2
_UTF8_AND_PHONEMES = 1 | 0x100
_RATE, _RANGE, _WORD_GAP = 1, 4, 7
_DATA_FILES = ("phondata", "phonindex", "phontab", "intonations", "en_dict")


class SynthesisError(Exception):
    """espeak-ng could not be loaded or could not speak."""


def copy_data(source: Path, target: Path, variants: dict[str, str]) -> None:
    """Lay out espeak-ng data with the English voices of `source` and `variants` (name to text) of our own."""
    (target / "voices" / "!v").mkdir(parents=True)
    (target / "lang" / "gmw").mkdir(parents=True)
    for name in _DATA_FILES:
        shutil.copyfile(source / name, target / name)
    for accent in sorted((source / "lang" / "gmw").glob("en*")):
        shutil.copyfile(accent, target / "lang" / "gmw" / accent.name)
    for name, text in variants.items():
        (target / "voices" / "!v" / name).write_text(text, encoding="ascii", newline="\n")


def speak(
    library: Path, data: Path, *, voice: str, rate: int, pitch_range: int, word_gap: int, texts: Sequence[str]
) -> list[bytes]:
    """Each text as little-endian 16-bit PCM at 22,050 Hz, spoken one after the other in a fresh process.

    Raises SynthesisError with what the process said when it fails.
    """
    parameters = [(_RATE, rate), (_RANGE, pitch_range), (_WORD_GAP, word_gap)]
    order = {
        "library": str(library),
        "data": str(data),
        "voice": voice,
        "parameters": parameters,
        "texts": list(texts),
    }
    command = [sys.executable, "-I", str(Path(__file__).resolve())]
    done = subprocess.run(command, input=json.dumps(order).encode(), capture_output=True, check=False)
    pieces = list(_unpack(done.stdout)) if done.returncode == 0 else []
    if len(pieces) != len(texts):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise SynthesisError(f"espeak-ng failed on voice {voice!r} (status {done.returncode}): {' / '.join(said[-3:])}")
    return pieces


def _unpack(stream: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(stream):
        (size,) = struct.unpack_from("<I", stream, position)
        yield stream[position + 4 : position + 4 + size]
        position += 4 + size


def _check(status: int, what: str) -> None:
    if status != 0:
        raise SystemExit(f"{what}: espeak-ng answered {status}")


def main() -> None:
    """Read an order from standard input, write each text's length and PCM to standard output."""
    order = json.load(sys.stdin)
    espeak = ctypes.CDLL(order["library"])
    pcm = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def collect(wave: ctypes._Pointer[ctypes.c_short], num_samples: int, _events: int) -> int:
        if wave and num_samples > 0:
            pcm.extend(ctypes.string_at(wave, 2 * num_samples))
        return 0

    rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, order["data"].encode(), 0)
    if rate != SAMPLE_RATE:
        raise SystemExit(f"data in {order['data']}: espeak-ng answered {rate}, expected {SAMPLE_RATE}")
    espeak.espeak_SetSynthCallback(collect)
    _check(espeak.espeak_SetVoiceByName(order["voice"].encode()), f"voice {order['voice']}")
    for parameter, value in order["parameters"]:
        _check(espeak.espeak_SetParameter(parameter, value, 0), f"parameter {parameter} = {value}")
    for text in order["texts"]:
        pcm.clear()
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        _check(espeak.espeak_Synth(encoded, size, 0, 1, 0, _UTF8_AND_PHONEMES, None, None), f"text {text!r}")
        _check(espeak.espeak_Synchronize(), f"text {text!r}")
        sys.stdout.buffer.write(struct.pack("<I", len(pcm)) + pcm)


if __name__ == "__main__":
    main()
