"""Addresses that shards come from, and how they are shown: without credentials."""

from collections.abc import Iterable
from typing import Any

from speechssl.redaction import ADDRESS, redact_addresses

_PIPE = "pipe:"
"""Before a command of webdataset, which we do not run."""
SCHEMES = ("https", "http", "s3", "gs", "hf")


def is_remote(name: str) -> bool:
    """Whether a name is an address, or a command, and not a path of this machine."""
    return name.startswith(_PIPE) or ADDRESS.match(name) is not None


def redact(name: str) -> str:
    """An address for messages: without user, password and query; of a command nothing. A path stays as it is."""
    if name.startswith(_PIPE):
        return f"{_PIPE}…"
    return redact_addresses(name) if is_remote(name) else name


def redact_all(names: Iterable[str]) -> str:
    """Several of them, for messages."""
    return ", ".join(map(redact, names))


def without_credentials(configuration: Any) -> Any:
    """A configuration as plain values, its lists of shards as they are shown."""
    if not isinstance(configuration, dict):
        return configuration
    return {
        key: [redact(name) for name in value]
        if key == "shards" and isinstance(value, list)
        else without_credentials(value)
        for key, value in configuration.items()
    }


def opening_hint(name: str) -> str:
    """What may help if nothing is found at an address, to be added to a message; empty if that is clear."""
    if not name.startswith("hf:"):
        return ""
    return (
        "\nAddresses of Hugging Face are hf://datasets/USER/REPOSITORY/FOLDER/, with @REVISION after the repository "
        "for a branch other than main. A private or gated repository looks as if it were not there until you log in: "
        "`hf auth login`, or HF_TOKEN in the environment."
    )


def split_query(url: str) -> tuple[str, str]:
    """An address without its query, and the query with its mark, which only http has."""
    path, mark, query = url.partition("?") if url.lower().startswith("http") else (url, "", "")
    return path, mark + query
