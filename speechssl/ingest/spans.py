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
    span = _span(recording, info)
    stated = recording.stated_seconds
    if recording.stated_frames is not None:
        stated = recording.stated_frames / info.sample_rate
    if stated is None:
        return span
    file_seconds = info.num_frames / info.sample_rate
    found = (span.stop - span.start) / info.sample_rate
    if recording.stop_seconds is not None:
        found = recording.stop_seconds - (recording.start_seconds or 0)
    if min(abs(stated - found), abs(stated - file_seconds)) <= max(ROUNDING_SECONDS, STATED_SHARE * stated):
        return span
    detail = f"the list says {stated:.2f} s, there are {found:.2f} s"
    if has_text and stated - found > max(SHORTER_SECONDS, SHORTER_SHARE * stated):
        raise AudioError(f"{detail}; get the file again, or correct the list", "shorter than the list says")
    return span._replace(notes=[*span.notes, ("list says another length", detail)])


def _span(recording: Recording, info: AudioInfo) -> Span:
    first, last = recording.start_seconds or 0.0, recording.stop_seconds
    seconds = info.num_frames / info.sample_rate
    start, stop = round(first * info.sample_rate), info.num_frames
    overhang = 0.0 if last is None else last - seconds
    allowed = 0.0 if last is None else min(OVERHANG_SECONDS, OVERHANG_SHARE * (last - first))
    if start >= stop or overhang > max(ROUNDING_SECONDS, allowed):
        until = "its end" if last is None else f"{last:g} s"
        raise AudioError(
            f"the segment from {first:g} s to {until}, the file lasts {seconds:.2f} s; correct the list",
            "segment leaves its file",
        )
    notes = []
    if overhang > ROUNDING_SECONDS:
        detail = f"it ends at {last:g} s, the file at {seconds:.2f} s; it is cut there"
        notes.append(("segment leaves its file", detail))
    return Span(start, stop if last is None else min(stop, round(last * info.sample_rate)), notes)
