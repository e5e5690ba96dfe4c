"""Engines give every item's result, and leave no process behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest

from speechssl.errors import DataError
from speechssl.ingest.engines import LocalEngine, make_engine

SCRIPT = """
import os, time
from speechssl.ingest.engines import LocalEngine

def say(item):
    print(f"{os.getpid()}\\n", end="", flush=True)  # in one write, or two lines may mix
    time.sleep(60)

if __name__ == "__main__":
    list(LocalEngine(2).map(say, [1, 2], is_small=False))
"""


def square(item: int) -> int:
    return item * item


def die(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize(("num_workers", "is_small"), [(1, False), (3, True), (2, False)])
def test_every_item_has_its_result(num_workers: int, is_small: bool) -> None:
    with closing(LocalEngine(num_workers)) as engine:
        assert dict(engine.map(square, range(20), is_small=is_small)) == {i: i * i for i in range(20)}
        assert dict(engine.map(square, [], is_small=is_small)) == {}


def test_a_worker_that_dies_is_told_in_words() -> None:
    with closing(LocalEngine(2)) as engine, pytest.raises(DataError, match="a worker process ended without a word"):
        list(engine.map(die, [1, 2, 3], is_small=False))


def test_workers_end_when_their_parent_is_killed(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = {int(process.stdout.readline()) for _ in range(2)}
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in workers)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not status.startswith("Z")


def test_workers_are_as_many_as_cores_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechssl.ingest.engines.num_cores", lambda: 7)
    assert make_engine("local", 0).num_workers == 7
    assert make_engine("local", 3).num_workers == 3
