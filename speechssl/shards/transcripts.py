"""Text beside audio, or in a tar with it: what it is called, how it is read, and when it is no transcript.

A file with the right name may hold something else: labels with times, subtitles, JSON. Its words would be trained on.
"""

import codecs
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from speechssl.audio.formats import AUDIO_SUFFIXES

TRANSCRIPT_SUFFIXES = ("normalized.txt", "txt", "lab", "transcript", "trn", "text", "original.txt")
"""What follows the name of the audio and a dot; the first that holds a transcript counts."""
MAX_TRANSCRIPT_BYTES = 1 << 24
_MAX_LINES = 500
"""More are not looked at to tell what a text is."""
_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FIRST_OF_MARKS = frozenset(mark[:1] for mark, _ in _MARKS)
_ODD = re.compile(r"[<>{}\[\]#]|\d\.\d|^\s*[\d(]|ooTextFile|WEBVTT", re.MULTILINE)
"""One of these is in whatever is no transcript, and few transcripts have one."""
_CONTROL = re.compile(r"[\0-\x08\x0e-\x19\x1b-\x1f\x7f]")
_NUMBER = r"\d+(?:\.\d+)?"
_LABEL = re.compile(rf"({_NUMBER})[\s,;]+({_NUMBER})(?:[\s,;]+(.*))?")
_POINT = re.compile(rf"(\d+\.\d+)\s+(?:{_NUMBER}\s+)?[^\s\d].*")
_CLOCK = re.compile(r"(?:\d{1,2}:)?\d{1,2}:\d{2}(?:[.,:]\d{1,3})?(?=\s|$|[-–—:])")
_CLOCK_IN_BRACKETS = re.compile(
    rf"[\[(<]\s*(?:(?:\d{{1,2}}:)?\d{{1,2}}:\d{{2}}(?:[.,:]\d+)?|{_NUMBER}s?\s*(?:-+>?|–|,)\s*{_NUMBER}s?)\s*[\])>]"
)
_CTM = re.compile(r"\S+\s+(?:[12AB]\s+\d+\.\d+\s+\d+(?:\.\d+)?|[12AB]\s+\d+\s+\d+\.\d+)\s+\S+(?:\s+[\d.]+)?(?:\s+\S+)?")
_STM = re.compile(r"\S+\s+\S+\s+\S+\s+\d+\.\d+\s+\d+(?:\.\d+)?\s+(?:<\S*>\s+)?\S.*")
_RTTM = re.compile(rf"(?:SPEAKER|LEXEME|SEGMENT|SPKR-INFO|NON-SPEECH)\s+\S+\s+\d+\s+(?:{_NUMBER}|<NA>)\s.*")
_TIMIT = re.compile(r"0\s+(\d{4,})\s+(.*[^\W\d].*)")
_JSON = re.compile(r"""\{\s*("|$)|\[\s*(["{\[]|$)""")
_SCLITE_ID = re.compile(r"\s*\([^\s()]*[-_\d][^\s()]*\)$")


class Transcript(NamedTuple):
    """What a text holds."""

    text: str
    """In one line; empty if it holds none."""
    kind: str = ""
    """What it is instead of a transcript, short and the same for all of its kind; empty if it is one."""


def read_transcript(data: bytes, suffix: str, stem: str) -> Transcript:
    """Words of a text that should be a transcript, unless it is something else.

    Args:
        data: the file.
        suffix: what follows the name of the audio, one of TRANSCRIPT_SUFFIXES or another name of a text.
        stem: name of the audio, which some put before or after the words.

    Raises:
        ValueError: it cannot be read as text; says why and what to do.
    """
    content = decode_text(data)
    if _ODD.search(content) is None and suffix != "trn" and (stem.isalpha() or stem not in content):
        return Transcript(" ".join(content.split()))
    lines = [line.strip() for line in content.splitlines()]
    lines = [line for line in lines if line]
    timit = _TIMIT.fullmatch(lines[0]) if suffix == "txt" and len(lines) == 1 else None
    if timit is not None and len(timit[2].split()) > 1:
        return Transcript(" ".join(timit[2].split()))  # begin and end in samples, as TIMIT has them
    kind = _kind_of(lines[:_MAX_LINES])
    if kind:
        return Transcript("", kind)
    words = " ".join(" ".join(_lines_of_words(lines, suffix)).split())
    if suffix == "trn":
        words = _SCLITE_ID.sub("", words)
    first, _, rest = words.partition(" ")
    if rest and first == stem and not stem.isalpha():
        words = rest  # the id of the utterance, as in lists
    return Transcript(words)


def find_transcript(members: Mapping[str, bytes], stem: str) -> str | None:
    """Words of the first member that holds a transcript, by suffix; None if none of them is a text.

    Raises:
        ValueError: one that should hold it cannot be read as text.
    """
    words = None
    for suffix in sorted(filter(transcript_suffix, members), key=transcript_rank):
        words = read_transcript(members[suffix], bare_suffix(suffix), stem).text
        if words:
            break
    return words


