"""The lists of the AN4 recipe, from both layouts of the corpus."""

import csv
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from speechssl.errors import DataError

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "an4"
sys.path.insert(0, str(RECIPE / "local"))
SPEAKERS = {"train": ["fash", "fbbh", "mblb", "mcen", "mmap"], "test": ["fcaw", "menk"]}
UTTERANCES_EACH = 6


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    return importlib.import_module("prepare")


def speech_like(name: str) -> np.ndarray:
    """16-bit samples that are mostly quiet and smooth, as speech is: one to two seconds, other ones for every name."""
    generator = np.random.default_rng(list(name.encode()))
    noise = generator.normal(size=int(generator.integers(16000, 32000)))
    samples = (300 * np.convolve(noise, np.ones(8) / 8, mode="same")).astype(np.int16)
    samples[:3] = (-32768, 32767, 21846)
    return samples


def utterances() -> list[tuple[str, str, str]]:
    return [
        (part, speaker, f"an{100 * index + number}-{speaker}-b")
        for part, speakers in SPEAKERS.items()
        for index, speaker in enumerate(speakers)
        for number in range(UTTERANCES_EACH)
    ]


def make_archive(folder: Path, suffix: str) -> Path:
    """The layout of the unpacked archive; .raw is big-endian, .little.raw is not."""
    etc = folder / "an4" / "etc"
    etc.mkdir(parents=True)
    for part, speaker, name in utterances():
        clustered = "an4_clstk" if part == "train" else "an4test_clstk"
        stem = folder / "an4" / "wav" / clustered / speaker / name
        stem.parent.mkdir(parents=True, exist_ok=True)
        samples = speech_like(name)
        if suffix == ".sph":
            soundfile.write(f"{stem}.sph", samples, 16000, format="NIST", subtype="PCM_16")
        else:
            samples.astype(">i2" if suffix == ".raw" else "<i2").tofile(f"{stem}.raw")
        with (etc / f"an4_{part}.fileids").open("a") as ids:
            ids.write(f"{clustered}/{speaker}/{name}\n")
        with (etc / f"an4_{part}.transcription").open("a") as texts:
            texts.write(f"<s> GO {name[2:4]}  </s> ({name})\n" if part == "train" else f"GO {name[2:4]} ({name})\n")
    return folder


def make_lists(folder: Path) -> Path:
    """The layout of ready-made lists."""
    (folder / "audio").mkdir(parents=True)
    for part in SPEAKERS:
        lines = ["path\tspeaker\tseconds\ttext"]
        for in_part, speaker, name in utterances():
            if in_part == part:
                samples = speech_like(name)
                soundfile.write(folder / "audio" / f"an4_{name}.flac", samples, 16000)
                lines.append(f"audio/an4_{name}.flac\t{speaker}\t{len(samples) / 16000:.3f}\tGO {name[2:4]}")
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(autouse=True)
def small_amounts(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "DEV_MINUTES", 0.2)
    monkeypatch.setattr(prepare, "LABELLED_MINUTES", 0.2)


@pytest.mark.parametrize("suffix", [".sph", ".raw", ".little.raw"])
def test_archive_gives_the_same_lists_and_samples_as_ready_made_ones(
    prepare: ModuleType, tmp_path: Path, suffix: str
) -> None:
    prepare.prepare(make_lists(tmp_path / "lists"), tmp_path / "from_lists" / "manifests")
    prepare.prepare(make_archive(tmp_path / "archive", suffix), tmp_path / "from_archive" / "manifests")
    for name in ("pretrain", "train_full", "train_10min", "dev", "test"):
        expected = rows(tmp_path / "from_lists" / "manifests" / f"{name}.tsv")
        found = rows(tmp_path / "from_archive" / "manifests" / f"{name}.tsv")
        without_path = [[{**row, "path": ""} for row in table] for table in (found, expected)]
        assert without_path[0] == without_path[1]
        for row in found:
            samples, sample_rate = soundfile.read(row["path"], dtype="int16")
            assert sample_rate == 16000
            assert np.array_equal(samples, speech_like(row["id"]))


def test_folder_of_the_archive_itself_will_do(prepare: ModuleType, tmp_path: Path) -> None:
    corpus = make_archive(tmp_path / "archive", ".sph") / "an4"
    prepare.prepare(corpus, tmp_path / "exp" / "manifests")
    assert len(rows(tmp_path / "exp" / "manifests" / "test.tsv")) == 2 * UTTERANCES_EACH


