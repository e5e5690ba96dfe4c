"""NIST's CTM, words with times, and STM, segments with times; and how the words of one join the segments of the other.

CTM: ``FILE CHANNEL START DURATION WORD [CONFIDENCE ...]``. STM: ``FILE CHANNEL SPEAKER START STOP [<LABELS>] WORDS``.
"""

import math
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from speechssl.evaluation.transcripts.lines import ALTERNATES, COMMENT, has_alternates
from speechssl.evaluation.transcripts.spoken import Fault, Segment, Spoken, Transcripts, Word, refuse

IGNORED = "ignore_time_segment_in_scoring"
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LABELS = re.compile(r"<[^<>\s]*>")
_MAX_CTM_FIELDS = 8


def looks_like_ctm(lines: Sequence[str]) -> bool:
    """Whether most lines have a start and a duration behind a file and a channel."""
    return _most(lines, lambda fields: 5 <= len(fields) <= _MAX_CTM_FIELDS and _are_numbers(fields[2:4]))


def looks_like_stm(lines: Sequence[str]) -> bool:
    """Whether most lines have a start and a later stop behind a file, a channel and a speaker."""
    return _most(
        lines,
        lambda fields: len(fields) >= 5 and _are_numbers(fields[3:5]) and float(fields[3]) < float(fields[4]),
    )


def _most(lines: Sequence[str], fits: Callable[[list[str]], bool]) -> bool:
    return 2 * sum(fits(line.split()) for line in lines) > len(lines)


def _are_numbers(fields: Sequence[str]) -> bool:
    return len(fields) > 1 and all(_NUMBER.fullmatch(field) for field in fields)


def read_ctm(path: Path, lines: Sequence[str]) -> Transcripts:
    """Read words with times.

    Raises:
        DataError: names lines with too few fields, and times that are no numbers or negative.
    """
    found, faults = [], []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or line.startswith(COMMENT):
            continue
        if len(fields) < 5:
            faults.append(Fault(number, f"{len(fields)} fields"))
        elif problem := _time_problem(fields[2:4], ("start", "duration")):
            faults.append(Fault(number, problem))
        elif fields[4].upper().startswith("<ALT"):
            faults.append(Fault(number, "alternatives, which are not scored here; score with NIST's sclite"))
        else:
            start, duration = map(float, fields[2:4])
            found.append(Word(fields[0], fields[1], start + duration / 2, fields[4]))
    refuse(path, "ctm", faults, len(found) + len(faults), "FILE CHANNEL START DURATION WORD, in seconds from 0")
    words = sorted(found, key=lambda word: (word.file, word.channel, word.middle))
    return Transcripts(path, "ctm", words=words, is_output=True)


def read_stm(path: Path, lines: Sequence[str]) -> Transcripts:
    """Read segments with times; the labels in angle brackets are columns ``label 1`` and so on.

    Raises:
        DataError: names lines with too few fields, times that make no sense, and alternatives.
    """
    segments, faults = [], []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or line.startswith(COMMENT):
            continue
        if len(fields) < 5:
            faults.append(Fault(number, f"{len(fields)} fields"))
        elif problem := _time_problem(fields[3:5], ("start", "stop")):
            faults.append(Fault(number, problem))
        elif float(fields[3]) >= float(fields[4]):
            faults.append(Fault(number, f"it stops at {fields[4]}, before it starts"))
        elif has_alternates(line):
            faults.append(Fault(number, ALTERNATES))
        else:
            segments.append(_segment(fields, number))
    expected = "FILE CHANNEL SPEAKER START STOP [<LABELS>] WORDS, in seconds from 0"
    refuse(path, "stm", faults, len(segments) + len(faults), expected)
    segments.sort(key=lambda segment: (segment.file, segment.channel, segment.stop))
    return Transcripts(path, "stm", [item.spoken for item in segments if item.spoken], segments=segments)


def _segment(fields: Sequence[str], number: int) -> Segment:
    file, channel, speaker, start, stop, *words = fields
    labels = words.pop(0)[1:-1].split(",") if words and _LABELS.fullmatch(words[0]) else []
    place = Segment(file, channel, float(start), float(stop), None)
    if [word.lower() for word in words] == [IGNORED]:
        return place
    columns = {"speaker": speaker} | {f"label {i}": label for i, label in enumerate(labels, start=1) if label}
    name = f"{file}-{channel}-{place.start:.2f}-{place.stop:.2f}"
    return place._replace(spoken=Spoken(name, " ".join(words), number, columns))


def _time_problem(fields: Sequence[str], names: Sequence[str]) -> str:
    for name, field in zip(names, fields, strict=True):
        if not _NUMBER.fullmatch(field) or not math.isfinite(float(field)):
            return f"the {name} {field!r} is no number"
        if float(field) < 0:
            return f"the {name} {field} is negative"
    return ""


def words_in_segments(words: Sequence[Word], segments: Sequence[Segment]) -> dict[str, str]:
    """Give each word of a CTM to a segment of an STM, as sclite does, so that none is lost.

    It is the first of its file and channel that stops after the word's middle; the last one takes what comes later.
    What falls to a segment that is not scored is not scored.

    Returns:
        Words by the id of the segment, "" for a segment without any. Words of files that have no segment have ids of
        their own, the file and the channel.
    """
    places: defaultdict[tuple[str, str], list[Segment]] = defaultdict(list)
    for segment in segments:
        places[segment.file, segment.channel.lower()].append(segment)
    stops = {key: [segment.stop for segment in found] for key, found in places.items()}
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for word in words:
        key = word.file, word.channel.lower()
        if key not in places:
            texts[f"{word.file}-{word.channel}"].append(word.text)
            continue
        number = min(bisect_right(stops[key], word.middle), len(stops[key]) - 1)
        spoken = places[key][number].spoken
        if spoken is not None:
            texts[spoken.id].append(word.text)
    silent = {segment.spoken.id: "" for segment in segments if segment.spoken}
    return silent | {name: " ".join(found) for name, found in texts.items()}


def words_in_files(words: Sequence[Word], ids: set[str] | None = None) -> dict[str, str]:
    """Words of a CTM by file, for references that are no segments; by file and channel where a file has several.

    Args:
        words: in order of time within a channel.
        ids: of the references, which may have an underscore or nothing between file and channel.
    """
    channels: defaultdict[str, set[str]] = defaultdict(set)
    for word in words:
        channels[word.file].add(word.channel)
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for word in words:
        name = word.file
        if len(channels[name]) > 1:
            forms = [f"{name}{between}{word.channel}" for between in ("-", "_", "")]
            name = next((form for form in forms if ids and form in ids), forms[0])
        texts[name].append(word.text)
    return {name: " ".join(found) for name, found in texts.items()}
