"""Make the quickstart corpus: about a hundred words spoken by synthetic voices, the same bytes on every machine.

    python recipes/quickstart/local/make_corpus.py OUT [--jobs N] [--seed 0]

writes 16 kHz, 16-bit mono WAV files below OUT/audio and tab-separated lists with the columns path, speaker, seconds
and text: `pretrain.tsv` (about 40 minutes, the text left empty), `train.tsv` (5 of those minutes, transcribed),
`dev.tsv` (3) and `test.tsv` (11). The voices of pretrain.tsv, dev.tsv and test.tsv are disjoint.

**The same bytes everywhere.** The speech comes from espeak-ng in the wheel `espeakng-loader` 0.2.4, whose voice data
are equal on every platform, and from that part of its synthesiser that draws no random numbers and calls no function of
the mathematics library while it speaks (see `speakers.py`): it works in integers, but for formant tracks interpolated
in IEEE double precision, in expressions that a compiler cannot contract to fused multiply-adds. Choices come from raw
PCG64 words (`draws.py`), and rooms, lines and noise are 64-bit integer arithmetic (`acoustics.py`). The wheels for
Linux on x86-64 and on arm64 were compared and speak alike to the bit; those for macOS carry the same data and, by their
machine code, the same arithmetic, but were not run. So the digest of the result is compared with the one below, and a
difference is reported.

**Licence.** espeak-ng is a GPL-3 program that runs here as a tool, in a process of its own. No part of it is in this
project, and the sound that it makes is not covered by its licence.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from acoustics import SAMPLE_RATE, record
from draws import Draws
from phrases import PhraseBook, spoken
from speakers import Speaker, draw_speaker
from synthesis import SynthesisError, copy_data, speak

WHEEL, WHEEL_VERSION = "espeakng-loader", "0.2.4"
EXPECTED_DIGEST = "8596d08a0b7a32991ff3d765772c9ec1376a44f8fdf2652c49f404d708c695d6"
"""SHA-256 of the corpus of seed 0 (see `corpus_digest`)."""

_RECORD = "corpus.json"
_LONGEST_PATH = 140
_HEADER = "path\tspeaker\tseconds\ttext\n"


class CorpusError(Exception):
    """The corpus cannot be made here; the message says what is missing."""


class Part(NamedTuple):
    """Voices of one kind and how many utterances each speaks, first `transcribed` ones, then `untranscribed` ones."""

    stream: int
    """Number of its random stream; 3 was the test set while the recipe was being developed."""
    name: str
    num_speakers: int
    transcribed: int
    untranscribed: int


PARTS = (
    Part(0, "train", 23, 4, 12),
    Part(1, "more", 22, 0, 16),
    Part(2, "dev", 8, 7, 0),
    Part(4, "test", 30, 7, 0),
)


class Session(NamedTuple):
    """Everything one voice says."""

    part: Part
    speaker: Speaker
    texts: tuple[str, ...]
    draws: tuple[int, ...]
    """Name of the random stream of this voice's rooms and noises."""


class Utterance(NamedTuple):
    """One recording as it stands in a list."""

    path: str
    speaker: str
    num_samples: int
    text: str
    part: str
    transcribed: bool


class Studio(NamedTuple):
    """Where espeak-ng is and where recordings go."""

    library: Path
    data: Path
    output: Path


def plan_sessions(seed: int) -> list[Session]:
    """All voices and their texts; a function of the seed alone."""
    sessions = []
    for part in PARTS:
        key = (seed, part.stream)
        transcribed, untranscribed = PhraseBook(Draws(*key, 0)), PhraseBook(Draws(*key, 1))
        for number in range(part.num_speakers):
            speaker = draw_speaker(f"{part.name}{number:02d}", number, Draws(*key, 2, number))
            texts = [transcribed.deal() for _ in range(part.transcribed)]
            texts += [untranscribed.deal() for _ in range(part.untranscribed)]
            sessions.append(Session(part, speaker, tuple(texts), (*key, 3, number)))
    return sessions