def test_sets_do_not_share_speakers_and_nothing_is_lost(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.prepare(make_lists(tmp_path / "corpus"), tmp_path / "exp" / "manifests")
    tables = {path.stem: rows(path) for path in (tmp_path / "exp" / "manifests").iterdir()}
    speakers = {name: {row["speaker"] for row in table} for name, table in tables.items()}
    assert speakers["dev"]
    assert not speakers["dev"] & speakers["train_full"]
    assert speakers["dev"] | speakers["train_full"] == set(SPEAKERS["train"])
    assert speakers["test"] == set(SPEAKERS["test"])
    assert len(tables["dev"]) + len(tables["train_full"]) == len(SPEAKERS["train"]) * UTTERANCES_EACH
    assert [row["id"] for row in tables["pretrain"]] == [row["id"] for row in tables["train_full"]]
    assert "text" not in tables["pretrain"][0]


def test_labelled_minutes_are_spread_over_all_speakers(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.prepare(make_lists(tmp_path / "corpus"), tmp_path / "exp" / "manifests")
    full = rows(tmp_path / "exp" / "manifests" / "train_full.tsv")
    labelled = rows(tmp_path / "exp" / "manifests" / "train_10min.tsv")
    assert all(row in full for row in labelled)
    seconds = [float(row["seconds"]) for row in labelled]
    assert 12 <= sum(seconds) <= 12 + max(seconds)
    counts = [sum(row["speaker"] == speaker for row in labelled) for speaker in {row["speaker"] for row in full}]
    assert max(counts) - min(counts) <= 1


def test_choices_do_not_depend_on_the_order_of_the_corpus(prepare: ModuleType) -> None:
    items = [
        prepare.Utterance(name, Path(f"{name}.flac"), speaker, len(speech_like(name)) / 16000, "GO")
        for _, speaker, name in utterances()
    ]
    chosen = {item.id for item in prepare.select_labelled(items, 0.3, 0)}
    assert {item.id for item in prepare.select_labelled(items[::-1], 0.3, 0)} == chosen
    assert {item.id for item in prepare.select_labelled(items, 0.3, 1)} != chosen
    assert prepare.hold_out_speakers(items, 0.3, 0) == prepare.hold_out_speakers(items[::-1], 0.3, 0)


def amount(folder: Path, hours: str) -> set[Path]:
    return {Path(row["path"]) for row in rows(folder / f"pretrain_{hours}h.tsv")}


def test_amounts_of_untranscribed_audio_are_nested_and_take_the_corpus_first(
    prepare: ModuleType, tmp_path: Path
) -> None:
    corpus, lists = make_lists(tmp_path / "corpus"), tmp_path / "exp" / "manifests"
    for number in range(4):
        path = tmp_path / "more" / "a" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(32000), 16000)
    (tmp_path / "listed.tsv").write_text("path\n" + "".join(f"more/a/{number}.wav\n" for number in range(4)))
    prepare.prepare(corpus, lists)
    most = f"{(sum(float(row['seconds']) for row in rows(lists / 'pretrain.tsv')) + 3) / 3600:.6f}"
    for source in (tmp_path / "more", tmp_path / "listed.tsv"):
        prepare.prepare(corpus, lists, hours=["0.002", "0.004", most], untranscribed=[source])
        few, some, many = (amount(lists, hours) for hours in ("0.002", "0.004", most))
        own = {Path(row["path"]) for row in rows(lists / "pretrain.tsv")}
        assert few < some < own < many
        assert len(many - own) == 2  # of 2 s each
        assert {path.parent for path in many - own} == {tmp_path / "more" / "a"}
        assert 7.2 <= sum(float(row["seconds"]) for row in rows(lists / "pretrain_0.002h.tsv")) <= 9.2
        speakers = [row["speaker"] for row in rows(lists / "pretrain_0.002h.tsv")]
        assert max(map(speakers.count, speakers)) - min(map(speakers.count, speakers)) <= 1
        assert set(speakers) == {row["speaker"] for row in rows(lists / "pretrain.tsv")}


@pytest.mark.parametrize(
    ("hours", "listed", "message"),
    [
        (["0.002", "5"], "", r"there are 0\.0\d hours of untranscribed audio; 5 were asked for"),
        (["0.002", "0.00201"], "", "two of them come to the same recordings"),
        (["0.002"], "path\naudio/an4_an0-fcaw-b.flac\n", "an0-fcaw-b.flac: .* is held out or in the test set"),
        (["0.002"], "path\n../corpus/audio/an4_{train}.flac\n", "that is listed twice"),
        (["0.002"], "file\naudio/an4_an0-fcaw-b.flac\n", "expected a header with the column path"),
        (["0.002"], "path\tseconds\naudio/an4_an0-fcaw-b.flac\tlong\n", "has 'long' seconds, expected a number"),
        (["0.002"], "path\nnowhere.flac\n", "1 of the recordings are missing"),
        (["0.002"], None, "no such list or folder"),
    ],
)
def test_amounts_that_cannot_be_are_refused(
    prepare: ModuleType, tmp_path: Path, hours: list[str], listed: str | None, message: str
) -> None:
    corpus, lists = make_lists(tmp_path / "corpus"), tmp_path / "manifests"
    prepare.prepare(corpus, lists)
    more = corpus / "more.tsv"
    if listed:
        more.write_text(listed.format(train=rows(lists / "pretrain.tsv")[0]["id"]))
    with pytest.raises(DataError, match=message):
        prepare.prepare(corpus, lists, hours=hours, untranscribed=[] if listed == "" else [more])
    assert not list(lists.glob("pretrain_*"))


def test_folder_without_corpus_says_what_is_expected(prepare: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"an4/etc/an4_train\.fileids(.|\n)*train\.tsv(.|\n)*www\.speech\.cs\.cmu\.edu"):
        prepare.prepare(tmp_path, tmp_path / "manifests")


def test_missing_recordings_are_counted_and_named(prepare: ModuleType, tmp_path: Path) -> None:
    corpus = make_lists(tmp_path / "corpus")
    for path in sorted((corpus / "audio").glob("*-fash-b.flac")):
        path.unlink()
    message = f"{corpus}/train.tsv: {UTTERANCES_EACH} of the recordings are missing: {corpus}/audio/an4_an0-fash-b.flac"
    with pytest.raises(DataError, match=re.escape(message)):
        prepare.prepare(corpus, tmp_path / "manifests")


def test_missing_and_malformed_transcripts_are_named(prepare: ModuleType, tmp_path: Path) -> None:
    corpus = make_archive(tmp_path / "archive", ".sph")
    transcription = corpus / "an4" / "etc" / "an4_train.transcription"
    lines = transcription.read_text().splitlines()
    transcription.write_text("\n".join(lines[1:]))
    with pytest.raises(DataError, match=r"an4_train\.transcription: no transcript of an4_clstk/fash/an0-fash-b$"):
        prepare.prepare(corpus, tmp_path / "manifests")
    transcription.write_text("\n".join([*lines, "<s> GO </s>"]))
    with pytest.raises(
        DataError, match=rf"an4_train\.transcription, line {len(lines) + 1}: expected WORDS \(utterance\)"
    ):
        prepare.prepare(corpus, tmp_path / "manifests")


def test_malformed_list_is_named_with_its_line(prepare: ModuleType, tmp_path: Path) -> None:
    corpus = make_lists(tmp_path / "corpus")
    text = (corpus / "train.tsv").read_text()
    (corpus / "train.tsv").write_text(text.replace("seconds", "length"))
    with pytest.raises(DataError, match=r"train\.tsv: no column seconds"):
        prepare.prepare(corpus, tmp_path / "manifests")
    (corpus / "train.tsv").write_text(re.sub(r"\t[0-9.]+\t", "\tlong\t", text, count=1))
    with pytest.raises(DataError, match=r"train\.tsv, line 2: .*'long'"):
        prepare.prepare(corpus, tmp_path / "manifests")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("<s> RUBOUT G M E </s> (an406-fcaw-b)", "RUBOUT G M E"),
        ("YES (an406-fcaw-b)", "YES"),
        ("<s> ++NOISE++ STOP <sil> </s> (an406-fcaw-b) ", "STOP"),
    ],
)
def test_transcription_lines(prepare: ModuleType, tmp_path: Path, line: str, text: str) -> None:
    path = tmp_path / "an4_test.transcription"
    path.write_text(f"{line}\n\n")
    assert importlib.import_module("corpus").read_transcription(path) == {"an406-fcaw-b": text}


def test_lesser_amounts_of_labels_are_parts_of_greater_ones(prepare: ModuleType, tmp_path: Path) -> None:
    train = [prepare.Utterance(f"u{i}", tmp_path / f"u{i}.flac", f"s{i % 7}", 1 + i % 5, "A") for i in range(200)]
    chosen = [{item.id for item in prepare.select_labelled(train, minutes, 0)} for minutes in (1, 2, 5)]
    assert chosen[0] < chosen[1] < chosen[2]


def test_more_labels_than_there_are_is_an_error(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "DEV_MINUTES", 0.1)
    with pytest.raises(DataError, match="minutes are left to learn from; 30 were asked for, ask for fewer"):
        prepare.prepare(make_lists(tmp_path / "corpus"), tmp_path / "manifests", [1, 30])
    assert not (tmp_path / "manifests").exists()
