"""Where in its file a recording is, and whether that agrees with what its source says."""

from typing import NamedTuple

from speechssl.audio.findings import ROUNDING_SECONDS, AudioError
from speechssl.audio.inspection import AudioInfo
from speechssl.ingest.recordings import Recording

STATED_SHARE = 0.01
"""A stated length may differ by this share, beyond rounding: codecs add delay, and tools guess from the bit rate."""
SHORTER_SECONDS, SHORTER_SHARE = 0.5, 0.05
"""By more than both a file with a transcript may not be shorter than stated; whole seconds round by half of one."""
OVERHANG_SECONDS, OVERHANG_SHARE = 0.5, 0.1
"""By no more than this, and this share of itself, may a segment reach past the end of its file. Kaldi's
extract-segments allows half a second as well."""
COMMON_RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
OTHER_UNIT = 50
"""A number that is so many times too large is of another unit, if one fits."""
UNIT_SHARE = 0.02
"""A stated length that is so near to a multiple is said to be in another unit."""


class Span(NamedTuple):
    """Frames of a file at its own rate."""

    start: int
    stop: int
    """The frame after the last."""
    notes: list[tuple[str, str]]
    """Kind and detail of what does not agree, where it is used all the same."""


def span_of(recording: Recording, info: AudioInfo, *, has_text: bool) -> Span:
    """Where a recording is in its file.

    Raises:
        AudioError: a segment that leaves its file; a file that is shorter than stated, if words may be missing.
    """
    start, stop, notes = _span(recording, info)
    stated = recording.stated_seconds
    if recording.stated_frames is not None:
        stated = recording.stated_frames / info.sample_rate
    if stated is None:
        return Span(start, stop, notes)
    file_seconds = info.num_frames / info.sample_rate
    found = (stop - start) / info.sample_rate
    if recording.stop_seconds is not None:
        found = recording.stop_seconds - (recording.start_seconds or 0)
    if min(abs(stated - found), abs(stated - file_seconds)) <= max(ROUNDING_SECONDS, STATED_SHARE * stated):
        return Span(start, stop, notes)
    unit = _unit(recording, stated, found, info.sample_rate)
    detail = f"the list says {stated:.2f} s, there are {found:.2f} s{unit}"
    is_other_unit = unit and stated > OTHER_UNIT * found  # by so much no file is cut off that exactly
    if has_text and not is_other_unit and stated - found > max(SHORTER_SECONDS, SHORTER_SHARE * stated):
        raise AudioError(f"{detail}; get the file again, or correct the list", "shorter than the list says")
    return Span(start, stop, [*notes, ("list says another length", detail)])


def _span(recording: Recording, info: AudioInfo) -> tuple[int, int, list[tuple[str, str]]]:
    first, last = recording.start_seconds or 0.0, recording.stop_seconds
    seconds = info.num_frames / info.sample_rate
    start, stop = round(first * info.sample_rate), info.num_frames
    if last is None and start < stop:
        return start, stop, []
    if start >= stop:
        until = "its end" if last is None else f"{last:g} s"
        raise _leaves(f"from {first:g} s to {until} has no audio", seconds, first, last, info)
    assert last is not None
    overhang = last - seconds
    allowed = max(ROUNDING_SECONDS, min(OVERHANG_SECONDS, OVERHANG_SHARE * (last - first)))
    if overhang > allowed:
        raise _leaves(f"from {first:g} s to {last:g} s", seconds, first, last, info)
    notes = []
    if overhang > ROUNDING_SECONDS:
        notes.append(
            ("segment leaves its file", f"it ends at {last:g} s, the file at {seconds:.2f} s; it is cut there")
        )
    return start, min(stop, round(last * info.sample_rate)), notes


def _leaves(segment: str, seconds: float, first: float, last: float | None, info: AudioInfo) -> AudioError:
    unit = ""
    for factor, name in ((1000, "milliseconds"), (info.sample_rate, "samples")):
        value = first if last is None else last
        if value > OTHER_UNIT * seconds and value / factor <= seconds + ROUNDING_SECONDS:
            unit = f"; are these {name}?"
            break
    return AudioError(
        f"the segment {segment}, the file lasts {seconds:.2f} s{unit or '; correct the list'}",
        "segment leaves its file",
    )


def _unit(recording: Recording, stated: float, found: float, sample_rate: int) -> str:
    """The unit in which a stated length agrees, as a question; empty if none is known."""
    units = [(1000.0, "milliseconds"), (float(sample_rate), "samples"), (1 / 60, "minutes")]
    if recording.stated_frames is not None:
        units = [(rate / sample_rate, f"samples at {rate} Hz") for rate in COMMON_RATES if rate != sample_rate]
    for factor, name in units:
        if abs(stated / (factor * found) - 1) <= UNIT_SHARE:
            return f"; are these {name}?"
    return ""
