"""What the members of a sample are called, and what its text members say."""

import json
from typing import Any, Literal

from speechssl.errors import DataError
from speechssl.shards.fields import columns_of, identifier_in
from speechssl.shards.transcripts import find_transcript
from speechssl.shards.values import text_from
from speechssl.text.normalisation import normalize_text

MEMBER_SUFFIXES = frozenset({"flac", "wav", "opus", "ogg", "mp3"})
"""Of audio in shards; what a source may hold is more."""
_MAKE_AGAIN = "make the shard again"


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
        raise DataError(name, f"its .json is damaged ({error})", _MAKE_AGAIN) from error
    if not isinstance(content, dict):
        raise DataError(name, f"its .json is a {type(content).__name__}, expected an object", _MAKE_AGAIN)
    return content


def transcript_of(members: dict[str, bytes], metadata: dict[str, Any], *, name: str) -> str | None:
    """Transcript as ``speechssl shard`` would take it from these members, but for its case; None if there is none.

    It is in the metadata, or else in a text member.

    Raises:
        DataError: not a text, or not in UTF-8.
    """
    column = columns_of(tuple(metadata)).get("text", "")
    try:
        text = text_from(metadata.get(column), column)
    except ValueError as error:
        raise DataError(name, f"in its .json {error}", _MAKE_AGAIN) from error
    if not text:
        try:
            text = find_transcript(members, name.rpartition(": ")[2].rpartition("/")[2]) or ""
        except ValueError as error:
            raise DataError(name, f"its transcript {error}", _MAKE_AGAIN) from error
    return normalize_text(text) or None


def identifier_of(field: Literal["speaker", "language"], metadata: dict[str, Any]) -> str:
    """Who speaks, or what, as ``speechssl shard`` would take it from the metadata; empty if it does not say."""
    column = columns_of(tuple(metadata)).get(field, "")
    try:
        return identifier_in(field, column, metadata.get(column))
    except ValueError:
        return ""