def decode_text(data: bytes) -> str:
    """A text in UTF-8, or in UTF-16 or UTF-32 if a mark says so; raises ValueError, saying why, if it is neither."""
    if len(data) > MAX_TRANSCRIPT_BYTES:
        raise ValueError(f"has {len(data)} bytes, more than any transcript")
    encoding = marked_encoding(data) or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-SIG")
        raise ValueError(f"is not {name} at byte {error.start}; convert it, for instance with iconv") from error
    control = _CONTROL.search(text)
    if control is not None:
        what = "UTF-16 without a mark, or no text at all" if "\0" in text else "no text"
        raise ValueError(f"holds the character {control[0]!a} ({what}); convert it to UTF-8, for instance with iconv")
    return text


def marked_encoding(data: bytes) -> str:
    """Encoding that the mark at the begin of a text names; empty if there is none."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), "") if data[:1] in _FIRST_OF_MARKS else ""


@lru_cache(maxsize=1024)
def transcript_suffix(suffix: str) -> str:
    """Which of TRANSCRIPT_SUFFIXES a name's end is, be it after the audio's own (``wav.txt``); empty if it is none."""
    suffix = bare_suffix(suffix)
    return suffix if suffix in TRANSCRIPT_SUFFIXES else ""


def transcript_rank(suffix: str) -> tuple[int, str]:
    """Place in the order in which texts are asked for a transcript; those of other names come last."""
    known = transcript_suffix(suffix)
    return (TRANSCRIPT_SUFFIXES.index(known) if known else len(TRANSCRIPT_SUFFIXES)), suffix


def bare_suffix(suffix: str) -> str:
    """What follows the audio's own suffix, for text that is called ``NAME.wav.txt``; else what was given."""
    first, _, rest = suffix.partition(".")
    return rest if rest and f".{first}" in AUDIO_SUFFIXES else suffix


def _lines_of_words(lines: Sequence[str], suffix: str) -> Sequence[str]:
    """All lines, but for THCHS-30's: its third and second are phonemes and pinyin of the first."""
    is_thchs = suffix == "trn" and len(lines) == 3 and not lines[0].isascii() and "".join(lines[1:]).isascii()
    return lines[:1] if is_thchs else lines


def _kind_of(lines: Sequence[str]) -> str:
    """What a text is, by its lines without those that are empty, if it is no transcript."""
    if not lines:
        return ""
    begin = lines[0][:200]
    if "ooTextFile" in begin:
        return "a TextGrid"
    if begin.startswith(("WEBVTT", "[Script Info]")) or any("-->" in line for line in lines):
        return "subtitles"
    if begin.startswith(("<?xml", "<!DOCTYPE", "<!doctype", "<html", "<HTML")):
        return "XML or HTML"
    if begin.startswith("{\\rtf") or _JSON.match(begin):
        return "RTF or JSON"
    if begin.startswith("#!MLF!#"):
        return "labels with times"
    return _kind_of_times(lines)


def _kind_of_times(lines: Sequence[str]) -> str:
    if "#" in lines[:-1]:
        lines = lines[lines.index("#") + 1 :]  # the header of ESPS labels ends so
    lines = [line for line in lines if not line.startswith(";;")] or lines
    if all(map(_CTM.fullmatch, lines)):
        return "words with times, as CTM"
    if all(map(_RTTM.fullmatch, lines)):
        return "turns with times, as RTTM"
    if all(map(_STM.fullmatch, lines)):
        return "turns with times, as STM"
    if sum(bool(_CLOCK_IN_BRACKETS.match(line)) for line in lines) * 2 >= len(lines):
        return "lines with times"
    if sum(bool(_CLOCK.match(line)) for line in lines) > max(1, len(lines) // 3):
        return "lines with times"
    if _are_labels(lines) or _are_points(lines):
        return "labels with times"
    if len(lines) > 2 and all(re.fullmatch(rf"-?{_NUMBER}(?:[\s,;]+-?{_NUMBER})*", line) for line in lines):
        return "numbers" if any("." in line for line in lines) else ""
    return ""


def _are_labels(lines: Sequence[str]) -> bool:
    """Whether lines begin with begin and end of what they say, in seconds, samples or HTK's 100 ns."""
    labels = [(float(m[1]), float(m[2]), m[3] or "") for m in map(_LABEL.fullmatch, lines) if m is not None]
    if len(labels) < 0.8 * len(lines) or any(start > end for start, end, _ in labels):
        return False
    with_words = sum(any(sign.isalpha() for sign in label) for _, _, label in labels)
    (start, end, label), last_end = labels[0], labels[-1][1]
    are_decimals = all("." in number for number in lines[0].replace(",", " ").split()[:2])
    if len(lines) == 1:  # it could be words that begin with numbers
        is_first = start == 0 and (end >= 1000 or len(label.split()) == 1)
        return are_decimals or (with_words > 0 and (is_first or (start >= 1000 and end >= 100_000)))
    is_in_order = all(one[0] <= other[0] for one, other in pairwise(labels))
    is_without_gaps = all(one[1] == other[0] for one, other in pairwise(labels))
    are_times = are_decimals or start == 0 or is_without_gaps or last_end >= 1000
    return is_in_order and are_times and (are_decimals or 2 * with_words >= len(labels))


def _are_points(lines: Sequence[str]) -> bool:
    """Whether lines begin with one time each, as those of Festival and ESPS do."""
    times = [float(m[1]) for m in map(_POINT.fullmatch, lines) if m is not None]
    return len(times) == len(lines) > 2 and all(one < other for one, other in pairwise(times))
