"""One table of what fields are called, for every reader: columns of lists, JSON of webdataset tars, shards."""

import hashlib
import unicodedata
from functools import lru_cache
from typing import Any

from speechssl.shards.values import identifier_from

FIELD_NAMES: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "audio", "audio_filepath", "audio_path", "wav", "wav_path", "wav_filepath", "wav_file"),
        *("wav_filename", "audio_file", "audio_filename", "file", "filename", "filepath", "fname", "clip", "clip_path"),
        *("clip_name", "sound", "sound_path", "sound_file", "sound_filepath", "aud_path", "recording_path"),
        *("recording_file", "speech_path", "mp3", "flac", "audio_url", "url"),
    ),
    "text": (
        *("text", "sentence", "transcript", "transcription", "wrd", "words", "txt", "trn", "transcripts", "sentences"),
        *("ground_truth", "orthographic_transcription", "orthography", "reference_text", "ref_text", "spoken_text"),
        *("normalized_text", "normalised_text", "text_normalized", "text_normalised", "normalized", "normalised"),
        *("normalized_transcription", "normalised_transcription", "normalized_transcript", "normalised_transcript"),
        *("transcription_normalized", "transcript_normalized", "sentence_normalized"),
        *("normalized_sentence", "normalised_sentence", "norm_text", "text_norm", "clean_text", "text_clean"),
        *("cleaned_text", "raw_text", "raw_transcription", "raw_transcript", "raw_sentence", "original_text"),
    ),
    "speaker": (
        *("speaker", "speaker_id", "spk", "spk_id", "spkr", "spkr_id", "speaker_name", "speaker_label", "client_id"),
        *("reader", "reader_id", "user_id", "user", "talker", "talker_id", "narrator", "narrator_id", "voice"),
        *("voice_id", "participant", "participant_id", "subject_id", "worker_id", "contributor_id"),
    ),
    "language": ("language", "locale", "lang", "language_id", "lang_id", "language_code", "lang_code", "lid"),
    "id": (
        *("id", "utt_id", "utterance_id", "utt", "uid", "uuid", "key", "utt_name", "sample_id", "segment_id"),
        *("clip_id", "sentence_uid"),
    ),
    "split": ("split", "subset", "partition", "split_name"),
    "recording": (
        *("recording", "recording_id", "rec_id", "reco_id", "session", "session_id", "conversation"),
        *("conversation_id", "call_id", "meeting", "meeting_id", "chapter", "chapter_id", "episode_id", "video_id"),
        *("file_id", "audio_id"),
    ),
    "start": (
        *("start", "offset", "start_time", "begin", "begin_time", "onset", "start_offset", "segment_start"),
        *("seg_start", "time_start", "time_begin", "t_start", "t_begin", "xmin"),
    ),
    "end": (
        *("end", "end_time", "stop", "stop_time", "end_offset", "segment_end", "seg_end", "time_end", "time_stop"),
        *("t_end", "t_stop", "xmax"),
    ),
    "duration": (
        *("duration", "length", "dur", "seconds", "audio_duration", "audio_length", "clip_duration"),
        *("segment_duration", "utt_dur", "len"),
    ),
    "channel": (
        *("channel", "channel_id", "audio_channel", "channel_index", "channel_number", "channel_selector", "chan"),
        *("ch", "side"),
    ),
    "sample_rate": ("sample_rate", "sampling_rate", "sr"),
}
"""What columns, and keys of JSON, are called; of several that could be one field, the first in this order is taken and
the others count as ignored: what is said comes before what was normalised of it, and that before what is raw.

Upper and lower case, spaces, hyphens, underscores and brackets make no difference, nor does a unit of seconds behind
a time (``start_s``, ``duration (sec)``). Phones, labels of classes, translations, prompts and the output of
recognisers are no transcripts.
"""
UNITS: dict[str, tuple[str, ...]] = {
    "": ("s", "sec", "secs", "second", "seconds", "insec", "inseconds"),
    "_ms": ("ms", "msec", "msecs", "millis", "milliseconds", "inms", "inmilliseconds"),
    "_samples": ("sample", "samples", "insamples"),
    "_frames": ("frame", "frames", "inframes"),
}
"""Ends of the names of times: those in other units than seconds are fields of their own, ``start_ms`` and so on."""
TIMES = ("start", "end", "duration")


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """Letters and digits of a column's name, in lower case."""
    return "".join(char for char in unicodedata.normalize("NFKC", name).casefold() if char.isalnum())


def expected_names(field: str) -> str:
    """What a field may be called, for a message; not all, as there are many."""
    return f"{', '.join(FIELD_NAMES[field][:6])} (or another name that is in use for it)"


@lru_cache(maxsize=1)
def _fields_by_name() -> dict[str, tuple[str, int]]:
    """Field and rank by folded name."""
    fields: dict[str, tuple[str, int]] = {}
    for field, names in FIELD_NAMES.items():
        for rank, name in enumerate(names):
            fields.setdefault(fold(name), (field, rank))
    for field in TIMES:
        for rank, name in enumerate(FIELD_NAMES[field]):
            for unit, ends in UNITS.items():
                for end in ends:
                    fields.setdefault(fold(name) + end, (field + unit, len(FIELD_NAMES[field]) + rank))
    return fields


@lru_cache(maxsize=256)
def columns_of(names: tuple[str, ...]) -> dict[str, str]:
    """What each of our fields is called among these names."""
    fields = _fields_by_name()
    best: dict[str, tuple[int, str]] = {}
    for name in names:
        field, rank = fields.get(fold(name), ("", 0))
        if field and (field not in best or rank < best[field][0]):
            best[field] = (rank, name)
    columns = {field: name for field, (_, name) in best.items()}
    # Where an onset is the begin, as in lists of events, an offset is the end.
    offset = next((name for name in names if fold(name) == "offset"), None)
    if offset is not None and "end" not in columns and any(fold(name) == "onset" for name in names):
        onset = next(name for name in names if fold(name) == "onset")
        columns |= {"start": onset, "end": offset}
    return columns


def identifier_in(field: str, column: str, value: Any) -> str:
    """What the value of a column names: ``identifier_from``, but a hash in place of Common Voice's client ids."""
    name = identifier_from(value, column)
    if name and field == "speaker" and fold(column) == "clientid":
        return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()  # they have 128 characters
    return name
