"""A web server on loopback that honours ranges, remembers what it was asked for, and fails by script."""

import http.server
import re
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

PIECE_BYTES = 20_000


@dataclass
class Fault:
    """What goes wrong with one answer; nothing by default."""

    status: int = 200
    """Anything else is answered without a body."""
    headers: dict[str, str | None] = field(default_factory=dict)
    """Besides the right ones, or instead of them; None leaves one out."""
    cut_after: int | None = None
    """The connection ends after so many bytes of the body."""
    body: bytes | None = None
    """Instead of the file."""
    ignores_ranges: bool = False
    delay_seconds: float = 0.0
    """Before the answer."""
    gate: threading.Event | None = None
    """Waited for where the body is cut, or else before the answer."""


class Request(NamedTuple):
    """What was asked for."""

    method: str
    path: str
    range: str | None
    headers: Message


class FaultyServer:
    """Serves a folder in threads, for use in a ``with`` statement.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.script: dict[str, list[Fault]] = {}
        """Faults of the next requests, by name of the file; once they are used up all is well."""
        self.requests: list[Request] = []
        self.piece_seconds = 0.0
        """Wait after each piece of PIECE_BYTES of a body."""
        handler = partial(_Handler, self, folder)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.handle_error = lambda request, address: None  # type: ignore[method-assign]  # clients are killed
        self._thread = threading.Thread(target=partial(self._server.serve_forever, poll_interval=0.01))

    def __enter__(self) -> "FaultyServer":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def asked(self, name: str) -> list[Request]:
        """Requests for a file."""
        return [request for request in self.requests if request.path.endswith(f"/{name}")]

    def num_shards_sent(self) -> int:
        """Requests for any shard."""
        return sum(request.path.endswith(".tar") for request in self.requests)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, owner: FaultyServer, folder: Path, *args: Any) -> None:
        self._owner = owner
        self._folder = folder
        super().__init__(*args)

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        self._owner.requests.append(Request(self.command, path, self.headers.get("Range"), self.headers))
        faults = self._owner.script.get(path.rpartition("/")[2], [])
        fault = faults.pop(0) if faults else Fault()
        time.sleep(fault.delay_seconds)
        if fault.gate is not None and fault.cut_after is None:
            fault.gate.wait(60)
        file = self._folder / path.lstrip("/")
        if fault.status != 200 or not file.is_file():
            self._answer(fault.status if fault.status != 200 else 404, {"Content-Length": "0"} | fault.headers)
            return
        self._send(file.read_bytes() if fault.body is None else fault.body, fault)

    def _send(self, content: bytes, fault: Fault) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and not fault.ignores_ranges else 0
        if start and start >= len(content):
            self._answer(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(content)}"})
            return
        headers = {"Content-Length": str(len(content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(206 if start else 200, headers | fault.headers)
        end = len(content) if fault.cut_after is None else start + fault.cut_after
        for piece in range(start, end, PIECE_BYTES):
            self.wfile.write(content[piece : min(piece + PIECE_BYTES, end)])
            time.sleep(self._owner.piece_seconds)
        if fault.cut_after is None:
            return
        self.wfile.flush()
        if fault.gate is not None:
            fault.gate.wait(60)
        self.close_connection = True

    def _answer(self, status: int, headers: Mapping[str, str | None]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass
