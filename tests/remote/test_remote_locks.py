"""Locks whose files are removed."""

import fcntl
from pathlib import Path

import pytest

from speechssl.remote import locks
from speechssl.remote.locks import FileLock


def test_a_lock_holds_until_it_is_released_and_leaves_nothing(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    assert one.try_acquire()
    assert not other.try_acquire()
    one.release()
    assert other.try_acquire()
    assert not one.try_acquire()
    other.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_a_file_that_was_removed_meanwhile_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (FileLock(tmp_path / "a.lock") for _ in range(3))
    assert first.try_acquire()

    def meanwhile(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(locks.fcntl, "flock", real)
        first.release()
        assert third.try_acquire()
        real(descriptor, operation)

    real = fcntl.flock
    monkeypatch.setattr(locks.fcntl, "flock", meanwhile)
    assert not second.try_acquire(), "it has opened the file of the first, and the third has a new one"
    third.release()
