"""Bytes from an address or a command, from any byte on where that can be had."""

import contextlib
import http
import os
import re
import select
import signal
import subprocess
import tempfile
from typing import Any, NamedTuple, Protocol

from speechssl.remote.failures import CommandError, ShardError
from speechssl.remote.waiting import POLL_SECONDS, check_wanted
from speechssl.shards.addresses import redact, redact_addresses, redact_word, words_of

CHUNK = 1 << 23
"""Bytes that are read at a time."""
_CONNECT_SECONDS, _SILENCE_SECONDS = 30.0, 60.0


class Body(Protocol):
    """Bytes that arrive."""

    def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class Opened(NamedTuple):
    """A shard from some byte on."""

    body: Body
    start: int
    """First byte that arrives, which is 0 if the server cannot begin elsewhere."""
    total: int | None
    """Size of the whole, if the server says so."""


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it.

    Raises:
        ShardError: a package is missing.
    """
    import fsspec.core  # type: ignore[import-untyped]  # a while to import, aiohttp with it, and rarely needed

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = "huggingface_hub" if url.startswith("hf:") else "'speechssl[remote]'"
        raise ShardError(f"{redact(url)}: {error}; give `pip install {package}`") from error


def open_address(url: str, start: int) -> Opened:
    """Open what is at an address, from a byte on; raises whatever the file system raises."""
    system, path = file_system(url)
    if not url.lower().startswith("http"):
        file = system.open(path, "rb", block_size=CHUNK, cache_type="none")
        file.seek(start)
        return Opened(file, start, file.size)
    import aiohttp

    headers = {**system.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    # aiohttp's own limit is five minutes for all, too little for a shard.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
    # With a block size of 0 the body is read as it comes; a size spares a request for it.
    file = system.open(path, "rb", block_size=0, size=1, headers=headers, timeout=timeout)
    answer = file.r
    found = re.match(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT and found:
        return Opened(file, int(found[1]), int(found[2]))
    return Opened(file, 0, answer.content_length)


class CommandOutput:
    """What a shell command writes; a status other than 0 is an error at its end.

    Args:
        command: for the shell.
    """

    def __init__(self, command: str) -> None:
        words = enumerate(words_of(command))
        self._hidden = [word for i, word in words if len(word) > 3 and redact_word(word, is_first=i == 0) != word]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the command
        # A group of its own, so that the command can be ended with all that it started.
        self._process = subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout

    def read(self, size: int) -> bytes:
        """Bytes that are there, at least one unless the command has ended."""
        while not select.select([self._output], [], [], POLL_SECONDS)[0]:
            check_wanted()
        data = os.read(self._output.fileno(), size)
        if not data and (status := self._process.wait()):
            raise CommandError(status, self._said())
        return data

    def _said(self) -> str:
        """Last line of its errors, without the words of the command that may be secrets."""
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        text = redact_addresses(lines[-1]) if lines else ""
        for word in self._hidden:
            text = text.replace(word, "…")
        return text

    def close(self) -> None:
        """End the command, if it has not ended."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._output.close()
        self._errors.close()
