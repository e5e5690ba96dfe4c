"""What lies beside audio under its name, in a folder or in a tar, and says something of it: JSON, transcripts, names.

Files and members of tars are known by the same names, and read by the same rules.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from speechssl.ingest.describing import describe
from speechssl.ingest.recordings import Findings, Origins, Recording
from speechssl.shards.fields import columns_of
from speechssl.shards.transcripts import bare_suffix, decode_text, read_transcript, transcript_rank, transcript_suffix
from speechssl.shards.values import read_json

Place = TypeVar("Place")
_FIELDS = ("text", "speaker", "language")
_MAX_NAME = 200
"""Characters of a speaker or a language."""


class UnreadableError(ValueError):
    """What lies beside a recording is damaged; without it, the recording could lose its transcript."""

    def __init__(self, suffix: str, detail: str) -> None:
        super().__init__(f"its .{suffix} {detail}")


class Beside(NamedTuple):
    """What is known of a recording by what lies beside it."""

    recording: Recording
    origins: Origins
    """Of what is known."""
    used: list[str]
    """Suffixes of what was used."""
    ignored: list[tuple[str, str]]
    """Suffixes of what was not, with the reasons."""
    values: Mapping[str, Any]
    """Content of the JSON."""


@lru_cache(maxsize=1024)
def field_of(suffix: str) -> str:
    """Which field a file of this suffix holds: "json" for several, "text", "speaker", "language"; empty for none.

    Args:
        suffix: what follows the name of the audio and a dot, in lower case; ``NAME.wav.txt`` is as
            ``NAME.txt``.
    """
    if transcript_suffix(suffix):
        return "text"
    suffix = bare_suffix(suffix)
    if suffix == "json":
        return "json"
    fields = columns_of((suffix,))
    return next((field for field in _FIELDS if field in fields), "")


def describe_beside(
    recording: Recording,
    contents: Mapping[str, Place],
    read: Callable[[Place], bytes],
    stem: str,
    place: str,
    found: Findings,
) -> Beside:
    """A recording with text, speaker and the like by what lies beside it.

    Args:
        recording: of which nothing is known but where it is.
        contents: what has a ``field_of``, by suffix.
        read: gives the bytes of one.
        stem: name of the audio without its suffix.
        place: "beside the audio" or the like, for the report.
        found: where ignored columns are counted.

    Raises:
        UnreadableError: a transcript that is no text, or JSON that is damaged or says what cannot be.
    """
    result = Beside(recording, (), [], [], {})
    for suffix in sorted(contents, key=_order) if len(contents) > 1 else contents:
        field = field_of(suffix)
        if field == "json":
            result = _with_json(result, read(contents[suffix]), suffix, found)
            continue
        if getattr(result.recording, field):
            result.ignored.append((suffix, "a second transcript" if field == "text" else f"a second {field}"))
            continue
        value, reason = _read_field(field, read(contents[suffix]), suffix, stem)
        if reason:
            result.ignored.append((suffix, reason))
            continue
        result.used.append(suffix)
        described: dict[str, Any] = {field: value}
        origins = (*result.origins, _origin(field, suffix, place))
        result = result._replace(recording=result.recording._replace(**described), origins=origins)
    return result


@lru_cache(maxsize=1024)
def _order(suffix: str) -> tuple[int, tuple[int, str]]:
    """JSON first, then what says the text, in the order of its names, then the rest."""
    return ("json", *_FIELDS).index(field_of(suffix)), transcript_rank(suffix)


@lru_cache(maxsize=1024)
def _origin(field: str, suffix: str, place: str) -> tuple[str, str]:
    return field, f".{bare_suffix(suffix)} {place}"


def _with_json(result: Beside, data: bytes, suffix: str, found: Findings) -> Beside:
    """What is known, with what an object of JSON says."""
    values = _read_json(data, suffix)
    if result.values or not isinstance(values, dict):
        result.ignored.append((suffix, "a second JSON" if result.values else "JSON without names of fields"))
        return result
    # The counts are its own, until the recording is used.
    seen = Findings(missing=found.missing, doubtful_words=found.doubtful_words)
    try:
        known = describe(values, columns_of(tuple(values)), seen)
    except ValueError as error:
        raise UnreadableError(suffix, f"says what cannot be: {error}") from error
    found.ignored_columns.update(seen.ignored_columns)
    result.used.append(suffix)
    own = result.recording
    known = known._replace(key=own.key, path=own.path, recording=known.recording or own.recording, member=own.member)
    return result._replace(recording=known, origins=(*result.origins, *seen.fields), values=values)


def _read_field(field: str, data: bytes, suffix: str, stem: str) -> tuple[str, str]:
    """A field's value, or the reason why this is none."""
    if field == "text":
        try:
            transcript = read_transcript(data, bare_suffix(suffix), stem)
        except ValueError as error:
            raise UnreadableError(suffix, str(error)) from error
        reason = f"no transcript: {transcript.kind}" if transcript.kind else "" if transcript.text else "no words"
        return transcript.text, reason
    try:
        value = " ".join(decode_text(data).split())
    except ValueError:
        value = ""
    return value, "" if 0 < len(value) <= _MAX_NAME else f"no {field}"


def _read_json(data: bytes, suffix: str) -> Any:
    try:
        return read_json(decode_text(data))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(suffix, f"is damaged ({error})") from error
