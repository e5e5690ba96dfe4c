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
        """An attempt at what is called so has failed, and will be followed by another."""
        with self._mutex:
            is_first = _server_of(name) not in self._waiting
            self._waiting.setdefault(_server_of(name), set()).add(name)
        logger.log(logging.WARNING if is_first else logging.INFO, "%s: %s", name, attempt)

    def ended(self, name: str, *, answered: bool) -> None:
        """What was wanted has come, or nobody waits for it any more."""
        server = _server_of(name)
        with self._mutex:
            names = self._waiting.get(server, set())
            is_again = answered and name in names
            names.discard(name)
            if is_again or not names:
                self._waiting.pop(server, None)
        if is_again:
            logger.warning("%s: answers again", server)


def _server_of(name: str) -> str:
    return name if name.startswith(PIPE) else "/".join(name.split("/", 3)[:3])
