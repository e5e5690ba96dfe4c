"""What is seen only across shards: shared keys, samples that are there twice, mixed rates, missing files."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from speechssl.files import PARTIAL
from speechssl.shards.index import INDEX_SUFFIX
from speechssl.shards.listing import REPORT_FILE, UNFINISHED, find_shards, set_of
from speechssl.shards.table import equal_rows, key_hash
from speechssl.shards.tar_scan import Finding
from speechssl.shards.verify.results import ShardResult


def find_all(patterns: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Shards of files, folders and globs, and the folders among them, with the parts of a set that is split.

    Unlike ``find_shards`` it takes a folder that is not whole: what is missing there is one finding among others.

    Raises:
        DataError: names what holds no shards.
    """
    shards: set[Path] = set()
    folders: list[Path] = []
    others = []
    for pattern in patterns:
        top = Path(pattern)
        found = _visible(top, "*.tar") or _visible(top, "*/*.tar")
        shards.update(found)
        if found:
            folders += sorted({top, *(shard.parent for shard in found)})
        else:
            others.append(pattern)
    return sorted(shards.union(find_shards(others))), folders


def _visible(folder: Path, pattern: str) -> list[Path]:
    return [
        path
        for path in (folder.glob(pattern) if folder.is_dir() else ())
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def check_set(results: Sequence[ShardResult]) -> None:
    """Add to the results what can be seen only across shards: keys and samples in two of them, several rates."""
    uses: Counter[int] = Counter()
    for result in results:
        uses.update({rate: use.num_samples for rate, use in result.rates.items()})
    usual_rate = max(uses, key=lambda rate: (uses[rate], rate), default=0)
    for result in results:
        for rate in sorted(result.rates.keys() - {usual_rate}):
            num_samples, key, offset = result.rates[rate]
            detail = (
                f"{num_samples} samples at {rate} Hz, this one the first; expected {usual_rate} Hz as most of the set "
                "has; make these shards again with that --sample_rate"
            )
            result.name("other sample rate", detail, key, offset)
    _check_shared_keys(results)
    for result in results:
        result.findings.sort(key=lambda finding: finding.offset or 0)


def _check_shared_keys(results: Sequence[ShardResult]) -> None:
    """Name keys that occur in two shards of a set, and samples that are in two sets; different sets may share keys."""
    hashes = np.array([key_hash(key) for result in results for key in result.keys], dtype=np.uint64)
    counts = [len(result.keys) for result in results]
    owners, starts = np.repeat(np.arange(len(results)), counts), np.cumsum([0, *counts])
    sets = np.unique([set_of(result.shard) for result in results], return_inverse=True)[1]
    checksums = np.concatenate([result.checksums for result in results])
    for column, are_of_one_set, kind, advice in (
        (sets[owners], True, "key in two shards", "a key must occur once in a set: rename or remove one"),
        (checksums, False, "sample in two sets", "with the same bytes: remove one, it would be learned from twice"),
    ):
        for pair in equal_rows(column, hashes):
            (one, row), (other, other_row) = [(results[owners[n]], int(n - starts[owners[n]])) for n in pair]
            key, is_one_set = one.keys[row], sets[owners[pair[0]]] == sets[owners[pair[1]]]
            if one is not other and key == other.keys[other_row] and is_one_set == are_of_one_set:
                detail = f"is in {one.shard} too; {advice}"
                other.name(kind, detail, key, int(other.offsets[other_row]))


def check_folder(folder: Path) -> list[Finding]:
    """Shards that are missing from a folder, and files that should not be there."""
    findings: list[Finding] = []

    def name(path: Path, kind: str, detail: str) -> None:
        findings.append(Finding(str(path), kind, "", None, detail))

    for work in (folder / UNFINISHED, folder.parent / UNFINISHED):
        if work.is_dir():
            name(work, "unfinished set", "these shards were never finished; give the command that makes them again")
    listed = _listed_shards(folder, findings)
    missing = sorted(path for path in listed if not path.is_file())
    for path in missing:
        name(path, "missing shard", f"{REPORT_FILE} lists it; copy it here again, or make the set again")
    known = {path.name for path in folder.glob("*.tar")} | {path.name for path in listed if path.parent == folder}
    for gap in _gaps(known):
        detail = "the numbering has a gap here; copy what is missing here again, or make the set again"
        name(folder / gap, "missing shard", detail)
    for path in sorted(folder.glob(f"*.tar{INDEX_SUFFIX}")):
        shard = path.name.removesuffix(INDEX_SUFFIX)
        if shard not in known and not shard.startswith(PARTIAL):
            name(path, "index without a shard", f"no {shard} beside it; copy the shard here again, or delete its index")
    for path in sorted(folder.glob(f"{PARTIAL}*")):
        detail = "something that was interrupted left it; give its command again, or delete the file"
        name(path, "leftover file", detail)
    return findings


def _listed_shards(folder: Path, findings: list[Finding]) -> set[Path]:
    """Shards of a folder in the reports of ``speechssl shard``: its own, and that above it, for a part of a split."""
    listed = set()
    for base in (folder, folder.parent):
        try:
            shards = json.loads((base / REPORT_FILE).read_text(encoding="utf-8"))["shards"]
            listed |= {base / name for name in shards if folder in (base / name).parents}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            if base == folder:  # the one above may be a report of something else
                detail = f"not a report of shards ({error!r}), so that missing ones cannot be seen; make the set again"
                findings.append(Finding(str(base / REPORT_FILE), "unreadable report", "", None, detail))
    return listed


def _gaps(names: set[str]) -> Iterator[str]:
    """Missing numbers of shard-NNNNNN.tar from 0 to the highest, runs of them as one."""
    found = sorted({int(match[1]) for name in names if (match := re.fullmatch(r"shard-(\d{6,})\.tar", name))})
    for before, after in zip([-1, *found], found, strict=False):
        first, last = f"shard-{before + 1:06d}.tar", f"shard-{after - 1:06d}.tar"
        if after > before + 1:
            yield first if first == last else f"{first} to {last}"
