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
from speechssl.files import PARTIAL
from speechssl.remote.cache import ShardCache, disk_errors_named
from speechssl.remote.failures import InterruptedFetchError, MismatchError, ShardError, failure, judge, status_of
from speechssl.remote.opening import CHUNK, CommandOutput, Opened, open_address
from speechssl.remote.outages import Outages
from speechssl.remote.waiting import abandonable, check_wanted, pause
from speechssl.shards.addresses import PIPE
from speechssl.shards.index import file_sha256, index_path
from speechssl.shards.verify.indexes import publish_index
from speechssl.shards.verify.shards import check_shard

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
    """Address with its credentials, or ``pipe:`` and a command."""
    key: str
    """Name of its files in the cache."""
    num_bytes: int = 0
    """Size of the tar; 0 if it is not known yet."""
    sha256: str = ""
    """Checksum of the tar; empty if it is not known yet."""

    @property
    def is_command(self) -> bool:
        return self.url.startswith(PIPE)


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
        self._outages = Outages()
        self._draws = random.Random()  # of its own: training must not see how often the network failed

    def fetch(self, shard: RemoteShard, *, must: bool) -> bool:
        """Have a shard in the cache; False if it ``must`` not, and there is no room.

        Raises:
            ShardError: it cannot be fetched, or is not wanted any more.
        """
        path, began = self._cache.path(shard.key), time.monotonic()
        if path.is_file():
            return True
        self._cache.make_folder()
        with self._cache.lock(shard.key):
            if path.is_file():
                return True
            failed_at, error = self._failures.get(shard.name, (0.0, None))
            if error is not None and failed_at >= began:
                raise type(error)(str(error))  # who had the lock has tried in vain
            with self._cache.room(shard.num_bytes, shard.key, must=must) as has_room:
                if not has_room:
                    return False
                partial = path.with_name(PARTIAL + path.name)
                self._fetch_checked(shard, partial)
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
                partial.replace(path)
            if not shard.num_bytes:  # a command's, whose size is known only now
                with self._cache.room(0, shard.key, must=True):
                    pass
        return True

    def _fetch_checked(self, shard: RemoteShard, partial: Path) -> None:
        """Fetch until what has arrived is what the index describes; another body than that gets a second chance."""
        try:
            for is_last in (False, True):
                try:
                    self._download(shard, partial)
                    break
                except MismatchError as error:
                    if is_last:
                        raise self._mismatch(shard, error) from error
                    logger.warning("%s: %s; it is fetched once more", shard.name, error)
            if not shard.sha256:
                make_index(partial, shard.name)
                index_path(partial).replace(index_path(self._cache.path(shard.key)))
        except InterruptedFetchError:
            raise
        except ShardError as error:
            self._failures[shard.name] = (time.monotonic(), error)
            raise

    def _mismatch(self, shard: RemoteShard, error: MismatchError) -> ShardError:
        if shard.is_command:
            index_path(self._cache.path(shard.key)).unlink(missing_ok=True)
            return ShardError(f"{shard.name}: gives another shard than before: {error}; start again to have that one")
        return ShardError(
            f"{shard.name}: is not the shard that its index describes: {error}; if it was replaced, put the new index "
            "beside it and start again, else copy the shard there again"
        )

    def _download(self, shard: RemoteShard, partial: Path) -> None:
        """Fetch what is missing of the partial file, and check it; what is another shard is deleted."""
        partial.touch()
        if shard.is_command or partial.stat().st_size > shard.num_bytes:
            os.truncate(partial, 0)

        def attempt() -> None:
            if shard.is_command or partial.stat().st_size < shard.num_bytes:
                _append(shard, partial)

        def size() -> int:  # a command begins anew each time, so that what it had written counts for nothing
            return 0 if shard.is_command else partial.stat().st_size

        try:
            self.retry(shard.name, attempt, size)
            if shard.sha256 and (found := file_sha256(partial)) != shard.sha256:
                raise MismatchError(f"its SHA-256 is {found}, expected {shard.sha256}")
        except MismatchError:
            partial.unlink(missing_ok=True)
            raise

    def retry(self, name: str, attempt: Callable[[], Result], size: Callable[[], int] = lambda: 0) -> Result:
        """Try until it works, or has failed ATTEMPTS times without anything new having arrived.

        Raises:
            NotFoundError, UnreachableError, ShardError: with the address, the attempts and the last cause.
        """
        failures, largest, answered = 0, size(), False
        try:
            while True:
                try:
                    result = attempt()
                    answered = True
                    return result
                except (DataError, MismatchError):
                    raise
                except Exception as error:  # file systems raise anything
                    verdict = judge(error)
                    failures = 1 if size() > largest else failures + 1
                    largest = max(largest, size())
                    if verdict.is_absent or not verdict.is_transient or failures == ATTEMPTS:
                        raise failure(name, verdict, failures) from error
                backoff = min(self._backoff_seconds * 2 ** (failures - 1), MAX_BACKOFF_SECONDS)
                delay = max(backoff * self._draws.uniform(0.5, 1), verdict.retry_after)
                message = f"attempt {failures} of {ATTEMPTS} failed ({verdict.reason}); the next one in {delay:.1f} s"
                self._outages.failed(name, message)
                pause(delay)
        finally:
            self._outages.ended(name, answered=answered)


def make_index(shard: Path, name: str) -> None:
    """Give a tar without an index one, beside it.

    Raises:
        ShardError: says what is wrong with the tar, under the name for messages.
    """
    index_path(shard).unlink(missing_ok=True)
    result = check_shard(shard, decode=True, write_index=True)
    if publish_index(result):
        return
    problems = [f"{finding.key or finding.kind}: {finding.detail}" for finding in result.findings[:5]]
    if len(result.rates) > 1:
        problems.append(f"samples of {', '.join(f'{rate} Hz' for rate in sorted(result.rates))}, expected one rate")
    shard.unlink(missing_ok=True)
    raise ShardError("\n".join(f"{name}: {problem}" for problem in problems or ["no index can be made of it"]))


def _append(shard: RemoteShard, partial: Path) -> None:
    """One attempt to fetch what is missing of a partial file."""
    start = 0 if shard.is_command else partial.stat().st_size
    try:
        if shard.is_command:
            opened = Opened(CommandOutput(shard.url.removeprefix(PIPE)), 0, None)
        else:
            opened = abandonable(lambda: open_address(shard.url, start))
    except Exception as error:
        if status_of(error) == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise MismatchError(f"it has {start} bytes or fewer, expected {shard.num_bytes}") from error
        raise
    # Without a buffer: what a full disk has refused would be written again, and fail again, when the file is closed.
    with closing(opened.body) as body, partial.open("r+b", buffering=0) as file:
        if shard.num_bytes and opened.total not in (None, shard.num_bytes):
            raise MismatchError(f"it has {opened.total} bytes, expected {shard.num_bytes}")
        received = opened.start
        file.seek(received)
        file.truncate()
        while chunk := body.read(CHUNK) if shard.is_command else abandonable(lambda: body.read(CHUNK)):
            check_wanted()
            with disk_errors_named(partial.parent):
                written = 0
                while written < len(chunk):
                    written += file.write(chunk[written:])
            received += len(chunk)
            if shard.num_bytes and received > shard.num_bytes:
                raise MismatchError(f"it has more than the {shard.num_bytes} bytes expected")
    if shard.is_command and received < shard.num_bytes:  # and it says that this was all
        raise MismatchError(f"it has {received} bytes, expected {shard.num_bytes}")
    if received < shard.num_bytes:
        raise EOFError(f"it ended after {received} of {shard.num_bytes} bytes")
