"""The one way in which transcripts, references and outputs are written, in scripts of several kinds."""

import itertools
import random
import typing
import unicodedata

import pytest

from speechssl.config import TextConfig
from speechssl.config.limits import check, hints_of
from speechssl.errors import ConfigError
from speechssl.text.normalisation import Normalizer, change_case, clean_text, normalize_text


def written(text: str, **choices: str) -> str:
    return Normalizer(TextConfig(**choices))(text)  # type: ignore[arg-type]


def test_by_default_nothing_but_the_usual_is_done() -> None:
    for text in ["Don’t  “Stop” [noise] 21 %", "ﬁ ＦＵＬＬ", "İı", "น้ำ", "e\u0301\u200b"]:
        assert written(text) == clean_text(text)


@pytest.mark.parametrize(
    ("text", "choices", "expected"),
    [
        ("Ｆｕｌｌ ﬁne ﷲ", {"unicode": "nfkc"}, "Full fine الله"),
        ("น้ำ ນ້ຳ", {"unicode": "nfkc"}, "น้ำ ນ້ຳ"),
        ("‘Don’t’ „so“ «là»", {"quotes": "straight"}, '\'Don\'t\' "so" "là"'),
        ("oh [noise] well <unk> [laughs [loudly] now] (yes)", {"brackets": "remove"}, "oh well (yes)"),
        ("yes,no: U.S.A. — twenty-one!", {"punctuation": "remove"}, "yes no USA twenty one"),
        ("'Don't,' l’eau dogs' 50% R&D", {"punctuation": "remove_but_apostrophes"}, "Don't l’eau dogs 50% R&D"),
        ("你好，世界。「好」", {"punctuation": "remove"}, "你好世界好"),
        ("ไทย, ๆ", {"punctuation": "remove"}, "ไทย ๆ"),
        ("نعم، لا؟ مـــد", {"punctuation": "remove"}, "نعم لا مد"),
        ("नमस्ते। क्या?हाँ", {"punctuation": "remove"}, "नमस्ते क्या हाँ"),
        ("می‌خواهم.", {"punctuation": "remove"}, "می‌خواهم"),
        ("İSTANBUL IŞIK", {"case": "lower", "language": "tr"}, "istanbul ışık"),
        ("istanbul ışık", {"case": "upper", "language": "tr"}, "İSTANBUL IŞIK"),
        ("istanbul", {"case": "upper"}, "ISTANBUL"),
        ("ΟΔΟΣ straße", {"case": "lower"}, "οδος straße".replace("οδος", "οδος"[:-1] + "ς")),
    ],
)
def test_each_choice(text: str, choices: dict[str, str], expected: str) -> None:
    assert written(text, **choices) == unicodedata.normalize("NFC", expected)


def test_turkish_case_goes_there_and_back() -> None:
    letters = "abcçdefgğhıijklmnoöprsştuüvyz"
    for language in ("tr", "az", "tr-TR"):
        assert change_case(change_case(letters, "upper", language), "lower", language) == letters
    assert change_case(letters, "upper") == change_case(letters.replace("ı", "i"), "upper"), "what Unicode alone loses"
    assert normalize_text("iyi", "upper", "tr") == "İYİ"
    assert change_case("I\u0307", "lower", "tr") == "i", "a capital in two parts"


def every_choice() -> list[TextConfig]:
    options = {name: typing.get_args(hint) for name, hint in hints_of(TextConfig).items() if typing.get_args(hint)}
    options["digits"] = ("keep",)
    combined = [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]
    return [TextConfig(**choices, language=language) for choices in combined for language in ("", "tr")]


def test_what_is_normalised_stays_as_it_is() -> None:
    draws = random.Random(0)
    pool = "aZ iIİı'’ʼ,-.[]<>{}()ß ŉﬁ 9٣½%é\u0301\u0307กำ้你。“\u200b\u200dｱﾞ한\u1112\u0345ΐΣς ʰª…"
    normalizers = [Normalizer(config) for config in every_choice()]
    for _ in range(12):
        for normalize in normalizers:
            text = "".join(draws.choices(pool, k=draws.randint(0, 12)))
            once = normalize(text)
            assert normalize(once) == once, (ascii(text), normalize.config)
            assert clean_text(once) == once


def test_words_one_by_one_are_the_whole_transcript() -> None:
    draws = random.Random(0)
    pool = "aZ  iI''.-[]<>{}ß ŉﬁ 9٣½\u00a0é\u0301ก้你“\u200b\u200dｱ［］\u00b4\u037aΣς…"
    for normalize in map(Normalizer, every_choice()):
        for _ in range(12):
            text = "".join(draws.choices(pool, k=draws.randint(0, 16)))
            by_word = normalize.by_word(text)
            assert len(by_word) == len(clean_text(text).split())
            assert " ".join(filter(None, by_word)) == normalize(text), (ascii(text), normalize.config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oh [door slams] no", ["oh", "", "", "no"]),
        ("so<laughs [very loudly] now>what", ["so", "", "", "what"]),
        ("［door slams］ go", ["", "", "go"]),
        ("[door slams", ["[door", "slams"]),
    ],
)
def test_tags_of_several_words_are_no_words(text: str, expected: list[str]) -> None:
    assert Normalizer(TextConfig(unicode="nfkc", brackets="remove")).by_word(text) == expected


def test_numbers_need_a_language_and_its_words() -> None:
    with pytest.raises(ConfigError, match="language is empty, expected that of the numbers"):
        check(TextConfig(digits="words"))


def test_numbers_become_words() -> None:
    pytest.importorskip("num2words", reason="needs the num2words package (speechssl[numbers])")
    said = {
        ("en", "21 dogs, 1,984 cats"): "twenty one dogs, one thousand nine hundred and eighty four cats",
        ("en", "3.5 A4"): "three point five A four",
        ("de", "1.500 und 3,5"): "eintausendfünfhundert und drei Komma fünf",
        ("tr", "21"): "yirmibir",
        ("th", "๒๑ปี"): "ยี่สิบเอ็ดปี",
        ("ar", "٢١"): "واحد و عشرون",
    }
    for (language, text), expected in said.items():
        found = written(text, digits="words", language=language)
        assert found == unicodedata.normalize("NFC", expected)
        assert written(found, digits="words", language=language) == found
    assert written("9" * 400, digits="words", language="en") == "9" * 400
    with pytest.raises(
        ConfigError, match=r"text\.language is 'zh', whose numbers num2words does not know \(it knows am"
    ):
        Normalizer(TextConfig(digits="words", language="zh"))


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "num2words", None)
    with pytest.raises(ConfigError, match=r"speechssl\[numbers\]"):
        Normalizer(TextConfig(digits="words", language="en"))


def test_numbers_do_not_become_others_without_their_marks() -> None:
    normalize = Normalizer(TextConfig(punctuation="remove"))
    assert normalize("3.5% of 10,000, at 9:30.") == "3 5% of 10 000 at 9 30"
