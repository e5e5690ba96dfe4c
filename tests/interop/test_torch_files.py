"""PyTorch's files as data: what torch.load gives, bit for bit, and nothing of what a hostile file asks for."""

import argparse
import collections
import os
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_models import Trap, archive_of, code_of, dictionary, make_class, plain_pickle, save
from torch import Tensor

from speechssl.cli import main
from speechssl.errors import CheckpointError
from speechssl.interop import pickles
from speechssl.interop.torch_files import read_torch_file


def tensors() -> dict[str, Tensor]:
    table = torch.randn(6, 4)
    return {
        "float": table,
        "shared": table[2:5, 1:3],
        "turned": table.t(),
        "double": torch.randn(3, dtype=torch.float64),
        "half": torch.randn(3, 2).half(),
        "bfloat16": torch.randn(3, 2).bfloat16().t(),
        "whole": torch.arange(10)[3:7],
        "flags": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "bytes": torch.arange(5, dtype=torch.uint8),
    }


PLAIN: dict[str, Any] = {
    "numbers": [0, 1, -1, 255, 256, 65536, -(2**31), 2**40, -(2**100), 0.5, float("inf")],
    "flags": [True, False, None],
    "text": ["", "a", "x" * 300, "snow \u2603 \U0001f600"],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "nested": {"a": {1: [{"b": ()}]}, (1, "c"): 2},
    "sets": [set(), {1, 2}],
    "ordered": collections.OrderedDict(a=1, b=2),
    "default": collections.defaultdict(list, a=[1]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", [False, True], ids=["archive", "old"])
def test_values_and_tensors_are_those_of_torch_load(tmp_path: Path, old: bool, protocol: int) -> None:
    expected = tensors()
    torch.save(
        {"model": expected, **PLAIN},
        tmp_path / "a.pt",
        _use_new_zipfile_serialization=not old,
        pickle_protocol=protocol,
    )
    file = read_torch_file(tmp_path / "a.pt")
    found = file.tensors(file.content["model"])
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value.detach()), name
    assert {key: value for key, value in file.content.items() if key != "model"} == PLAIN


def test_objects_are_inert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = dictionary(monkeypatch, ["a", "b"])
    kind = make_class(monkeypatch, "omegaconf.base.ContainerMetadata")
    # Were they made, these would say so.
    for made in (type(symbols), kind):
        monkeypatch.setattr(made, "__setstate__", lambda self, state: pytest.fail("executed"), raising=False)
    content = {"args": argparse.Namespace(a=1, b=argparse.Namespace(c="d")), "symbols": symbols, "meta": kind()}
    found = read_torch_file(save(tmp_path / "a.pt", content)).content
    assert found["args"].state["b"].state == {"c": "d"}
    assert found["symbols"].state["symbols"] == ["a", "b"]
    assert not isinstance(found["args"], argparse.Namespace)


def traps(marker: Path) -> dict[str, Any]:
    """Objects that would leave a file, and how they would be named."""
    command = f"touch {marker}"
    return {
        "posix.system": Trap(os.system, command),
        "builtins.eval": Trap(eval, f"open({str(marker)!r}, 'w')"),
        "builtins.getattr": Trap(getattr, "text", "upper"),
        "functools.partial": Trap(__import__("functools").partial, os.system, command),
    }


WRITERS: dict[str, Callable[[Path, Any], Path]] = {
    "archive": save,
    "old": lambda path, content: save(path, content, old=True),
    "pickle": plain_pickle,
}


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "builtins.getattr", "functools.partial"])
def test_a_call_is_named_and_not_made(tmp_path: Path, capsys: Any, name: str, container: str) -> None:
    marker = tmp_path / "executed"
    path = WRITERS[container](tmp_path / "model.pt", {"model": {"a": torch.zeros(2)}, "cfg": traps(marker)[name]})
    assert main(["import", str(path), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert name.replace("builtins.", "") in error
    assert "nothing of it was executed" in error
    assert error.count("\n") == 1
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_all_refused_names_are_told_at_once(tmp_path: Path) -> None:
    content = {"a": Trap(os.system, "true"), "b": {"c": Trap(eval, "1")}, "d": Path("x")}
    with pytest.raises(
        CheckpointError, match=r"names posix\.system, (__builtin__|builtins)\.eval, pathlib(\._local)?\.PosixPath,"
    ):
        read_torch_file(save(tmp_path / "a.pt", content))


def read_all(path: Path) -> dict[str, Tensor]:
    """All tensors of a file."""
    file = read_torch_file(path)
    return file.tensors(file.content.get("model", file.content))


def test_the_archive_of_the_next_test_is_sound_otherwise(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.pt", code_of(), s=struct.pack("<4f", 1, 2, 3, 4))
    assert read_all(path)["a"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (10**12,), "stride": (0,)}, "reaches out of its 4 stored numbers"),
        ({"shape": (3, 2)}, "reaches out of its 4 stored numbers"),
        ({"offset": 1}, "reaches out of its 4 stored numbers"),
        ({"offset": 2**63}, "reaches out of its 4 stored numbers"),
        ({"offset": -1}, "not described by whole numbers"),
        ({"stride": (-2, 1)}, "not described by whole numbers"),
        ({"shape": (1,) * 40, "stride": (1,) * 40}, "40 dimensions"),
        ({"shape": (2,)}, "a tensor of 1 dimensions with 2 strides"),
        ({"size": 8}, "of another size than described"),
        ({"size": 10**15, "shape": (10**15,), "stride": (1,)}, "of another size than described"),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = archive_of(tmp_path / "a.pt", code_of(**options), s=struct.pack("<4f", 1, 2, 3, 4))
    with pytest.raises(CheckpointError, match=message):
        read_all(path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s", "pickle exhausted before seeing STOP"),
        (b"(((.", "malformed pickle"),
        (b"0.", "malformed pickle"),
        (b"\x80\x02](K\x01K\x02tb.", "attributes for type list"),
        (b"\x82\x01.", "the instruction EXT1"),
        (b"(cargparse\nNamespace\no.", "the instruction OBJ"),
        (b"(icollections\nOrderedDict\n.", "the instruction INST"),
        (b"Pabc\n.", "the instruction PERSID"),
        (b"X\x04\x00\x00\x00evilK\x01\x85R.", "a call of something that is no name"),
        (b"}((K\x01tK\x02tK\x01s.", "type tuple as the key of a dictionary"),
        (b"\x8a\xffabc.", "malformed pickle"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "bytes in a bytes8, but only 4 remain"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "bytes in a bytearray8, but only 4 remain"),
        (b"ccollections\nOrderedDict\nNb.", "attributes for type Named"),
        (b"ccollections\nOrderedDict\nN}X\x04\x00\x00\x00nameK\x01s\x86b.", "attributes for type Named"),
        (b"cargparse\nNamespace\n)R)R.", "a call of something that is no name"),
    ],
)
def test_malformed_pickles_are_told(tmp_path: Path, code: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_torch_file(archive_of(tmp_path / "a.pt", code))


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_INSTRUCTIONS", 1000)
    with pytest.raises(CheckpointError, match="more than 1000 instructions"):
        read_torch_file(archive_of(tmp_path / "a.pt", b"]" * 2000 + b"."))
    for content in (bytes(4 * 10**6), random.Random(0).randbytes(4 * 10**4)):
        with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("model/data.pkl", code_of(size=len(content) // 4, shape=(4,), stride=(1,)))
            archive.writestr("model/data/s", content)
        with pytest.raises(CheckpointError, match="compressed or encrypted"):
            read_torch_file(tmp_path / "b.pt")


@pytest.mark.parametrize("old", [False, True], ids=["archive", "old"])
def test_every_cut_ends_in_one_clear_line(tmp_path: Path, old: bool) -> None:
    whole = save(tmp_path / "whole.pt", {"model": tensors(), **PLAIN}, old=old).read_bytes()
    cut = tmp_path / "cut.pt"
    for end in [*range(0, len(whole), len(whole) // 60), len(whole) - 1]:
        cut.write_bytes(whole[:end])
        with pytest.raises(CheckpointError, match="no PyTorch file, damaged or cut off") as caught:
            read_all(cut)
        assert "\n" not in str(caught.value)


def test_damaged_numbers_are_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", {"model": {"a": torch.full((100,), 1.25)}})
    whole = path.read_bytes()
    middle = whole.index(struct.pack("<2f", 1.25, 1.25)) + 200
    path.write_bytes(whole[:middle] + b"\xff" + whole[middle + 1 :])
    with pytest.raises(CheckpointError, match="Bad CRC"):
        read_all(path)


def test_another_size_of_a_storage_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", {"model": {"a": torch.full((100,), 1.25)}}, old=True)
    whole = path.read_bytes()
    sizes = struct.pack("<q", 100) + struct.pack("<f", 1.25)
    assert whole.count(sizes) == 1
    path.write_bytes(whole.replace(sizes, struct.pack("<q", 99) + struct.pack("<f", 1.25)))
    with pytest.raises(CheckpointError, match="has another size than described"):
        read_all(path)


def test_no_change_of_a_pickle_does_more_than_fail(tmp_path: Path) -> None:
    """Bytes exchanged at random: values or one kind of error, never anything else."""
    path = save(tmp_path / "a.pt", {"model": tensors(), "cfg": {"a": argparse.Namespace(b=[1, 2, {"c": 3.5}])}})
    with zipfile.ZipFile(path) as archive:
        code = archive.read("a/data.pkl")
    draw = random.Random(0)
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(300):
        changed = bytearray(code)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        try:
            read_torch_file(archive_of(tmp_path / "b.pt", bytes(changed)))
            outcomes["read"] += 1
        except CheckpointError:
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 5


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no PyTorch file"), (b"<html>Not found</html>", "no PyTorch file"), (b"PK\x05\x06" + bytes(18), "found 0")],
)
def test_other_files_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_torch_file(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_program_is_no_checkpoint(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match="TorchScript program"):
        read_torch_file(tmp_path / "a.pt")
