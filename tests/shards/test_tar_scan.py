"""The walk over a tar: as tarfile sees whole ones, and never a silent end."""

import gzip
import io
import itertools
import tarfile
from pathlib import Path

import pytest

from speechssl.shards.tar_scan import Finding, TarScan, scan_tar

BLOCK = 512


def member(name: str, data: bytes = b"x" * 700, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def write_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], tar_format: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=tar_format) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def pairs(*keys: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    """FLAC and JSON of each key: 5 blocks a sample."""
    return [part for key in keys for part in (member(f"{key}.flac"), member(f"{key}.json", b"{}"))]


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "s.tar", pairs("a", "b", "c"))


def scan_bytes(path: Path, data: bytes) -> TarScan:
    path.write_bytes(data)
    return scan_tar(path)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def keys(scan: TarScan) -> list[str]:
    return [sample.key for sample in scan.samples]


def test_members_lie_where_tarfile_finds_them(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for tar_format in [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]:
        folder = next(folders)
        folder.mkdir()
        names = ["k0.flac", "k0.JSON", "k1.wav", "folder/" + "n" * 90 + ".opus", "f" * 60 + "/" + "n" * 80 + ".txt"]
        if tar_format != tarfile.USTAR_FORMAT:
            names += ["m" * 300 + ".flac", "m" * 300 + ".json", "é" * 60 + ".flac"]
        members = [member(name, bytes([i]) * (500 * i)) for i, name in enumerate(names)]
        path = write_tar(folder / "s.tar", members, tar_format)
        scan = scan_tar(path)
        found = [(f"{s.key}.{suffix}", range_) for s in scan.samples for suffix, range_ in s.members.items()]
        with tarfile.open(path) as tar:
            expected = list(tar)
        assert [name for name, _ in found] == [info.name.replace("JSON", "json") for info in expected]
        assert [tuple(range_) for _, range_ in found] == [(info.offset_data, info.size) for info in expected]
        assert sum(sample.size for sample in scan.samples) == tar_end(path)
        firsts = {info.name.partition(".")[0]: info.offset for info in reversed(expected)}
        assert {sample.key: sample.offset for sample in scan.samples} == firsts


def tar_end(path: Path) -> int:
    """Where the end mark stands: tarfile stops there."""
    with tarfile.open(path) as tar:
        tar.getmembers()
        return int(tar.offset)


def test_a_sound_tar_has_no_findings(tar: Path) -> None:
    scan = scan_tar(tar)
    assert scan.findings == []
    assert [(s.key, s.offset, s.size, list(s.members)) for s in scan.samples] == [
        (key, i * 5 * BLOCK, 5 * BLOCK, ["flac", "json"]) for i, key in enumerate("abc")
    ]
    assert scan.samples[1].audio_suffix == "flac"


def test_every_cut_is_named_at_its_byte(tar: Path) -> None:
    whole = tar.read_bytes()
    for size, kind, offset, detail, left in [
        (
            5 * BLOCK + BLOCK + 300,
            "truncated inside data",
            5 * BLOCK + BLOCK + 300,
            "b.flac, 724 bytes before its end",
            ["a"],
        ),
        (
            5 * BLOCK + BLOCK + 800,
            "truncated inside data",
            5 * BLOCK + BLOCK + 800,
            "b.flac, 224 bytes before its end",
            ["a"],
        ),
        (5 * BLOCK + 300, "truncated inside a header", 5 * BLOCK, "the last 300 bytes", ["a"]),
        (5 * BLOCK, "no end mark", 5 * BLOCK, "two blocks of zeros", ["a"]),
        (8 * BLOCK, "no end mark", 8 * BLOCK, "two blocks of zeros", ["a", "b"]),
        (15 * BLOCK, "no end mark", 15 * BLOCK, "two blocks of zeros", ["a", "b", "c"]),
        (15 * BLOCK + 100, "no end mark", 15 * BLOCK, "two blocks of zeros", ["a", "b", "c"]),
        (16 * BLOCK, "no end mark", 15 * BLOCK, "two blocks of zeros", ["a", "b", "c"]),
        (16 * BLOCK + 100, "no end mark", 15 * BLOCK, "two blocks of zeros", ["a", "b", "c"]),
        (0, "no end mark", 0, "two blocks of zeros", []),
    ]:
        scan = scan_bytes(tar, whole[:size])
        finding = only(scan.findings)
        assert (finding.shard, finding.kind, finding.offset) == (str(tar), kind, offset)
        assert detail in finding.detail
        assert "copy the shard again" in finding.detail
        assert keys(scan) == left


def test_no_cut_before_the_end_mark_goes_unnoticed(tar: Path) -> None:
    data = tar.read_bytes()
    for size in range(0, 17 * BLOCK, 61):
        assert scan_bytes(tar, data[:size]).findings, size
    assert scan_bytes(tar, data[: 17 * BLOCK]).findings == []


def test_a_damaged_header_in_the_middle_is_named_where_tarfile_ends_quietly(tar: Path) -> None:
    data = bytearray(tar.read_bytes())
    data[5 * BLOCK + 20] ^= 1
    scan = scan_bytes(tar, bytes(data))
    with tarfile.open(tar) as quiet:
        assert quiet.getnames() == ["a.flac", "a.json"]
    finding = only(scan.findings)
    assert (finding.kind, finding.offset, keys(scan)) == ("damaged header", 5 * BLOCK, ["a"])
    assert f"bad checksum): readers lose the {len(data) - 5 * BLOCK} bytes from here on" in finding.detail


def test_zeroed_blocks_and_a_second_tar_are_data_after_the_end_mark(tar: Path) -> None:
    data = tar.read_bytes()
    for first in (b"", data[: 5 * BLOCK]):
        scan = scan_bytes(tar, first + bytes(2 * BLOCK) + data)
        finding = only(scan.findings)
        assert (finding.kind, finding.offset) == ("data after the end mark", len(first) + 2 * BLOCK)
        assert f"zeros at byte {len(first)} end the archive" in finding.detail
    lone = scan_bytes(tar, data[: 5 * BLOCK] + bytes(BLOCK) + data[5 * BLOCK :])
    assert only(lone.findings).kind == "data after the end mark"


def test_a_long_run_of_zeros_is_not_taken_for_padding(tar: Path) -> None:
    data = tar.read_bytes()
    assert scan_bytes(tar, data + bytes(1_000_000)).findings == []
    finding = only(scan_bytes(tar, data[: 5 * BLOCK] + bytes(2_000_000)).findings)
    assert (finding.kind, finding.offset) == ("zeros in place of data", 5 * BLOCK)


def test_an_empty_archive_is_named(tar: Path) -> None:
    assert only(scan_bytes(tar, bytes(20 * BLOCK)).findings).kind == "no samples"


def test_a_compressed_tar_is_called_so(tmp_path: Path) -> None:
    finding = only(scan_bytes(tmp_path / "s.tar", gzip.compress(b"anything" * 100, mtime=0) + bytes(BLOCK)).findings)
    assert (finding.kind, finding.offset) == ("damaged header", 0)
    assert "a compressed file, decompress it" in finding.detail


@pytest.mark.parametrize("size", [-1024, -100, 1 << 40])
def test_absurd_sizes_do_not_lead_astray(tmp_path: Path, size: int) -> None:
    # tarfile of some Python versions walks backwards for ever at a negative size.
    info = tarfile.TarInfo("b.flac")
    info.size = size
    path = write_tar(tmp_path / "s.tar", pairs("a"))
    finding = only(scan_bytes(path, path.read_bytes()[: 5 * BLOCK] + info.tobuf(tarfile.GNU_FORMAT)).findings)
    if size < 0:
        assert (finding.kind, finding.offset) == ("damaged header", 5 * BLOCK)
        assert "a negative size" in finding.detail
    else:
        assert finding.kind == "truncated inside data"


def extension(kind: bytes, data: bytes) -> bytes:
    """An extended header with these contents."""
    info = tarfile.TarInfo("ext")
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)


