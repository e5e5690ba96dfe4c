"""Whatever is wrong with shards and indexes is named, and what is not named is whole."""

import io
import json
import os
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors import safe_open
from safetensors.numpy import save_file

from speechssl import cli
from speechssl.config import VerifyConfig
from speechssl.data.corpus import read_corpus
from speechssl.data.index import METADATA_KEY, NUMBERS, SampleEntry, index_path, key_hash, read_index, write_index
from speechssl.data.members import MEMBER_SUFFIXES
from speechssl.data.reading import Sample, read_sample
from speechssl.data.tar_scan import Finding, scan_tar
from speechssl.data.verify.audio import ContentError, check_audio
from speechssl.data.verify.indexes import publish_index
from speechssl.data.verify.processes import check_in_processes
from speechssl.data.verify.results import ShardResult
from speechssl.data.verify.run import run
from speechssl.data.verify.sets import check_folder, check_set, find_all
from speechssl.data.verify.shards import ShardTask, check_shard
from speechssl.errors import ConfigError, DataError

RATE = 16000
BLOCK = 512
Members = dict[str, bytes]


def encoded(seed: int, length: int = 1600, *, rate: int = RATE, channels: int = 1, **kind: str) -> bytes:
    """Noise as a file in memory, FLAC unless said otherwise."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (length, channels))
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, rate, **({"format": "FLAC", "subtype": "PCM_16"} | kind))
    return buffer.getvalue()


def samples_of(count: int = 4, prefix: str = "u", **options: object) -> dict[str, Members]:
    texts = ["YES", "NO", "", "Ä B"]
    return {
        f"{prefix}{i}": {"flac": encoded(i, **options), "json": json.dumps({"text": texts[i % 4]}).encode()}
        for i in range(count)
    }


def write_shard(path: Path, samples: dict[str, Members]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, members in samples.items():
            for suffix, data in members.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def true_entries(shard: Path) -> list[SampleEntry]:
    """Rows of the index of a shard of FLAC and JSON pairs, by tarfile and soundfile."""
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
        ends = [member.offset for member in members[2::2]] + [tar.offset]
        rows = []
        for audio, text, end in zip(members[::2], members[1::2], ends, strict=True):
            num_samples = soundfile.info(tar.extractfile(audio)).frames
            content = json.load(tar.extractfile(text))
            key = audio.name.partition(".")[0]
            place = (audio.offset_data - audio.offset, audio.size)
            rows.append(SampleEntry(key, audio.offset, end - audio.offset, num_samples, content["text"], *place))
    return rows


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one sound shard with its index."""
    shard = write_shard(tmp_path_factory.mktemp("sound") / "shard-000000.tar", samples_of())
    write_index(shard, RATE, true_entries(shard), index_path(shard))
    return shard.parent


