"""Tuning the weight of a language model."""

import json
from pathlib import Path

import pytest
import torch

from speechssl import cli
from speechssl.config import BeamConfig, EvaluateConfig
from speechssl.config.reading import parse
from speechssl.decoding.arpa import write_arpa
from speechssl.decoding.beam import BeamDecoder
from speechssl.decoding.decoder import emissions
from speechssl.decoding.kneser_ney import estimate, tokenize
from speechssl.evaluation.tuning import Trial, best_of, edges, sweep
from speechssl.text.vocabulary import Vocabulary
from speechssl.text.writing import Writer

VOCABULARY = Vocabulary.of_characters(["A", "B"])


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    write_arpa(estimate(tokenize([["ONE", "TWO"], ["TWO"], ["A", "B"], ["A"]] * 3), 2).model, tmp_path / "lm.arpa")
    return tmp_path / "lm.arpa"


def test_each_trial_is_what_decoding_with_that_setting_gives(arpa: Path) -> None:
    log_probs = emissions(2 * torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0)))
    references = {"u": "A B", "v": "A", "w": "BA A"}
    rows = {key: row[:length] for key, row, length in zip(references, log_probs, (20, 11, 20), strict=True)}
    config = BeamConfig(language_model=arpa)
    trials = sweep(references, rows, VOCABULARY, config, [(0.0, 0.0), (1.0, 2.0)], Writer())
    assert [(trial.weight, trial.word_score) for trial in trials] == [(0.0, 0.0), (1.0, 2.0)]
    decoder = BeamDecoder(VOCABULARY, BeamConfig(language_model=arpa, weight=1.0, word_score=2.0))
    texts = [decoder.best(row, 1)[0].hypothesis.text for row in rows.values()]
    again = sweep(dict(zip(references, texts, strict=True)), rows, VOCABULARY, config, [(1.0, 2.0)], Writer())
    assert (again[0].wer, again[0].cer) == (0, 0)
    of_nothing = sweep(references, {}, VOCABULARY, config, [(1.0, 2.0)], Writer())
    assert of_nothing[0].wer == 1, "what is too short to be heard is an empty output"


def test_an_optimum_at_an_edge_is_told() -> None:
    trials = [
        Trial(weight, score, abs(weight - 2) + abs(score), 0.0) for weight in (0.0, 1.0, 2.0) for score in (0.0, 1.0)
    ]
    best = best_of(trials)
    assert (best.weight, best.word_score) == (2.0, 0.0)
    assert edges(best, [0.0, 1.0, 2.0], [-1.0, 0.0, 1.0]) == ["weight 2, the highest that was tried"]
    assert edges(best, [1.0, 2.0, 3.0], [0.0, 1.0]) == ["word_score 0, the lowest that was tried"]
    assert edges(best._replace(weight=0.0), [0.0, 1.0], [-1.0, 0.0, 1.0]) == []
    assert edges(best, [2.0], [0.0]) == []


def test_what_is_found_goes_to_evaluate(
    shards: Path, finetuned: Path, arpa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(finetuned), str(tmp_path / "out"), "--data.shards", str(shards), "--weights", "0", "0.5"]
    arguments += ["--word_scores", "0", "1", "--decoding.language_model", str(arpa), "--accelerator", "cpu"]
    for _ in range(2):  # its own files may be replaced
        assert cli.main(["tune", *arguments, "--decoding.beam_width", "4"]) == 0
    said = capsys.readouterr()
    assert "for evaluate and transcribe: --config" in said.out
    written = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert len(written["trials"]) == 4
    assert (tmp_path / "out" / "tune.png").stat().st_size > 1000
    reading = ["--checkpoint", "run", "--data.shards", "s", "--output", "o"]
    config = parse(EvaluateConfig, ["--config", str(tmp_path / "out" / "decoding.yaml"), *reading]).decoding
    assert isinstance(config, BeamConfig)
    assert (config.language_model, config.beam_width) == (arpa.resolve(), 4)
    assert (config.weight, config.word_score) == (written["best"]["weight"], written["best"]["word_score"])
    assert "replaced" not in said.err, "the same again"
    arguments[arguments.index("0.5")] = "0.75"
    assert cli.main(["tune", *arguments, "--decoding.beam_width", "4"]) == 0
    best = f"weight {written['best']['weight']} and word_score {written['best']['word_score']}: WER "
    assert f"out: replaced an earlier tuning, {best}" in capsys.readouterr().err
    by_hand = (tmp_path / "out" / "decoding.yaml").read_text().replace("beam_width: 4", "beam_width: 9")
    (tmp_path / "out" / "decoding.yaml").write_text(by_hand)
    assert cli.main(["tune", *arguments]) == 2
    assert "decoding.yaml is something that this command did not write, or that was changed" in capsys.readouterr().err
    assert (tmp_path / "out" / "decoding.yaml").read_text() == by_hand
    assert cli.main(["tune", *arguments[:4]]) == 2
    assert "decoding.language_model is absent" in capsys.readouterr().err
