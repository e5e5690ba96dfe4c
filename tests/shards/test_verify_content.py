"""Audio, JSON and transcripts that cannot be used are named."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE
from shards_to_verify import (
    Members,
    check,
    corrupted,
    encoded,
    findings_of,
    kinds,
    samples_of,
    true_entries,
    without_index,
    write_shard,
)

from speechssl.shards.index import index_path, write_index
from speechssl.shards.verify.audio import ContentError, check_audio


def test_corrupt_audio_is_found_by_the_index_and_without_it_by_decoding(shard: Path) -> None:
    corrupted(shard, "u1.flac")
    quick = check(shard, decode=False)
    assert kinds(quick) == {"changed since indexed", "stale index"}
    assert [finding.key for finding in quick.findings] == ["u1"]
    write_index(shard, RATE, true_entries(shard), index_path(shard))
    assert findings_of(check(shard, decode=False)) == []
    [finding] = findings_of(check(shard))
    assert (finding.kind, finding.key, finding.offset) == ("corrupt audio", "u1", true_entries(shard)[1].offset)
    assert "cannot be decoded" in finding.detail
    assert not check(without_index(shard), write_index=True).index_is_ready


def test_every_flipped_byte_of_a_flac_file_is_found(shard: Path) -> None:
    data = encoded(0)
    expected = check_audio(data, decode=True)
    unseen = []
    for position in range(0, len(data), 29):
        damaged = data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
        try:
            assert check_audio(damaged, decode=True) == expected
            unseen.append(position)
        except ContentError:
            pass
    # The block of comments (bytes 42 to 85 or so) has no checksum, and says nothing about the samples.
    assert all(42 <= position < 90 for position in unseen)


def test_a_flac_file_whose_samples_are_not_those_of_its_md5_is_found(shard: Path) -> None:
    with pytest.raises(ContentError, match="not those of the MD5"):
        check_audio(encoded(0)[:26] + bytes([1]) * 16 + encoded(0)[42:], decode=True)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("length", [1, 700, 300_000])
def test_sound_flac_of_any_width_and_length_has_its_md5(subtype: str, length: int) -> None:
    assert check_audio(encoded(3, length, subtype=subtype), decode=True) == (length, RATE)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_damaged_pages_of_ogg_which_decoders_drop_are_found(subtype: str) -> None:
    data = encoded(0, 40_000, format="OGG", subtype=subtype)
    assert check_audio(data, decode=True) == (40_000, RATE)
    starts = [i for i in range(len(data)) if data[i : i + 4] == b"OggS"]
    damaged = data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]
    with pytest.raises(ContentError, match=f"Ogg page at byte {starts[-1]} is damaged"):
        check_audio(damaged, decode=True)
    with pytest.raises(ContentError, match="expected page"):
        check_audio(data[: starts[2]] + data[starts[3] :], decode=True)


@pytest.mark.parametrize(
    ("audio", "suffix", "kind", "detail"),
    [
        (b"not audio", "flac", "corrupt audio", "cannot be decoded (Format not recognised)"),
        (b"", "wav", "corrupt audio", "cannot be decoded"),
        (encoded(0, 0, format="WAV"), "wav", "corrupt audio", "holds no samples"),
        (encoded(0, channels=2), "flac", "not mono", "2 channels, expected 1"),
        (encoded(0)[:-700], "flac", "corrupt audio", "cannot be decoded"),
        (encoded(0, format="WAV")[:2000], "wav", "corrupt audio", "2000 bytes of 3244 in its header"),
        (
            encoded(0, 20_000, format="MP3", subtype="MPEG_LAYER_III")[:2000],
            "mp3",
            "corrupt audio",
            "samples, expected 20000 as its header says",
        ),
    ],
)
def test_audio_that_cannot_be_used_is_named(tmp_path: Path, audio: bytes, suffix: str, kind: str, detail: str) -> None:
    shard = write_shard(tmp_path / "s.tar", samples_of(2) | {"odd": {suffix: audio}})
    [finding] = check(shard).findings
    assert (finding.kind, finding.key) == (kind, "odd")
    assert detail in finding.detail


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\x24\xf0\xff\x7f"])
def test_wav_files_that_were_piped_have_no_length_and_are_sound(length: bytes) -> None:
    data = encoded(0, format="WAV")
    assert check_audio(data[:4] + length + data[8:], decode=True) == (1600, RATE)


def test_samples_that_are_not_finite_are_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.array([0, np.nan, 0.5]), RATE, format="WAV", subtype="FLOAT")
    [finding] = check(write_shard(tmp_path / "s.tar", {"a": {"wav": buffer.getvalue()}})).findings
    assert (finding.kind, finding.key) == ("corrupt audio", "a")
    assert "not finite" in finding.detail


@pytest.mark.parametrize(
    ("members", "kind", "detail"),
    [
        ({"json": b"{"}, "wrong JSON", "its .json is damaged (Expecting"),
        ({"json": b'{"text": "\xff"}'}, "wrong JSON", "its .json is damaged"),
        ({"json": b"[" * 100_000}, "wrong JSON", "its .json is damaged"),
        ({"json": b"[1]"}, "wrong JSON", "its .json is a list, expected an object"),
        ({"json": b'{"text": [7]}'}, "wrong text", "in its .json text is a list, expected text"),
        ({"json": b'{"sentence": {}}'}, "wrong text", "in its .json sentence is a dict, expected text"),
        ({"json": b'{"text": "\\ud800"}'}, "wrong text", "is not UTF-8"),
        ({"txt": b"caf\xe9"}, "wrong text", "its transcript is not UTF-8"),
    ],
)
def test_wrong_json_and_text_are_named(tmp_path: Path, members: Members, kind: str, detail: str) -> None:
    shard = write_shard(tmp_path / "s.tar", samples_of(1) | {"odd": {"flac": encoded(9)} | members})
    [finding] = check(shard).findings
    assert (finding.kind, finding.key) == (kind, "odd")
    assert detail in finding.detail
    assert str(shard) not in finding.detail
