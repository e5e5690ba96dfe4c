"""Which error rate says how well a language is recognised."""

import pytest

from speechssl.text.measure import choose_measure


@pytest.mark.parametrize(
    ("texts", "measure"),
    [
        (["STOP IT", "GO"], "wer"),
        (["你好", "今天天气很好"], "cer"),
        (["今天 天气 很 好"], "cer"),
        (["GPT 是 什么 意思 呢"], "cer"),
        (["สวัสดีครับ วันนี้อากาศดี"], "cer"),
        (["おはよう ございます"], "cer"),
        (["ခင်ဗျား နေကောင်းလား"], "cer"),
        (["안녕하세요 오늘은 날씨가 좋다"], "wer"),
        (["नमस्ते आप कैसे हैं"], "wer"),
        (["مرحبا كيف حالك"], "wer"),
        (["İYİ GÜNLER"], "wer"),
        (["ONEWORDAFTERANOTHERWITHOUTASPACE"], "cer"),
        ([], "wer"),
    ],
)
def test_the_script_decides(texts: list[str], measure: str) -> None:
    assert choose_measure(texts) == measure
