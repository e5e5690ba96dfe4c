"""Nothing falls through: of random folders and tars, each file and member is used, or left out or ignored by name.

What is there is counted by os.walk and tarfile alone.
"""

import json
import os
import random
import re
import tarfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from source_files import find, write, write_members

from speechssl.errors import DataError
from speechssl.ingest.recordings import Found

SOUND = ["wav", "FLAC", "mp3", "aif", "w64", "caf", "oga", "webm", "opus", "m4a", "wma", "snd"]
TEXTS = ["txt", "LAB", "transcript", "trn", "text", "normalized.txt", "original.txt", "wav.txt"]
FOREIGN = ["png", "phn", "TextGrid", "srt", "npy", "xyz", "md", "zip", "tar.gz", "py", "index"]
STEMS = ["a", "b", "1_2_3", "p1_7", "日本", "é", "e\u0301", "a b", "x.y"]

WORD = re.compile(r"\b[wm]\d+\b")


def content_of(suffix: str, word: str, draws: random.Random) -> bytes:
    """Of a file: words that no other file has, or something that is not what the suffix says."""
    if suffix in SOUND:
        return draws.choice([b"audio", b"audio", b"audio", b""])
    if suffix in TEXTS:
        kinds = [f"says {word}", f"0 10 {word}\n10 20 sil", "", f"caf\xe9 {word}", f"1\n00:00 --> 00:01\n{word}"]
        return draws.choices(kinds, [8, 1, 1, 1, 1])[0].encode(draws.choice(["utf-8", "utf-16", "latin-1"]))
    if suffix == "json":
        return draws.choice([json.dumps({"text": f"says {word}"}), "[1]", "{", json.dumps({"other": word})]).encode()
    return draws.choice([b"", b"fLaC" + word.encode(), b"\x89PNG", word.encode()])


