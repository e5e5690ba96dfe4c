"""What rows of lists, and objects of JSON, say of a recording; which columns that came from, and what was none."""

import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from speechssl.ingest.recordings import Findings, Recording
from speechssl.shards.fields import identifier_in
from speechssl.shards.values import channel_from, missing_spellings, seconds_from, text_from
from speechssl.text.characters import show_character
from speechssl.text.foreign import times
from speechssl.text.normalisation import removed_characters

LENGTHS = ("duration", "duration_ms")
_MOST_CHARACTERS = 8
"""That one note names."""
DESCRIBED = ("text", "speaker", "language", "split", "recording", "channel", *LENGTHS)
"""Fields that ``describe`` takes: those of a recording that need no list, as times of segments do."""


def text_of(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> str:
    """The transcript; raises ValueError if it is no text."""
    column = columns.get("text")
    value = None if column is None else values.get(column)
    if column is None or value is None or value == "":
        return ""
    text = text_from(value, column)
    if not text and isinstance(value, float):
        found.missing.append((column, "NaN"))
    return text


def identifier_of(field: str, values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> str:
    """An identifier, the same for all its spellings; raises ValueError if it is no text or number."""
    column = columns.get(field)
    if column is None:
        return ""
    value = values.get(column)
    if value is None or value == "":
        return ""
    normal = found.spellings[field].get(value) if type(value) is str else None
    if normal is None:
        normal = _new_identifier(field, value, column, found)
    if not normal and (spelling := str(value).strip()):
        found.missing.append((column, spelling))
    return normal


def _new_identifier(field: str, value: Any, column: str, found: Findings) -> str:
    """What an identifier becomes that was not met before; few occur often, and are kept once."""
    normal = identifier_in(field, column, value)
    if field == "id":
        return normal
    normal = sys.intern(normal)
    spelling = value if type(value) is str else (type(value), value)
    if spelling not in found.spellings[field]:
        found.spellings[field][spelling] = normal
        first = found.first_spellings.setdefault((field, normal), value)
        if normal and first is not value:
            found.merged.append((column, first, value))
    return normal


def describe(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> Recording:
    """What a JSON says about a recording but where it is; raises ValueError for a field that is no text.

    Which columns that came from, and which were ignored, is counted in ``found``.
    """
    num_missing = len(found.missing)
    columns = {field: columns[field] for field in DESCRIBED if field in columns}
    recording = Recording(
        "",
        "",
        text_of(values, columns, found),
        identifier_of("speaker", values, columns, found),
        identifier_of("language", values, columns, found),
        identifier_of("split", values, columns, found),
        identifier_of("recording", values, columns, found),
    )
    try:
        name = columns.get("channel")
        channel = None if name is None else channel_from(values.get(name), name, found.missing)
        stated = length_of(values, columns, found)
    except ValueError:  # the channel of a broadcaster, most likely; nothing depends on either
        channel = stated = None
        columns = {field: name for field, name in columns.items() if field not in ("channel", *LENGTHS)}
    present = present_in(values, found.missing[num_missing:])
    count_columns(present, 1, columns, found)
    return recording._replace(channel=channel, stated_seconds=stated)


def length_of(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> float | None:
    """Length in seconds that a source states; None if it states none. Raises ValueError if it is no number."""
    for field, per_second in zip(LENGTHS, (1.0, 1000.0), strict=True):
        column = columns.get(field)
        if column is not None:
            value = values.get(column)
            if value in ("nan", "NaN") or value != value:  # nothing depends on it, so that it is as good as nothing
                found.missing.append((column, str(value)))
                return None
            return seconds_from(value, column, found.missing, per_second=per_second)
    return None


def present_in(values: Mapping[str, Any], missing: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Names with a value, those apart of which the value was found to be a missing one."""
    present = [name for name, value in values.items() if (value or value == 0) and value == value]
    if missing:
        gone = {name for name, _ in missing}
        present = [name for name in present if name not in gone]
    return tuple(present)


def count_columns(
    present: Collection[str], num_rows: int, columns: Mapping[str, str], found: Findings, place: str = "column"
) -> None:
    """Count columns that had a value in some rows, by whether something was taken from them."""
    for field, name in columns.items():
        if name in present:
            found.fields[field, name if name.startswith(place) else f"{place} {name}"] += num_rows
    used = set(columns.values())
    for name in present:
        if name not in used:
            found.ignored_columns[name] += num_rows


def note_values(source: str, found: Findings) -> None:
    """Note which values of a list or tar were taken as missing, and which as one; then forget them."""
    for (column, spelling), count in sorted(Counter(found.missing).items()):
        found.note(source, "missing values", f"{column}: {spelling!a} in {count} rows is taken as none")
    by_column: dict[str, list[tuple[Any, Any]]] = {}
    for column, *pair in found.merged:
        by_column.setdefault(column, []).append((pair[0], pair[1]))
    for column, pairs in sorted(by_column.items()):
        one, other = pairs[0]
        found.note(source, "spellings of one name", f"{column}: {len(pairs)} times, for one {one!a} and {other!a}")
    found.missing.clear()
    found.merged.clear()


def settle_texts(groups: Sequence[list[Recording]], source: str, found: Findings) -> int:
    """Take texts as missing that say so ("nan") and are no words of their source; note what nobody sees in the others.

    Returns:
        The number of recordings that lose their text.
    """
    gone = Counter[str]()
    for spelling, count, is_word in missing_spellings(recording.text for group in groups for recording in group):
        if is_word:
            detail = f"{spelling!a} in {count} rows is taken as a word, since other texts are single words too"
            found.note(source, "missing value or word", detail)
        else:
            gone[spelling] = count
            found.note(source, "missing values", f"text: {spelling!a} in {count} rows is taken as none")
    for group in groups if gone else ():
        group[:] = [recording._replace(text="") if recording.text in gone else recording for recording in group]
    removed = [counts for group in groups for recording in group if (counts := removed_characters(recording.text))]
    if removed:
        most = sum(removed, Counter[str]()).most_common(_MOST_CHARACTERS)
        shown = ", ".join(f"{show_character(character)} {times(count)}" for character, count in most)
        found.note(source, "invisible characters", f"taken out of {len(removed)} texts: {shown}")
    return gone.total()


def uncount_texts(before: Mapping[tuple[str, str], int], num_wordless: int, found: Findings) -> bool:
    """Take texts back that were counted since ``before``, and were none; returns whether any is left."""
    texts = [key for key in found.fields if key[0] == "text" and found.fields[key] > before.get(key, 0)]
    for key in texts:
        # Of several columns of one list, which rows were wordless is not known; one is the rule.
        num_less = min(num_wordless, found.fields[key] - before.get(key, 0))
        found.fields[key] -= num_less
        num_wordless -= num_less
        if not found.fields[key]:
            del found.fields[key]
    return any(found.fields[key] > before.get(key, 0) for key in texts)
