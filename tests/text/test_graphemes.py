"""What a reader takes for one letter."""

from speechssl.text.graphemes import as_characters, split_graphemes


def test_letters_with_their_marks_are_one() -> None:
    for text, clusters in [
        ("stop it", list("stop it")),
        ("น้ำใจ", ["น้ำ", "ใ", "จ"]),
        ("नमस्ते", ["न", "म", "स्ते"]),
        ("你好", ["你", "好"]),
        ("مُحَمَّد", ["مُ", "حَ", "مَّ", "د"]),
        ("İı", ["İ", "ı"]),
        ("한국", ["한", "국"]),
        ("", []),
    ]:
        assert split_graphemes(text) == clusters


def test_each_becomes_a_character_the_same_on_all_sides() -> None:
    (first,), (second,) = as_characters(["น้ำใจ a"], ["น้ำ ใน้ำ"])
    assert len(first) == 5
    assert len(second) == 4
    assert first[0] == second[0] == second[3]
    assert first[1:] == "ใจ a"
