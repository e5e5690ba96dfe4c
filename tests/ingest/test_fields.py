"""The one table of field names, and what JSON says about a recording."""

import itertools
import json
import math
from typing import Any

import pytest

from speechssl.ingest.describing import describe, note_values
from speechssl.ingest.recordings import Findings, Recording
from speechssl.shards.fields import FIELD_NAMES, columns_of, fold


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        ("ID,duration,wav,spk_id,wrd", "id,duration,path,speaker,text"),
        ("audio_filepath,duration,text,offset,channel", "path,duration,text,start,channel"),
        ("file_name,transcription", "path,text"),
        ("client_id,path,sentence_id,sentence,up_votes,accents,locale,segment", "speaker,path,,text,,,language,"),
        ("id,file,audio,text,speaker_id,chapter_id", "id,,path,text,speaker,recording"),
        ("id,raw_text,normalized_text,speaker_id,split,gender", "id,,text,speaker,split,"),
        ("ID,AUDIO,BEGIN,DURATION,TEXT,SPEAKER", "id,path,start,duration,text,speaker"),
        ("Audio File-Path,Speaker ID,startTime,End Time", "path,speaker,start,end"),
        ("start_ms,end_ms,duration (ms)", "start_ms,end_ms,duration_ms"),
        ("start (s),end_seconds,dur[sec]", "start,end,duration"),
        ("start_sample,stop_samples,sampling_rate", "start_samples,end_samples,sample_rate"),
        ("filename,onset,offset,event_label", "path,start,end,"),
        ("text,normalized_text,raw_transcription", "text,,"),
        ("normalized_text,text", ",text"),
        ("phones,label,target,tgt_text,translation,prompt,pred_text,hypothesis,caption,n_frames", ",,,,,,,,,"),
    ],
)
def test_columns_of_corpora_and_toolkits(names: str, fields: str) -> None:
    pairs = zip(fields.split(","), names.split(","), strict=True)
    assert columns_of(tuple(names.split(","))) == {field: name for field, name in pairs if field}


def test_every_name_is_of_one_field_in_any_spelling() -> None:
    for field, names in FIELD_NAMES.items():
        for name in names:
            words = name.split("_")
            spellings = (name, name.upper(), "".join(map(str.title, words)), " ".join(words), f" {'-'.join(words)} ")
            for spelling in spellings:
                assert columns_of((spelling,)) == {field: spelling}
    assert len({fold(name) for name in itertools.chain(*FIELD_NAMES.values())}) == sum(map(len, FIELD_NAMES.values()))


def described(values: dict[str, Any]) -> tuple[Recording, Findings]:
    found = Findings()
    return describe(values, columns_of(tuple(values)), found), found


def test_json_says_what_it_knows_and_the_rest_is_named() -> None:
    values = {"normalized_text": " yes ", "spk": 7, "lang": "en", "duration_ms": 1500, "channel": "B"}
    recording, found = described({**values, "start": 3, "mood": "x", "age": ""})
    assert recording == Recording("", "", "yes", "7", "en", channel=1, stated_seconds=1.5)
    assert found.fields == {
        ("text", "column normalized_text"): 1,
        ("speaker", "column spk"): 1,
        ("language", "column lang"): 1,
        ("duration_ms", "column duration_ms"): 1,
        ("channel", "column channel"): 1,
    }
    assert found.ignored_columns == {"start": 1, "mood": 1}


def test_nothing_is_read_out_of_missing_values() -> None:
    recording, found = described(
        {"text": math.nan, "speaker": "NaN", "language": None, "split": "", "duration": math.nan}
    )
    assert recording == Recording("", "")
    assert (found.fields, found.ignored_columns) == ({}, {})
    note_values("t.tar", found)
    assert [(note.kind, note.detail) for note in found.notes] == [
        ("missing values", "duration: 'nan' in 1 rows is taken as none"),
        ("missing values", "speaker: 'NaN' in 1 rows is taken as none"),
        ("missing values", "text: 'nan' in 1 rows is taken as none"),
    ]


def test_a_channel_may_be_that_of_a_broadcaster() -> None:
    recording, found = described({"text": "yes", "channel": "NPR"})
    assert recording == Recording("", "", "yes")
    assert found.ignored_columns == {"channel": 1}


def test_json_nan_is_no_word() -> None:
    values = json.loads('{"text": NaN}')
    assert described(values)[0].text == ""
    assert described({"text": "NaN"})[0].text == "NaN"
