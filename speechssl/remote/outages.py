"""One warning when a server stops answering, and one when it answers again, however many shards wait for it."""

import logging
import threading

from speechssl.shards.addresses import PIPE

logger = logging.getLogger(__name__)


class Outages:
    """Servers, and commands, that do not answer. Threads may share it."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: dict[str, set[str]] = {}  # names of what waits, by server

    def failed(self, name: str, attempt: str) -> None:
        """An attempt has failed that will be followed by another.

        Args:
            name: of what was wanted.
            attempt: what to say of it.
        """
        server = _server_of(name)
        with self._mutex:
            is_first = server not in self._waiting
            self._waiting.setdefault(server, set()).add(name)
        level = logging.WARNING if is_first else logging.INFO
        logger.log(level, "%s: %s", name, attempt)

    def answered(self, name: str) -> None:
        """What was wanted has come."""
        server = _server_of(name)
        with self._mutex:
            if name not in self._waiting.get(server, ()):
                return
            del self._waiting[server]
        logger.warning("%s: answers again", server)

    def given_up(self, name: str) -> None:
        """Nobody waits for it any more."""
        server = _server_of(name)
        with self._mutex:
            names = self._waiting.get(server, set())
            names.discard(name)
            if not names:
                self._waiting.pop(server, None)


def _server_of(name: str) -> str:
    return name if name.startswith(PIPE) else "/".join(name.split("/", 3)[:3])
