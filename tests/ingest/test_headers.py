"""Headers that do not say what is there: what is heard is all that is there, or what is not heard is named."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hearing import RATE, Heard, chunk, encoded, hear, put, voice, with_flac_length, with_sizes

FIRST, SECOND = voice(3, 1), voice(3, 2)
BOTH = np.concatenate([FIRST, SECOND])
PCM = (("WAV", "PCM_16"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"))
PCM += (("AU", "PCM_16"), ("CAF", "PCM_16"), ("NIST", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "PCM_24"))
LOSSY = (("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "GSM610"), ("WAV", "IMA_ADPCM"))
OTHERS = (("CAF", "ALAC_16"), ("VOC", "PCM_16"), ("IRCAM", "PCM_16"), ("AIFF", "IMA_ADPCM"), ("PVF", "PCM_S8"))
OTHERS += (("SVX", "PCM_16"), ("PAF", "PCM_16"), ("AVR", "PCM_16"))
FROM_THE_BEGINNING = (("AIFF", "DWVW_16"), ("AU", "G721_32"))
"""Read from there alone, by libsndfile."""


def is_refused(heard: Heard) -> bool:
    return heard.kinds == {"more behind its end"} and not heard.samples


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
@pytest.mark.parametrize("text", ["", "words"])
def test_sizes_that_were_never_filled_in(tmp_path: Path, size: int, text: str) -> None:
    heard = hear(put(tmp_path / "a.wav", with_sizes(encoded(BOTH, "WAV", "PCM_16"), size)), text)
    np.testing.assert_allclose(heard.samples[0], BOTH, atol=1e-4)
    assert not heard.kinds


@pytest.mark.parametrize("size", [0, 2 * len(FIRST)])
@pytest.mark.parametrize("text", ["", "words"])
def test_sizes_that_wrapped_or_were_left_behind(tmp_path: Path, size: int, text: str) -> None:
    data = with_sizes(encoded(BOTH, "WAV", "PCM_16"), size)
    heard = hear(put(tmp_path / "a.wav", data), text)
    assert is_refused(heard)
    assert (
        f"{len(data) - 44 - size} bytes follow the end of its audio, from byte {44 + size} on"
        in heard.rejected[0].detail
    )


@pytest.mark.parametrize("difference", [-1000, 1000, 1001])
def test_sizes_that_are_wrong_by_a_rounding_are_not_worth_a_word(tmp_path: Path, difference: int) -> None:
    data = with_sizes(encoded(BOTH, "WAV", "PCM_16"), 2 * len(BOTH) + difference)
    heard = hear(put(tmp_path / "a.wav", data), "words")
    assert heard.seconds == pytest.approx(6, abs=0.05)
    assert not heard.kinds


def test_a_size_that_wrapped_at_4_gib_is_not_taken_at_its_word(tmp_path: Path) -> None:
    """A sparse file: its audio is zeros up to the last second."""
    header = with_sizes(encoded(np.zeros(10), "WAV", "PCM_16"), 0)[:44]
    size = (1 << 32) + 2 * RATE
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(with_sizes(header, size))
        file.seek(44 + size - 2 * RATE)
        file.write((FIRST[:RATE] * 32768).astype("<i2").tobytes() + chunk(b"LIST", b"INFO" * 90001))
    assert is_refused(hear(tmp_path / "a.wav"))


@pytest.mark.parametrize(("container", "subtype"), PCM)
@pytest.mark.parametrize("text", ["", "words"])
def test_what_is_cut_off_is_used_without_a_transcript_alone(
    tmp_path: Path, container: str, subtype: str, text: str
) -> None:
    data = encoded(BOTH, container, subtype)
    heard = hear(put(tmp_path / "a", data[: 2 * len(data) // 3 + 77]), text)
    if container == "CAF":  # libsndfile does not open it
        assert heard.kinds == {"unreadable audio"}
        return
    assert heard.kinds == {"cut off"}
    if text:
        assert not heard.samples
        return
    assert 3.5 < heard.seconds < 4.2
    np.testing.assert_allclose(heard.samples[0], BOTH[: len(heard.samples[0])], atol=1e-4)


@pytest.mark.parametrize(
    ("container", "subtype"), [*LOSSY, ("AIFF", "IMA_ADPCM"), ("AU", "G721_32"), ("SVX", "PCM_16")]
)
def test_what_is_cut_off_and_compressed_is_named(tmp_path: Path, container: str, subtype: str) -> None:
    data = encoded(np.tile(BOTH, 3), container, subtype)
    path = put(tmp_path / "a", data[: 2 * len(data) // 3 + 77])
    heard = hear(path)
    assert heard.kinds == {"cut off"}
    assert 10 < heard.seconds < 13
    assert hear(path, "words").kinds == {"cut off"}
    assert not hear(path, "words").samples


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_its_last_page_is_named(tmp_path: Path, subtype: str) -> None:
    data = encoded(np.tile(BOTH, 2), "OGG", subtype)
    heard = hear(put(tmp_path / "a.ogg", data[: data.rindex(b"OggS")]), "words")
    assert heard.kinds == {"cut off"}
    assert not heard.samples


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_short_ogg_that_ends_within_a_page_is_named(tmp_path: Path, subtype: str) -> None:
    """Too few pages are left to tell the last one by its length."""
    heard = hear(put(tmp_path / "a.ogg", encoded(FIRST[: 2 * RATE], "OGG", subtype)[:-200]), "words")
    assert heard.kinds == {"cut off"}
    assert not heard.samples


@pytest.mark.parametrize(("container", "subtype"), [*PCM, *LOSSY, *OTHERS, *FROM_THE_BEGINNING])
def test_joined_files_are_all_heard_or_refused(tmp_path: Path, container: str, subtype: str) -> None:
    """Decoders of MP3 read on, and so do those of formats without a length, which hear the header as a click."""
    short = SECOND[: 11 * RATE // 6]
    first, second = encoded(FIRST, container, subtype), encoded(short, container, subtype)
    heard = hear(put(tmp_path / "a", first + second + first), "words")
    if container in ("MP3", "VOC", "IRCAM", "PVF", "PAF", "AVR"):
        assert heard.seconds == pytest.approx(6 + 11 / 6, abs=0.5)
        assert not heard.kinds
    else:
        assert is_refused(heard)


@pytest.mark.parametrize(("container", "subtype"), [*PCM, *LOSSY[:2], *LOSSY[3:]])
@pytest.mark.parametrize("other", ["WAV", "FLAC"])
def test_a_file_of_another_format_that_was_joined_is_found(
    tmp_path: Path, container: str, subtype: str, other: str
) -> None:
    data = encoded(FIRST, container, subtype) + encoded(SECOND[: RATE // 4], other, "PCM_16")
    assert container == "OGG" or is_refused(hear(put(tmp_path / "a", data), "words"))


def test_long_flac_files_of_equal_length_that_were_joined_are_noticed(tmp_path: Path) -> None:
    data = encoded(np.tile(BOTH, 6), "FLAC", "PCM_16")
    assert is_refused(hear(put(tmp_path / "a.flac", data * 2), max_seconds=1e6))


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0])
def test_a_short_flac_file_that_was_joined_is_noticed(tmp_path: Path, seconds: float) -> None:
    """libFLAC has read it along with the end of the first."""
    data = encoded(FIRST, "FLAC", "PCM_16") + encoded(SECOND[: round(seconds * RATE)], "FLAC", "PCM_16")
    assert is_refused(hear(put(tmp_path / "a.flac", data)))


def test_tags_before_and_behind_a_flac_are_no_audio(tmp_path: Path) -> None:
    data = encoded(FIRST[: RATE // 2], "FLAC", "PCM_16")
    tag = b"ID3\4\0\0\0\0\0\x64" + bytes(100)
    heard = hear(put(tmp_path / "a.flac", tag + data + b"TAG".ljust(128, b"\0")), "words")
    assert not heard.kinds
    np.testing.assert_allclose(heard.samples[0], FIRST[: RATE // 2], atol=1e-4)


@pytest.mark.parametrize(
    "behind",
    [
        chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 50000) + b"a" * 50000),
        chunk(b"bext", bytes(range(256)) * 300) + chunk(b"cue ", bytes(28)),
        chunk(b"XyZ1", bytes(range(256)) * 300),
        chunk(b"id3 ", b"ID3" + bytes(range(256)) * 300)[:-20],
        b"ID3\4\0\0\0\0\x7f\x7f" + bytes(range(256)) * 64,
        bytes(100_000),
    ],
    ids=["texts", "broadcast", "unknown chunk", "chunk that is cut off", "tag", "zeros"],
)
@pytest.mark.parametrize("is_odd", [False, True])
@pytest.mark.parametrize("is_padded", [False, True])
def test_chunks_behind_the_audio_are_no_audio(tmp_path: Path, behind: bytes, *, is_odd: bool, is_padded: bool) -> None:
    length = len(BOTH) - is_odd
    data = encoded(BOTH[:length], "WAV", "PCM_U8")[: 44 + length]
    heard = hear(put(tmp_path / "a.wav", data + bytes(is_padded) + behind), "words")
    np.testing.assert_allclose(heard.samples[0], BOTH[:length], atol=0.01)
    assert not heard.kinds


@pytest.mark.parametrize("is_chunk", [True, False])
def test_audio_behind_chunks_is_found(tmp_path: Path, *, is_chunk: bool) -> None:
    first, second = encoded(FIRST, "WAV", "PCM_16"), encoded(SECOND, "WAV", "PCM_16")
    behind = chunk(b"data", second[44:]) if is_chunk else second
    assert is_refused(hear(put(tmp_path / "a.wav", first + chunk(b"LIST", b"INFO" * 9000) + behind)))


@pytest.mark.parametrize(("container", "subtype"), PCM)
@pytest.mark.parametrize("is_text", [True, False])
def test_bytes_behind_the_audio_are_found(tmp_path: Path, container: str, subtype: str, *, is_text: bool) -> None:
    rest = b"once upon a time\r\n" * 5000 if is_text else np.random.default_rng(0).bytes(80_000)
    assert is_refused(hear(put(tmp_path / "a", encoded(BOTH, container, subtype) + rest), "words"))


@pytest.mark.parametrize(
    ("stated", "kinds"),
    [
        (0, set()),
        ((1 << 36) - 1, set()),
        (3 * RATE, {"more behind its end"}),
        (7 * RATE, {"cut off"}),
        (len(BOTH) + 100, set()),
    ],
)
def test_lengths_in_flac_headers(tmp_path: Path, stated: int, kinds: set[str]) -> None:
    heard = hear(put(tmp_path / "a.flac", with_flac_length(encoded(BOTH, "FLAC", "PCM_16"), stated)))
    assert heard.kinds == kinds
    if kinds != {"more behind its end"}:
        np.testing.assert_allclose(heard.samples[0], BOTH, atol=1e-4)


def test_a_flac_without_a_length_that_is_cut_off_is_named(tmp_path: Path) -> None:
    data = with_flac_length(encoded(BOTH, "FLAC", "PCM_16"), 0)
    path = put(tmp_path / "a.flac", data[: len(data) // 2])
    assert hear(path).kinds == {"cut off"}
    assert 2.5 < hear(path).seconds < 3.5
    assert hear(path, "words").kinds == {"cut off"}
    assert not hear(path, "words").samples


def edited(container: str, edit: Callable[[bytearray], None]) -> bytes:
    data = bytearray(encoded(BOTH, container, "PCM_16"))
    edit(data)
    return bytes(data)


def set_at(name: bytes, offset: int, value: bytes) -> Callable[[bytearray], None]:
    def edit(data: bytearray) -> None:
        at = data.index(name) + offset
        data[at : at + len(value)] = value

    return edit


@pytest.mark.parametrize(
    ("container", "edit", "kind"),
    [
        ("AU", set_at(b".snd", 8, struct.pack(">I", 2 * len(FIRST))), "more behind its end"),
        ("AU", set_at(b".snd", 8, struct.pack(">I", 4 * len(BOTH))), "cut off"),
        ("AIFF", set_at(b"SSND", 4, struct.pack(">I", 8 + 2 * len(FIRST))), "more behind its end"),
        ("AIFF", set_at(b"SSND", 4, struct.pack(">I", 0)), "more behind its end"),
        ("CAF", set_at(b"data", 4, struct.pack(">q", 4 + 2 * len(FIRST))), "more behind its end"),
        ("CAF", set_at(b"data", 4, struct.pack(">q", 4 + 8 * len(FIRST))), "unreadable audio"),
        ("NIST", set_at(b"sample_count", 0, b"sample_count -i 48000"), "more behind its end"),
        ("NIST", set_at(b"sample_count", 0, b"sample_count -i 98000"), "cut off"),
        ("W64", set_at(b"data\xf3", 16, struct.pack("<Q", 24 + 2 * len(FIRST))), "more behind its end"),
        ("W64", set_at(b"data\xf3", 16, struct.pack("<Q", 24)), "more behind its end"),
        ("RF64", set_at(b"ds64", 16, struct.pack("<Q", 2 * len(FIRST))), "more behind its end"),
        ("RF64", set_at(b"ds64", 16, struct.pack("<Q", 0)), "unreadable audio"),
    ],
)
def test_lengths_in_the_headers_of_other_containers(
    tmp_path: Path, container: str, edit: Callable[[bytearray], None], kind: str
) -> None:
    heard = hear(put(tmp_path / "a", edited(container, edit)))
    assert heard.kinds == {kind}
    if kind == "cut off":
        np.testing.assert_allclose(heard.samples[0], BOTH, atol=1e-4)


@pytest.mark.parametrize("text", ["", "words"])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_damaged_page_of_an_ogg_is_named_and_costs_no_more_than_itself(
    tmp_path: Path, subtype: str, text: str
) -> None:
    data = bytearray(encoded(np.tile(BOTH, 3), "OGG", subtype))
    data[len(data) // 2] ^= 0x55
    heard = hear(put(tmp_path / "a.ogg", data), text)
    assert heard.kinds == {"damaged"}
    assert bool(heard.samples) != bool(text)
    if not text:
        assert 16 < heard.seconds < 18
    before = hear(tmp_path / "a.ogg", "words", listed={"start_seconds": 1.0, "stop_seconds": 5.0})
    assert before.seconds == pytest.approx(4, abs=0.01)


def test_segments_of_a_damaged_flac_are_used_where_it_is_whole(tmp_path: Path) -> None:
    data = bytearray(encoded(np.tile(BOTH, 3), "FLAC", "PCM_16"))
    data[len(data) // 2] ^= 0x55
    path = put(tmp_path / "a.flac", data)
    for start, kinds in ((1.0, set()), (7.5, {"cut off"}), (12.0, set())):
        heard = hear(path, "words", listed={"start_seconds": start, "stop_seconds": start + 3})
        assert heard.kinds == kinds
        assert bool(heard.samples) != bool(kinds)


def test_files_as_they_should_be_are_read_by_libsndfile_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechssl.audio.mp3.SplicedFile.__init__", lambda *_, **__: pytest.fail("spliced"))
    for container, subtype in [*PCM, *LOSSY, *OTHERS]:
        path = put(tmp_path / "a", encoded(BOTH, container, subtype))
        samples, _ = soundfile.SoundFile(path).read(len(BOTH), dtype="float32"), RATE
        heard = hear(path, "words")
        assert not heard.kinds
        np.testing.assert_allclose(heard.samples[0][: len(samples)], samples, atol=1e-4)