@pytest.fixture
def shard(original: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "set")) / "shard-000000.tar"


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check shards in this process: starting others takes most of a second."""
    here = "speechssl.data.verify.run.check_in_processes"
    monkeypatch.setattr(here, lambda tasks, num_workers: map(check_shard, tasks))


def check(shard: Path, *, decode: bool = True, write_index: bool = False) -> ShardResult:
    return check_shard(ShardTask(shard, decode, write_index))


def findings_of(result: ShardResult) -> list[Finding]:
    return result.findings + result.index_findings


def kinds(result: ShardResult) -> set[str]:
    return {finding.kind for finding in findings_of(result)}


def without_index(shard: Path) -> Path:
    index_path(shard).unlink()
    return shard


def read_all(shard: Path) -> list[Sample]:
    corpus = read_corpus([str(shard)])
    return [read_sample(ref, corpus.sample_rate) for ref in corpus]


def assert_same(samples: list[Sample], expected: list[Sample]) -> None:
    assert [(sample.key, sample.text) for sample in samples] == [(sample.key, sample.text) for sample in expected]
    for sample, other in zip(samples, expected, strict=True):
        np.testing.assert_array_equal(sample.audio, other.audio)


def test_a_set_from_the_shard_command_is_sound(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(VerifyConfig(shards=[str(shards)], num_workers=2))
    corpus = read_corpus([str(shards)])
    assert (report.num_samples, report.findings) == (len(corpus), [])
    assert report.seconds == pytest.approx(corpus.seconds)
    said = capsys.readouterr().err
    assert f"{len(list(shards.glob('*.tar')))} shards, {len(corpus)} samples, 0.01 hours: sound" in said


def test_nothing_is_found_in_a_sound_shard_however_it_is_checked(shard: Path) -> None:
    for decode in (True, False):
        result = check(shard, decode=decode)
        assert findings_of(result) == []
        assert (result.num_samples, result.seconds, list(result.keys)) == (4, 0.4, ["u0", "u1", "u2", "u3"])
        assert {rate: use.num_samples for rate, use in result.rates.items()} == {RATE: 4}


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        (-10 * BLOCK, "truncated inside data"),
        (300, "truncated inside a header"),
        (0, "no end mark"),
    ],
)
def test_truncated_shards_are_named_with_and_without_index(shard: Path, size: int, kind: str) -> None:
    last = true_entries(shard)[2]
    end = last.offset + last.size if size >= 0 else last.offset + 2 * BLOCK
    shard.write_bytes(shard.read_bytes()[: end + max(size, 0)])
    result = check(shard)
    assert kinds(result) == {kind, "stale index"}
    assert "as its index says" in result.index_findings[0].detail
    without_index(shard)
    assert kinds(check(shard, write_index=True)) == {kind, "no index"}
    assert not list(shard.parent.glob(".partial_*"))


def test_a_damaged_header_names_the_samples_that_are_lost(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[true_entries(shard)[1].offset] ^= 0xFF
    shard.write_bytes(data)
    result = check(shard)
    assert [finding.kind for finding in result.findings] == ["damaged header"]
    lost = [finding.key for finding in result.index_findings if "not in the shard" in finding.detail]
    assert lost == ["u1", "u2", "u3"]


def test_half_and_repeated_samples_get_no_index(tmp_path: Path) -> None:
    samples = samples_of(2) | {"half": {"json": b"{}"}}
    result = check(write_shard(tmp_path / "s.tar", samples), write_index=True)
    assert kinds(result) == {"half-sample", "no index"}
    assert not result.index_is_ready


def corrupted(shard: Path, member: str, position: int = 600, value: int = 0x55) -> Path:
    """Flip bits in the content of a member."""
    with tarfile.open(shard) as tar:
        offset = tar.getmember(member).offset_data + position
    data = bytearray(shard.read_bytes())
    data[offset] ^= value
    shard.write_bytes(data)
    return shard


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
        ({"json": b'{"text": 7}'}, "wrong text", "is of type int, expected a string"),
        ({"json": b'{"text": "\\ud800"}'}, "wrong text", "its transcript is not UTF-8"),
        ({"txt": b"caf\xe9"}, "wrong text", "its transcript is not UTF-8"),
    ],
)
def test_wrong_json_and_text_are_named(tmp_path: Path, members: Members, kind: str, detail: str) -> None:
    shard = write_shard(tmp_path / "s.tar", samples_of(1) | {"odd": {"flac": encoded(9)} | members})
    [finding] = check(shard).findings
    assert (finding.kind, finding.key) == (kind, "odd")
    assert detail in finding.detail
    assert str(shard) not in finding.detail


Columns = dict[str, np.ndarray]
Facts = dict[str, object]
Change = Callable[[Columns, Facts], object]


def edit_index(shard: Path, change: Change) -> None:
    """Change columns or facts of an index behind the back of the code that writes it."""
    with safe_open(index_path(shard), framework="numpy") as file:
        columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        facts = json.loads(file.metadata()[METADATA_KEY])
    changed = change(columns, facts)
    save_file(columns, index_path(shard), {METADATA_KEY: json.dumps(facts if changed is None else changed)})


def add_one(name: str) -> Change:
    def change(columns: Columns, facts: Facts) -> None:
        columns[name][1] += np.ones(1, columns[name].dtype)[0]

    return change


def as_floats(columns: Columns, facts: Facts) -> None:
    columns["offsets"] = columns["offsets"].astype(np.float64)


def other_text(columns: Columns, facts: Facts) -> None:
    columns["texts"][0] += 1


def other_key(columns: Columns, facts: Facts) -> None:
    columns["keys"][3] = ord("9")


def no_utf8(columns: Columns, facts: Facts) -> None:
    columns["keys"][3] = 0xFF


def swapped_rows(columns: Columns, facts: Facts) -> None:
    for name in NUMBERS:
        columns[name] = columns[name][[1, 0, 2, 3]]
    columns["keys"][[1, 3]] = columns["keys"][[3, 1]]
    columns["texts"] = np.frombuffer("NOYESÄ B".encode(), np.uint8)
    columns["text_ends"] = np.array([2, 5, 5, 9])


def put(name: str, value: object) -> Change:
    return lambda columns, facts: facts.update({name: value})


@pytest.mark.parametrize(
    ("change", "kind", "key", "detail"),
    [
        (add_one("offsets"), "wrong index row", "u1", "offset"),
        (add_one("sizes"), "wrong index row", "u1", "size"),
        (add_one("num_samples"), "wrong index row", "u1", "number of audio samples 1601, expected 1600"),
        (add_one("checksums"), "wrong index row", "u1", "CRC-32"),
        (add_one("key_hashes"), "wrong index row", "u1", "key hash"),
        (other_text, "wrong index row", "u0", "text 'ZES', expected 'YES'"),
        (other_key, "wrong index row", "u1", "in the shard, but not in its index"),
        (swapped_rows, "wrong index row", "", "not in the order of the shard"),
        (no_utf8, "unreadable index", "", "not an index ('utf-8' codec"),
        (as_floats, "unreadable index", "", "a column of type float64, expected int64"),
        (put("sample_rate", 8000), "stale index", "u0", "16000 Hz, but 8000 Hz in the index"),
        (put("sample_rate", 16000.0), "unreadable index", "", "a sample rate 16000.0, expected a whole number"),
        (put("sample_rate", [1]), "unreadable index", "", "a sample rate [1], expected a whole number"),
        (lambda columns, facts: [facts], "unreadable index", "", "its facts are a list"),
        (put("sha256", "0" * 64), "stale index", "", "SHA-256"),
        (put("shard_bytes", 5), "stale index", "", "expected 5 as its index says"),
        (put("version", 1), "unreadable index", "", "its version is 1"),
    ],
)
def test_an_index_that_does_not_match_is_named_and_mended(
    shard: Path, change: Change, kind: str, key: str, detail: str
) -> None:
    expected = read_all(shard)
    edit_index(shard, change)
    result = check(shard, write_index=True)
    assert result.findings == []
    finding = result.index_findings[0]
    assert (finding.kind, finding.key) == (kind, key)
    assert detail in finding.detail
    assert finding.detail.endswith("give it a new index with `speechssl verify --write_index`")
    assert publish_index(result)
    assert findings_of(check(shard)) == []
    assert_same(read_all(shard), expected)


def test_rows_that_are_missing_from_the_index_or_too_many_are_named(shard: Path, tmp_path: Path) -> None:
    rows = true_entries(shard)
    write_index(shard, RATE, rows[:2] + rows[3:], index_path(shard))
    assert [(f.key, f.detail.split(";")[0]) for f in findings_of(check(shard))] == [
        ("u2", "in the shard, but not in its index")
    ]
    write_index(shard, RATE, [*rows, rows[0]._replace(key="ghost")], index_path(shard))
    assert [(f.key, f.offset) for f in findings_of(check(shard))] == [("ghost", 0)]
    write_index(shard, RATE, [*rows, rows[0]], index_path(shard))
    assert "or one is there twice" in findings_of(check(shard))[0].detail


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff" * 1000, b"{}"])
def test_an_index_of_rubbish_is_named(shard: Path, content: bytes) -> None:
    index_path(shard).write_bytes(content)
    assert kinds(check(shard)) == {"unreadable index"}


def test_a_shard_that_was_swapped_for_another_is_named(shard: Path) -> None:
    write_shard(shard, samples_of(4, "other"))
    result = check(shard)
    assert result.findings == []
    assert len(result.index_findings) == 1 + 4 + 4


def test_a_shard_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.tar").mkdir()
    [finding] = findings_of(check(tmp_path / "s.tar"))
    assert finding.kind == "unreadable shard"
    assert "Is a directory" in finding.detail


def test_an_edited_transcript_is_damage_until_its_index_is_deleted(shard: Path) -> None:
    corrupted(shard, "u0.json", position=10, value=0x20)
    assert read_index(shard).texts is not None
    result = check(shard, write_index=True)
    assert [(finding.kind, finding.key) for finding in result.findings] == [("changed since indexed", "u0")]
    assert "delete the index if the change is wanted" in result.findings[0].detail
    assert not result.index_is_ready
    assert check(without_index(shard), write_index=True).index_is_ready


def test_keys_and_sample_rates_are_compared_across_shards(tmp_path: Path) -> None:
    shards = [
        write_shard(tmp_path / "a.tar", samples_of(3)),
        write_shard(tmp_path / "b.tar", samples_of(2, "v") | samples_of(3)),
        write_shard(tmp_path / "c.tar", samples_of(2, "w", rate=8000)),
    ]
    results = [check(shard, write_index=True) for shard in shards]
    assert all(result.index_is_ready for result in results)
    check_set(results)
    found = [(f.shard, f.kind, f.key, f.offset) for result in results for f in result.findings]
    assert found == [
        *((str(shards[1]), "key in two shards", f"u{i}", results[1].offsets[2 + i]) for i in range(3)),
        (str(shards[2]), "other sample rate", "w0", 0),
    ]
    assert f"is in {shards[0]} too" in results[1].findings[0].detail
    assert "2 samples at 8000 Hz, this one the first; expected 16000 Hz" in results[2].findings[0].detail
    assert [publish_index(result) for result in results] == [True, False, False]


def test_what_is_missing_from_a_folder_or_left_over_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("shard-000001.tar", "shard-000005.tar", "shard-000007.tar.index", ".partial_shard-000008.tar"):
        (folder / name).touch()
    (folder / "report.json").write_text(json.dumps({"shards": ["shard-000001.tar", "shard-000006.tar"]}))
    assert [(Path(f.shard).name, f.kind) for f in check_folder(folder)] == [
        ("shard-000006.tar", "missing shard"),
        ("shard-000000.tar", "missing shard"),
        ("shard-000002.tar to shard-000004.tar", "missing shard"),
        ("shard-000007.tar.index", "index without a shard"),
        (".partial_shard-000008.tar", "leftover file"),
    ]


def test_the_report_above_speaks_for_the_parts_of_a_split(tmp_path: Path) -> None:
    for name in ("train/shard-000000.tar", "dev/shard-000000.tar"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    listed = ["train/shard-000000.tar", "train/shard-000001.tar", "dev/shard-000000.tar"]
    (tmp_path / "report.json").write_text(json.dumps({"shards": listed}))
    assert [Path(f.shard).name for f in check_folder(tmp_path / "train")] == ["shard-000001.tar"]
    assert check_folder(tmp_path / "dev") == []
    assert check_folder(tmp_path) == check_folder(tmp_path / "train")
    (tmp_path / ".unfinished").mkdir()
    assert [(Path(f.shard).name, f.kind) for f in check_folder(tmp_path / "dev")] == [(".unfinished", "unfinished set")]


def test_folders_are_taken_as_they_are_and_the_parts_of_a_split_with_them(tmp_path: Path) -> None:
    names = ["set/train/a.tar", "set/dev/b.tar", "plain/c.tar", "plain/.partial_d.tar", "plain/below/e.tar", "f.tar"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "plain" / "report.json").write_text('{"shards": ["missing.tar"]}')
    shards, folders = find_all([str(tmp_path / name) for name in ("plain", "set", "*.tar", "f.tar")])
    assert [str(shard.relative_to(tmp_path)) for shard in shards] == sorted([*names[:3], "f.tar"])
    assert [str(folder.relative_to(tmp_path)) for folder in folders] == ["plain", "set", "set/dev", "set/train"]
    with pytest.raises(DataError, match="nowhere"):
        find_all([str(tmp_path / "plain"), str(tmp_path / "nowhere")])
    (tmp_path / "plain" / "c.tar").unlink()
    (tmp_path / "plain" / "below").rename(tmp_path / "plain" / ".unfinished")
    (tmp_path / "plain" / "report.json").unlink()
    with pytest.raises(DataError, match="plain"):
        find_all([str(tmp_path / "plain")])


@pytest.mark.usefixtures("inline")
def test_a_missing_shard_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    write_shard(tmp_path / "set" / "train" / "shard-000000.tar", {"a": {"flac": b"bad"}})
    (tmp_path / "set" / "report.json").write_text('{"shards": ["train/shard-000000.tar", "train/shard-000001.tar"]}')
    with pytest.raises(DataError, match=r"(?s)3 problems in 2 files.*corrupt audio: 1.*missing shard: 1"):
        run(VerifyConfig(shards=[str(tmp_path / "set")]))


@pytest.mark.parametrize("content", ["", "[]", '{"shards": [1]}', '{"shards": 3}', "{}"])
def test_a_report_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    assert [f.kind for f in check_folder(tmp_path)] == ["unreadable report"]


def test_the_numbering_of_shards_made_elsewhere_is_their_own(tmp_path: Path) -> None:
    (tmp_path / "train-000007.tar").touch()
    assert check_folder(tmp_path) == []


def kill_at_b(task: ShardTask) -> ShardResult:
    """Check a shard, or end the process as the kernel does when memory runs out."""
    if task.shard.name == "b.tar":
        os.kill(os.getpid(), signal.SIGKILL)
    return check_shard(task)


def test_a_shard_that_kills_its_process_is_named_and_the_others_are_checked(tmp_path: Path) -> None:
    tasks = [ShardTask(write_shard(tmp_path / f"{n}.tar", samples_of(1, n)), True, False) for n in "bc"]
    results = {result.shard.stem: result for result in check_in_processes(tasks, 1, kill_at_b)}
    [finding] = results["b"].findings
    assert (finding.kind, finding.shard) == ("killed its process", str(tmp_path / "b.tar"))
    assert "memory ran out" in finding.detail
    assert (results["c"].num_samples, results["c"].findings) == (1, [])


@pytest.mark.usefixtures("inline")
def test_a_set_made_by_webdataset_gets_its_index_and_can_be_read(tmp_path: Path) -> None:
    import webdataset  # imports torch, which the processes that import this module do not need

    samples = {
        "a": {"flac": encoded(0), "json": b'{"text": "one", "speaker": "s"}'},
        "b": {"wav": encoded(1, format="WAV"), "txt": b"\xef\xbb\xbftwo \r\n lines\n"},
        "c": {"OGG": encoded(2, format="OGG", subtype="VORBIS"), "transcript": b"three\n", "json": b"{}"},
        "d": {"opus": encoded(3, format="OGG", subtype="OPUS"), "json": b'{"text": "four"}', "txt": b"not this"},
        "e": {"mp3": encoded(4, format="MP3", subtype="MPEG_LAYER_III")},
    }
    with webdataset.ShardWriter(str(tmp_path / "x-%03d.tar"), maxcount=2, encoder=False, verbose=0) as writer:
        for key, members in samples.items():
            writer.write({"__key__": key, **members})
    report = run(VerifyConfig(shards=[str(tmp_path)], write_index=True))
    assert (report.num_shards, report.num_samples, report.num_indexes_written) == (3, 5, 3)
    corpus = read_corpus([str(tmp_path)], with_texts=True)
    texts = ["one", "two lines", "three", "four", None]
    assert [(ref.key, ref.num_samples) for ref in corpus] == [(key, 1600) for key in samples]
    assert list(corpus.texts or ()) == [text or "" for text in texts]
    for ref, members, text in zip(corpus, samples.values(), texts, strict=True):
        sample = read_sample(ref, RATE)
        assert (sample.text, sample.speaker) == (text, "s" if ref.key == "a" else None)
        audio = next(data for suffix, data in members.items() if suffix.lower() in MEMBER_SUFFIXES)
        np.testing.assert_allclose(sample.audio, soundfile.read(io.BytesIO(audio), dtype="float32")[0], atol=1e-6)
    assert run(VerifyConfig(shards=[str(tmp_path)])).findings == []


def test_samples_are_put_together_as_webdataset_does(tmp_path: Path) -> None:
    import webdataset

    names = ["a.flac", "a.json", "x/b.1.flac", "x.y/b.flac", "c.json", "d.WAV", "__skip__/e.flac", ".f", "a.flac"]
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    ours = [(s.key, set(s.members)) for s in scan_tar(tmp_path / "s.tar").samples]
    theirs = webdataset.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False, empty_check=False)
    assert ours == [(s["__key__"], {name for name in s if not name.startswith("__")}) for s in theirs]


@pytest.mark.usefixtures("inline")
def test_problems_are_counted_named_and_written_down(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_shard(shard.with_name("shard-000001.tar"), {f"v{i}": {"flac": b"bad"} for i in range(5)})
    (shard.parent / ".partial_x").touch()
    report = shard.parent.parent / "out" / "findings.json"
    assert cli.main(["verify", str(shard.parent), "--report", str(report), "--write_index"]) == 2
    said = capsys.readouterr().err
    assert "7 problems in 2 files; 2 shards, 9 samples, 0.00 hours in all:" in said
    assert "  corrupt audio: 5\n" in said
    first = f"    {other}: v0 at byte 0: cannot be decoded (Format not recognised); make the shard again\n"
    assert first in said
    assert said.count(": cannot be decoded") == 3
    assert "  no index: 1\n" in said
    assert "  leftover file: 1\n" in said
    assert f"All of them are in {report}." in said
    table, _, _ = said.partition("speechssl: error")
    assert "v0 at byte 0" in table
    content = json.loads(report.read_text())
    assert [finding["kind"] for finding in content["findings"]].count("corrupt audio") == 5
    assert content["findings"][0] == {
        "shard": str(other),
        "kind": "corrupt audio",
        "key": "v0",
        "offset": 0,
        "detail": "cannot be decoded (Format not recognised); make the shard again",
    }
    assert not index_path(other).exists()


@pytest.mark.usefixtures("inline")
def test_names_with_markup_or_odd_characters_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = write_shard(tmp_path / "a[red].tar", {"k[b]\n\udcff": {"flac": encoded(0)}})
    with pytest.raises(DataError, match=r"'k\[b\]\\n\\udcff' at byte 0"):
        run(VerifyConfig(shards=[str(tmp_path)], report=tmp_path / "findings.json"))
    said = capsys.readouterr().err
    assert "a[red].tar" in said.replace("\n", "")
    assert "k[b]" in said.partition("speechssl: error")[0]
    assert json.loads((tmp_path / "findings.json").read_text())["findings"][0]["shard"] == str(shard)


@pytest.mark.usefixtures("inline")
def test_only_missing_and_stale_indexes_are_written(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = index_path(shard).read_bytes()
    other = write_shard(shard.with_name("shard-000001.tar"), samples_of(2, "v"))
    with pytest.raises(DataError, match=r"no index: 1\n.*no shard-000001.tar.index beside it; if the shard is right"):
        run(VerifyConfig(shards=[str(shard.parent)]))
    report = run(VerifyConfig(shards=[str(shard.parent)], decode=False, write_index=True))
    assert (report.num_indexes_written, report.findings) == (1, [])
    assert "wrote 1 indexes" in capsys.readouterr().err
    assert index_path(shard).read_bytes() == before
    assert read_index(other).key_hashes.tolist() == [key_hash("v0"), key_hash("v1")]


@pytest.mark.usefixtures("inline")
def test_an_index_is_written_only_after_decoding_and_once_the_set_has_been_seen(shard: Path) -> None:
    write_shard(shard.with_name("shard-000001.tar"), samples_of(1))
    write_shard(shard.with_name("shard-000002.tar"), samples_of(1, "v"))
    corrupted(shard.with_name("shard-000002.tar"), "v0.flac")
    with pytest.raises(DataError, match=r"(?s)corrupt audio: 1.*key in two shards: 1|key in two.*corrupt audio: 1"):
        run(VerifyConfig(shards=[str(shard.parent)], decode=False, write_index=True))
    assert sorted(path.name for path in shard.parent.iterdir()) == [
        "shard-000000.tar",
        "shard-000000.tar.index",
        "shard-000001.tar",
        "shard-000002.tar",
    ]


@pytest.mark.usefixtures("inline")
def test_an_index_that_cannot_be_written_is_named(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("speechssl.data.verify.indexes.write_index", full)
    without_index(shard)
    with pytest.raises(DataError, match=r"index not written: 1\n.*No space left on device"):
        run(VerifyConfig(shards=[str(shard)], write_index=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": []}, "shards is empty; name shard files"),
        ({"num_workers": -1}, "num_workers is -1, expected 0"),
        ({"report": "SET/report.json"}, "report.json is where the set's own report lies"),
        ({"report": "SET/../report.json"}, "report.json is where the set's own report lies"),
        ({"report": "SET"}, "set is a folder, expected a file"),
        ({"report": "SET/shard-000000.tar/x.json"}, "cannot be made"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_read(
    shard: Path, options: dict[str, object], message: str
) -> None:
    values = {"shards": [str(shard)]} | options
    if "report" in values:
        values["report"] = Path(str(values["report"]).replace("SET", str(shard.parent)))
    with pytest.raises(ConfigError, match=message):
        run(VerifyConfig(**values))


def mutate(data: bytes, draws: np.random.Generator) -> bytes:
    """Flip, delete, insert, cut off or double a piece, at blocks of a tar half of the time."""
    unit = int(draws.choice([1, BLOCK]))
    start = int(draws.integers(len(data))) // unit * unit
    stop = start + unit * int(draws.integers(1, 6))
    match draws.integers(5):
        case 0:
            return data[:start] + bytes([data[start] ^ (1 << int(draws.integers(8)))]) + data[start + 1 :]
        case 1:
            return data[:start] + data[stop:]
        case 2:
            return data[:start] + draws.bytes(stop - start) + data[start:]
        case 3:
            return data[:start]
        case _:
            return data[:stop] + data[start:]


def test_a_mutation_is_named_or_does_no_harm(original: Path, tmp_path: Path) -> None:
    shard = Path(shutil.copytree(original, tmp_path / "set")) / "shard-000000.tar"
    expected, expected_texts = read_all(shard), list(read_corpus([str(shard)], with_texts=True).texts or ())
    contents = {path: path.read_bytes() for path in (shard, index_path(shard))}
    draws = np.random.default_rng(0)
    num_named = 0
    for _ in range(200):
        for path, data in contents.items():
            path.write_bytes(data)
        target = (shard, index_path(shard))[int(draws.integers(2))]
        target.write_bytes(mutate(contents[target], draws))
        findings = findings_of(check(shard))
        num_named += bool(findings)
        assert all(finding.kind and finding.detail and finding.shard == str(shard) for finding in findings)
        if target.read_bytes() != contents[target] and target == shard:
            assert findings
        if not findings:
            assert_same(read_all(shard), expected)
            assert list(read_corpus([str(shard)], with_texts=True).texts or ()) == expected_texts
    assert num_named > 150


def test_without_an_index_a_mutation_is_named_or_leaves_the_audio_as_it_is(original: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shard-000000.tar"
    data = (original / shard.name).read_bytes()
    audio_of = {sample.key: sample.audio for sample in read_all(original / shard.name)}
    draws = np.random.default_rng(1)
    num_named = 0
    for _ in range(200):
        shard.write_bytes(mutate(data, draws))
        result = check(shard, write_index=True)
        num_named += bool(result.findings)
        if not result.findings:
            assert publish_index(result)
            for sample in read_all(shard):
                np.testing.assert_array_equal(sample.audio, audio_of[sample.key])
            index_path(shard).unlink()
    assert num_named > 100
