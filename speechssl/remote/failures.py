"""What a failure means: whether it may pass, and how to tell of it."""

import http
from typing import NamedTuple

from speechssl.errors import DataError
from speechssl.shards.addresses import opening_hint, redact_addresses

MAX_RETRY_AFTER_SECONDS = 600.0
# Of aiohttp, botocore, httpx and google-auth: the connection failed, or ended early.
_CONNECTION_ERRORS = frozenset(
    {"ClientError", "HTTPClientError", "TransportError", "TimeoutError", "HttpProcessingError"}
)
_NOT_FOUND = (404, 410)
_MAY_PASS = (408, 425, 429)


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
    class_names = {cls.__name__ for link in chain for cls in type(link).__mro__}
    status = next((status for link in chain if (status := status_of(link))), None)
    # aiohttp gives an answer that it cannot understand a status of its own.
    if status is not None and "HttpProcessingError" not in class_names:
        phrase = http.HTTPStatus(status).phrase if status in {item.value for item in http.HTTPStatus} else ""
        wait = max(map(_retry_after, chain))
        return Verdict(
            f"HTTP {status} {phrase}".strip(), status in _MAY_PASS or status >= 500, wait, status in _NOT_FOUND
        )
    if isinstance(error, FileNotFoundError):
        return Verdict("not found", False, is_absent=True)
    if isinstance(error, PermissionError):
        return Verdict("no permission", False)
    lines = redact_addresses(str(error)).strip().splitlines()
    # Among the connection errors that are ValueErrors are malformed addresses and wrong certificates.
    is_transient = isinstance(error, (OSError, EOFError)) or bool(_CONNECTION_ERRORS & class_names)
    return Verdict(
        lines[0][:200] if lines else type(error).__name__, is_transient and not isinstance(error, ValueError)
    )


def status_of(error: BaseException) -> int | None:
    """HTTP status in an exception of aiohttp, gcsfs, httpx, requests or botocore."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    candidates = [getattr(error, "status", None), getattr(response, "status_code", None)]
    candidates += [metadata.get("HTTPStatusCode"), error.code if type(error).__name__ == "HttpError" else None]  # type: ignore[attr-defined]
    statuses = [int(str(value)) for value in candidates if str(value).isdigit()]
    return next((status for status in statuses if 400 <= status < 600), None)


def _retry_after(error: BaseException) -> float:
    """Seconds in the Retry-After header of an answer; 0 if there is none, or it is a date."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    else:
        headers = getattr(error, "headers", None) or getattr(response, "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After") or headers.get("retry-after") or 0)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def failure(name: str, verdict: Verdict, failures: int) -> ShardError:
    """The error that tells of a failure after which nothing is tried any more."""
    if verdict.is_absent:
        return NotFoundError(f"{name}: {verdict.reason}; check the address{opening_hint(name)}")
    attempts = "1 attempt" if failures == 1 else f"{failures} attempts"
    said = f"{name}: cannot be fetched, {attempts}, the last one: {verdict.reason}"
    if verdict.is_transient:
        return UnreachableError(f"{said}; when it can be reached again, give the same command: it goes on from here")
    return ShardError(f"{said}; check the address, and the credentials if it needs any{opening_hint(name)}")
