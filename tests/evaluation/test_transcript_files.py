"""Files of references and outputs: what each format says, and what a file that is none of them is told."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from speechssl.errors import DataError
from speechssl.evaluation.transcripts.gathering import Gathered, gather
from speechssl.evaluation.transcripts.reading import read_transcripts
from speechssl.evaluation.transcripts.spoken import Side

TEXTS = {
    "s1-u1": "ONE TWO",
    "s1-u2": "",
    "s2-u3": "ÇOK GÜZEL İŞ",
    "s2-u4": "一二 三",
    "s3-u5": "مرحبا بالعالم",
    "s3-u6": "สวัสดี ครับ",
    "s4-u7": "नमस्ते क्\u200dष",
    "s4-u8": "می\u200cخواهم (بله)",
}
"""With silence, letters of other scripts, joiners that change a word, and brackets."""
STM = """;; comment
a 1 bob 0.0 2.0 <o,f0,male> THE CAT SAT
a 1 bob 3.0 5.0 <o,f0,male> ON THE MAT
a 1 eve 6.0 7.0 <o,f1,female> IGNORE_TIME_SEGMENT_IN_SCORING
a 1 eve 8.0 9.0 <o,f1,female> HELLO
b 1 tom 0 2 NOBODY HERE
"""
CTM = """a 1 0.1 0.2 THE 0.9
a 1 0.5 0.2 CAT
a 1 1.9 0.3 SAT
a 1 2.4 0.1 GAP
a 1 3.3 0.1 MAT
a 1 3.1 0.1 ON
a 1 5.4 0.1 LATE
a 1 6.4 0.1 IGNORED
a 1 7.5 0.1 LOOSE
a 1 8.1 0.1 HELLO
a 1 9.5 0.1 AFTER
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


