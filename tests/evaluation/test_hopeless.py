"""Broken evaluations are named, with cause and remedy in a line, and healthy ones are not."""

import pytest

from speechssl.evaluation.causes import RunFacts
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.evaluation.error_rates import align_set
from speechssl.evaluation.hopeless import Circumstances, diagnose
from speechssl.evaluation.levels import SILENT_AUDIO
from speechssl.text.foreign import find_foreign

SAID = [f"{one} {two} {three}" for one in ("GO", "STOP") for two in ("LEFT", "RIGHT") for three in ("NOW", "SOON")]
FACTS = RunFacts(
    has_init=True, learning_rate=1e-4, head_rate=1e-3, frozen_updates=0, warmup_updates=100, max_updates=2000
)
SILENT = Diagnosis(SILENT_AUDIO, "8 of 8 utterances are quieter", "silence", "listen to one")


def found(
    references: list[str], hypotheses: list[str], known: Circumstances | None = None, *, speakers: int = 4
) -> list[Diagnosis]:
    names = [f"u{i:02d}" for i in range(len(references))]
    sides = [dict(zip(names, texts, strict=True)) for texts in (references, hypotheses)]
    scored = align_set(*sides, {name: f"s{i % speakers}" for i, name in enumerate(names)})
    return diagnose(scored, *sides, known)


def mapped(change: dict[str, str]) -> list[str]:
    return [" ".join(change.get(word, word) for word in text.split()) for text in SAID]


def test_healthy_outputs_raise_no_diagnosis() -> None:
    some_wrong = mapped({"LEFT": "LET", "SOON": "SUN"})
    assert found(SAID, some_wrong, Circumstances(facts=FACTS, hear=lambda: [SILENT])) == []
    assert found(SAID, SAID) == []
    assert found(["SO", "é à", "DON'T"], ["SEW", "e à", "DON'T"]) == [], "an accent that both sides know was misheard"


@pytest.mark.parametrize(
    ("outputs", "name", "expected"),
    [
        ([""] * 8, "empty outputs", "WER 100.0%, 100% of the outputs are empty"),
        (["E"] * 8, "constant outputs", 'WER 100.0%, 8 of 8 outputs are "E"'),
        ([text.replace(" ", "")[:-1] for text in SAID], "missing spaces", "the outputs have 0 and the references 16"),
        (mapped({word: f"{word[:-1]}X" for text in SAID for word in text.split()}), "words not", "mostly right (CER"),
        (["QI WI", "QI", "WI", "QA", "WA", "QI WA", "E", "A"], "wrong outputs", "too few updates, too few labels"),
    ],
    ids=["empty", "equal", "spaces", "spelling", "other"],
)  # fmt: skip
def test_an_error_rate_near_100_percent_has_its_cause(outputs: list[str], name: str, expected: str) -> None:
    [one] = found(SAID, outputs)
    assert one.name.startswith(name)
    assert expected in str(one)
    assert str(one).count("\n") == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"frozen_updates": 2000}, "the encoder is frozen in all 2000 updates"),
        ({"head_rate": 1e-7, "learning_rate": 1e-7}, "a learning rate too low to move the head in 2000 updates"),
        ({"learning_rate": 0.01}, "a learning rate that throws the model back"),
        ({"frames_per_label": 1.2}, "too few frames: 1.2 per label"),
        ({"warmup_updates": 1500}, "the warm-up takes 1500 of the 2000 updates"),
        ({"has_init": False, "minutes": 2.0}, "there is no --init, and 2.0 minutes of labels"),
        ({"max_updates": 300}, "too few updates: the whole model learns in 300"),
        ({"silent": SILENT}, "silent audio (8 of 8 utterances are quieter)"),
        ({}, "an --init that learned nothing, or transcripts that are not those of their audio"),
    ],
)
def test_empty_outputs_name_what_the_run_knows(changes: dict, expected: str) -> None:
    [one] = found(SAID, [""] * 8, Circumstances(facts=FACTS._replace(**changes)))
    assert expected in one.cause
    assert one.remedy


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train_loss": 0.1, "minutes": 2.0}, "too few labels: the 2.0 minutes of training transcripts are learned"),
        ({"train_loss": 2.2}, "it has hardly learned yet: 2.20 nats per label"),
        ({"train_loss": 0.1, "dev_rates": {"wer": 0.1}}, "the WER on the run's dev set was 10.0%, so this audio"),
    ],
)
def test_wrong_words_are_laid_to_labels_updates_or_audio(changes: dict, expected: str) -> None:
    outputs = ["QI WI", "QI", "WI", "QA", "WA", "QI WA", "E", "A"]
    [one] = found(SAID, outputs, Circumstances(facts=FACTS._replace(**changes)))
    assert expected in one.cause


@pytest.mark.parametrize("outputs", [[""] * 8, ["E"] * 8], ids=["empty", "equal"])
def test_a_good_recogniser_that_hears_nothing_elsewhere_is_not_blamed(outputs: list[str]) -> None:
    good = FACTS._replace(max_updates=700, dev_rates={"wer": 0.06})
    [one] = found(SAID, outputs, Circumstances(facts=good))
    assert "this audio or its text is unlike what it learned from" in one.cause
    narrow = Diagnosis("narrow band", "nothing above 4 kHz", "a telephone line", "train on such")
    [one] = found(SAID, outputs, Circumstances(facts=good, hear=lambda: [narrow]))
    assert "a telephone line" in one.cause


