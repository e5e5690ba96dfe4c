"""Bytes from an address, from any byte on where that can be had."""

import http
import re
from typing import Any, NamedTuple, Protocol

from speechssl.remote.failures import ShardError
from speechssl.shards.addresses import redact

CHUNK = 1 << 23
"""Bytes that are read at a time."""
_CONNECT_SECONDS, _SILENCE_SECONDS = 30.0, 60.0


class Body(Protocol):
    """Bytes that arrive."""

    def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class Opened(NamedTuple):
    """A file from some byte on."""

    body: Body
    start: int
    """First byte that arrives, which is 0 if the server cannot begin elsewhere."""
    total: int | None
    """Size of the whole, if the server says so."""


def open_address(url: str, start: int) -> Opened:
    """Open what is at an address, from a byte on; raises whatever fsspec's file system raises.

    Raises:
        ShardError: a package is missing.
    """
    import fsspec.core  # type: ignore[import-untyped]  # a while to import, aiohttp with it, and rarely needed

    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = "huggingface_hub" if url.startswith("hf:") else "'speechssl[remote]'"
        raise ShardError(f"{redact(url)}: {error}; give `pip install {package}`") from error
    if url.lower().startswith("http"):
        return _open_http(system, path, start)
    file = system.open(path, "rb", block_size=CHUNK, cache_type="none")
    file.seek(start)
    return Opened(file, start, file.size)


def _open_http(system: Any, path: str, start: int) -> Opened:
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