def record_session(studio: Studio, session: Session) -> list[Utterance]:
    """Let one voice speak, and write its recordings."""
    speaker = session.speaker
    dry_waves = speak(
        studio.library,
        studio.data,
        voice=f"{speaker.accent}+{speaker.name}",
        rate=speaker.rate,
        pitch_range=speaker.pitch_range,
        word_gap=speaker.word_gap,
        texts=[spoken(text) for text in session.texts],
    )
    folder = studio.output / "audio" / speaker.name
    folder.mkdir(parents=True)
    utterances = []
    for number, (text, dry) in enumerate(zip(session.texts, dry_waves, strict=True)):
        audio = record(dry, Draws(*session.draws, number))
        name = f"{speaker.name}_{number:02d}.wav"
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, len(audio), "NONE", "not compressed"))
            file.writeframes(audio.astype("<i2").tobytes())
        path = f"audio/{speaker.name}/{name}"
        transcribed = number < session.part.transcribed
        utterances.append(Utterance(path, speaker.name, len(audio), text, session.part.name, transcribed))
    return utterances


def write_lists(utterances: list[Utterance], output: Path) -> dict[str, list[Utterance]]:
    """Write the four lists; return what stands in each."""
    pretrain = [u._replace(text="") for u in utterances if u.part in ("train", "more")]
    lists = {"pretrain": pretrain}
    for name in ("train", "dev", "test"):
        lists[name] = [u for u in utterances if u.part == name and u.transcribed]
    for name, members in lists.items():
        lines = [f"{u.path}\t{u.speaker}\t{u.num_samples / SAMPLE_RATE:.3f}\t{u.text}\n" for u in members]
        (output / f"{name}.tsv").write_text(_HEADER + "".join(lines), encoding="ascii", newline="\n")
    return lists


def corpus_digest(corpus: Path) -> str:
    """SHA-256 over the four lists and the PCM of every file they name, in their order."""
    digest = hashlib.sha256()
    for name in ("pretrain", "train", "dev", "test"):
        text = (corpus / f"{name}.tsv").read_bytes()
        digest.update(text)
        for line in text.decode("ascii").splitlines()[1:]:
            with wave.open(str(corpus / line.split("\t")[0]), "rb") as file:
                digest.update(file.readframes(file.getnframes()))
    return digest.hexdigest()