WRITERS: dict[str, Callable[[dict[str, str]], str]] = {
    "trn": lambda texts: "".join(f"{text} ({name})\n" for name, text in texts.items()),
    "kaldi": lambda texts: "".join(f"{name} {text}\n" for name, text in texts.items()),
    "tabs": lambda texts: "".join(f"{name}\t{text}\n" for name, text in texts.items()),
    "paths": lambda texts: "".join(f"/audio/all/{name}.flac\t{text}\n" for name, text in texts.items()),
    "tsv": lambda texts: "path\ttext\n" + "".join(f"audio/{name}.wav\t{text}\n" for name, text in texts.items()),
    "csv": lambda texts: "id,sentence\n" + "".join(f'{name},"{text}"\n' for name, text in texts.items()),
    "ours": lambda texts: "".join(
        json.dumps({"path": f"x/{name}.wav", "text": text, "seconds": 1.0, "confidence": 0.5}) + "\n"
        for name, text in texts.items()
    ),
    "nemo": lambda texts: "".join(
        json.dumps({"audio_filepath": f"/data/{name}.wav", "duration": 1.0, "text": "OTHER", "pred_text": text}) + "\n"
        for name, text in texts.items()
    ),
    "array": lambda texts: json.dumps([{"id": name, "hypothesis": text} for name, text in texts.items()], indent=1),
    "object": lambda texts: json.dumps({name: {"wav": f"{name}.wav", "text": text} for name, text in texts.items()}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_outputs_of_every_format_find_their_references(name: str, write: Callable[[str, str], Path]) -> None:
    reference = write("ref.trn", WRITERS["trn"](TEXTS))
    texts = TEXTS | {"s1-u1": "ONE"}
    output = write("output", WRITERS[name](dict(reversed(texts.items()))))
    found = gather(reference, [[output]])
    assert found.references == TEXTS
    assert found.systems[0][0].hypotheses == texts
    assert found.notes == ["1 references are empty: silence, in which each word is an insertion"]


def test_references_say_what_is_known_of_them(write: Callable[[str, str], Path]) -> None:
    lines = ["path\ttext\tclient_id\tnoise\tsnr", "a/u1.wav\tONE\tann\tbabble\t5", "b/u1.wav\tTWO\tbob\t\t10.5"]
    reference = write("ref.tsv", "\n".join(lines))
    output = write("hyp.tsv", "path\ttext\n/x/b/u1.wav\tTWO\n/x/a/u1.wav\tONE\n")
    found = gather(reference, [[output]])
    assert found.systems[0][0].hypotheses == found.references == {"a/u1": "ONE", "b/u1": "TWO"}
    assert found.columns == {
        "a/u1": {"speaker": "ann", "noise": "babble", "snr": "5"},
        "b/u1": {"speaker": "bob", "snr": "10.5"},
    }
    assert found.speakers == {"a/u1": "ann", "b/u1": "bob"}


def test_kaldis_speakers_lie_beside_its_text_and_others_are_given(write: Callable[[str, str], Path]) -> None:
    text, speakers = write("text", "u1 ONE TWO\nu2 SIX\n"), "u1 ann\nu2 bob\n"
    output, other = write("output", "u1 ONE TWO\nu2 SIX\n"), write("speakers", speakers)
    assert gather(text, [[output]]).speakers == {}
    assert gather(text, [[output]], speakers=other).speakers == {"u1": "ann", "u2": "bob"}
    write("utt2spk", speakers)
    assert gather(text, [[output]]).speakers == {"u1": "ann", "u2": "bob"}


def test_both_sides_can_be_in_one_file_compressed_or_in_utf_16(tmp_path: Path) -> None:
    content = WRITERS["nemo"]({"u1": "ÉTÉ"})
    for data in (gzip.compress(content.encode()), content.encode("utf-16")):
        path = tmp_path / "manifest.json"
        path.write_bytes(data)
        found = gather(path, [[path]])
        assert (found.references, found.systems[0][0].hypotheses) == ({"u1": "OTHER"}, {"u1": "ÉTÉ"})
        assert found.columns == {"u1": {"seconds": 1.0}}


def test_case_is_changed_on_both_sides(write: Callable[[str, str], Path]) -> None:
    reference, output = write("r.trn", "İstanbul Çok (u1)\n"), write("h.trn", "istanbul ÇOK (u1)\n")
    found = gather(reference, [[output]], case="upper")
    assert found.references == {"u1": "İSTANBUL ÇOK"}
    assert found.systems[0][0].hypotheses == {"u1": "ISTANBUL ÇOK"}


def test_words_with_times_fall_to_segments_as_in_sclite(write: Callable[[str, str], Path]) -> None:
    """Its alignments of these very files, version 2.10, are the oracle."""
    found = gather(write("r.stm", STM), [[write("h.ctm", CTM)]])
    assert list(found.references.values()) == ["THE CAT SAT", "ON THE MAT", "HELLO", "NOBODY HERE"]
    assert list(found.systems[0][0].hypotheses.values()) == ["THE CAT", "SAT GAP ON MAT", "LOOSE HELLO AFTER", ""]
    assert found.columns["a-1-0.00-2.00"] == {"speaker": "bob", "label 1": "o", "label 2": "f0", "label 3": "male"}


def test_words_with_times_join_other_references_by_file_and_channel(write: Callable[[str, str], Path]) -> None:
    reference = write("r.trn", "ONE TWO (u1)\nSIX (u2_A)\nTEN (u2_B)\nNOTHING (u3)\n")
    output = write("h.ctm", "u1 1 0.5 0.1 TWO\nu1 1 0.1 0.1 ONE\nu2 B 0 1 TEN\nu2 A 0 1 SIX\n")
    found = gather(reference, [[output]])
    assert found.systems[0][0].hypotheses == {"u1": "ONE TWO", "u2_A": "SIX", "u2_B": "TEN", "u3": ""}
    [note] = found.notes
    assert note.startswith(f"{output}: no words for 1 utterances, such as ")
    assert note.endswith(
        "a CTM does not tell silence from what was never transcribed, and they are scored as empty outputs"
    )


def refusal(reference: Path, output: Path, **options) -> str:
    with pytest.raises(DataError) as raised:
        gather(reference, [[output]], **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


GOOD = "ONE TWO (u1)\nSIX (u2)\n"
HOSTILE = {
    "ids on one side": ("ONE TWO (u1)\nTEN (u3)\n", "1 of 2 utterances of REF are not in HYP (u2); 1 of 2 utterances"),
    "an id twice": (GOOD + "SIX (u2)\n", "1 ids are there more than once (u2 on lines 2, 3)"),
    "a line without an id": (GOOD + "TEN u3\n", "1 of 3 lines cannot be read as TRN (line 3: no (ID) at the end of"),
    "no brackets at all": ("ONE TWO\nSIX\n", "(read as ids and words), with ONE, SIX; give both the same ids"),
    "alternatives": ("{ ONE / WON } TWO (u1)\nSIX (u2)\n", "line 1: alternatives in braces, which are not scored"),
    "a negative time": ("u1 1 -0.5 0.2 ONE\nu1 1 1 1 TWO\n", "line 1: the start -0.5 is negative"),
    "a time that is none": ("u1 1 0.5 0.2 ONE\nu1 1 0 1e999 TWO\nu2 1 0 1 SIX", "line 2: the duration '1e999' is no"),
    "a broken table": ("id\ttext\nu1\tONE\tTWO\n", "line 2: 3 columns, expected 2"),
    "no JSON": ('{"id": "u1", "text": "ONE"}\n{"id": \n', "1 of 2 lines cannot be read as JSON (line 2: no JSON"),
    "JSON without texts": ('{"id": "u1", "num": 3}\n', "line 1: no text in id, num"),
    "JSON without ids": ('{"text": "ONE"}\n', "line 1: no id and no path in text"),
    "JSON with lists": ('{"id": "u1", "text": ["ONE"]}\n', "line 1: text is a list, expected text"),
    "JSON of numbers": ("[1, 2]\n", "2 of 2 lines cannot be read as JSON (line 1: no object; line 2: no object)"),
    "nothing": ("\n \n", "there is nothing in it"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_ends_in_one_line(what: str, write: Callable[[str, str], Path]) -> None:
    content, expected = HOSTILE[what]
    reference, output = write("r.trn", GOOD), write("h", content)
    message = refusal(reference, output).replace(str(reference), "REF").replace(str(output), "HYP")
    assert expected in message
    assert "HYP" in message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"ONE (u1)\nCAF\xc9 (u2)\n", "line 2: byte 0xc9 is not UTF-8"),
        (b"RIFF\0\0\0\0WAVEfmt ", "holds zero bytes: no text"),
        ("ONE (u1)".encode("utf-16-le"), "UTF-16 without a mark"),
        (gzip.compress(b"ONE (u1)\n", mtime=0)[:-6], "cannot be read"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_text_ends_in_one_line(data: bytes | None, expected: str, tmp_path: Path) -> None:
    reference, output = tmp_path / "r.trn", tmp_path / "h.trn"
    reference.write_text(GOOD)
    if data is not None:
        output.write_bytes(data)
    assert expected in refusal(reference, output)


def test_references_are_not_scored_against_themselves(write: Callable[[str, str], Path]) -> None:
    for path in (
        write("r.trn", GOOD),
        write("r.tsv", "id\ttext\nu1\tONE\n"),
        write("r.json", WRITERS["object"](TEXTS)),
    ):
        assert "has one text for both sides" in refusal(path, path)


def test_swapped_files_are_known_by_confidences_and_times(write: Callable[[str, str], Path]) -> None:
    reference, output = write("r.trn", GOOD), write("h.json", WRITERS["ours"]({"u1": "ONE", "u2": "SIX"}))
    assert "the two seem to be swapped; give the reference first" in refusal(output, reference)
    assert "the two seem to be swapped" in refusal(write("h.ctm", CTM), write("r.stm", STM))


def test_all_that_is_wrong_is_said_at_once(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    reference, twice = write("r.trn", GOOD + GOOD), write("h.trn", GOOD + "ONE\n")
    with pytest.raises(DataError) as raised:
        gather(reference, [[twice], [tmp_path / "missing"]])
    assert [line.partition(": ")[0] for line in str(raised.value).splitlines()] == [
        str(path) for path in (twice, tmp_path / "missing", reference)
    ]


def test_a_format_that_cannot_be_told_is_asked_for_or_named_by_the_file(write: Callable[[str, str], Path]) -> None:
    lines = "a 1 0 1 2\nb 1 1 2 3\n"
    with pytest.raises(DataError, match=r"could be CTM or STM.*--reference_format"):
        read_transcripts(write("x", lines), "reference")
    assert read_transcripts(write("x.ctm", lines), "reference").words[0].text == "2"
    side: Side = "reference"
    assert read_transcripts(write("x", lines), side, "stm").utterances[0].text == ""
    assert read_transcripts(write("x", lines), side, "text").utterances[0].text == "1 0 1 2"


def test_a_stated_format_is_that(write: Callable[[str, str], Path]) -> None:
    reference, output = write("r.trn", GOOD), write("h.trn", "u1 ONE (TWO)\nu2 SIX (TEN)\n")
    assert "no utterance is in both" in refusal(reference, output)
    found: Gathered = gather(reference, [[output]], hypothesis_format="text")
    assert found.systems[0][0].hypotheses == {"u1": "ONE (TWO)", "u2": "SIX (TEN)"}
