"""One round of self-training: a recogniser's transcripts of untranscribed recordings, those that it is sure of.

    python recipes/pseudo_labels.py RUN UNTRANSCRIBED.tsv DEV.tsv TRAIN.tsv FOLDER --max-wer 0.1

writes FOLDER/pseudo_labels.tsv, for ``speechssl shard``: the untranscribed list's rows with the columns text and
confidence, but for those that TRAIN.tsv has transcripts of. DEV.tsv chooses how sure is enough: as many are kept as can
be while the transcripts of DEV.tsv that would be kept have at most so many wrong words. FOLDER/pseudo_labels.json says
what was chosen; if nothing is kept, there is no list. A folder that is done is left alone. All lists are tab-separated
and have a column path, relative to the list; DEV.tsv has a column text.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from speechssl.config import TranscribeConfig
from speechssl.decoding.long_form import open_recording
from speechssl.errors import ConfigError, DataError, UserError
from speechssl.evaluation.pseudo_labels import Judged, Threshold, choose_threshold
from speechssl.outputs import write_json, write_whole
from speechssl.recogniser import Recogniser, Transcript, load_recogniser, transcribe_recordings
from speechssl.text.normalisation import clean_text
from speechssl.training.machine import configure_cpu

Row = dict[str, str]
LIST, SUMMARY = "pseudo_labels.tsv", "pseudo_labels.json"


def read_rows(path: Path) -> list[Row]:
    """Rows of a list, their paths as they are from here."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if rows and "path" not in rows[0]:
        raise DataError(f"{path}: no column path; expected a tab-separated list with a row of names")
    return [row | {"path": str((path.parent / row["path"]).resolve())} for row in rows]


def transcribe(recogniser: Recogniser, rows: Sequence[Row]) -> list[Transcript]:
    """Transcripts in the order of the rows."""
    problems: list[str] = []
    config = TranscribeConfig(recogniser.checkpoint.path, [])
    recordings = (open_recording(Path(row["path"]), None, recogniser.config) for row in rows)
    found = list(transcribe_recordings(recogniser, recordings, config, problems))
    if problems:
        raise DataError("\n".join(problems))
    return found


class Lists(NamedTuple):
    """What is transcribed, what chooses how much is kept, and what has transcripts."""

    untranscribed: Path
    dev: Path
    train: Path


def choose(recogniser: Recogniser, dev: Path, max_wer: float) -> Threshold | None:
    """How sure is enough, by held-out speech."""
    rows = read_rows(dev)
    found = transcribe(recogniser, rows)
    return choose_threshold(
        [Judged(clean_text(row["text"]), item.text, item.confidence) for row, item in zip(rows, found, strict=True)],
        max_wer,
    )


def label(run: Path, lists: Lists, folder: Path, max_wer: float) -> str:
    """Write the list and what was chosen; returns that in words."""
    recogniser = load_recogniser(run)
    threshold = choose(recogniser, lists.dev, max_wer)
    transcribed = {row["path"] for row in read_rows(lists.train)}
    rows = [row for row in read_rows(lists.untranscribed) if row["path"] not in transcribed]
    kept = []
    if threshold is not None:
        pairs = zip(rows, transcribe(recogniser, rows), strict=True)
        kept = [(row, item) for row, item in pairs if item.text and item.confidence >= threshold.confidence]
    write_list(folder / LIST, kept)
    minutes = sum(item.seconds for _, item in kept) / 60
    summary = {
        "recogniser": str(recogniser.checkpoint.path),
        "max_wer": max_wer,
        "confidence": threshold and threshold.confidence,
        "dev_wer": threshold and threshold.wer,
        "dev_kept": threshold and threshold.kept,
        "untranscribed": len(rows),
        "kept": len(kept),
        "kept_minutes": minutes,
    }
    write_json(folder / SUMMARY, summary)
    if threshold is None:
        return f"no transcript is kept: on dev not even the surest have at most {max_wer:.0%} wrong words"
    return (
        f"{len(kept)} of {len(rows)} transcripts are kept, {minutes:.1f} minutes, of confidence "
        f"{threshold.confidence:.4f} or more; on dev that keeps {threshold.kept:.0%} of the utterances, with "
        f"{threshold.wer:.1%} wrong words"
    )


def is_done(folder: Path, max_wer: float) -> bool:
    """Whether a folder holds the outcome, since its summary is written last."""
    if not (folder / SUMMARY).is_file():
        return False
    found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["max_wer"]
    if found != max_wer:
        raise ConfigError(f"{folder}: made with --max-wer {found:g}, not {max_wer:g}; choose another folder")
    return True


def write_list(path: Path, kept: Sequence[tuple[Row, Transcript]]) -> None:
    """Rows with their transcripts; none where there are no rows."""
    if not kept:
        path.unlink(missing_ok=True)
        return
    rows = [row | {"text": item.text, "confidence": f"{item.confidence:.4f}"} for row, item in kept]
    lines = ["\t".join(rows[0]), *("\t".join(row[name] for name in rows[0]) for row in rows)]
    write_whole(path, "\n".join(lines) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "untranscribed", "dev", "train", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--max-wer", type=float, default=0.1, help="share of wrong words (default 0.1)")
    given = parser.parse_args()
    configure_cpu()
    try:
        if is_done(given.folder, given.max_wer):
            said = "done already"
        else:
            said = label(given.run, Lists(given.untranscribed, given.dev, given.train), given.folder, given.max_wer)
        print(f"{given.folder}: {said}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
