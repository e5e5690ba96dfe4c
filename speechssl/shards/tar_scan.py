"""Samples of a shard, and whatever readers would pass over, named.

Samples are put together as webdataset does, by its own rule for names: adjacent members of one key.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from speechssl.shards.members import MEMBER_SUFFIXES
from speechssl.shards.tar_walk import DamageError, MemberRange, TarMember, printable, walk_members
from speechssl.shards.transcripts import transcript_suffix
from speechssl.shards.webdataset_alone import is_reserved, split_name

KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]+")


class Finding(NamedTuple):
    """One thing that is wrong, and where."""

    shard: str
    """Path of the shard, or of the file beside it, that the finding is about."""
    kind: str
    """Short and the same for all of its kind, to count by."""
    key: str
    """Sample, or empty if it is about more than one."""
    offset: int | None
    """Byte of the shard; None if there is none to name."""
    detail: str
    """What was found, what was expected, what to do."""


@dataclass
class ScannedSample:
    """Adjacent members of one key."""

    key: str
    offset: int
    """First byte of its first tar header."""
    end: int
    """First byte after the padding of its last member."""
    members: dict[str, MemberRange] = field(default_factory=dict)
    """By what follows the key and its dot, in lower case, in order of the tar."""
    dotted_name: str = ""
    """First member whose name has more than one dot."""

    @property
    def size(self) -> int:
        """Bytes of its members, headers and padding included."""
        return self.end - self.offset

    @property
    def audio_suffix(self) -> str | None:
        """Suffix of the first audio member, which is the one that is read; None if there is none."""
        return next((suffix for suffix in self.members if suffix in MEMBER_SUFFIXES), None)


class TarScan(NamedTuple):
    """What a shard holds up to its end, or up to where it cannot be read any further."""

    samples: list[ScannedSample]
    findings: list[Finding]


def scan_tar(shard: Path) -> TarScan:
    """Walk over all members of a shard, reading their headers only.

    Raises:
        OSError: the shard cannot be read.
    """
    samples: list[ScannedSample] = []
    findings: list[Finding] = []
    with shard.open("rb") as file:
        try:
            for member in walk_members(file, shard.stat().st_size):
                _add(member, samples, findings, str(shard))
        except DamageError as damage:
            findings.append(Finding(str(shard), damage.kind, "", damage.offset, str(damage)))
    findings += _judge(samples, str(shard))
    findings.sort(key=lambda finding: finding.offset or 0)
    if not samples and not findings:
        findings.append(Finding(str(shard), "no samples", "", 0, "an empty archive, expected samples; make it again"))
    return TarScan(samples, findings)


def _add(member: TarMember, samples: list[ScannedSample], findings: list[Finding], shard: str) -> None:
    """Put a member into the last sample, or begin one; name it if readers would pass over it."""
    if member.kind == "folder" or is_reserved(member.name):
        return
    key, suffix = split_name(member.name)
    if member.kind != "file" or key is None:
        detail = (
            f"{printable(member.name)} is not a file named KEY.SUFFIX and readers pass over it; rename or remove it"
        )
        findings.append(Finding(shard, "skipped member", "", member.offset, detail))
        return
    if not samples or samples[-1].key != key or suffix in samples[-1].members:
        samples.append(ScannedSample(key, member.offset, member.end))
    sample = samples[-1]
    sample.end = member.end
    sample.members[suffix] = member.content
    if "." in suffix and not transcript_suffix(suffix):
        sample.dotted_name = sample.dotted_name or member.name


def _judge(samples: list[ScannedSample], shard: str) -> list[Finding]:
    """Name half-samples, repeated keys and keys that are not allowed."""
    by_key: dict[str, list[ScannedSample]] = {}
    for sample in samples:
        by_key.setdefault(sample.key, []).append(sample)
    findings = []
    for key, same in by_key.items():
        suffixes = [suffix for sample in same for suffix in sample.members]
        dotted_name = next((sample.dotted_name for sample in same if sample.dotted_name), "")
        verdicts = [_judge_key(key, dotted_name), _judge_audio(suffixes, dotted_name)]
        if len(same) > 1:
            verdicts.append(_judge_repetition(same, is_interleaved=len(set(suffixes)) == len(suffixes)))
        findings += [Finding(shard, kind, key, same[0].offset, detail) for kind, detail in filter(None, verdicts)]
    return findings


def _judge_key(key: str, dotted_name: str) -> tuple[str, str] | None:
    if dotted_name:
        detail = (
            f"the member {printable(dotted_name)} has more than one dot, and readers cut its name at the first: "
            "different samples become one; rename it"
        )
        return "dotted key", detail
    if not KEY_PATTERN.fullmatch(key):
        return "invalid key", f"{printable(key)}, expected letters, digits, _ and - only; rename its members"
    return None


def _judge_audio(suffixes: list[str], dotted_name: str) -> tuple[str, str] | None:
    audio = [suffix for suffix in dict.fromkeys(suffixes) if suffix in MEMBER_SUFFIXES]
    if not audio and not dotted_name:
        found, expected = ", ".join(map(printable, suffixes)), ", ".join(sorted(MEMBER_SUFFIXES))
        return "half-sample", f"no audio: its members are {found}, expected one of {expected}; make the shard again"
    if len(audio) > 1:
        return "several audio members", f"{', '.join(audio)}, and only the first is read; keep one"
    return None


def _judge_repetition(same: list[ScannedSample], *, is_interleaved: bool) -> tuple[str, str]:
    where = f"at bytes {', '.join(str(sample.offset) for sample in same[:3])}"
    if is_interleaved:
        detail = (
            f"its members are not adjacent ({where}), so that readers see {len(same)} parts of a sample; "
            "make the shard again with the members of a key together"
        )
        return "interleaved members", detail
    return "duplicate key", f"{len(same)} times, {where}; a key must occur once: rename or remove the others"