def test_extended_headers_that_mislead_are_named(tar: Path) -> None:
    data = tar.read_bytes()
    for header, kind in [
        (extension(b"x", b"99 path=a.flac\n"), "half-sample"),
        (extension(b"x", b"0 path=a.flac\n"), "damaged header"),
        (extension(b"x", b"12 size=abc\n"), "damaged header"),
        (extension(b"x", b"11 size=-5\n"), "damaged header"),
        (extension(b"x", b"21 GNU.sparse.size=5\n"), "damaged header"),
        (extension(b"g", b"15 path=a.flac\n"), "duplicate key"),
        (extension(b"L", bytes(2 << 20)), "skipped member"),
        (extension(b"S", b""), "damaged header"),
        (extension(b"L", b"a.flac\0"), "duplicate key"),
    ]:
        assert scan_bytes(tar, data[: 5 * BLOCK] + header + data[5 * BLOCK :]).findings[0].kind == kind
        finding = only(scan_bytes(tar, data[: 5 * BLOCK] + header + bytes(4 * BLOCK)).findings)
        assert finding.kind == "damaged header", "zeros where its member was"


def test_a_cut_inside_a_long_name_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", [member("n" * 3000 + ".flac")])
    finding = only(scan_bytes(path, path.read_bytes()[: 3 * BLOCK]).findings)
    assert finding.kind == "truncated inside a header"