def recipe_fingerprint() -> str:
    """SHA-256 of the program text that decides what a corpus contains."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).resolve().parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def is_complete(corpus: Path, seed: int) -> bool:
    """Whether `corpus` holds what this program makes for the seed, every byte of it.

    Raises CorpusError when it holds something else than a corpus.
    """
    if not corpus.exists() or (corpus.is_dir() and not any(corpus.iterdir())):
        return False
    try:
        made = json.loads((corpus / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{corpus} is there but is no corpus of this program ({error}). It was left alone: give another folder, "
            "or move it away."
        ) from error
    if made.get("seed") != seed or made.get("recipe") != recipe_fingerprint():
        print(f"{corpus} is of another seed or version: it will be replaced")
        return False
    try:
        if corpus_digest(corpus) == made.get("digest"):
            return True
    except (OSError, EOFError, ValueError, wave.Error):
        pass
    print(f"{corpus} is damaged: it will be replaced")
    return False


def find_espeak() -> tuple[Path, Path]:
    """The library and the data of espeak-ng.

    Raises CorpusError when the wheel is missing or its library does not load here.
    """
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    advice = f"{sys.executable} -m pip install {WHEEL}=={WHEEL_VERSION}"
    platforms = "There are wheels for Linux (glibc; x86-64, arm64), macOS (Intel, Apple) and Windows."
    try:
        import espeakng_loader

        version = importlib.metadata.version(WHEEL)
        library, data = Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
        ctypes.CDLL(str(library))
    except ImportError as error:
        raise CorpusError(
            f"The voices come from the package {WHEEL}, which is missing ({error}). Run\n  {advice}\n"
            f"This is {machine}. {platforms}"
        ) from error
    except (OSError, RuntimeError) as error:
        raise CorpusError(
            f"espeak-ng of the package {WHEEL} cannot be loaded on this machine ({machine}): {error}\n{platforms} "
            f"If yours is among them, install it again:\n  {advice} --force-reinstall"
        ) from error
    if version != WHEEL_VERSION:
        print(f"Warning: {WHEEL} is {version}, not {WHEEL_VERSION}: it may speak differently. Run\n  {advice}")
    return library, data


def make_corpus(output: Path, *, seed: int, num_jobs: int) -> str:
    """Make the corpus in `output` unless it is there already; return its digest.

    It grows in `output`.partial and is renamed when complete, so that `output` is never half a corpus.
    """
    if is_complete(output, seed):
        print(f"{output} is already there, complete")
        return corpus_digest(output)
    library, data = find_espeak()
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    sessions = plan_sessions(seed)
    with tempfile.TemporaryDirectory(prefix="espeak") as folder:
        studio = Studio(library, Path(folder) / "espeak-ng-data", partial)
        if len(os.fsencode(studio.data)) > _LONGEST_PATH:
            raise CorpusError(f"espeak-ng cannot read data below {folder}: set TMPDIR to a folder with a shorter name")
        copy_data(data, studio.data, {s.speaker.name: s.speaker.variant for s in sessions})
        utterances = _record_all(studio, sessions, num_jobs)
    lists = write_lists(utterances, partial)
    digest = corpus_digest(partial)
    made = {"seed": seed, "recipe": recipe_fingerprint(), "digest": digest}
    (partial / _RECORD).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    if output.exists():
        shutil.rmtree(output)
    partial.rename(output)
    _summarise(lists)
    return digest


def _record_all(studio: Studio, sessions: list[Session], num_jobs: int) -> list[Utterance]:
    utterances: list[Utterance] = []
    # Threads suffice: each voice speaks in a process of its own, and NumPy works outside the interpreter's lock.
    with ThreadPoolExecutor(num_jobs) as pool:
        try:
            for done, recorded in enumerate(pool.map(functools.partial(record_session, studio), sessions), 1):
                utterances += recorded
                _show_progress(done, len(sessions), utterances)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return utterances


def _show_progress(done: int, total: int, utterances: list[Utterance]) -> None:
    minutes = sum(u.num_samples for u in utterances) / SAMPLE_RATE / 60
    line = f"{done} of {total} voices, {minutes:.0f} minutes of speech"
    if sys.stdout.isatty():
        print(f"\r{line}", end="\n" if done == total else "", flush=True)
    elif done % 12 == 0 or done == total:
        print(line, flush=True)


def _summarise(lists: dict[str, list[Utterance]]) -> None:
    vocabulary = {word for members in lists.values() for u in members for word in u.text.split()}
    print(f"vocabulary: {len(vocabulary)} words")
    print(f"{'list':<10}{'minutes':>8}{'utterances':>12}{'voices':>8}{'words':>8}")
    for name, members in lists.items():
        minutes = sum(u.num_samples for u in members) / SAMPLE_RATE / 60
        words = sum(len(u.text.split()) for u in members)
        print(f"{name:<10}{minutes:>8.1f}{len(members):>12}{len({u.speaker for u in members}):>8}{words or '-':>8}")


def report_digest(digest: str, seed: int) -> None:
    """Say whether the corpus is the one whose figures the README gives."""
    print(f"digest: {digest}")
    if seed == 0 and digest != EXPECTED_DIGEST:
        print(
            f"WARNING: the digest of this corpus is not the expected\n        {EXPECTED_DIGEST}\n"
            f"espeak-ng speaks differently on this machine ({platform.system()} {platform.machine()}), or this\n"
            "program was changed. The corpus works, but results are not comparable to the digit with those published.",
            file=sys.stderr,
        )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 2 when the corpus cannot be made, 130 when interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("output", type=Path, metavar="OUT", help="folder of the corpus; a complete one is left alone")
    jobs_help = "voices at work at once; does not change the result (default: %(default)s)"
    parser.add_argument("--jobs", type=_positive, default=min(os.cpu_count() or 1, 8), metavar="N", help=jobs_help)
    parser.add_argument("--seed", type=int, default=0, help="another seed, other voices and texts (default: 0)")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    # A kill ends like Ctrl-C: voices that are speaking finish, and the temporary folder goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        digest = make_corpus(options.output.absolute(), seed=options.seed, num_jobs=options.jobs)
    except (CorpusError, SynthesisError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command starts anew", file=sys.stderr)
        return 130
    report_digest(digest, options.seed)
    print(f"{options.output}: {time.monotonic() - started:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
