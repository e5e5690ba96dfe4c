"""Where words have no spaces, characters head the result."""

import pytest

from speechssl.evaluation.error_rates import align_set, error_rates
from speechssl.evaluation.headline import count_characters, headline
from speechssl.evaluation.showing import shown_rates


def test_a_letter_with_its_marks_is_one_error() -> None:
    thai = error_rates({"a": "น้ำใจ"}, {"a": "นำใจ"}, bootstrap_samples=0)
    assert thai.cer == pytest.approx(1 / 3)
    hindi = error_rates({"a": "नमस्ते जी"}, {"a": "नमस्ता जी"}, bootstrap_samples=0)
    assert hindi.cer == pytest.approx(1 / 5)
    assert error_rates({"a": "ONE"}, {"a": "ON"}, bootstrap_samples=0).cer == pytest.approx(1 / 3)


def test_chinese_is_headed_by_characters_with_their_interval() -> None:
    references = {f"u{i}": "今天天气很好" for i in range(20)}
    hypotheses = {i: "今天天气很坏" if n < 5 else text for n, (i, text) in enumerate(references.items())}
    found = headline(references, align_set(references, hypotheses), bootstrap_samples=200)
    assert found["headline"] == "cer"
    assert found["cer_low"] < 5 / 120 < found["cer_high"]
    counts = count_characters(references, hypotheses, {})
    assert (counts.edits.sum(), counts.words.sum()) == (5, 120)
    metrics = {"wer": 0.25, "wer_low": 0.1, "wer_high": 0.4, "cer": 5 / 120, **found}
    assert shown_rates(metrics).startswith("CER 4.2% (")
    assert shown_rates(metrics | {"headline": "wer"}).startswith("WER 25.0% (10.0% to 40.0%), CER 4.2%")
    one = {"a": "ONE"}
    assert headline(one, align_set(one, one), bootstrap_samples=200) == {"headline": "wer"}
