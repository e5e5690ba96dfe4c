"""What became of every recording that the sources hold: used, or left out for a reason. There is nothing between."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from speechssl.errors import DataError
from speechssl.ingest.clips import Scanned, name_of
from speechssl.ingest.recordings import Found, Recording, Rejected

CHOSEN_REASONS = frozenset(
    {
        "too short",
        "too long",
        "too quiet",
        "clipped",
        "silent",
        "no speech",
        "no speech found",
        "no transcript",
        "the same audio twice",
        "listed twice",
        "listed twice, with another transcript",
        "not listed",
        "left out by a list",
    }
)
"""Why sound recordings are left out: options say so, or the lists of their corpus, or they are copies. Those with any
other reason are damaged, missing or wrongly listed, and count towards ``max_bad_share``."""
EXAMPLES = 3


class Account(NamedTuple):
    """All recordings of the sources, each counted once: ``num_found`` are ``num_used`` and the ``rejected``."""

    num_found: int
    num_used: int
    """Of which at least one sample was written."""
    num_samples: int
    """That they gave."""
    num_with_text: int
    """Used recordings with a transcript."""
    num_with_speaker: int
    """Used recordings whose speaker is known."""
    dropped_seconds: float
    """Audio of used recordings that is in none of their pieces."""
    rejected: list[Rejected]
    """One for each recording that is left out, in order of path."""
    pieces: list[Rejected]
    """What is left out of recordings that are used."""


def settle(found: Found, scanned: Sequence[Scanned], later: Iterable[Rejected]) -> Account:
    """Count every recording once.

    Args:
        found: what the sources hold.
        scanned: what each of its recordings gave, in the same order.
        later: clips that were left out after the scan, each by its key.

    Raises:
        RuntimeError: a recording that is neither used nor left out, or something that is left out of no recording.
    """
    lost = {item.key: item for item in later}
    rejected, pieces = list(found.rejected), list[Rejected]()
    num_used = num_samples = num_with_text = num_with_speaker = num_lost = 0
    dropped_seconds = 0.0
    for recording, result in zip(found.recordings, scanned, strict=True):
        kept = [clip for clip in result.clips if clip.key not in lost]
        gone = [lost[clip.key] for clip in result.clips if clip.key in lost]
        num_lost += len(gone)
        gone = [*result.rejected, *gone]
        if not kept:
            rejected.append(_summed_up(recording, gone))
            continue
        pieces += gone
        num_used += 1
        num_samples += len(kept)
        num_with_text += any(clip.text for clip in kept)
        num_with_speaker += any(clip.speaker for clip in kept)
        dropped_seconds += result.dropped_seconds
    if num_lost != len(lost):
        raise RuntimeError(f"{len(lost) - num_lost} clips were left out that no recording gave; a bug in speechssl")
    num_found = len(found.recordings) + len(found.rejected)
    rejected.sort()
    counts = (num_found, num_used, num_samples, num_with_text, num_with_speaker)
    return Account(*counts, dropped_seconds, rejected, pieces)


def _summed_up(recording: Recording, reasons: Sequence[Rejected]) -> Rejected:
    """Why a recording is left out: for the most frequent of the reasons of its pieces, the first of equals."""
    if not reasons:
        raise RuntimeError(f"{name_of(recording)}: neither used nor left out for a reason; a bug in speechssl")
    [(reason, count), *others] = Counter(item.reason for item in reasons).most_common()
    first = next(item for item in reasons if item.reason == reason)
    if len(reasons) == 1:
        return first._replace(key=recording.key)
    listed = ", ".join(f"{name} {number}" for name, number in [(reason, count), *others])
    detail = f"all its {len(reasons)} pieces ({listed}); the first of these: {first.detail}"
    return Rejected(name_of(recording), reason, detail, recording.key)


def check_samples(account: Account, num_written: int) -> None:
    """Raise RuntimeError if shards hold another number of samples than the recordings gave."""
    if account.num_samples != num_written:
        raise RuntimeError(f"{num_written} samples were written, expected {account.num_samples}; a bug in speechssl")


def check_bad_share(rejected: Sequence[Rejected], num_found: int, max_bad_share: float, *, outcome: str) -> None:
    """Refuse sources of which too much is damaged, missing or wrongly listed.

    Args:
        rejected: recordings that are left out, as far as is known.
        num_found: all recordings of the sources.
        max_bad_share: largest share of them that may be bad.
        outcome: what has come of it, for the message.

    Raises:
        DataError: names the reasons with their counts and examples.
    """
    bad = [item for item in rejected if item.reason not in CHOSEN_REASONS]
    if len(bad) <= max_bad_share * num_found:
        return
    lines = [
        f"{len(bad)} of {num_found} recordings are damaged, missing or wrongly listed, more than max_bad_share "
        f"({max_bad_share:g}) allows:"
    ]
    for reason, count in Counter(item.reason for item in bad).most_common():
        lines.append(f"  {reason}: {count}")
        examples = [item for item in bad if item.reason == reason][:EXAMPLES]
        lines += [f"    {item.path}: {item.detail}" for item in examples]
    enough = min(1.0, math.ceil(1000 * len(bad) / num_found) / 1000)
    lines.append(f"{outcome}; mend the sources, or leave these recordings out with --max_bad_share {enough:g}.")
    raise DataError("\n".join(lines))
