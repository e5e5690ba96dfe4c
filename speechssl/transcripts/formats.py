"""Transcripts as other programs read them."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from speechssl.config import TranscriptFormat
from speechssl.transcripts.cues import make_cues
from speechssl.transcripts.transcript import TimedWord, Transcript

SUFFIXES: dict[str, TranscriptFormat] = {
    ".txt": "text",
    ".tsv": "text",
    ".jsonl": "jsonl",
    ".srt": "srt",
    ".vtt": "vtt",
    ".ctm": "ctm",
    ".textgrid": "textgrid",
}
"""Formats by the suffix of a file's name, in small letters."""
ONE_FILE_EACH: dict[TranscriptFormat, str] = {"srt": ".srt", "vtt": ".vtt", "textgrid": ".TextGrid"}
"""Suffixes of the formats in which a file holds one recording."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Interval(NamedTuple):
    """A stretch of a tier."""

    start_seconds: float
    stop_seconds: float
    text: str


def one_line(text: str) -> str:
    """A text, as the name of a file may be, with what would break a line or a column as escapes (``\\n``)."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def text_line(item: Transcript) -> str:
    """Path, a tab, and the transcript."""
    return f"{one_line(str(item.path))}\t{item.text}"


def json_line(item: Transcript) -> str:
    """A JSON object with the words, their times and confidence."""
    content = {
        "path": str(item.path),
        "text": item.text,
        "seconds": round(item.seconds, 3),
        "confidence": round(item.confidence, 4),
        "words": [json_word(word) for word in item.words],
    }
    return json.dumps(content, ensure_ascii=False)


def json_word(word: TimedWord) -> dict[str, str | float]:
    """A word as JSON lines have it; start and end are seconds."""
    return {
        "word": word.text,
        "start": round(word.start_seconds, 3),
        "end": round(word.stop_seconds, 3),
        "confidence": round(word.confidence, 4),
    }


def ctm_lines(name: str, words: Sequence[TimedWord]) -> list[str]:
    """NIST's time-marked conversation: recording, channel, begin, duration, word and confidence.

    Args:
        name: of the recording, without spaces.
        words: in order.
    """
    return [
        f"{name} 1 {word.start_seconds:.3f} {max(0.0, word.stop_seconds - word.start_seconds):.3f} {word.text} "
        f"{word.confidence:.4f}"
        for word in words
    ]


def srt(item: Transcript) -> str:
    """SubRip. What it would take for times (``-->``) loses a dash."""
    parts = []
    for number, cue in enumerate(make_cues(item.words, item.seconds), start=1):
        times = f"{_clock(cue.start_seconds, ',')} --> {_clock(cue.stop_seconds, ',')}"
        text = "\n".join(re.sub("-{2,}>", "->", line) for line in cue.lines)
        parts.append(f"{number}\n{times}\n{text}\n")
    return "\n".join(parts)


def vtt(item: Transcript) -> str:
    """WebVTT (W3C), with its three letters that mean something as entities."""
    parts = ["WEBVTT\n"]
    for cue in make_cues(item.words, item.seconds):
        times = f"{_clock(cue.start_seconds, '.')} --> {_clock(cue.stop_seconds, '.')}"
        text = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        parts.append(f"{times}\n{text}\n")
    return "\n".join(parts)


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    milliseconds = round(1000 * max(0.0, seconds))
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def text_grid(seconds: float, tiers: dict[str, Sequence[Interval]]) -> str:
    """Praat's TextGrid, in its long form.

    Args:
        seconds: length of the recording.
        tiers: intervals in order by the tier's name; what is between them is empty.
    """
    filled = {name: _without_gaps(intervals, seconds) for name, intervals in tiers.items()}
    end = max([seconds, *(tier[-1].stop_seconds for tier in filled.values() if tier)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    lines += ["tiers? <exists>", f"size = {len(filled)}", "item []:"]
    for number, (name, intervals) in enumerate(filled.items(), start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {end:.3f}", f"        intervals: size = {len(intervals)}"]
        for place, interval in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {interval.start_seconds:.3f}",
                f"            xmax = {interval.stop_seconds:.3f}",
                f"            text = {_quoted(interval.text)}",
            ]
    return "\n".join(lines) + "\n"


def _without_gaps(intervals: Sequence[Interval], seconds: float) -> list[Interval]:
    """Intervals in whole milliseconds, each at least one long, with empty ones between them up to the end."""
    filled: list[Interval] = []
    now = 0.0
    for interval in intervals:
        start = max(now, round(interval.start_seconds, 3))
        stop = max(start + 0.001, round(interval.stop_seconds, 3))
        if start > now:
            filled.append(Interval(now, start, ""))
        filled.append(Interval(start, stop, interval.text))
        now = stop
    if seconds > now or not filled:
        filled.append(Interval(now, max(seconds, now + 0.001), ""))
    return filled


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def word_intervals(words: Sequence[TimedWord]) -> list[Interval]:
    """Words as a tier."""
    return [Interval(word.start_seconds, word.stop_seconds, word.text) for word in words]


def whole_file_of(item: Transcript, name: TranscriptFormat) -> str:
    """A transcript in one of the formats of one file each."""
    match name:
        case "srt":
            return srt(item)
        case "vtt":
            return vtt(item)
        case _:
            return text_grid(item.seconds, {"words": word_intervals(item.words)})
