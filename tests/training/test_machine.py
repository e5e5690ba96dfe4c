"""Memory that the allocator keeps."""

import sys

import pytest
import torch
from torch import nn

from speechssl.training import machine


def test_freed_memory_is_released_once_per_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[int] = []
    monkeypatch.setattr(machine, "release_freed_memory", lambda: released.append(1))
    module = nn.Linear(2, 2)
    machine.release_after_new_shapes(module)
    counts = []
    for rows in (1, 1, 2, 1, 2, 3):
        module(torch.zeros(rows, 2))
        counts.append(len(released))
    assert counts == [1, 1, 2, 2, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_was_freed_goes_back_to_the_system() -> None:
    machine.configure_cpu()
    blocks = [torch.ones(1 << 20) for _ in range(50)]  # 4 MiB each
    last = torch.ones(1 << 20)  # keeps the blocks before it from the end of the heap
    del blocks
    before = resident()
    machine.release_freed_memory()
    assert before - resident() > 150 * 2**20
    assert last.sum() == 1 << 20


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))
