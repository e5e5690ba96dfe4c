"""One shard: its tar, its samples, its index."""

import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from speechssl.errors import DataError
from speechssl.shards.members import identifier_of, metadata_of, transcript_of
from speechssl.shards.table import SampleEntry, StringColumn
from speechssl.shards.tar_scan import KEY_PATTERN, ScannedSample, scan_tar
from speechssl.shards.tar_walk import printable
from speechssl.shards.transcripts import transcript_suffix
from speechssl.shards.verify.audio import ContentError, check_audio
from speechssl.shards.verify.indexes import check_index, leave_index
from speechssl.shards.verify.results import CheckedSample, RateUse, ShardResult


def check_shard(shard: Path, *, decode: bool, write_index: bool) -> ShardResult:
    """Check one shard and its index; if asked to, and all is well but the index, leave a new one to be published."""
    result = ShardResult(shard)
    try:
        samples = _check_samples(decode, result)
        check_index(samples, result)
        if write_index and result.index_findings and not result.findings and len(result.rates) == 1:
            leave_index(samples, result)
    except OSError as error:
        detail = f"cannot be read ({error.strerror or error}); check the disk and the permissions"
        result.name("unreadable shard", detail)
    result.findings.sort(key=lambda finding: finding.offset or 0)
    return result


def _check_samples(decode: bool, result: ShardResult) -> list[CheckedSample]:
    """Check the tar and its samples."""
    scan = scan_tar(result.shard)
    result.findings += scan.findings
    with result.shard.open("rb") as file:
        samples = [_check_sample(file, sample, decode, result) for sample in scan.samples]
    allowed = [sample.entry for sample in samples if KEY_PATTERN.fullmatch(sample.entry.key)]
    result.keys = StringColumn.of([entry.key for entry in allowed])
    result.offsets = np.array([entry.offset for entry in allowed], dtype=np.int64)
    result.checksums = np.array([entry.checksum for entry in allowed], dtype=np.uint32)
    result.num_samples = len(samples)
    for entry, audio, _ in samples:
        if audio is not None:
            rate = audio.sample_rate
            result.seconds += audio.num_samples / rate
            use = result.rates.get(rate, RateUse(0, entry.key, entry.offset))
            result.rates[rate] = use._replace(num_samples=use.num_samples + 1)
    return samples


def _check_sample(file: BinaryIO, sample: ScannedSample, decode: bool, result: ShardResult) -> CheckedSample:
    """Read one sample, and name what is wrong with its members."""
    file.seek(sample.offset)
    data = file.read(sample.size)

    def content(suffix: str) -> bytes:
        start = sample.members[suffix].offset - sample.offset
        return data[start : start + sample.members[suffix].size]

    name = f"{result.shard}: {printable(sample.key)}"
    audio, metadata, text = None, dict[str, Any](), None
    if sample.audio_suffix is not None:
        try:
            audio = check_audio(content(sample.audio_suffix), decode=decode)
        except ContentError as error:
            result.name(error.kind, str(error), sample.key, sample.offset)
    texts = {suffix: content(suffix) for suffix in sample.members if suffix == "json" or transcript_suffix(suffix)}
    kind = "wrong JSON"
    try:
        metadata = metadata_of(texts, name=name)
        kind = "wrong text"
        text = transcript_of(texts, metadata, name=name) or ""
    except DataError as error:
        result.name(kind, error.detail, sample.key, sample.offset)
    place = sample.members.get(sample.audio_suffix or "")
    entry = SampleEntry(
        key=sample.key,
        offset=sample.offset,
        size=sample.size,
        num_samples=audio.num_samples if audio else 0,
        audio_start=place.offset - sample.offset if place else 0,
        audio_size=place.size if place else 0,
        checksum=zlib.crc32(data),
        text=text or "",
        speaker=identifier_of("speaker", metadata),
        language=identifier_of("language", metadata),
    )
    return CheckedSample(entry, audio, text is not None)
