#!/usr/bin/env python3
"""How far word times are from those of PocketSphinx, an aligner by hidden Markov models that shares nothing with CTC.

    speechssl align RUN list.tsv aligned         # or: speechssl transcribe RUN FOLDER --output heard.jsonl
    python tools/compare_aligners.py aligned/alignment.jsonl

PocketSphinx (``pip install pocketsphinx``, tried with 5.1.1) aligns the same words with its own English model, which
hears 16 kHz. Recordings with words that its dictionary lacks, or whose words it does not find in these, are left out
and counted. Its times are as it gives them: frames of 10 ms, each a window of 25.6 ms that begins with the frame.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from pocketsphinx import Config, Decoder

SAMPLE_RATE, FRAME_SECONDS = 16000, 0.01
PAUSE_SECONDS = 0.05
"""Words are called apart if there is so much between them."""


class Spoken(NamedTuple):
    """A word and its times in seconds."""

    word: str
    start: float
    stop: float


def align(decoder: Decoder, path: str, words: list[str]) -> list[Spoken] | None:
    """The words as PocketSphinx places them; None where it does not get through."""
    samples, rate = soundfile.read(path, dtype="int16")
    if rate != SAMPLE_RATE or samples.ndim > 1:
        raise SystemExit(f"{path}: {rate} Hz, shape {samples.shape}; expected mono at {SAMPLE_RATE} Hz")
    decoder.set_align_text(" ".join(words))
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    found = [
        Spoken(part.word.split("(")[0], part.start_frame * FRAME_SECONDS, (part.end_frame + 1) * FRAME_SECONDS)
        for part in decoder.seg() or []
        if not part.word.startswith(("<", "[", "+"))  # silence and noises; a pronunciation is word(2)
    ]
    return found if [word for word, *_ in found] == words else None


def describe(name: str, seconds: list[float]) -> str:
    """A line of figures."""
    off = 1000 * np.array(seconds)
    return (
        f"{name:24} {len(off):6}   median {np.median(abs(off)):4.0f} ms   90% within {np.percentile(abs(off), 90):4.0f}"
        f"   mean {off.mean():+5.0f}"
    )


def main() -> None:
    """Print how far begins and ends are from PocketSphinx's, and which way (+ is later)."""
    parser = argparse.ArgumentParser(description="Compare word times with PocketSphinx's.")
    parser.add_argument("words", type=Path, help="JSON lines of speechssl align or transcribe")
    decoder = Decoder(Config(samprate=SAMPLE_RATE, frate=round(1 / FRAME_SECONDS), lm=None, loglevel="FATAL"))
    off: dict[str, list[float]] = {}
    num_unknown = num_lost = num_compared = 0
    for line in parser.parse_args().words.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        ours = [Spoken(word["word"].lower(), word["start"], word["end"]) for word in item["words"]]
        if any(decoder.lookup_word(word) is None for word, *_ in ours):
            num_unknown += 1
            continue
        theirs = align(decoder, item["path"], [word for word, *_ in ours]) if ours else None
        if theirs is None:
            num_lost += 1
            continue
        num_compared += 1
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            after = i == 0 or other.start - theirs[i - 1].stop >= PAUSE_SECONDS
            before = i + 1 == len(ours) or theirs[i + 1].start - other.stop >= PAUSE_SECONDS
            for group in ("", ", after a pause" if after else ", no pause before"):
                off.setdefault(f"begin{group}", []).append(one.start - other.start)
            for group in ("", ", before a pause" if before else ", no pause behind"):
                off.setdefault(f"end{group}", []).append(one.stop - other.stop)
    print(f"{num_compared} recordings; left out: {num_unknown} with unknown words, {num_lost} not found")
    for name in sorted(off):
        print(describe(name, off[name]))


if __name__ == "__main__":
    main()
