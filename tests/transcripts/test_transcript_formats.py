"""Formats as other programs read them: a strict reader of each here, and those of PyPI where they are installed."""

import io
import itertools
import json
import re
import unicodedata
from pathlib import Path

import pytest

from speechssl.transcripts.cues import LINE_COLUMNS, columns, make_cues
from speechssl.transcripts.formats import Interval, ctm_lines, json_line, srt, text_grid, text_line, vtt, word_intervals
from speechssl.transcripts.transcript import TimedWord, Transcript

CLOCK = r"(\d\d):([0-5]\d):([0-5]\d)%s(\d{3})"


def transcript(*words: tuple[str, float, float], seconds: float = 100.0, path: str = "a.wav") -> Transcript:
    timed = tuple(TimedWord(text, start, stop, 0.5) for text, start, stop in words)
    return Transcript(Path(path), " ".join(word.text for word in timed), timed, 0.75, seconds)


def steady(texts: list[str], length: float = 0.3, gap: float = 0.1) -> Transcript:
    words = [(text, i * (length + gap), i * (length + gap) + length) for i, text in enumerate(texts)]
    return transcript(*words, seconds=len(texts) * (length + gap) + 5)


HOSTILE = transcript(
    ("-->", 0.5, 0.9), ("<b>&amp;", 1.0, 1.2), ("1984", 1.3, 1.5), ('"', 3601.0, 3601.2), ("ไทย", 3605.0, 3605.5),
    ("{x}", 3606.0, 3606.0), seconds=3700,
)  # fmt: skip


def seconds_of(match: re.Match[str]) -> float:
    hours, minutes, seconds, thousandths = map(int, match.groups())
    return 3600 * hours + 60 * minutes + seconds + thousandths / 1000


def read_cues(text: str, point: str) -> list[tuple[float, float, list[str]]]:
    """Cues of SubRip or of WebVTT behind its head, by the letter of the format."""
    cues = []
    for block in text.strip("\n").split("\n\n"):
        times, *lines = block.split("\n")
        clock = re.compile(CLOCK % re.escape(point))
        start, stop = times.split(" --> ")
        matches = [clock.fullmatch(start), clock.fullmatch(stop)]
        assert all(matches)
        assert lines
        assert not any("-->" in line or not line for line in lines)
        cues.append((*(seconds_of(match) for match in matches if match), lines))
    return cues


@pytest.mark.parametrize("item", [HOSTILE, steady(["WORD", "A"] * 50), transcript()], ids=["hostile", "long", "none"])
def test_subtitles_are_read_strictly(item: Transcript) -> None:
    numbered = srt(item)
    blocks = [block.split("\n", 1) for block in numbered.strip("\n").split("\n\n") if block]
    assert [int(number) for number, _ in blocks] == list(range(1, len(blocks) + 1))
    ours = read_cues("\n\n".join(rest for _, rest in blocks), ",") if blocks else []
    head, _, rest = vtt(item).partition("\n\n")
    assert head.strip() == "WEBVTT"
    others = read_cues(rest, ".") if rest else []
    assert [cue[:2] for cue in ours] == [cue[:2] for cue in others]
    words = " ".join(line for cue in others for line in cue[2])
    assert words.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == item.text
    assert " ".join(line for cue in ours for line in cue[2]) == item.text.replace("-->", "->")
    for (_, stop, _), (start, *_) in itertools.pairwise(ours):
        assert stop <= start


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_other_readers_agree(form: str) -> None:
    webvtt = pytest.importorskip("webvtt", reason="needs the webvtt-py package, to read what was written")
    cues = make_cues(HOSTILE.words, HOSTILE.seconds)
    written = {"srt": srt, "vtt": vtt}[form](HOSTILE)
    found = webvtt.from_buffer(io.StringIO(written), format=form).captions
    assert [(x.start_in_seconds, x.end_in_seconds) for x in found] == [pytest.approx(cue[:2], abs=1) for cue in cues]
    assert [(milliseconds(x.start), milliseconds(x.end)) for x in found] == [
        (round(1000 * cue.start_seconds), round(1000 * cue.stop_seconds)) for cue in cues
    ]


def milliseconds(time: str) -> int:
    """Of a WebVTT time, 00:00:01.500."""
    hours, minutes, seconds = time.split(":")
    return 3_600_000 * int(hours) + 60_000 * int(minutes) + round(1000 * float(seconds))


def test_cues_can_be_read() -> None:
    item = steady(["SEVENTY", "TWO", "I", "UNBELIEVABLE"] * 40)
    cues = make_cues(item.words, item.seconds)
    assert len(cues) > 10
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        assert max(map(columns, cue.lines)) <= LINE_COLUMNS
        assert cue.stop_seconds - cue.start_seconds <= 7.0 + 1e-9
        if len(cue.lines) == 2:
            assert abs(columns(cue.lines[0]) - columns(cue.lines[1])) <= 13, "lines of like lengths"


