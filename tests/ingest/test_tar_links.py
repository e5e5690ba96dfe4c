"""Links within tars, against what is there when the tar is unpacked; samples, against webdataset's own reader."""

import io
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from source_files import by_key, find, ignored, read_member, reasons

from speechssl.shards.webdataset_alone import is_reserved, split_name

KINDS = {"hard": tarfile.LNKTYPE, "symbolic": tarfile.SYMTYPE}


def write_links(path: Path, members: list[tuple[str, bytes | str, str]]) -> Path:
    """A tar of (name, content or target, "file", "hard", "symbolic" or another type)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = KINDS[kind], content
                tar.addfile(info)
            elif kind == "file":
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type = {"folder": tarfile.DIRTYPE, "pipe": tarfile.FIFOTYPE}[kind]
                tar.addfile(info)
    return path


def test_links_are_what_they_lead_to(tmp_path: Path) -> None:
    long = "x" * 120
    found = find(
        write_links(
            tmp_path / "s.tar",
            [
                ("later.wav", "real.wav", "hard"),
                ("./real.wav", b"real", "file"),
                ("./real.txt", b"yes", "file"),
                ("hard.wav", "./real.wav", "hard"),
                ("hard.txt", "real.txt", "hard"),
                ("d/relative.wav", "../real.wav", "symbolic"),
                ("d/relative.txt", "./../d/./../real.txt", "symbolic"),
                ("chain.wav", "d/relative.wav", "symbolic"),
                (f"{long}/deep.wav", b"deep", "file"),
                ("long.wav", f"{long}/deep.wav", "symbolic"),
                ("latest", "d", "symbolic"),
                ("by_folder.wav", "latest/relative.wav", "symbolic"),
            ],
        )
    )
    assert {r.key: (read_member(r), r.text) for r in found.recordings} == {
        "later": (b"real", ""),
        "real": (b"real", "yes"),
        "hard": (b"real", "yes"),
        "d_relative": (b"real", "yes"),
        "chain": (b"real", ""),
        f"{long}_deep": (b"deep", ""),
        "long": (b"deep", ""),
        "by_folder": (b"real", ""),
    }
    assert found.rejected == []
    assert ignored(found) == {"link in a tar that leads nowhere": 1}, "latest, which is a folder"


def test_links_that_lead_nowhere_leave_their_sample_out_by_name(tmp_path: Path) -> None:
    members: list[tuple[str, bytes | str, str]] = [
        ("good.wav", b"1", "file"),
        ("good.png", "gone.png", "symbolic"),
        ("gone.wav", "nowhere.wav", "symbolic"),
        ("hard.wav", "nowhere.wav", "hard"),
        ("round.wav", "about.wav", "symbolic"),
        ("about.wav", "round.wav", "symbolic"),
        ("self.wav", "self.wav", "symbolic"),
        ("out.wav", "../good.wav", "symbolic"),
        ("root.wav", "/etc/passwd", "symbolic"),
        ("text.wav", b"2", "file"),
        ("text.txt", "nowhere.txt", "symbolic"),
        ("folder.wav", "d", "symbolic"),
        ("d", b"", "folder"),
        ("pipe.wav", b"", "pipe"),
    ]
    tar = write_links(tmp_path / "s.tar", members)
    found = find(tar)
    assert list(by_key(found)) == ["good"]
    assert {
        (item.path.removeprefix(f"{tar}: "), item.reason, item.detail.split(";")[0]) for item in found.rejected
    } == {
        ("gone.wav", "broken link", "a link to nowhere.wav, which is not in the tar"),
        ("hard.wav", "broken link", "a link to nowhere.wav, which is not in the tar"),
        ("round.wav", "broken link", "a link to about.wav, which leads in a circle"),
        ("about.wav", "broken link", "a link to round.wav, which leads in a circle"),
        ("self.wav", "broken link", "a link to self.wav, which leads in a circle"),
        ("out.wav", "broken link", "a link to ../good.wav, which is outside the tar"),
        ("root.wav", "broken link", "a link to /etc/passwd, which is outside the tar"),
        ("text.txt", "broken link", "a link to nowhere.txt, which is not in the tar"),
        ("folder.wav", "broken link", "a link to d, which is no file"),
    }
    assert ignored(found) == {"link in a tar that leads nowhere": 1, "tar member that is no file": 1}


def test_equal_audio_by_links_stays_two_recordings(tmp_path: Path) -> None:
    members: list[tuple[str, bytes | str, str]] = [("a.wav", b"1", "file"), ("a.txt", b"one", "file")]
    members += [("b.wav", "a.wav", "hard"), ("b.txt", b"two", "file")]
    found = find(write_links(tmp_path / "s.tar", members))
    assert {key: recording.text for key, recording in by_key(found).items()} == {"a": "one", "b": "two"}
    assert reasons(found) == []


def test_a_name_that_occurs_twice_is_to_each_kind_of_link_what_it_was_when_unpacked(tmp_path: Path) -> None:
    members: list[tuple[str, bytes | str, str]] = [
        ("a.bin", b"first", "file"),
        ("hard.wav", "a.bin", "hard"),
        ("a.bin", b"second", "file"),
        ("symbolic.wav", "a.bin", "symbolic"),
        ("c.flac", b"top", "file"),
        ("d/c.flac", b"below", "file"),
        ("s.wav", "c.flac", "symbolic"),
        ("d/h.wav", "s.wav", "hard"),
    ]
    found = find(write_links(tmp_path / "s.tar", members))
    assert {key: read_member(recording) for key, recording in by_key(found).items()} == {
        "hard": b"first",
        "symbolic": b"second",
        "c": b"top",
        "d_c": b"below",
        "s": b"top",
        "d_h": b"below",
    }


NAMES = ["a.wav", "a.txt", "b.wav", "b.png", "c.flac", "d/a.wav", "d/a.txt", "d/e/f.wav", "d/e/f.txt", "g.wav"]
TARGETS = [
    *NAMES,
    *(f"./{name}" for name in NAMES),
    "../a.wav",
    "../d/a.wav",
    "e/f.wav",
    "l/f.wav",
    "gone.wav",
    "/a.wav",
]


@pytest.mark.parametrize("seed", range(20))
def test_links_of_all_kinds_against_an_unpacked_tar(tmp_path: Path, seed: int) -> None:
    draws = random.Random(seed)
    members: list[tuple[str, bytes | str, str]] = [("l", "d/e", "symbolic"), ("d/back", "..", "symbolic")]
    for name in draws.sample(NAMES, k=draws.randint(3, len(NAMES))):
        kind = draws.choice(["file", "file", "hard", "symbolic"])
        members.append((name, f"of {name}".encode() if kind == "file" else draws.choice(TARGETS), kind))
    draws.shuffle(members)
    tar = write_links(tmp_path / "s.tar", members)
    root = tmp_path / "unpacked"
    contents = unpack(members, root)
    found = find(tar)
    rejected = {item.path.removeprefix(f"{tar}: ") for item in found.rejected}
    recordings = {recording.member.name: recording for recording in found.recordings if recording.member}
    for name, content in contents.items():
        transcript = f"{name.rpartition('.')[0]}.txt"
        if not name.endswith((".wav", ".flac")):
            continue
        if content is None:
            assert name in rejected
        elif transcript in contents and contents[transcript] is None:
            assert transcript in rejected
        else:
            assert read_member(recordings[name]) == content
            assert recordings[name].text.encode() == (contents.get(transcript) or b"")
    assert len(recordings) + len(rejected) <= len(members)


def unpack(members: list[tuple[str, bytes | str, str]], root: Path) -> dict[str, bytes | None]:
    """Content of each member as the file system gives it; None if it leads to no file in the folder."""
    for name, content, kind in members:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
        elif kind == "symbolic":
            (root / name).symlink_to(content)
    hard = [(name, str(target)) for name, target, kind in members if kind == "hard"]
    for _ in hard:  # those to links that come later too
        for name, target in hard:
            if not os.path.lexists(root / name) and os.path.lexists(root / target) and not target.startswith("/"):
                os.link(root / target, root / name, follow_symlinks=False)
    contents: dict[str, bytes | None] = {}
    for name, _, _ in members:
        place = Path(os.path.realpath(root / name))
        is_absolute = (root / name).is_symlink() and (root / name).readlink().is_absolute()
        is_inside = place.is_relative_to(root) and not is_absolute
        contents[name] = place.read_bytes() if is_inside and place.is_file() else None
    return contents


@pytest.mark.parametrize("seed", range(8))
def test_samples_are_those_of_webdatasets_reader(tmp_path: Path, seed: int) -> None:
    import webdataset

    draws = random.Random(seed)
    stems = [f"{folder}{stem}" for folder in ("", "./", "x/", "x.y/", "ä/") for stem in ("a", "b c", "d-1", "é")]
    members = []
    for stem in draws.sample(stems, k=12):
        suffixes = draws.sample(
            ["txt", "JSON", "png", "cls", "normalized.txt", "wav.txt", "x.y"], k=draws.randint(0, 3)
        )
        for suffix in draws.sample([draws.choice(["wav", "FLAC", "mp3"]), *suffixes], k=len(suffixes) + 1):
            content = b"{}" if suffix == "JSON" else f"{stem} {suffix}".encode()
            members.append((f"{stem}.{suffix}", content, "file"))
        members += draws.sample([("README", b"1", "file"), ("__meta__/x.wav", b"2", "file")], k=1)
    tar = write_links(tmp_path / "s.tar", [(name, content, kind) for name, content, kind in members])
    theirs = {
        sample["__key__"]: next(value for name, value in sample.items() if name in ("wav", "flac", "mp3"))
        for sample in webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False)
    }
    found = find(tar)
    ours = {r.member.name.rpartition(".")[0]: read_member(r) for r in found.recordings if r.member}
    assert ours == theirs
    assert found.rejected == []


def test_names_are_split_by_webdatasets_own_function_without_pytorch() -> None:
    from webdataset.tariterators import base_plus_ext

    for name in ("a.b.c", "x.y/a.TXT", "./a.wav", "a", ".a.wav", "x/.a", "a.b/c", "a\nb.wav", "é.wav", "a..b", "/a.b"):
        key, suffix = base_plus_ext(name)
        assert split_name(name) == (key, (suffix or "").lower())
    assert is_reserved("x/._a.wav")
    assert is_reserved("__meta__/a.wav")
    assert not is_reserved("x/__a__.wav")
    code = """
import sys
from speechssl.shards.webdataset_alone import split_name
assert split_name("a.b.C") == ("a", "b.c")
assert "torch" not in sys.modules
import webdataset
assert webdataset.WebDataset
"""
    subprocess.run([sys.executable, "-c", code], check=True)
