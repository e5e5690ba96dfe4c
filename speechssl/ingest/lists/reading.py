"""The rows of one list, from the first to what all of them tell."""

from collections.abc import Mapping
from typing import Any

from speechssl.ingest.describing import note_values, settle_texts
from speechssl.ingest.lists import conclusions
from speechssl.ingest.lists.listed import Listed
from speechssl.ingest.lists.placing import Placer
from speechssl.ingest.lists.rows import Item, RowReader
from speechssl.ingest.recordings import Findings

_SAMPLES = 50


def read_listed(listed: Listed, source: str, folder: str, split: str, found: Findings) -> int:
    """Add the recordings of a list; rows that cannot be used are rejected one by one.

    Returns:
        The number of rows, of either kind.
    """
    folder = listed.root or folder
    reader, placer = RowReader(source, folder, split, listed, found), Placer(folder, found)
    samples: list[Mapping[str, Any]] = []
    odd_channels: list[Item] = []
    channels: set[int] = set()
    num_rows = num_padded = 0
    for row in listed.rows:
        num_rows += 1
        num_missing = len(found.missing)
        try:
            if row.problem:
                raise ValueError(row.problem)
            item = reader.understand(row)
        except ValueError as error:
            del found.missing[num_missing:]
            found.reject(reader.where(row), row.reason, str(error))
            continue
        num_padded += row.is_padded
        if len(samples) < _SAMPLES:
            samples.append(row.values)
        if item.odd_channel:
            odd_channels.append(item)
            continue
        if item.known.channel is not None:
            channels.add(item.known.channel)
        placer.place(item)
    has_channels = conclusions.settle_channels(odd_channels, channels, placer, source, found)
    placer.place_missing()
    if not listed.counts_from_0:
        conclusions.count_channels_from_0(channels, placer, source, found)
    num_wordless = settle_texts((placer.named, placer.unnamed), source, found)
    has_text = conclusions.count_fields(placer, num_wordless, listed.place, has_channels=has_channels, found=found)
    if not has_text:
        conclusions.note_wordless(samples, source, found)
    if num_padded:
        found.note(source, "short rows", f"{num_padded} rows lack columns at their end, which are taken as empty")
    if reader.num_repeated_ids:
        detail = f"{reader.num_repeated_ids} rows have the id of another segment; their times are added to their keys"
        found.note(source, "ids that are not unique", detail)
    if reader.num_ids_of_others:
        detail = f"{reader.num_ids_of_others} rows have ids of another list; their keys are made of their paths"
        found.note(source, "ids that are not unique", detail)
    note_values(source, found)
    found.named += placer.named
    found.unnamed += placer.unnamed
    return num_rows
