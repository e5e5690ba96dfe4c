"""Audio files of every format for the tests, and what is read from them."""

from pathlib import Path

import numpy as np
import soundfile

from speechssl.audio.blocks import read_blocks
from speechssl.audio.decoders import opened
from speechssl.audio.findings import Finding

RATE = 16000
NUM_FRAMES = 4 * RATE + 37
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "gsm.wav": ("WAV", "GSM610"),
    "flac": ("FLAC", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def speech_like(num_frames: int, seed: int = 0) -> np.ndarray:
    """Noise whose spectrum and level change, so that codecs have something to do."""
    noise = np.random.default_rng(seed).normal(0, 1, num_frames)
    smooth = np.convolve(noise, np.hanning(24), mode="same")
    level = np.repeat([0.02, 0.1, 0.05, 0.15], num_frames // 4 + 1)[:num_frames]
    return (smooth / smooth.std() * level).astype(np.float32)


def write(folder: Path, suffix: str, samples: np.ndarray, rate: int = RATE) -> Path:
    path = folder / f"a.{suffix}"
    container, subtype = FORMATS[suffix]
    soundfile.write(path, samples, rate, format=container, subtype=subtype)
    return path


def all_blocks(path: Path, block_seconds: float = 30.0) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, block_seconds)))


def met(path: Path) -> tuple[np.ndarray, list[Finding]]:
    """All of a file, and everything that is said of it."""
    findings: list[Finding] = []
    samples = np.concatenate(list(read_blocks(path, 1.0, findings=findings)))
    with opened(path) as decoder:
        return samples, decoder.findings + findings


def untagged(mp3: bytes) -> bytes:
    """An MP3 without the tag that says how long it is."""
    return mp3.replace(b"Info", b"\0\0\0\0", 1).replace(b"Xing", b"\0\0\0\0", 1)
