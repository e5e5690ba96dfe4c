"""Shards fetched whole, resumed where the connection broke, and checked against their index."""

import http
import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

from speechssl.errors import DataError
from speechssl.files import sync
from speechssl.remote.cache import ShardCache, disk_errors_named
from speechssl.remote.failures import InterruptedFetchError, MismatchError, ShardError, failure, judge, status_of
from speechssl.remote.opening import CHUNK, open_address
from speechssl.remote.waiting import POLL_SECONDS, abandonable, check_wanted, pause
from speechssl.shards.index import file_sha256

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

ATTEMPTS = 8
"""Failures in a row, without a byte in between, after which a shard is given up."""
MAX_BACKOFF_SECONDS = 60.0


class RemoteShard(NamedTuple):
    """A shard somewhere else."""

    name: str
    """For messages, without credentials."""
    url: str
    """Address with its credentials."""
    key: str
    """Name of its files in the cache."""
    num_bytes: int
    """Size of the tar."""
    sha256: str
    """Checksum of the tar."""


class Fetcher:
    """Brings shards into a cache. Threads may share it.

    Args:
        cache: where they go.
        backoff_seconds: wait after the first failure; each that follows doubles it.
    """

    def __init__(self, cache: ShardCache, backoff_seconds: float) -> None:
        self._cache = cache
        self._backoff_seconds = backoff_seconds
        self._failures: dict[str, tuple[float, ShardError]] = {}
        self._draws = random.Random()  # of its own: training must not see how often the network failed

    def fetch(self, shard: RemoteShard, *, must: bool) -> bool:
        """Have a shard in the cache; False if it ``must`` not, and there is no room.

        Raises:
            ShardError: it cannot be fetched, or is not wanted any more.
        """
        path, began = self._cache.path(shard.key), time.monotonic()
        while not path.is_file():
            with self._cache.lock(shard.key):
                if path.is_file():
                    break
                failed_at, error = self._failures.get(shard.name, (0.0, None))
                if error is not None and failed_at >= began:
                    raise type(error)(str(error))  # who had the lock has tried in vain
                has_room = self._cache.reserve(shard.key, shard.num_bytes, must=must)
                if has_room:
                    self._fetch_checked(shard)
            if has_room is False:
                return False
            if has_room is None:
                pause(POLL_SECONDS)  # without the lock, or two that wait would wait for each other
        return True

    def _fetch_checked(self, shard: RemoteShard) -> None:
        """Fetch a shard, and give it its name if it is what the index describes; another body gets a second chance."""
        partial = self._cache.partial_path(shard.key, shard.num_bytes)
        try:
            for is_last in (False, True):
                try:
                    self._download(shard, partial)
                    break
                except MismatchError as error:
                    if is_last:
                        partial.unlink(missing_ok=True)
                        raise ShardError(
                            f"{shard.name}: is not the shard that its index describes: {error}; if it was replaced, "
                            "put the new index beside it and start again, else copy the shard there again"
                        ) from error
                    os.truncate(partial, 0)
                    logger.warning("%s: %s; it is fetched once more", shard.name, error)
        except InterruptedFetchError:
            raise
        except ShardError as error:
            self._failures[shard.name] = (time.monotonic(), error)
            raise
        sync(partial)
        partial.replace(self._cache.path(shard.key))

    def _download(self, shard: RemoteShard, partial: Path) -> None:
        """Fetch what is missing of the partial file, and check it."""

        def size() -> int:
            return partial.stat().st_size

        def attempt() -> None:
            if size() < shard.num_bytes:
                _append(shard, partial)

        self.retry(shard.name, attempt, size)
        if (found := file_sha256(partial)) != shard.sha256:
            raise MismatchError(f"its SHA-256 is {found}, expected {shard.sha256}")

    def retry(self, name: str, attempt: Callable[[], Result], size: Callable[[], int] = lambda: 0) -> Result:
        """Try until it works, or has failed ATTEMPTS times without anything new having arrived.

        Raises:
            NotFoundError, UnreachableError, ShardError: with the address, the attempts and the last cause.
        """
        failures, largest = 0, size()
        while True:
            try:
                return attempt()
            except (DataError, MismatchError):
                raise
            except Exception as error:  # file systems raise anything
                verdict = judge(error)
                failures = 1 if size() > largest else failures + 1
                largest = max(largest, size())
                if not verdict.is_transient or failures == ATTEMPTS:
                    raise failure(name, verdict, failures) from error
            backoff = min(self._backoff_seconds * 2 ** (failures - 1), MAX_BACKOFF_SECONDS)
            delay = max(backoff * self._draws.uniform(0.5, 1), verdict.retry_after)
            logger.log(
                logging.WARNING if failures == 1 else logging.INFO,
                "%s: attempt %d of %d failed (%s); the next one in %.1f s",
                *(name, failures, ATTEMPTS, verdict.reason, delay),
            )
            pause(delay)


def _append(shard: RemoteShard, partial: Path) -> None:
    """One attempt to fetch what is missing of a partial file."""
    start = partial.stat().st_size
    try:
        opened = abandonable(lambda: open_address(shard.url, start))
    except Exception as error:
        if status_of(error) == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise MismatchError(f"it has {start} bytes or fewer, expected {shard.num_bytes}") from error
        raise
    # Without a buffer: what a full disk has refused would be written again, and fail again, when the file is closed.
    with closing(opened.body) as body, partial.open("r+b", buffering=0) as file:
        if opened.total not in (None, shard.num_bytes):
            raise MismatchError(f"it has {opened.total} bytes, expected {shard.num_bytes}")
        received = opened.start
        file.seek(received)
        file.truncate()
        while chunk := abandonable(lambda: body.read(CHUNK)):
            check_wanted()
            received += len(chunk)
            if received > shard.num_bytes:
                raise MismatchError(f"it has more than the {shard.num_bytes} bytes expected")
            with disk_errors_named(partial.parent):
                left = memoryview(chunk)
                while left:
                    left = left[file.write(left) :]
    if received < shard.num_bytes:
        raise EOFError(f"it ended after {received} of {shard.num_bytes} bytes")
