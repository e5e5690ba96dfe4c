"""What a failure means: whether it may pass, and how to tell of it."""

import email.utils
import http
from datetime import datetime, timezone
from typing import NamedTuple

from speechssl.errors import DataError
from speechssl.shards.addresses import opening_hint, redact_addresses

MAX_RETRY_AFTER_SECONDS = 600.0
# Of aiohttp, botocore, httpx and google-auth: the connection failed, or ended early.
_CONNECTION_ERRORS = frozenset({"ClientError", "HTTPClientError", "TransportError"})
_NOT_FOUND = (404, 410)


class ShardError(DataError):
    """A shard that cannot be had; unlike a damaged sample it is never left out of the training."""


class NotFoundError(ShardError):
    """Nothing is at the address."""


class UnreachableError(ShardError):
    """All attempts have failed."""


class InterruptedFetchError(ShardError):
    """The one who wanted it does not any more."""


class MismatchError(Exception):
    """What the address holds is not what the index describes."""


class CommandError(Exception):
    """A command has failed."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"exit status {status}" + (f": {said}" if said else ""))
        self.is_transient = status not in (126, 127)  # not a program; not found


class Verdict(NamedTuple):
    """What a failure means."""

    reason: str
    is_transient: bool
    retry_after: float = 0.0
    """Seconds that the server wants us to wait."""
    is_absent: bool = False


def judge(error: BaseException) -> Verdict:
    """Whether a failure may pass, and how to call it without credentials."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    # aiohttp gives an answer that it cannot understand a status of its own.
    is_garbled = any("HttpProcessingError" in _class_names(link) for link in chain)
    status = next((status for link in chain if (status := status_of(link))), None)
    if status is not None and not is_garbled:
        phrase = http.HTTPStatus(status).phrase if status in {item.value for item in http.HTTPStatus} else ""
        is_transient = status in (408, 425, 429) or status >= 500
        wait = max(map(_retry_after, chain))
        return Verdict(f"HTTP {status} {phrase}".strip(), is_transient, wait, status in _NOT_FOUND)
    if isinstance(error, FileNotFoundError):
        return Verdict("not found", False, is_absent=True)
    if isinstance(error, PermissionError):
        return Verdict("no permission", False)
    lines = redact_addresses(str(error)).strip().splitlines()
    reason = lines[0][:200] if lines else type(error).__name__
    if isinstance(error, CommandError):
        return Verdict(reason, error.is_transient)
    is_connection = is_garbled or bool(_CONNECTION_ERRORS & _class_names(error))
    # Among the connection errors that are ValueErrors are malformed addresses and wrong certificates.
    is_transient = (is_connection or isinstance(error, (OSError, EOFError))) and not isinstance(error, ValueError)
    return Verdict(reason, is_transient or "TimeoutError" in _class_names(error))


def _class_names(error: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def status_of(error: BaseException) -> int | None:
    """HTTP status in an exception of aiohttp, gcsfs, httpx, requests or botocore."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    candidates = [getattr(error, "status", None), getattr(response, "status_code", None)]
    candidates += [metadata.get("HTTPStatusCode"), error.code if type(error).__name__ == "HttpError" else None]  # type: ignore[attr-defined]
    statuses = [int(str(value)) for value in candidates if str(value).isdigit()]
    return next((status for status in statuses if 400 <= status < 600), None)


def _retry_after(error: BaseException) -> float:
    """Seconds in the Retry-After header of an answer, be they a number or a date (RFC 9110, section 10.2.3)."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    else:
        headers = getattr(error, "headers", None) or getattr(response, "headers", None) or {}
    value = headers.get("Retry-After") or headers.get("retry-after") or "0"
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return 0.0
        seconds = (when.replace(tzinfo=when.tzinfo or timezone.utc) - datetime.now(timezone.utc)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def failure(name: str, verdict: Verdict, failures: int) -> ShardError:
    if verdict.is_absent:
        return NotFoundError(f"{name}: {verdict.reason}; check the address{opening_hint(name)}")
    attempts = "1 attempt" if failures == 1 else f"{failures} attempts"
    said = f"{name}: cannot be fetched, {attempts}, the last one: {verdict.reason}"
    if verdict.is_transient:
        return UnreachableError(f"{said}; when it can be reached again, give the same command: it goes on from here")
    return ShardError(f"{said}; check the address, and the credentials if it needs any{opening_hint(name)}")
