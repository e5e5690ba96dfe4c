"""What the members of a sample are called, and what its text members say."""

import json
from typing import Any, Literal

from speechssl.data.fields import columns_of, describe
from speechssl.data.recordings import Findings
from speechssl.data.transcripts import find_transcript
from speechssl.errors import DataError
from speechssl.text.normalisation import normalize_text

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
    """Transcript as ``speechssl shard`` would take it from these members, but for its case; None if there is none.

    It is in the metadata, or else in a text member.

    Raises:
        DataError: not a text, or not in UTF-8.
    """
    try:
        text = _field(metadata, "text")
    except ValueError as error:
        raise DataError(f"{name}: in its .json {error}; make the shard again") from error
    if not text:
        try:
            text = find_transcript(members, name.rpartition(": ")[2].rpartition("/")[2]) or ""
        except ValueError as error:
            raise DataError(f"{name}: its transcript {error}; make the shard again") from error
    return normalize_text(text) or None


def speaker_of(metadata: dict[str, Any]) -> str | None:
    """Who speaks, as ``speechssl shard`` would take it from the metadata; None if it does not say, or no text."""
    try:
        return _field(metadata, "speaker") or None
    except ValueError:
        return None


def _field(metadata: dict[str, Any], field: Literal["text", "speaker"]) -> str:
    """What the JSON of a sample has in a field, under any name that is known for it; ValueError if it is no text."""
    columns = columns_of(tuple(metadata))
    known = describe(metadata, {field: columns[field]} if field in columns else {}, Findings())
    return known.text if field == "text" else known.speaker
