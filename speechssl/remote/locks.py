"""Locks between processes that leave no files behind."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.remote.waiting import check_wanted

_POLL_SECONDS = 0.05


class FileLock:
    """A lock on a file, which the system lets go of when its owner dies.

    The file is removed while the lock is still held. Who has opened it before that gets a lock on a file without a
    name, sees that, and tries again with a new file: so no two hold the lock of one name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it.

        Raises:
            OSError: the folder is missing or cannot be written, or its file system has no locks.
        """
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    self._descriptor = descriptor
                    return True
            except FileNotFoundError:
                continue
            except BlockingIOError:
                return False
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


@contextmanager
def locked(path: Path, *, always: bool = False) -> Iterator[None]:
    """Hold the lock of a file, once it is free; unless ``always``, only as long as this thread is wanted."""
    lock = FileLock(path)
    while not lock.try_acquire():
        time.sleep(_POLL_SECONDS)
        if not always:
            check_wanted()
    try:
        yield
    finally:
        lock.release()
