"""The CMU AN4 corpus in its two layouts, and audio of other sources beside it, as utterances."""

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from speechssl.audio.folders import find_audio
from speechssl.audio.reading import read_raw_pcm
from speechssl.errors import DataError

RAW_SAMPLE_RATE = 16000
NO_CORPUS = """{corpus} holds no AN4 corpus. Expected either of
  {corpus}/an4/etc/an4_train.fileids, as in the unpacked archive an4_sphere.tar.gz
  {corpus}/train.tsv and test.tsv, with the columns path, speaker, seconds, text
The archive is at http://www.speech.cs.cmu.edu/databases/an4/"""


@dataclass(frozen=True)
class Utterance:
    """A recording with what is known about it."""

    id: str
    path: Path
    speaker: str
    seconds: float
    text: str


def read_corpus(corpus: Path, converted: Path) -> tuple[list[Utterance], list[Utterance]]:
    """The training and the test set of a corpus in either layout.

    Args:
        corpus: Folder of the corpus.
        converted: Folder for recordings that have to be given a header first.

    Raises:
        DataError: no corpus is there, or files of it are missing or malformed; all of them are named.
    """
    for root in (corpus / "an4", corpus):
        if (root / "etc" / "an4_train.fileids").is_file():
            return read_archive_set(root, "train", converted), read_archive_set(root, "test", converted)
    if (corpus / "train.tsv").is_file() and (corpus / "test.tsv").is_file():
        return read_list(corpus / "train.tsv"), read_list(corpus / "test.tsv")
    raise DataError(NO_CORPUS.format(corpus=corpus))


def read_list(path: Path) -> list[Utterance]:
    """One set in the layout of ready-made lists."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    missing = {"path", "speaker", "seconds", "text"} - set(rows[0] if rows else ())
    if missing:
        raise DataError(f"{path}: no column {', '.join(sorted(missing))}; expected path, speaker, seconds, text")
    utterances = []
    for number, row in enumerate(rows, start=2):
        try:
            audio, seconds = path.parent / row["path"], float(row["seconds"])
            utterances.append(Utterance(audio.stem.removeprefix("an4_"), audio, row["speaker"], seconds, row["text"]))
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, line {number}: expected path, speaker, seconds, text: {error}") from error
    check_files(path, [utterance.path for utterance in utterances])
    return utterances


def read_archive_set(root: Path, name: str, converted: Path) -> list[Utterance]:
    """One set in the layout of the archive; raw files are converted to FLAC."""
    list_path = root / "etc" / f"an4_{name}.fileids"
    file_ids = list_path.read_text(encoding="utf-8").split()
    texts = read_transcription(root / "etc" / f"an4_{name}.transcription")
    audio = [find_recording(root / "wav" / file_id) for file_id in file_ids]
    check_files(list_path, audio)
    silent = [file_id for file_id in file_ids if Path(file_id).name not in texts]
    if silent:
        raise DataError(f"{root}/etc/an4_{name}.transcription: no transcript of {summary(silent)}")
    if any(path.suffix == ".raw" for path in audio):
        big_endian = is_big_endian(audio)
        audio = [convert_raw(path, converted, big_endian=big_endian) for path in audio]
    utterances = []
    for file_id, path in zip(file_ids, audio, strict=True):
        key = Path(file_id).name
        utterances.append(Utterance(key, path, Path(file_id).parent.name, duration(path), texts[key]))
    return utterances


def duration(path: Path) -> float:
    """Seconds of a recording."""
    try:
        return float(soundfile.info(path).duration)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: not a readable recording ({error}); unpack or fetch it again") from error


def read_transcription(path: Path) -> dict[str, str]:
    """Transcripts by utterance, from lines such as ``<s> RUBOUT G M </s> (an406-fcaw-b)``."""
    if not path.is_file():
        raise DataError(f"{path} is missing: it holds the transcripts of {path.stem}")
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        parts = re.fullmatch(r"(?P<words>.*)\((?P<id>[^()\s]+)\)\s*", line)
        if parts:
            words = [word for word in parts["words"].split() if not re.fullmatch(r"<.*>|\+\+.*\+\+", word)]
            texts[parts["id"]] = " ".join(words)
        elif line.strip():
            raise DataError(f"{path}, line {number}: expected WORDS (utterance), found {line!r}")
    return texts


def find_recording(stem: Path) -> Path:
    """The recording of an id of the archive; the SPHERE name if there is none."""
    candidates = [stem.with_name(stem.name + suffix) for suffix in (".sph", ".raw", ".wav")]
    return next((path for path in candidates if path.is_file()), candidates[0])


def check_files(listed_in: Path, paths: Iterable[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{listed_in}: {len(missing)} of the recordings are missing: {summary(missing)}")


def summary(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:3])) + (f" and {len(items) - 3} more" if len(items) > 3 else "")


def is_big_endian(paths: Sequence[Path]) -> bool:
    """Byte order of raw files: in the wrong one, speech turns into noise over the whole range.

    The archive of raw files is big-endian, but CMU has published a little-endian one in the same layout.
    """
    loudness = {True: 0.0, False: 0.0}
    for path in paths[:20]:
        for big_endian in loudness:
            loudness[big_endian] += float(
                abs(read_raw_pcm(path, sample_rate=RAW_SAMPLE_RATE, big_endian=big_endian)).mean()
            )
    return loudness[True] <= loudness[False]


def convert_raw(path: Path, folder: Path, *, big_endian: bool) -> Path:
    """A FLAC of the same samples as a headerless file of 16-bit samples."""
    target = folder / f"{path.stem}.flac"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{path.stem}.part.flac"
        samples = read_raw_pcm(path, sample_rate=RAW_SAMPLE_RATE, big_endian=big_endian)
        soundfile.write(unfinished, samples, RAW_SAMPLE_RATE)
        unfinished.rename(target)
    return target


def read_untranscribed(source: Path, number: int) -> list[Utterance]:
    """More audio for pretraining: a list with a column path, and speaker and seconds where they are known, or a folder.

    Recordings whose speaker is not known count as of a speaker each.

    Args:
        source: a list or a folder.
        number: of the source, for names that no other has.

    Raises:
        DataError: nothing is there, or recordings are missing or cannot be read.
    """
    if source.is_dir():
        rows = [{"path": str(path.relative_to(source))} for path in find_audio([source])]
        root = source
    else:
        if not source.is_file():
            raise DataError(f"{source}: no such list or folder of untranscribed audio")
        with source.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        root = source.parent
    if not rows or not all(row.get("path") for row in rows):
        raise DataError(
            f"{source}: expected a header with the column path, and a path in each line, tabs between columns"
        )
    check_files(source, [root / row["path"] for row in rows])
    found = []
    for row in rows:
        key = f"more{number}-{hashlib.sha256(row['path'].encode()).hexdigest()[:20]}"
        seconds = row.get("seconds") or duration(root / row["path"])
        try:
            found.append(Utterance(key, root / row["path"], row.get("speaker") or key, float(seconds), ""))
        except ValueError as error:
            raise DataError(f"{source}: {row['path']} has {seconds!r} seconds, expected a number") from error
    return found
