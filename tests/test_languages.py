"""Five scripts through shards, training, scoring and transcripts without a mangled character."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from changing import with_values
from small_chain import finetune_config
from test_finetuning import make_shards

from speechssl.config import (
    EvaluateConfig,
    EvaluationSetConfig,
    FinetuneConfig,
    GraphemeTargets,
    PhonemeTargets,
    SentencePieceTargets,
    TextConfig,
)
from speechssl.errors import ConfigError, DataError
from speechssl.evaluation.error_rates import error_rates
from speechssl.evaluation.scoring import score
from speechssl.recogniser import load_recogniser
from speechssl.tasks.sets import read_sets
from speechssl.text.measure import choose_measure
from speechssl.training.checkpoints import load_checkpoint
from speechssl.verbs import evaluate, finetune

SENTENCES = {
    "arabic": (["مُحَمَّد هنا", "نعم، لا"], ["مُحَمَّد هنا", "نعم لا"], "wer"),
    "thai": (["น้ำใจดี", "สวัสดีครับ"], ["น้ำใจดี", "สวัสดีครับ"], "cer"),
    "chinese": (["今天天气很好。", "你好，世界"], ["今天天气很好", "你好世界"], "cer"),
    "hindi": (["नमस्ते जी।", "क्या हाल है"], ["नमस्ते जी", "क्या हाल है"], "wer"),
    "turkish": (["Işık İyi mi?", "DIŞARI"], ["ışık iyi mi", "dışarı"], "wer"),
}


WHOLE_WAY = ("thai", "turkish")


def tuned(folder: Path, shards: Path, language: str) -> FinetuneConfig:
    """Two updates on clusters, in small letters without punctuation."""
    values = {
        "targets": GraphemeTargets(),
        "text": TextConfig(case="lower", punctuation="remove", language="tr" if language == "turkish" else ""),
        "training.max_updates": 2,
    }
    return with_values(finetune_config(shards, folder / "run", None), values)


@pytest.mark.parametrize("language", sorted(SENTENCES.keys() - WHOLE_WAY))
def test_no_character_of_a_language_is_mangled(language: str, tmp_path: Path) -> None:
    texts, expected, measure = SENTENCES[language]
    config = tuned(tmp_path, make_shards(tmp_path, [(30000, text) for text in texts]), language)
    sets = read_sets(config)
    assert list(sets.train.texts or ()) == list(sets.dev.texts or ()) == expected
    assert [sets.vocabulary.decode(sets.vocabulary.encode(text)) for text in expected] == expected
    assert choose_measure(expected) == measure
    rates = error_rates(dict(enumerate(expected)), dict(enumerate(expected)), bootstrap_samples=0)  # type: ignore[arg-type]
    assert (rates.wer, rates.cer) == (0, 0)


@pytest.mark.parametrize("language", WHOLE_WAY)
def test_a_language_goes_the_whole_way(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, expected, measure = SENTENCES[language]
    shards = make_shards(tmp_path, [(30000, text) for text in texts])
    finetune.run(tuned(tmp_path, shards, language))
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert set(best) == {"update", measure}
    assert f"lowest dev {measure.upper()}" in capsys.readouterr().out
    saved = load_checkpoint(tmp_path / "run")
    assert saved.vocabulary is not None
    recogniser = load_recogniser(tmp_path / "run", "cpu")
    for text in expected:
        assert recogniser.vocabulary.decode(recogniser.vocabulary.encode(text)) == text

    def heard(*args: object, **options: object) -> object:
        """As if the model had heard all of it, in the shards' own writing."""
        found = score(*args, **options)  # type: ignore[arg-type]
        outputs = {key: found.hypotheses[key]._replace(text=text) for key, text in found.references.items()}
        return found._replace(hypotheses=outputs)

    monkeypatch.setattr("speechssl.held_out.score", heard)
    data = EvaluationSetConfig(shards=[str(shards)])
    rates = evaluate.run(EvaluateConfig(tmp_path / "run", data, tmp_path / "out", accelerator="cpu"))
    assert (rates.wer, rates.cer) == (0, 0)
    lines = [json.loads(line) for line in (tmp_path / "out" / "hypotheses.jsonl").read_text("utf-8").splitlines()]
    assert [line["reference"] for line in lines] == expected
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["headline"], metrics["characters"]["foreign"]) == (measure, [])
    printed = capsys.readouterr().out
    assert printed.startswith(f"{measure.upper()} 0.0%")
    assert "text of references and outputs: case lower, punctuation remove" in printed


def test_phonemes_are_learned_and_scored(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "a", [(20000, "go stop")] * 12)
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("Go G OW1\nstop\tS T AA1 P\n")
    config = with_values(
        finetune_config(shards, tmp_path / "run", None),
        {"targets": PhonemeTargets(lexicon), "text": TextConfig(case="upper"), "training.max_updates": 2},
    )
    finetune.run(config)
    lexicon.unlink()  # the checkpoint has it
    other = make_shards(tmp_path / "b", [(20000, "stop"), (20000, "help go")])
    data = EvaluationSetConfig(shards=[str(other)])
    evaluate.run(EvaluateConfig(tmp_path / "run", data, tmp_path / "out", accelerator="cpu"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["num_words"], metrics["unusual"]) == (7, {"word without a pronunciation": 1})
    assert [item["character"] for item in metrics["characters"]["foreign"]] == ["<HELP>"]
    config_of = EvaluateConfig(tmp_path / "run", data, tmp_path / "other", accelerator="cpu")
    written = replace(config_of, text=TextConfig(case="lower"))
    with pytest.raises(ConfigError, match=r"text\.case is 'lower', expected 'upper': the recogniser writes phonemes"):
        evaluate.run(written)
    alike = replace(written, text=TextConfig(case="upper"))
    assert evaluate.run(alike).num_words == metrics["num_words"]
    lexicon.write_text("GO\tG OW1\n")
    with pytest.raises(DataError, match=r"word without a pronunciation: 12(?s:.*)u000: the lexicon lacks STOP"):
        read_sets(with_values(config, {"output": tmp_path / "new"}))


def test_pieces_of_words_are_learned(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="needs the sentencepiece package (speechssl[sentencepiece])")
    shards = make_shards(tmp_path, [(20000, "GO STOP GO"), (20000, "STOP GO")] * 6)
    config = with_values(
        finetune_config(shards, tmp_path / "run", None), {"targets": SentencePieceTargets(num_pieces=8)}
    )
    finetune.run(config)
    finetune.run(config)
    recogniser = load_recogniser(tmp_path / "run", "cpu")
    assert recogniser.vocabulary.segmenter.name == "sentencepiece"
    assert recogniser.vocabulary.decode(recogniser.vocabulary.encode("GO STOP")) == "GO STOP"