def test_a_cue_stays_as_long_as_it_takes_to_read_and_no_longer_than_to_the_next() -> None:
    text = "A" * 34
    alone, early = transcript((text, 1, 1.2)), transcript((text, 1, 1.2), ("B", 2.5, 2.6))
    assert make_cues(alone.words, 100.0)[0].stop_seconds == pytest.approx(3.0)
    assert [cue[:2] for cue in make_cues(early.words, 100.0)] == [(1, 2.5), (2.5, 3.5)]
    assert make_cues(alone.words, 1.5)[0].stop_seconds == 1.5


def test_a_pause_ends_a_cue() -> None:
    item = transcript(("A", 0, 1), ("B", 1.5, 2), ("C", 2.8, 3))
    assert [cue.lines for cue in make_cues(item.words, 9.0)] == [("A B",), ("C",)]


@pytest.mark.parametrize(("word", "parts"), [("字" * 50, 3), ("ก็" * 50, 2), ("A" * 100, 3), ("क" + "का" * 30, 2)])
def test_words_without_spaces_are_cut_between_letters(word: str, parts: int) -> None:
    cues = make_cues(transcript((word, 0.0, 12.0)).words, 20.0)
    lines = [line for cue in cues for line in cue.lines]
    assert "".join(lines) == word
    assert len(lines) == parts
    assert all(columns(line) <= LINE_COLUMNS and line[0] in "字กAक" for line in lines)


def test_ctm_has_six_columns() -> None:
    lines = ctm_lines("a_b", HOSTILE.words)
    assert [len(line.split(" ")) for line in lines] == [6] * 6
    assert lines[0] == "a_b 1 0.500 0.400 --> 0.5000"


def read_text_grid(text: str) -> dict[str, list[Interval]]:
    """Tiers of a TextGrid in its long form, which has to be exactly that."""
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = ')
    tiers = {}
    for part in re.split(r"    item \[\d+\]:\n", text)[1:]:
        name = re.search(r'name = "(.*)"\n', part)
        interval = r' {12}xmin = (\S+)\n {12}xmax = (\S+)\n {12}text = "((?:[^"]|"")*)"\n'
        found = re.findall(rf" {{8}}intervals \[\d+\]:\n{interval}", part)
        size = re.search(r"intervals: size = (\d+)\n", part)
        assert name
        assert size
        assert int(size[1]) == len(found)
        tiers[name[1]] = [Interval(float(a), float(b), t.replace('""', '"')) for a, b, t in found]
    return tiers


def test_a_text_grid_has_no_gaps() -> None:
    text = text_grid(HOSTILE.seconds, {"words": word_intervals(HOSTILE.words), "none": []})
    tiers = read_text_grid(text)
    assert tiers["none"] == [Interval(0.0, 3700.0, "")]
    assert [item.text for item in tiers["words"] if item.text] == HOSTILE.text.split(" ")
    now = 0.0
    for item in tiers["words"]:
        assert item.start_seconds == now < item.stop_seconds
        now = item.stop_seconds
    assert now == 3700


def test_other_readers_read_the_text_grid(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("praatio.textgrid", reason="needs the praatio package, to read what was written")
    path = tmp_path / "a.TextGrid"
    path.write_text(text_grid(HOSTILE.seconds, {"words": word_intervals(HOSTILE.words)}), encoding="utf-8")
    tier = textgrid.openTextgrid(str(path), includeEmptyIntervals=False).getTier("words")
    assert [entry.label for entry in tier.entries] == [word.text for word in HOSTILE.words]


def test_a_line_stays_one_line_whatever_the_name() -> None:
    item = transcript(("WORD", 0.0, 1.0), path="a\tb\nc\u2028.wav")
    assert text_line(item) == "a\\tb\\nc\\u2028.wav\tWORD"
    assert "\n" not in json_line(item)
    assert json.loads(json_line(item))["path"] == "a\tb\nc\u2028.wav"


SCRIPTS = {
    "Arabic": "مَرْحَبًا بِالعَالَم",
    "Thai": "สวัสดีชาวโลกที่น่ารักและสวยงามที่สุดในจักรวาลนี้เลยทีเดียวนะครับ",
    "Chinese": "你好世界" * 15,
    "Hindi": "नमस्ते दुनिया क्‍या",
    "Turkish": "İSTANBUL'DA IŞIK ığdır",
}


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_no_script_loses_a_letter(text: str) -> None:
    words = text.split(" ")
    item = transcript(*((word, 4.0 * i, 4.0 * i + 3.5) for i, word in enumerate(words)))
    bare = text.replace(" ", "")
    head = r"WEBVTT\n|\d+\n(?=\d\d:)|\S+ --> \S+"
    for subtitles in (srt(item), vtt(item)):
        assert re.sub(r"\s(?<!\u200d)", "", re.sub(head, "", subtitles)) == bare
    assert "".join(x.text for x in read_text_grid(text_grid(99.0, {"w": word_intervals(item.words)}))["w"]) == bare
    assert [line.split(" ")[4] for line in ctm_lines("a", item.words)] == words
    assert json.loads(json_line(item))["text"] == text
    for line in (line for cue in make_cues(item.words, 99.0) for line in cue.lines):
        assert not unicodedata.category(line[0]).startswith("M"), "no mark without its letter"
