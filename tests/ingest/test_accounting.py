"""Every recording is used or left out by name, whatever is wrong with how many of them, and too many bad ones stop all.

That the counts add up is checked for every set that a test makes, see ``accounts``; here are sets with more in them.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from accounts import rows_of
from changing import with_values

from speechssl import cli
from speechssl.audio.blocks import read_ranges
from speechssl.config import SegmentationConfig, ShardConfig
from speechssl.errors import DataError
from speechssl.ingest import pipeline, shard_maker
from speechssl.ingest.accounting import CHOSEN_REASONS, check_bad_share, settle
from speechssl.ingest.clips import Clip, Scanned
from speechssl.ingest.recordings import Found, Recording, Rejected
from speechssl.verbs import shard as ingest

RATE = 8000
LONG = SegmentationConfig(method="none", max_seconds=3)


def noise(seconds: float, seed: int, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE))


def broken_inside(path: Path, samples: np.ndarray) -> None:
    """A FLAC file whose header and beginning are sound."""
    soundfile.write(path, samples, RATE)
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4 : len(data) * 3 // 4 + 200] = bytes(200)
    path.write_bytes(data)


def write_kind(kind: str, path: Path, seed: int) -> None:
    """A recording with something the matter; ``copy`` is the same audio for all."""
    match kind:
        case "good" | "copy":
            soundfile.write(path.with_suffix(".wav"), noise(0.6, seed if kind == "good" else 0), RATE)
        case "short":
            soundfile.write(path.with_suffix(".wav"), noise(0.1, seed), RATE)
        case "silent":
            soundfile.write(path.with_suffix(".wav"), np.zeros(RATE), RATE)
        case "quiet":
            soundfile.write(path.with_suffix(".wav"), noise(1, seed, 1e-4), RATE)
        case "damaged":
            path.with_suffix(".wav").write_bytes(b"RIFF????WAVE, they said")
        case "broken":
            broken_inside(path.with_suffix(".flac"), noise(1, seed))
        case "empty":
            path.with_suffix(".wav").touch()
        case "long":  # of three pieces, of which one is silent and the last is short
            parts = [noise(3, seed), np.zeros(3 * RATE), noise(0.1, seed)]
            soundfile.write(path.with_suffix(".wav"), np.concatenate(parts), RATE)
        case "all silent":
            soundfile.write(path.with_suffix(".wav"), np.zeros(7 * RATE), RATE)


KINDS = ("good", "copy", "short", "silent", "quiet", "damaged", "broken", "empty", "long", "all silent")


@pytest.mark.parametrize("seed", range(6))
def test_counts_add_up_whatever_the_sources_hold(tmp_path: Path, seed: int) -> None:
    draws = random.Random(seed)
    (tmp_path / "audio").mkdir()
    kinds = ["good", *draws.choices(KINDS, k=12)]
    with_words = []
    for i, kind in enumerate(kinds):
        path = tmp_path / "audio" / f"{i:02d}"
        write_kind(kind, path, 100 * seed + i)
        if draws.random() < 0.4 and kind not in ("long", "all silent"):
            path.with_suffix(".txt").write_text("words")
            with_words.append(kind)
    config = ShardConfig(
        [str(tmp_path / "audio")],
        tmp_path / "out",
        min_seconds=0.2,
        min_level_db=-60,
        cut_above_seconds=5,
        segmentation=LONG,
        deduplicate=draws.random() < 0.7,
        max_bad_share=1,
        max_shard_megabytes=draws.choice([0.03, 100]),
    )
    report = ingest.run(config)  # and the set is counted
    expected = {
        "unreadable audio": kinds.count("damaged"),
        "cut off": with_words.count("broken"),  # without words what is sound of it is used
        "empty file": kinds.count("empty"),
        "too short": kinds.count("short"),
    }
    if not config.deduplicate:  # or some of them would be copies
        expected |= {"silent": kinds.count("silent") + kinds.count("all silent"), "too quiet": kinds.count("quiet")}
    assert {reason: report.num_rejected.get(reason, 0) for reason in expected} == expected


def test_a_recording_is_left_out_for_what_most_of_its_pieces_are_and_only_once(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    write_kind("all silent", tmp_path / "audio" / "zeros", 0)  # pieces of 3, 3 and 1 s
    write_kind("long", tmp_path / "audio" / "parts", 1)
    config = ShardConfig(
        [str(tmp_path / "audio")], tmp_path / "out", min_seconds=2, cut_above_seconds=5, segmentation=LONG,
        deduplicate=False,
    )  # fmt: skip
    report = ingest.run(config)
    assert (report.num_found, report.num_used, report.num_rejected) == (2, 1, {"silent": 1})
    assert rows_of(tmp_path / "out" / "rejected.tsv") == [
        [
            str(tmp_path / "audio" / "zeros.wav"),
            "silent",
            "all its 3 pieces (silent 2, too short 1); the first of these: all its samples are 0",
        ]
    ]
    assert report.pieces_left_out == {"too short": 1, "silent": 1}
    assert [row[1:] for row in rows_of(tmp_path / "out" / "notes.tsv")] == [
        ["piece left out, silent", "all its samples are 0"],
        ["piece left out, too short", "1.00 s, min_seconds is 2"],
    ]


def an_account(num_clips: int, scan_rejects: int = 0) -> tuple[Found, list[Scanned]]:
    recording = Recording("a", "/a.wav")
    clips = [Clip(f"a-{i}", "/a.wav", None, 0, 8, 8, "", "", "", "", "a") for i in range(num_clips)]
    rejected = [Rejected("/a.wav", "too short", "", f"a-{i}") for i in range(scan_rejects)]
    lists: dict[str, Any] = {name: [] for name in Found._fields}
    lists |= {"recordings": [recording], "rejected": [Rejected("/b.wav", "no such file", "")]}
    return Found(**lists), [Scanned(clips, rejected, 8, 1, "WAV", 0.0, [])]


def test_what_cannot_be_counted_is_a_bug_and_not_a_number() -> None:
    found, scanned = an_account(2, 1)
    account = settle(found, scanned, [Rejected("/a.wav", "silent", "", "a-0")])
    assert (account.num_found, account.num_used, account.num_samples, len(account.pieces)) == (2, 1, 1, 2)
    assert [item.path for item in settle(*an_account(0, 1), []).rejected] == ["/a.wav", "/b.wav"]
    with pytest.raises(RuntimeError, match="neither used nor left out"):
        settle(*an_account(0), [])
    with pytest.raises(RuntimeError, match="1 clips were left out that no recording gave"):
        settle(found, scanned, [Rejected("/a.wav", "silent", "", "another")])


def test_samples_that_were_not_written_are_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "audio").mkdir()
    for i in range(2):
        write_kind("good", tmp_path / "audio" / f"{i}", i)
    monkeypatch.setattr(shard_maker, "count", lambda *_: None)
    with pytest.raises(RuntimeError, match="0 samples were written, expected 2"):
        ingest.run(ShardConfig([str(tmp_path / "audio")], tmp_path / "out"))
    assert not (tmp_path / "out" / "report.json").exists()


def test_what_options_leave_out_is_not_bad() -> None:
    chosen = [Rejected(f"/{reason}", reason, "") for reason in CHOSEN_REASONS]
    check_bad_share(chosen, len(chosen), 0, outcome="")
    bad = Rejected("/a", "anything else", "why")
    check_bad_share([bad, *chosen], 2, 0.5, outcome="")
    with pytest.raises(DataError) as caught:
        check_bad_share([bad] * 5 + chosen, 7, 0.5, outcome="Nothing was made")
    assert str(caught.value).splitlines() == [
        "5 of 7 recordings are damaged, missing or wrongly listed, more than max_bad_share (0.5) allows:",
        "  anything else: 5",
        *["    /a: why"] * 3,
        "Nothing was made; mend the sources, or leave these recordings out with --max_bad_share 0.715.",
    ]


def write_list(folder: Path, present: int, missing: int) -> Path:
    folder.mkdir()
    for i in range(present):
        write_kind("good", folder / f"{i}", i)
    rows = [f"{i}.wav" for i in range(present)] + [f"gone{i}.wav" for i in range(missing)]
    (folder / "list.tsv").write_text("path\n" + "".join(f"{row}\n" for row in rows))
    return folder / "list.tsv"


def test_a_list_of_missing_files_stops_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_list(tmp_path / "audio", 2, 3)
    monkeypatch.setattr(ingest, "make_set", None)
    assert cli.main(["shard", str(source), str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert "3 of 5 recordings are damaged, missing or wrongly listed" in printed
    assert "no such file: 3" in printed
    assert "gone0.wav: named in" in printed
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert cli.main(["shard", str(source), str(tmp_path / "out"), "--max_bad_share", "0.6"]) == 0
    assert cli.main(["shard", str(source), str(tmp_path / "out"), "--max_bad_share", "0.5"]) == 2
    assert cli.main(["shard", str(source), str(tmp_path / "out"), "--max_bad_share", "1.5"]) == 2


def test_files_that_are_no_audio_stop_before_shards_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "audio").mkdir()
    for i, kind in enumerate(("good", "damaged", "damaged", "short")):
        write_kind(kind, tmp_path / "audio" / f"{i}", i)
    monkeypatch.setattr(pipeline, "make_shard", lambda *_: pytest.fail("made"))
    config = ShardConfig([str(tmp_path / "audio")], tmp_path / "out", max_bad_share=0.4)
    with pytest.raises(DataError, match=r"2 of 4 recordings (?s:.*)unreadable audio: 2(?s:.*)No shard was made; mend"):
        ingest.run(config)


def test_damage_that_shows_at_the_end_leaves_no_report_and_is_not_made_again_when_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "audio").mkdir()
    for i in range(3):
        write_kind("good", tmp_path / "audio" / f"{i}", i)

    def read_ranges_of_the_first(path: Path, *arguments: Any) -> Iterator[np.ndarray]:
        if path.stem != "0":
            raise DataError(f"{path}: gone since it was scanned")
        return read_ranges(path, *arguments)

    monkeypatch.setattr(shard_maker, "read_ranges", read_ranges_of_the_first)
    config = ShardConfig([str(tmp_path / "audio")], tmp_path / "out")
    for _ in range(2):
        with pytest.raises(DataError, match=r"2 of 3 (?s:.*)The set is not finished; .* --max_bad_share 0\.667"):
            ingest.run(config)
        assert not (tmp_path / "out" / "report.json").exists()
    monkeypatch.setattr(pipeline, "make_shard", lambda *_: pytest.fail("made again"))
    config = with_values(config, {"max_bad_share": 0.667})
    assert ingest.run(config).num_rejected == {"unreadable audio": 2}
    assert json.loads((tmp_path / "out" / "report.json").read_text())["num_used"] == 1
