"""What goes wrong with one recording names it and leaves it out; what is wrong with the machine ends the command."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hearing import RATE, encoded, hear, put, voice

from speechssl.config import ShardConfig
from speechssl.errors import DataError
from speechssl.ingest import clips, shard_maker
from speechssl.ingest.clips import Clip
from speechssl.ingest.pipeline import one_of_each
from speechssl.ingest.recordings import Note
from speechssl.ingest.shard_maker import tasks_of
from speechssl.verbs import shard as ingest


def corpus(folder: Path) -> Path:
    folder.mkdir()
    for i in range(3):
        put(folder / f"{i}.wav", encoded(voice(1, i, 44100), "WAV", "PCM_16", 44100))
    return folder


@pytest.mark.parametrize("num_samples", [1, 2])
@pytest.mark.parametrize("rate", [44100, 192000])
def test_fewer_samples_than_one_at_the_wanted_rate_are_too_short(tmp_path: Path, num_samples: int, rate: int) -> None:
    source = corpus(tmp_path / "in")
    soundfile.write(source / "short.wav", np.full(num_samples, 0.5), rate)
    report = ingest.run(ShardConfig([str(source)], tmp_path / "out"))
    assert report.num_samples == 3
    assert sum(report.num_rejected.values()) == 1
    assert "short.wav\ttoo short\t" in (tmp_path / "out" / "rejected.tsv").read_text()


@pytest.mark.parametrize(
    "error",
    [ValueError("bad shape"), MemoryError(), RuntimeError("soxr: no"), OSError(errno.EIO, "Input/output error")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("place", ["scan", "read"])
def test_any_exception_names_its_recording_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, place: str
) -> None:
    source = corpus(tmp_path / "in")
    module, name = {"scan": (clips, "inspect"), "read": (shard_maker, "read_ranges")}[place]
    original = getattr(module, name)

    def failing(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "1.wav":
            raise error
        return original(path, *arguments, **options)

    monkeypatch.setattr(module, name, failing)
    with caplog.at_level(logging.DEBUG, "speechssl"):
        report = ingest.run(ShardConfig([str(source)], tmp_path / "out", num_workers=1))
    assert report.num_samples == 2
    line = (tmp_path / "out" / "rejected.tsv").read_text().splitlines()[1]
    assert line.startswith(f"{source}/1.wav\tcould not be read\t{type(error).__name__}")
    assert any(record.exc_info and record.exc_info[1] is error for record in caplog.records)


def test_resampling_that_fails_names_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ValueError("soxr: channels")

    path = put(tmp_path / "a.wav", encoded(voice(1, 0, 8000), "WAV", "PCM_16", 8000))
    monkeypatch.setattr(soxr, "resample", failing)
    heard = hear(path)
    assert [(item.path, item.reason, item.detail, item.key) for item in heard.rejected] == [
        (str(path), "could not be read", "ValueError: soxr: channels", "key")
    ]


def raises(error: BaseException) -> Callable[..., None]:
    def failing(*_: object, **__: object) -> None:
        raise error

    return failing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("place", ["speechssl.ingest.clips.inspect", "speechssl.ingest.shard_maker.read_ranges"])
def test_a_machine_without_room_ends_the_command_and_blames_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, place: str
) -> None:
    source = corpus(tmp_path / "in")
    monkeypatch.setattr(place, raises(OSError(number, os.strerror(number))))
    with pytest.raises(DataError, match=rf"{os.strerror(number)}.*give the same command again"):
        ingest.run(ShardConfig([str(source)], tmp_path / "out"))
    assert not (tmp_path / "out" / "rejected.tsv").exists()


@pytest.mark.parametrize("place", ["speechssl.ingest.clips.inspect", "speechssl.ingest.shard_maker.read_ranges"])
def test_an_interruption_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    source = corpus(tmp_path / "in")
    monkeypatch.setattr(place, raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        ingest.run(ShardConfig([str(source)], tmp_path / "out", num_workers=1))


def test_an_output_without_room_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = corpus(tmp_path / "in")
    monkeypatch.setattr(shard_maker.ShardFile, "write", raises(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        ingest.run(ShardConfig([str(source)], tmp_path / "out"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = put(tmp_path / "a.wav", encoded(voice(1), "WAV", "PCM_16"))
    path.chmod(0)
    heard = hear(path)
    assert [item.reason for item in heard.rejected] == ["may not be read"]


def test_damage_that_is_met_when_it_is_read_ends_a_recording_and_is_named(tmp_path: Path) -> None:
    samples = np.tile(voice(6), 5)
    data = bytearray(encoded(samples, "FLAC", "PCM_16"))
    data[len(data) // 2] ^= 0x55
    path = put(tmp_path / "a.flac", data)
    heard = hear(path)
    assert 14 < heard.seconds < 15.5
    np.testing.assert_allclose(heard.samples[0], samples[: len(heard.samples[0])], atol=1e-4)
    assert [note.kind for note in heard.notes] == ["cut off"]
    assert f"libsndfile reads {heard.seconds:.2f} s, what follows is damaged or missing" in heard.notes[0].detail
    assert hear(path, "words").kinds == {"cut off"}
    assert not hear(path, "words").samples


def test_segments_of_one_file_do_not_repeat_what_is_said_of_it(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    put(source / "a.wav", encoded(voice(12, 0), "WAV", "PCM_16")[:-RATE])
    segments = [f"a.wav\twords\t{start}\t{start + 1 + 0.1 * start}" for start in range(11)]
    (source / "list.tsv").write_text("path\ttext\tstart\tend\n" + "\n".join(segments) + "\n")
    report = ingest.run(ShardConfig([str(source / "list.tsv")], tmp_path / "out", max_bad_share=1.0))
    assert report.num_samples > 3
    assert report.notes == {"cut off": 1}
    assert len((tmp_path / "out" / "notes.tsv").read_text().splitlines()) == 2


def test_notes_of_one_kind_that_differ_are_counted_in_the_first() -> None:
    notes = [Note("a", "kind", "1 s"), Note("b", "kind", "1 s"), Note("a", "kind", "1 s"), Note("a", "kind", "2 s")]
    notes.append(Note("a", "other", "2 s"))
    assert one_of_each(notes) == [
        Note("a", "kind", "1 s; 1 more of this kind"),
        Note("b", "kind", "1 s"),
        Note("a", "other", "2 s"),
    ]


def test_short_recordings_are_handed_out_together_and_stay_in_order() -> None:
    clips = [Clip(f"k{i}", f"{i // 4}" if i < 8 else f"{i}", None, i, 1, 1, *[""] * 5) for i in range(99)]
    clips[40] = clips[40]._replace(num_frames=60)
    tasks = list(tasks_of(clips))
    assert [clip for task in tasks for run in task for clip in run] == clips
    assert [len(run) for run in tasks[0]] == [4, 4, *[1] * 12]
    assert [sum(clip.seconds for run in task for clip in run) for task in tasks] == [20, 20, 60, 20, 20, 18]
