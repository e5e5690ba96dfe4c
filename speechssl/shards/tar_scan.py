"""Samples of a shard, and whatever readers would pass over, named.

Samples are put together as webdataset does, by its own rule for names: adjacent members of one key.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from speechssl.shards.members import MEMBER_SUFFIXES
from speechssl.shards.tar_walk import DamageError, MemberRange, TarMember, shown, walk_members
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


class ScannedSample(NamedTuple):
    """Adjacent members of one key."""

    key: str
    offset: int
    """First byte of its first tar header."""
    size: int
    """Bytes of its members, headers and padding included."""
    members: dict[str, MemberRange]
    """By what follows the key and its dot, in lower case, in order of the tar."""

    @property
    def audio_suffix(self) -> str | None:
        """Suffix of the first audio member, which is the one that is read; None if there is none."""
        return next((suffix for suffix in self.members if suffix in MEMBER_SUFFIXES), None)


class TarScan(NamedTuple):
    """What a shard holds up to its end, or up to where it cannot be read any further."""

    samples: list[ScannedSample]
    findings: list[Finding]


@dataclass
class _Group:
    key: str
    offset: int
    end: int
    members: dict[str, MemberRange] = field(default_factory=dict)
    dotted_name: str = ""


def scan_tar(shard: Path) -> TarScan:
    """Walk over all members of a shard, reading their headers only.

    Raises:
        OSError: the shard cannot be read.
    """
    groups: list[_Group] = []
    findings: list[Finding] = []
    with shard.open("rb") as file:
        try:
            for member in walk_members(file, shard.stat().st_size):
                _add(member, groups, findings, str(shard))
        except DamageError as damage:
            findings.append(Finding(str(shard), damage.kind, "", damage.offset, str(damage)))
    findings += _judge_groups(groups, str(shard))
    findings.sort(key=lambda finding: finding.offset or 0)
    if not groups and not findings:
        findings.append(Finding(str(shard), "no samples", "", 0, "an empty archive, expected samples; make it again"))
    return TarScan([ScannedSample(g.key, g.offset, g.end - g.offset, g.members) for g in groups], findings)


def _add(member: TarMember, groups: list[_Group], findings: list[Finding], shard: str) -> None:
    """Put a member into the last group, or begin one; name it if readers would pass over it."""
    if member.kind == "folder" or is_reserved(member.name):
        return
    key, suffix = split_name(member.name)
    if member.kind != "file" or key is None:
        detail = f"{shown(member.name)} is not a file named KEY.SUFFIX and readers pass over it; rename or remove it"
        findings.append(Finding(shard, "skipped member", "", member.offset, detail))
        return
    if not groups or groups[-1].key != key or suffix in groups[-1].members:
        groups.append(_Group(key, member.offset, member.end))
    group = groups[-1]
    group.end = member.end
    group.members[suffix] = member.content
    if "." in suffix and not transcript_suffix(suffix):
        group.dotted_name = group.dotted_name or member.name


def _judge_groups(groups: list[_Group], shard: str) -> list[Finding]:
    """Name half-samples, repeated keys and keys that are not allowed."""
    by_key: dict[str, list[_Group]] = {}
    for group in groups:
        by_key.setdefault(group.key, []).append(group)
    findings = []
    for key, same in by_key.items():
        suffixes = [suffix for group in same for suffix in group.members]
        dotted_name = next((group.dotted_name for group in same if group.dotted_name), "")
        verdicts = [_judge_key(key, dotted_name), _judge_audio(suffixes, dotted_name)]
        if len(same) > 1:
            verdicts.append(_judge_repetition(same, is_interleaved=len(set(suffixes)) == len(suffixes)))
        findings += [Finding(shard, kind, key, same[0].offset, detail) for kind, detail in filter(None, verdicts)]
    return findings


def _judge_key(key: str, dotted_name: str) -> tuple[str, str] | None:
    if dotted_name:
        detail = (
            f"the member {shown(dotted_name)} has more than one dot, and readers cut its name at the first: "
            "different samples become one; rename it"
        )
        return "dotted key", detail
    if not KEY_PATTERN.fullmatch(key):
        return "invalid key", f"{shown(key)}, expected letters, digits, _ and - only; rename its members"
    return None


def _judge_audio(suffixes: list[str], dotted_name: str) -> tuple[str, str] | None:
    audio = [suffix for suffix in dict.fromkeys(suffixes) if suffix in MEMBER_SUFFIXES]
    if not audio and not dotted_name:
        found, expected = ", ".join(map(shown, suffixes)), ", ".join(sorted(MEMBER_SUFFIXES))
        return "half-sample", f"no audio: its members are {found}, expected one of {expected}; make the shard again"
    if len(audio) > 1:
        return "several audio members", f"{', '.join(audio)}, and only the first is read; keep one"
    return None


def _judge_repetition(same: list[_Group], *, is_interleaved: bool) -> tuple[str, str]:
    where = f"at bytes {', '.join(str(group.offset) for group in same[:3])}"
    if is_interleaved:
        detail = (
            f"its members are not adjacent ({where}), so that readers see {len(same)} parts of a sample; "
            "make the shard again with the members of a key together"
        )
        return "interleaved members", detail
    return "duplicate key", f"{len(same)} times, {where}; a key must occur once: rename or remove the others"
