"""The same errors as NIST's sclite, and nearly the same matched pairs as its sc_stats, where they are installed.

Debian has both as the package sctk, in /usr/lib/sctk/bin.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from speechssl.evaluation.comparison import matched_pairs
from speechssl.evaluation.error_rates import ScoredSet, align_set

SCLITE = shutil.which("sclite")
SC_STATS = shutil.which("sc_stats")
WORDS = [f"W{i}" for i in range(200)]
NUM = 1000

pytestmark = pytest.mark.skipif(not (SCLITE and SC_STATS), reason="sclite and sc_stats (package sctk) are not on PATH")


def heard(words: list[str], share: float, draws: np.random.Generator) -> str:
    found: list[str] = []
    for word in words:
        chance = draws.random()
        found += [str(draws.choice(WORDS))] if chance < 0.6 * share else [] if chance < 0.8 * share else [word]
        found += [str(draws.choice(WORDS))] if draws.random() < 0.2 * share else []
    return " ".join(found)


def write_trn(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("".join(f"{text} ({name})\n" for name, text in texts.items()))
    return path


def sclite(reference: Path, output: Path) -> dict[str, int]:
    """Errors of each utterance; leaves the alignments beside the output."""
    files = ["-r", str(reference), "trn", "-h", str(output), "trn", "-i", "wsj", "-s"]
    command = [str(SCLITE), *files, "-o", "sgml", "pralign", "-O", str(output.parent), "-n", output.stem]
    subprocess.run(command, check=True, capture_output=True)
    told = output.with_suffix(".pra").read_text()
    ids = re.findall(r"^id: \((.*)\)$", told, re.MULTILINE)
    scores = re.findall(r"^Scores: \(#C #S #D #I\) \d+ (\d+) (\d+) (\d+)$", told, re.MULTILINE)
    return {name: sum(map(int, counts)) for name, counts in zip(ids, scores, strict=True)}


def test_errors_of_a_thousand_pairs_and_matched_pairs_are_nists(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    said = {f"s{i % 20:02d}-{i:04d}": list(draws.choice(WORDS, draws.integers(1, 25))) for i in range(NUM)}
    references = {name: " ".join(words) for name, words in said.items()}
    reference = write_trn(tmp_path / "ref.trn", references)
    sets: list[ScoredSet] = []
    for name, share in (("one", 0.2), ("two", 0.24)):
        texts = {key: heard(words, share, draws) for key, words in said.items()}
        output = write_trn(tmp_path / f"{name}.trn", texts)
        scored = align_set(references, texts)
        assert dict(zip(scored.ids, map(int, scored.counts.edits), strict=True)) == sclite(reference, output)
        sets.append(scored)
    alignments = b"".join((tmp_path / f"{name}.sgml").read_bytes() for name in ("one", "two"))
    command = [str(SC_STATS), "-p", "-t", "mapsswe", "-v", "-n", "-"]
    told = subprocess.run(command, input=alignments, check=True, capture_output=True).stdout.decode()
    match = re.search(r"# segs: (\d+).*Z Stat: +(-?[\d.]+)", told)
    assert match is not None
    found = matched_pairs(sets[0].words, sets[1].words)
    # It misses words inserted at the end of an utterance, and splits ties of alignment otherwise.
    assert found.num_segments == pytest.approx(int(match[1]), rel=0.02)
    assert -(found.statistic or 0) == pytest.approx(float(match[2]), abs=0.1)
