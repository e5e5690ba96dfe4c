"""What the members of a sample are called, and what its text members say."""

import json
from typing import Any

from speechssl.data.transcripts import find_transcript
from speechssl.errors import DataError

MEMBER_SUFFIXES = frozenset({"flac", "wav", "opus", "ogg", "mp3"})
"""Of audio in shards; what a source may hold is more."""


def metadata_of(members: dict[str, bytes], *, name: str) -> dict[str, Any]:
    """Content of a sample's ``json`` member; empty if it has none.

    Args:
        members: their bytes by suffix.
        name: shard and key, for messages.

    Raises:
        DataError: not a JSON object.
    """
    try:
        content = json.loads(members.get("json", b"{}"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: its .json is damaged ({error}); make the shard again") from error
    if not isinstance(content, dict):
        raise DataError(f"{name}: its .json is a {type(content).__name__}, expected an object; make the shard again")
    return content


def transcript_of(members: dict[str, bytes], metadata: dict[str, Any], *, name: str) -> str | None:
    """Transcript in the metadata, or else in a text member, its lines joined; None if there is neither.

    Raises:
        DataError: not a text, or not in UTF-8.
    """
    text = metadata.get("text")
    try:
        if not text:
            found = find_transcript(members, name.rpartition(": ")[2].rpartition("/")[2])
            text = text if found is None else found
        if isinstance(text, str):
            text.encode()  # JSON can write half a surrogate pair, which is no character
    except UnicodeError as error:
        raise DataError(f"{name}: its transcript is not UTF-8 ({error}); make the shard again") from error
    except ValueError as error:
        raise DataError(f"{name}: its transcript {error}; make the shard again") from error
    if text is not None and not isinstance(text, str):
        raise DataError(
            f"{name}: the text in its .json is of type {type(text).__name__}, expected a string; make the shard again"
        )
    return text