def test_the_first_of_several_extended_headers_wins_as_in_tarfile(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    record = b"17 path=pax.flac\n"
    long_name = extension(b"L", b"gnu.flac\0")
    pax = extension(b"x", record)
    body = member("plain.flac")[0].tobuf(tarfile.GNU_FORMAT) + bytes(2 * BLOCK) + bytes(4 * BLOCK)
    for headers in (pax + long_name, long_name + pax):
        scan = scan_bytes(path, headers + body)
        with tarfile.open(path) as tar:
            assert [f"{key}.flac" for key in keys(scan)] == tar.getnames()
        assert scan.samples[0].offset == 0


def test_a_global_comment_is_no_harm(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "made by"}) as tar:
        for info, data in pairs("a", "b"):
            tar.addfile(info, io.BytesIO(data))
    scan = scan_tar(tmp_path / "s.tar")
    assert (keys(scan), scan.findings) == (["a", "b"], [])


def test_samples_that_readers_get_wrong_are_named(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for members, expected in [
        ([member("a.json", b"{}"), *pairs("b")], [("half-sample", "a", "no audio: its members are json")]),
        (
            [member("a.flac"), member("b.flac"), member("a.json", b"{}"), member("b.json", b"{}")],
            [("interleaved members", key, "not adjacent") for key in "ab"],
        ),
        (pairs("a", "b", "a"), [("duplicate key", "a", "2 times, at bytes 0, 5120")]),
        (pairs("a", "a"), [("duplicate key", "a", "2 times, at bytes 0, 2560")]),
        ([*pairs("a"), member("a.json", b"{}")], [("duplicate key", "a", "2 times")]),
        ([member("a.FLAC"), member("a.flac")], [("duplicate key", "a", "2 times")]),
        (pairs("a.1", "a.2"), [("dotted key", "a", "a.1.flac has more than one dot")]),
        ([*pairs("a"), member("a.normalized.txt"), member("a.flac.txt")], []),
        (pairs("x/a"), [("invalid key", "x/a", "x/a, expected letters, digits, _ and - only")]),
        (pairs("./a"), [("invalid key", "./a", "expected letters")]),
        (pairs("a b"), [("invalid key", "a b", "'a b', expected letters")]),
        ([*pairs("a"), member("a.wav")], [("several audio members", "a", "flac, wav")]),
        ([*pairs("a"), member("b")], [("skipped member", "", "b is not a file named KEY.SUFFIX")]),
        (
            [*pairs("a"), member("b.flac", b"", type=tarfile.SYMTYPE, linkname="a.flac")],
            [("skipped member", "", "b.flac is not a file")],
        ),
    ]:
        folder = next(folders)
        folder.mkdir()
        findings = scan_tar(write_tar(folder / "s.tar", members)).findings
        assert [(finding.kind, finding.key) for finding in findings] == [(kind, key) for kind, key, _ in expected]
        for finding, (_, _, detail) in zip(findings, expected, strict=True):
            assert detail in finding.detail
            assert finding.offset is not None


def test_names_that_are_not_text_are_named_not_fatal(tmp_path: Path) -> None:
    info = member("a.flac", b"")[0]
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[0] = 0xFF
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    finding = only(scan_bytes(tmp_path / "s.tar", bytes(header) + bytes(4 * BLOCK)).findings)
    assert finding.kind == "invalid key"
    assert finding.detail.isascii()


def test_what_webdataset_passes_over_on_purpose_is_no_finding(tmp_path: Path) -> None:
    members = [
        member("folder", b"", type=tarfile.DIRTYPE),
        member("__meta__/info.json"),
        *pairs("a"),
        member("._a.flac"),
        member("folder/.hidden"),
        *pairs("b"),
    ]
    scan = scan_tar(write_tar(tmp_path / "s.tar", members))
    assert (keys(scan), scan.findings) == (["a", "b"], [])


@pytest.mark.parametrize(
    ("kind", "content", "size"),
    [
        (tarfile.GNUTYPE_LONGNAME, b"a.flac", 1 << 80),
        (tarfile.XHDTYPE, b"12 path=a.b\n", 1 << 80),
        (tarfile.XHDTYPE, b"99999999999999999999999 path=a.b\n", None),
        (tarfile.XHDTYPE, b"30 GNU.sparse.size=not-a-size\n", None),
    ],
    ids=["long name", "pax header", "length of a record", "sparse"],
)
def test_a_number_that_cannot_be_is_damage(tmp_path: Path, kind: bytes, content: bytes, size: int | None) -> None:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size or len(content)
    first = tmp_path / "first.tar"
    write_tar(first, [member("a.flac")])
    whole = first.read_bytes()[: 3 * BLOCK]
    extended = info.tobuf(tarfile.GNU_FORMAT) + content.ljust(BLOCK, b"\0")
    (tmp_path / "s.tar").write_bytes(whole + extended + first.read_bytes())
    scan = scan_tar(tmp_path / "s.tar")
    assert [finding.kind for finding in scan.findings] == ["damaged header"]
    assert [sample.key for sample in scan.samples] == ["a"]
