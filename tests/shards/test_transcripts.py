"""Text beside audio: what is a transcript, what only looks like one, and what cannot be read."""

import re

import pytest

from speechssl.shards.transcripts import Transcript, find_transcript, read_transcript, transcript_suffix

HTK = "0 3200000 sil\n3200000 4100000 h\n4100000 5000000 ay\n"
TEXT_GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2.3\n'


def test_what_holds_times_or_something_else_is_no_transcript() -> None:
    for content, kind in [
        (HTK, "labels with times"),
        ("0 10 sil", "labels with times"),
        ("0 46797 h#\n", "labels with times"),
        ("0 3050 h#\n3050 4559 sh\n4559 5723 ix\n", "labels with times"),
        ("0.00\t0.31\tpau\n0.31\t0.52\thello there\n", "labels with times"),
        ("0.125,0.5,hello\n0.5,0.75,there\n", "labels with times"),
        ("1.5 2.25 hello", "labels with times"),
        ("3050 1154559 sh", "labels with times"),
        ("0 100 sil -17.2\n100 250 a -3.1\n250 300 b -8\n", "labels with times"),
        ("separator ;\nnfields 1\n#\n 0.2200 125 pau ;\n 0.2850 125 h ;\n 0.3 125 ax ;\n", "labels with times"),
        ("0.22 pau\n0.31 hello\n0.45 there\n", "labels with times"),
        ('#!MLF!#\n"*/a.lab"\nsil\nhello\n.\n', "labels with times"),
        ("1\n00:00:00,000 --> 00:00:02,000\nHello there.\n", "subtitles"),
        ("WEBVTT\n\n00:00.000 --> 00:02.000\nHello\n", "subtitles"),
        ("[Script Info]\nTitle: x\n", "subtitles"),
        ("[00:12.00]Hello\n[00:14.50]there\n", "lines with times"),
        ("[00:00:01] hello there", "lines with times"),
        ("[0.00s -> 2.40s]  Hello there.\n", "lines with times"),
        ("(00:12) hello\n(00:15) there\n", "lines with times"),
        ("0:00\nhello\n0:05\nthere\n0:09\nyou\n", "lines with times"),
        (TEXT_GRID, "a TextGrid"),
        ("a 1 0.00 0.35 hello\na 1 0.35 0.50 there 0.98\n", "words with times, as CTM"),
        (";; comment\nrec A 12.5 0.35 hello\n", "words with times, as CTM"),
        ("rec A spk1 0.00 3.25 <o,f0,male> hello there\n", "turns with times, as STM"),
        ("SPEAKER rec 1 0.00 3.25 <NA> <NA> anna <NA> <NA>\n", "turns with times, as RTTM"),
        ('<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT/>', "XML or HTML"),
        ("<!DOCTYPE html>\n<html>login</html>", "XML or HTML"),
        ('{"text": "hello"}', "RTF or JSON"),
        ('[{"word": "hello", "start": 0.1}]', "RTF or JSON"),
        ('{\n  "segments": [\n    1\n  ]\n}\n', "RTF or JSON"),
        (r"{\rtf1\ansi hello}", "RTF or JSON"),
        ("0.0\n120.3\n121.1\n118.7\n", "numbers"),
    ]:
        assert read_transcript(content.encode(), "lab", "a") == Transcript("", kind)
        assert read_transcript(content.replace("\n", "\r\n").encode("utf-16"), "text", "a") == Transcript("", kind)


def test_words_that_look_a_little_like_times_are_words() -> None:
    for content in [
        "1 2 3 4 5",
        "1 2 buckle my shoe",
        "1 2 buckle my shoe\n3 4 knock at the door",
        "0 800 555 1234 call now",
        "2 5 9\n1 3 3\n",
        "0",
        "1 000 000 people",
        "3.5 million people",
        "12,5 and 13,6 per cent",
        "10:30 is the time",
        "it is 10:30\n11:15 is too late",
        "[noise] hello [laughter]",
        "{breath} hello {breath}",
        "(laughs) yes",
        "<unk> hello",
        "chapter 1 10 15 verses",
        "a 1 and 2",
        "42",
        "7\n8\n9",
        "hello -> there",
        "Speaker one was late",
        "7 8 9 10",
    ]:
        assert read_transcript(content.encode(), "txt", "a") == Transcript(" ".join(content.split()))


def test_what_corpora_put_around_the_words_is_left_out() -> None:
    for content, suffix, stem, expected in [
        ("0 46797 She had your dark suit in greasy wash water all year.\n", "txt", "SA1", "She had your dark suit"),
        ("0 46797 She had your dark suit in greasy wash water all year.\n", "lab", "SA1", ""),
        ("hello there (spk1-utt_3)\n", "trn", "a", "hello there"),
        ("hello (you) there", "trn", "a", "hello (you) there"),
        ("hello there (you)", "trn", "a", "hello there (you)"),
        ("绿 是 阳春\nlv4 shi4 yang2 chun1\nl v4 sh ix4\n", "trn", "A2_0.wav", "绿 是 阳春"),
        ("p225_001 Please call Stella.", "txt", "p225_001", "Please call Stella."),
        ("yes please", "txt", "yes", "yes please"),
        ("p225_001", "txt", "p225_001", "p225_001"),
        ("\ufeffOne\n two\u3000three \x1a", "txt", "a", "One two three \x1a"),
        ("", "txt", "a", ""),
        (" \n\t\n", "txt", "a", ""),
    ]:
        text = read_transcript(content.encode(), suffix, stem).text
        assert text.startswith(expected)
        assert bool(text) == bool(expected)
        assert "46797" not in text


def test_texts_say_in_which_unicode_they_are() -> None:
    for encoding in ["utf-8", "utf-8-sig", "utf-16", "utf-32"]:
        assert read_transcript("naïve 日本 привет".encode(encoding), "txt", "a").text == "naïve 日本 привет"


def test_what_is_no_text_is_said() -> None:
    for data, expected in [
        ("café".encode("latin-1"), "is not UTF-8 at byte 3; convert it"),
        ("привет".encode("cp1251"), "is not UTF-8 at byte 0"),
        ("日本".encode("shift-jis"), "is not UTF-8 at byte"),
        ("hi".encode("utf-16-be"), "UTF-16 without a mark"),
        ("hi".encode("utf-16")[:-1], "is not UTF-16 at byte"),
        (b"RIFF\x24\x08\0\0WAVE", "UTF-16 without a mark, or no text at all"),
        (b"words \x01\x02", "(no text)"),
        (b"a" * ((1 << 24) + 1), "more than any transcript"),
    ]:
        with pytest.raises(ValueError, match=re.escape(expected)):
            read_transcript(data, "txt", "a")


def test_the_first_transcript_by_name_that_holds_words_counts() -> None:
    assert transcript_suffix("wav.txt") == transcript_suffix("txt") == "txt"
    assert transcript_suffix("flac.normalized.txt") == "normalized.txt"
    assert transcript_suffix("1.txt") == transcript_suffix("wav") == transcript_suffix("srt") == ""
    members = {"lab": HTK.encode(), "original.txt": b"Mr. X", "normalized.txt": b"mister x", "wav": b""}
    assert find_transcript(members, "a") == "mister x"
    assert find_transcript({**members, "normalized.txt": b" "}, "a") == "Mr. X"
    assert find_transcript({"lab": HTK.encode()}, "a") == ""
    assert find_transcript({"wav": b""}, "a") is None
