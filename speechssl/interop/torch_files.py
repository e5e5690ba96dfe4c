"""PyTorch's files (.pt, .pth, .bin), zip archives and the older kind, read without executing anything.

Numbers are read when tensors are asked for, each storage once, so the optimiser state of a training checkpoint costs
nothing. A file may not hold compressed parts or parts that lie over each other, and a tensor may not reach out of its
storage or stand for more numbers than that has: what is read takes no more memory than the file says it does.
"""

import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.errors import CheckpointError
from speechssl.interop.pickles import MAX_BYTES, DamagedError, RefusedError, Storage, StoredTensor, read_pickle

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_SHOWN = 8
_LONGEST_NAME = 200
_PICKLE = "data.pkl"
_PROBLEMS = (DamagedError, zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, struct.error)


class TorchFile:
    """What a file holds.

    Args:
        path: of the file.
        content: its values, with ``StoredTensor`` for tensors and ``Inert`` for objects.
        read: the bytes of a storage.
    """

    def __init__(self, path: Path, content: Any, read: Callable[[Storage], bytes]) -> None:
        self.path = path
        self.content = content
        self._read = read

    def tensors(self, values: Mapping[Any, Any]) -> dict[str, Tensor]:
        """The tensors among values by name; those that share numbers in the file share them here too.

        Raises:
            CheckpointError: a name that is no name, or numbers that are damaged or not there.
        """
        stored = {name: value for name, value in values.items() if isinstance(value, StoredTensor)}
        with _told(self.path):
            for name in stored:
                if not isinstance(name, str) or not name.isprintable() or len(name) > _LONGEST_NAME:
                    raise DamagedError("a tensor with a name that no module has")
            # Each storage once: a file may hold a thousand views of its only, large one.
            storages = {value.storage.key: value.storage for value in stored.values()}
            numbers = {key: self._numbers(storage) for key, storage in storages.items()}
            return {
                name: numbers[value.storage.key].as_strided(value.shape, value.stride, value.offset)
                for name, value in stored.items()
            }

    def _numbers(self, storage: Storage) -> Tensor:
        if not storage.size:
            return torch.empty(0, dtype=storage.dtype)
        return torch.frombuffer(bytearray(self._read(storage)), dtype=storage.dtype)


def read_torch_file(path: Path) -> TorchFile:
    """Read everything of a file but its tensors' numbers.

    Raises:
        CheckpointError: no file of PyTorch's, damaged or cut off, or one that names anything besides tensors, plain
            values and the configurations and vocabularies of fairseq; nothing of it was executed.
    """
    with _told(path):
        return _read_archive(path) if zipfile.is_zipfile(path) else _read_old_file(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what can go wrong with a file into one error."""
    try:
        yield
    except RefusedError as error:
        more = f" and {len(error.args) - _SHOWN} more" if len(error.args) > _SHOWN else ""
        names = ", ".join(ascii(name[:80])[1:-1] for name in error.args[:_SHOWN])
        raise CheckpointError(
            f"{path}: names {names}{more}, where only tensors and plain values were expected; nothing of it was "
            "executed. Ask its author for the weights alone (a state dict, or safetensors)"
        ) from error
    except _PROBLEMS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"{path}: no PyTorch file, damaged or cut off ({reason}); fetch it again") from error


def _read_archive(path: Path) -> TorchFile:
    """A zip archive: FOLDER/data.pkl and FOLDER/data/KEY for each storage."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in parts if name == _PICKLE or name.endswith(f"/{_PICKLE}")]
        if len(pickles) != 1:
            raise DamagedError(f"expected one {_PICKLE} in it, found {len(pickles)}")
        folder = pickles[0].removesuffix(_PICKLE)
        if any(name.startswith(f"{folder}code/") for name in parts):
            raise DamagedError("a TorchScript program, which is no checkpoint")
        for info in parts.values():
            # PyTorch writes neither; compressed zeros could fill any memory.
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size > size:
                raise DamagedError(f"{info.filename[:80]!a} in it is compressed or encrypted")
        if sum(info.file_size for info in parts.values()) > size:
            raise DamagedError("parts in it that lie one over the other")
        order = f"{folder}byteorder"
        if order in parts and archive.read(order) != b"little":
            raise DamagedError("numbers in another byte order than this machine's")
        if parts[pickles[0]].file_size > MAX_BYTES:
            raise DamagedError(f"a {_PICKLE} of more than {MAX_BYTES // 2**20} MiB")
        with archive.open(pickles[0]) as file:
            content, _ = read_pickle(file)

    def read(storage: Storage) -> bytes:
        with zipfile.ZipFile(path) as again:
            name = f"{folder}data/{storage.key}"
            if name not in parts or parts[name].file_size != byte_size(storage):
                raise DamagedError(f"{name[:80]!a} in it is missing or of another size than described")
            return again.read(name)

    return TorchFile(path, content, read)


def _read_old_file(path: Path) -> TorchFile:
    """The kind that PyTorch wrote before 1.6: five pickles, then each storage's size and numbers."""
    with path.open("rb") as file:
        if read_pickle(file)[0] != _MAGIC or read_pickle(file)[0] != _PROTOCOL:
            raise DamagedError("it does not begin as one")
        system, _ = read_pickle(file)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise DamagedError("numbers in another byte order than this machine's")
        content, storages = read_pickle(file)
        keys, _ = read_pickle(file)
        texts = [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
        if sorted(texts) != sorted(storages):
            raise DamagedError("its list of storages is not that of its tensors")
        position = file.tell()
    starts: dict[str, int] = {}
    for key in texts:
        starts[key] = position + 8  # after the size
        position += 8 + byte_size(storages[key])
    if position > path.stat().st_size:
        raise DamagedError(f"{position} bytes expected, {path.stat().st_size} found")

    def read(storage: Storage) -> bytes:
        with path.open("rb") as file:
            file.seek(starts[storage.key] - 8)
            if int.from_bytes(file.read(8), "little") != storage.size:
                raise DamagedError(f"the storage {storage.key[:40]!a} has another size than described")
            return file.read(byte_size(storage))

    return TorchFile(path, content, read)


def byte_size(storage: Storage) -> int:
    """Bytes that a storage takes."""
    return storage.size * storage.dtype.itemsize