def random_tree(root: Path, draws: random.Random) -> None:
    folders = [root, root / "s", root / "s" / "t", root / "1" / "2", root / "p1", root / ".git", root / "x.wav"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for i in range(draws.randint(5, 40)):
        folder, stem = draws.choice(folders), draws.choice(STEMS)
        suffix = draws.choice([draws.choice(SOUND), draws.choice(TEXTS), draws.choice(FOREIGN), "json", ""])
        name = draws.choice([f"{stem}.{suffix}" if suffix else stem] * 9 + [f".{stem}.{suffix}"])
        if not os.path.lexists(folder / name):
            write(folder / name, content_of(suffix, f"w{i}", draws))
    links = [("to_above", ".."), ("to_s", str(root / "s")), ("gone.wav", "nowhere.wav"), ("gone.txt", "nowhere.txt")]
    links += [("loop.wav", "loop.wav"), ("gone", "nowhere"), ("b.ogg", str(root / "a.wav"))]
    for name, target in draws.sample(links, k=3):
        (draws.choice(folders) / name).symlink_to(target)
    audio = [path.relative_to(root) for path in root.rglob("*") if path.suffix[1:] in SOUND and "\t" not in path.name]
    rows = [f"{path}\tlisted {i}\n" for i, path in enumerate(draws.sample(audio, k=len(audio) // 3))]
    if draws.random() < 0.7:
        write(root / "list.tsv", "path\ttext\n" + "".join([*rows, "gone/away.wav\tx\n"]))
    if draws.random() < 0.5:
        write_members(root / "s" / "set.tar", random_members(draws))
    if draws.random() < 0.3:
        write(root / "damaged.tar", write_members(root / "s2" / "set.tar", random_members(draws)).read_bytes()[:900])
    os.mkfifo(root / "s" / draws.choice(["pipe.wav", "pipe.txt", "pipe.tsv", "pipe"]))


def random_members(draws: random.Random) -> list[tuple[str, bytes]]:
    members: dict[str, bytes] = {}
    for i in range(draws.randint(1, 25)):
        stem = draws.choice(["a", "b", "d/a", "./c", "日本", "__meta__/x", ".hidden", "e f"])
        kinds = [draws.choice(SOUND), draws.choice(TEXTS), draws.choice(FOREIGN), "json", "1.wav", "", "csv"]
        suffix = draws.choice(kinds)
        members[f"{stem}.{suffix}" if suffix else stem] = content_of(suffix, f"m{i}", draws)
    items = list(members.items())
    draws.shuffle(items)
    return items


def files_below(root: Path) -> list[str]:
    """Every file by its path, and every folder that is hidden or leads back; what is in those is one thing."""
    found = []
    pending = [(root, frozenset({root.resolve()}))]
    while pending:
        folder, above = pending.pop()
        for path in folder.iterdir():
            is_folder = not is_in_circle(path) and path.is_dir()
            if is_folder and not path.name.startswith(".") and path.resolve() not in above:
                pending.append((path, above | {path.resolve()}))
            else:
                found.append(str(path))
    return found


def is_in_circle(path: Path) -> bool:
    return path.is_symlink() and str(path.readlink()) == path.name


def assert_accounted(names: list[str], contents: dict[str, bytes], found: Found) -> None:
    """Each is a recording, rejected, ignored or used for what it says, and only one of these."""
    recordings = {r.path for r in found.recordings} | {
        f"{r.path}: {r.member.name}" for r in found.recordings if r.member
    }
    rejected = {item.path for item in found.rejected}
    ignored = Counter(item.path for item in found.ignored)
    said = " ".join([*(r.text for r in found.recordings), *(note.detail for note in found.notes)])
    noticed = {stem_of(item.path) for item in (*found.rejected, *found.notes)}
    assert max(ignored.values(), default=0) <= 1
    for name in names:
        data = contents.get(name, b"")
        text = data.decode("utf-16" if data[:2] == b"\xff\xfe" else "latin-1")
        word = WORD.search(text)
        is_used = (word is not None and re.search(rf"\b{word[0]}\b", said) is not None) or '"other"' in text
        kinds = (name in recordings, name in rejected, name in ignored)
        # What lies beside a recording that is left out is left out with it.
        assert sum(kinds) == 1 or (sum(kinds) == 0 and (is_used or stem_of(name) in noticed)), (name, kinds, text)


def stem_of(path: str) -> str:
    """Path up to the first dot of its name, or of a member's; the composed form of it."""
    folder, slash, name = path.rpartition("/")
    return unicodedata.normalize("NFC", folder + slash + name.partition(".")[0])


@pytest.mark.parametrize("seed", range(12))
def test_every_file_of_a_tree_is_accounted_for(tmp_path: Path, seed: int) -> None:
    draws = random.Random(seed)
    random_tree(tmp_path / "tree", draws)
    paths = files_below(tmp_path / "tree")
    contents = {
        path: Path(path).read_bytes() for path in paths if not is_in_circle(Path(path)) and Path(path).is_file()
    }
    try:
        found = find(tmp_path / "tree")
    except DataError:  # rightly, if there is nothing
        assert not any(path.lower().endswith((".wav", ".flac", ".tar", "list.tsv")) for path in paths)
        return
    assert_accounted([path for path in paths if not path.endswith(("list.tsv", ".tar"))], contents, found)
    for tar in (path for path in paths if path.endswith(".tar")):
        named = [item.path for item in (*found.rejected, *found.ignored)] + [r.path for r in found.recordings]
        assert any(path == tar or path.startswith(f"{tar}: ") for path in named)
    places = [(r.path, r.member, r.start_seconds) for r in found.recordings]
    assert len(set(places)) == len(places)
    if not (tmp_path / "tree/list.tsv").exists():
        assert sum(found.fields.get("text", {}).values()) == sum(bool(r.text) for r in found.recordings)


@pytest.mark.parametrize("seed", range(12))
def test_every_member_of_a_tar_is_accounted_for(tmp_path: Path, seed: int) -> None:
    draws = random.Random(seed)
    tar = write_members(tmp_path / "s.tar", random_members(draws))
    with tarfile.open(tar) as members:
        files = {member.name: members.extractfile(member) for member in members}
        contents = {f"{tar}: {name}": file.read() for name, file in files.items() if file is not None}
    try:
        found = find(tar)
    except DataError:  # rightly, if there is nothing
        assert not any(name.lower().endswith((".wav", ".flac", ".txt", ".json")) for name in contents)
        return
    # Members that were looked at have their suffix in lower case, as webdataset has it.
    named = {item.path for item in found.ignored}
    names = {name: name if name in named else lower_suffix(name) for name in contents}
    assert_accounted(list(names.values()), {names[name]: data for name, data in contents.items()}, found)


def lower_suffix(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return folder + slash + stem + dot + suffix.lower()
