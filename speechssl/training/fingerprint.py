"""What decides the result of a run, by content: wherever data and weights lie, and however their paths are spelled.

A checkpoint holds it as plain values, and what resumes from it compares (``resume.py``).
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from speechssl.data.augmented import BatchAugmenter
from speechssl.data.corpus import Corpus
from speechssl.data.streams import StreamPlan

SHOWN = 60
"""Characters of a transcript that a message shows."""


@dataclass(frozen=True)
class Samples:
    """What is compared sample by sample, so that a message can name them."""

    texts: dict[str, str]
    """Transcripts by key."""
    checksums: dict[str, int]
    """Of all bytes of each sample."""


class RunData(NamedTuple):
    """What a run learns from, is scored on and begins with."""

    plan: StreamPlan
    """Which samples make up which micro-batch."""
    train: Corpus | None = None
    """What is learned from."""
    dev: Corpus | None = None
    """What the best checkpoint is chosen on; None if none is chosen."""
    augment: BatchAugmenter | None = None
    """What happens to the micro-batches before they are heard."""
    origin: str = ""
    """Digest of the weights that ``init`` brought; empty if they are random."""


def describe_run(data: RunData, precision: str, device: torch.device) -> dict[str, Any]:
    """Data and initial weights of a run, and what sums are made by, and draws."""
    plan, pools = data.plan, data.augment.pools if data.augment is not None else {}
    return {
        "plan": {"fingerprint": plan.fingerprint, "num_samples": plan.num_samples, "seconds": plan.seconds},
        "train": None if data.train is None else describe_set(data.train),
        "dev": None if data.dev is None else describe_set(data.dev),
        "pools": {stage: describe_corpus(pool, in_order=True) for stage, pool in pools.items()},
        "origin": data.origin,
        "arithmetic": {
            "precision": precision, "device": device.type, "torch": str(torch.__version__), "numpy": np.__version__
        },
    }  # fmt: skip


def describe_corpus(corpus: Corpus, *, in_order: bool = False) -> dict[str, Any]:
    """The samples of a set, in any order unless ``in_order``."""
    return {"fingerprint": corpus.digest(in_order=in_order), "num_samples": len(corpus), "seconds": corpus.seconds}


def describe_set(corpus: Corpus) -> dict[str, Any]:
    """The samples of a set that is learned from or scored; each of them, if there are transcripts."""
    content = describe_corpus(corpus)
    return content if corpus.texts is None else {**content, "samples": pack_samples(corpus)}


def pack_samples(corpus: Corpus) -> bytes:
    """Keys, transcripts and checksums of a set, a tenth of a megabyte for an hour of speech."""
    columns = [list(corpus.keys), list(corpus.texts or ()), corpus.checksums.tolist()]
    return zlib.compress(json.dumps(columns).encode())


def unpack_samples(packed: bytes) -> Samples:
    """What pack_samples has packed."""
    keys, texts, checksums = json.loads(zlib.decompress(packed))
    return Samples(dict(zip(keys, texts, strict=True)), dict(zip(keys, checksums, strict=True)))


def difference(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """How one description of a set differs from an earlier one, in words; empty if it does not."""
    if now["fingerprint"] == before["fingerprint"]:
        return ""
    parts = []
    if (now["num_samples"], now["seconds"]) != (before["num_samples"], before["seconds"]):
        was, is_now = (f"{x['num_samples']} samples, {x['seconds'] / 3600:.4f} h" for x in (before, now))
        parts.append(f"the shards held {was}, now {is_now}")
    if "samples" in now and "samples" in before:
        parts += sample_differences(unpack_samples(now["samples"]), unpack_samples(before["samples"]))
    same_number = f"the shards hold {now['num_samples']} samples as before, but not the same ones, or in another order"
    return "; ".join(parts) or same_number


def sample_differences(now: Samples, before: Samples) -> list[str]:
    """What has become of which samples."""
    found = []
    gone, new = sorted(before.texts.keys() - now.texts.keys()), sorted(now.texts.keys() - before.texts.keys())
    if gone or new:
        parts = [(gone, "gone"), (new, "new")]
        found.append(", ".join(f"{what}: {len(keys)}, e.g. {keys[0]}" for keys, what in parts if keys))
    common = sorted(now.texts.keys() & before.texts.keys())
    changed = [key for key in common if now.texts[key] != before.texts[key]]
    if changed:
        key = changed[0]
        was, is_now = shown_pair(before.texts[key], now.texts[key])
        labels = label_differences(characters(now.texts.values()), characters(before.texts.values()))
        found.append(
            f"{len(changed)} of {len(common)} transcripts differ, e.g. {key}: {was} is now {is_now}"
            + (f"; {labels}" if labels else "")
        )
    # A transcript is among a sample's bytes.
    other = [key for key in common if key not in changed and now.checksums[key] != before.checksums[key]]
    if other:
        found.append(
            f"{len(other)} of {len(common)} samples have other bytes, e.g. {other[0]}: other audio, or other words on "
            "its speaker or source"
        )
    return found


def characters(texts: Any) -> set[str]:
    """All that occur."""
    return set().union(*texts)


def label_differences(now: set[str], before: set[str]) -> str:
    """Which characters have come and gone; empty if none has."""
    parts = [(sorted(before - now), "went"), (sorted(now - before), "came")]
    found = [f"{' '.join(map(repr, labels))} {what}" for labels, what in parts if labels]
    return f"labels differ: {', '.join(found)}" if found else ""


def shown_pair(was: str, is_now: str) -> tuple[str, str]:
    """Two transcripts in quotes, where long around their first difference."""
    same = next((i for i, (a, b) in enumerate(zip(was, is_now, strict=False)) if a != b), min(len(was), len(is_now)))
    return shown_part(was, same), shown_part(is_now, same)


def shown_part(text: str, around: int) -> str:
    start = max(0, min(around - SHOWN // 2, len(text) - SHOWN))
    return ("…" if start else "") + repr(text[start : start + SHOWN]) + ("…" if len(text) > start + SHOWN else "")