def test_outputs_of_other_utterances_are_named() -> None:
    said = ["ONE TWO", "THREE FOUR", "FIVE SIX", "SEVEN"]
    [one] = found(said, said[1:] + said[:1])
    assert one.cause.startswith("4 of 4 outputs are what was said in other utterances")


def test_silent_and_narrow_audio_come_before_what_is_guessed() -> None:
    outputs = ["QI WI", "QI", "WI", "QA", "WA", "QI WA", "E", "A"]
    [one] = found(SAID, outputs, Circumstances(facts=FACTS, hear=lambda: [SILENT]))
    assert one.symptom.endswith("%, 8 of 8 utterances are quieter")
    narrow = SILENT._replace(name="narrow band", cause="telephone")
    facts = FACTS._replace(dev_rates={"wer": 0.1})
    assert found(SAID, outputs, Circumstances(facts=facts, hear=lambda: [narrow]))[0].name == "narrow band"
    assert found(SAID, outputs, Circumstances(facts=FACTS, hear=lambda: [narrow]))[0].name == "wrong outputs"


def test_outputs_that_are_partly_empty_have_their_audio_looked_at() -> None:
    some = [*SAID[:5], "", "", ""]
    [one] = found(SAID, some)
    assert one.symptom == "3 of 8 outputs are empty where something was said"
    [one] = found(SAID, some, Circumstances(hear=lambda: [SILENT]))
    assert one.name == SILENT_AUDIO
    assert found([*SAID[:5], "", "", ""][:6] + SAID[6:], [*SAID[:5], "", *SAID[6:]]) == [], "silence that is right"


def test_another_alphabet_is_told_by_the_labels_not_by_what_was_written() -> None:
    references = ["СТОП СТОП", "STOP"]
    foreign = find_foreign(references, frozenset("STOPGE"))
    [one] = found(references, ["GO", "GE"], Circumstances(foreign))
    assert "2 of 3 reference words hold characters that the model cannot write" in one.cause
    # A model that has the letters, but has not written them yet, is no other language.
    foreign = find_foreign(references, frozenset("STOPGEСТОП"))
    assert "too few updates" in found(references, ["GO", "GE"], Circumstances(foreign))[0].cause


@pytest.mark.parametrize(
    ("reference", "hypothesis", "found_of", "what", "sides"),
    [
        ("ONE TWO SIX", "one two ten", (2, 3), "case", ("upper case", "lower case")),
        ("One two", "one two", (1, 1), "case", ("mixed case", "lower case")),
        ("one, two.", "one two", (2, 2), "punctuation", ("with ,.", "without punctuation")),
        ("don’t", "dont", (1, 1), "punctuation", ("with ’", "without punctuation")),
        ("don’t go", "don't go", (1, 1), "typographic forms", ("with ’", "with plain forms alone")),
        ("ﬁne", "fine", (1, 1), "typographic forms", ("with ﬁ", "with plain forms alone")),
        ("Oh, No", "oh no", (2, 2), "case and punctuation", ("mixed case, with ,", "lower case, without punctuation")),
        ("[er] yes", "yes", (1, 1), "tags in brackets", ("with tags in brackets", "without tags in brackets")),
        ("déjà vu", "deja vu", (1, 1), "accents", ("with accents", "without accents")),
        ("КОТ", "KOT", (1, 1), "look-alike letters", ("in Cyrillic", "in Latin")),
    ],
)
def test_errors_of_spelling_are_counted(
    reference: str, hypothesis: str, found_of: tuple[int, int], what: str, sides: tuple[str, str]
) -> None:
    [one] = found([reference], [hypothesis])
    num, of = found_of
    assert one.symptom == f"{num} of the {of} errors vanish if differences of {what} are ignored"
    assert one.cause == f"the references are {sides[0]} and the outputs {sides[1]}"


def test_digits_and_spaces_are_counted() -> None:
    [one] = found(["ROOM 12 NOW"], ["ROOM TWELVE NOW"])
    assert one.symptom == "1 of the 1 errors are at numbers in digits"
    assert one.cause == "the references write numbers in digits and the outputs in words"
    assert found(["ROOM 12 AT 5"], ["ROOM 12 AT 6"]) == []
    [one] = found(["some times"], ["sometimes"])
    assert one.symptom == "2 of the 2 errors vanish if differences of spaces are ignored"
    assert one.cause == "the outputs have too few spaces (0, and the references 1)"


def test_errors_of_recognition_are_none_of_spelling() -> None:
    assert [one.name for one in found(["one two"], ["six ten"])] == ["wrong outputs"]
    assert found(["one"], ["one"]) == []


def test_a_rate_that_spelling_does_not_explain_keeps_its_other_cause() -> None:
    outputs = [text.lower() if i == 0 else "qi wa" for i, text in enumerate(SAID)]
    assert [one.name for one in found(SAID, outputs)] == ["wrong outputs", "differences of case"]
    assert [one.name for one in found(SAID, [text.lower() for text in SAID])] == ["differences of case"]


def test_one_voice_is_no_interval_over_people() -> None:
    [one] = found(SAID, SAID, speakers=1)
    assert str(one).startswith("all 8 utterances are of one speaker: the interval tells how the rate varies over what")
    assert found(SAID[:4], SAID[:4], speakers=1) == []
