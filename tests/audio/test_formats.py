"""Audio is known by how it begins, where its name does not tell; text, pictures and code are not taken for it."""

import io

import numpy as np
import pytest
import soundfile

from speechssl.audio.formats import AUDIO_SUFFIXES, HEAD_BYTES, SOUND_SUFFIXES, VIDEO_SUFFIXES, begins_as_audio

RATE = 16000
TONE = 0.1 * np.sin(np.arange(RATE) * 0.05).astype(np.float32)


@pytest.mark.parametrize(
    "container",
    ["WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "VOC", "NIST", "SVX", "IRCAM", "PVF"],
)
def test_what_libsndfile_writes_is_known_by_its_beginning(container: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, TONE, RATE, format=container)
    assert begins_as_audio(file.getvalue()[:HEAD_BYTES])


@pytest.mark.parametrize(
    ("begin", "rest"),
    [
        (b"\x1a\x45\xdf\xa3", bytes(100)),
        (b"\0\0\0\x20ftypM4A ", bytes(100)),
        (b"\0\0\0\x20ftypisom", bytes(100)),
        (b"\0\0\0\x08wide\0\0\0\0mdat", bytes(100)),
        (b"RIFF\xff\xff\xff\xffAVI ", bytes(100)),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", bytes(100)),
        (b"#!AMR\n", bytes(100)),
        (b"ID3\x04\0\0", bytes(100)),
        ((b"\x47" + bytes(187)) * 5, b""),
        ((bytes(4) + b"\x47" + bytes(187)) * 5, b""),
        # AAC in ADTS: frames of 16 bytes.
        ((b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)) * 3, b""),
        # MPEG 1, layer III, 128 kbit/s, 44.1 kHz: frames of 417 bytes.
        ((b"\xff\xfb\x90\x00" + bytes(413)) * 3, b""),
        # MPEG 2, layer III, 64 kbit/s, 16 kHz: frames of 288 bytes.
        ((b"\xff\xf3\x88\x00" + bytes(284)) * 3, b""),
    ],
)
def test_what_others_write_is_known_by_its_beginning(begin: bytes, rest: bytes) -> None:
    assert begins_as_audio(begin + rest)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"R",
        "hello".encode("utf-16"),
        b"The wide world is full of words",
        b"ID3 tags are at the beginning",
        b"caffeine",
        b"\0\0\0\x20ftypheic" + bytes(100),
        b"RIFF\x24\0\0\0WEBPVP8 ",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(500),
        b"PK\x03\x04" + bytes(100),
        b"\x1f\x8b\x08" + bytes(100),
        b"%PDF-1.7",
        b"\x7fELF" + bytes(100),
        b"import {G} from 'G'\n" * 100,
        b"GIF89a" + bytes(100),
        bytes(2048),
        b"\xff" * 2048,
        b"\xff\xfb\x90\x00" + bytes(2000),
    ],
)
def test_what_is_something_else_is_not_taken_for_audio(content: bytes) -> None:
    assert not begins_as_audio(content[:HEAD_BYTES])


def test_random_bytes_are_not_taken_for_audio() -> None:
    draws = np.random.default_rng(0)
    heads = draws.integers(0, 256, (20_000, 64), dtype=np.uint8)
    assert sum(begins_as_audio(head.tobytes()) for head in heads) <= 1


def test_suffixes_are_those_of_libsndfile_and_ffmpeg() -> None:
    asked = (
        "wav wave flac mp3 ogg oga opus m4a m4b sph aif aiff aifc au snd caf w64 rf64 bwf voc aac wma amr ac3 ape mka"
    )
    assert {f".{suffix}" for suffix in asked.split()} <= SOUND_SUFFIXES
    assert {".mp4", ".webm", ".mkv", ".mov", ".avi", ".3gp"} <= VIDEO_SUFFIXES
    assert not SOUND_SUFFIXES & VIDEO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO_SUFFIXES)
    # Of text, code and pictures.
    assert not {".ts", ".mts", ".txt", ".json", ".csv", ".gif", ".mid", ".mat", ".raw", ".dts"} & AUDIO_SUFFIXES
