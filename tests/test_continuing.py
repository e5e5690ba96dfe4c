"""A recogniser is trained further: on the same labels, on more, on another alphabet."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from changing import with_values
from small_chain import finetune_config
from test_finetuning import make_shards

from speechssl.config import (
    EvaluateConfig,
    EvaluationSetConfig,
    FinetuneConfig,
    GraphemeTargets,
    HeadConfig,
    TextConfig,
)
from speechssl.errors import ConfigError
from speechssl.model.ctc import CtcModel
from speechssl.recogniser import load_recogniser
from speechssl.tasks.ctc import blank_share, ctc_loss
from speechssl.tasks.facts import frozen_updates
from speechssl.tasks.initial import load_initial, resolve_finetuning
from speechssl.tasks.sets import find_earlier, read_sets
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import load_checkpoint, save_checkpoint
from speechssl.training.run_log import read_log
from speechssl.verbs import evaluate, finetune


def continued(config: FinetuneConfig) -> tuple[CtcModel, Vocabulary, list[str]]:
    """Model, labels and what is said, before the first update."""
    config, initial = resolve_finetuning(config)
    assert initial is not None
    sets = read_sets(config, find_earlier(config, initial))
    model = CtcModel(config.model, config.dropout, len(sets.vocabulary), config.head)
    load_initial(model, initial, sets.vocabulary)
    return model.eval(), sets.vocabulary, sets.notes


@pytest.fixture(scope="module")
def blank_last(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser with an LSTM in its head, and the blank as its last label, as imported ones may have it."""
    root = tmp_path_factory.mktemp("last")
    config = finetune_config(shards, root / "made", None)
    finetune.run(
        with_values(config, {"head": HeadConfig(num_lstm_layers=1, lstm_dim=8), "text": TextConfig(case="upper")})
    )
    made = load_checkpoint(root / "made")
    state = dict(made.model_state)
    for name in ("head.weight", "head.bias"):
        state[name] = state[name].roll(-1, 0)
    labels = made.vocabulary
    assert labels is not None
    labels = labels | {
        "labels": [*labels["labels"][1:], "<pad>"],
        "blank": len(labels["labels"]) - 1,
        "word_boundary": 0,
    }
    config_of_run = made.config
    save_checkpoint(
        root / "run",
        kind="ctc",
        update=0,
        config=config_of_run,
        model_state=state,
        training_state=None,
        vocabulary=labels,
        origin={"family": "wav2vec2", "format": "test", "source": "elsewhere"},
    )
    return root / "run"


def test_the_same_labels_begin_with_the_same_outputs(shards: Path, tmp_path: Path, blank_last: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", blank_last)
    config = with_values(config, {"freeze_context_updates": "auto"})
    resolved, _ = resolve_finetuning(config)
    assert (resolved.head.num_lstm_layers, resolved.text.case, frozen_updates(resolved)) == (1, "upper", 0)
    model, vocabulary, notes = continued(config)
    theirs = load_recogniser(blank_last, "cpu")
    audio = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) / 10
    with torch.no_grad():
        torch.testing.assert_close(model(audio).logits, theirs.model(audio).logits, rtol=0, atol=0)
    assert vocabulary.to_dict() == theirs.vocabulary.to_dict()
    assert vocabulary.blank == len(vocabulary) - 1
    assert "--init: all 11 labels of the recogniser are kept" in notes
    finetune.run(config)
    data = EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8)
    rates = evaluate.run(EvaluateConfig(blank_last, data, tmp_path / "before", accelerator="cpu"))
    dev = [line for line in read_log(tmp_path / "run" / "log.jsonl") if line["kind"] == "dev"]
    assert [line["update"] for line in dev] == [0, 2, 4]
    assert (dev[0]["wer"], dev[0]["cer"]) == (rates.wer, rates.cer)
    saved = load_checkpoint(tmp_path / "run")
    assert saved.vocabulary == theirs.vocabulary.to_dict()
    assert saved.config["head"]["num_lstm_layers"] == 1
    evaluate.run(EvaluateConfig(tmp_path / "run", data, tmp_path / "after", accelerator="cpu"))
    metrics = json.loads((tmp_path / "after" / "metrics.json").read_text())
    assert metrics["text"]["case"] == "upper"


def test_another_alphabet_gets_rows_of_its_own(
    tmp_path: Path, blank_last: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shards = make_shards(tmp_path, [(9000, "ДА"), (9000, "НЕТ"), (12000, "ДА НЕТ")])
    config = finetune_config(shards, tmp_path / "run", blank_last)
    model, vocabulary, _ = continued(config)
    theirs = load_recogniser(blank_last, "cpu")
    assert vocabulary.labels == ["|", "<pad>", "А", "Д", "Е", "Н", "Т"]
    [said] = [message for message in caplog.messages if message.startswith("--init")]
    assert "kept 1 of 11 labels of the recogniser; new: А Д Е Н Т; gone: E G H L N O P S T Y" in said
    ours, old = model.head.weight, theirs.model.head.weight
    assert torch.equal(ours[0], old[0])
    assert torch.equal(ours[1], old[-1])
    assert ours[2:].abs().max() < 0.2
    finetune.run(config)
    assert load_recogniser(tmp_path / "run", "cpu").vocabulary.labels == vocabulary.labels
    finetune.run(replace(config, init_labels="keep"))  # finished, and its labels stay


def test_other_targets_and_another_head_are_the_users_choice(shards: Path, tmp_path: Path, blank_last: Path) -> None:
    config = with_values(finetune_config(shards, tmp_path / "run", blank_last), {"targets": GraphemeTargets()})
    _, vocabulary, notes = continued(config)
    assert vocabulary.blank == 0
    assert vocabulary.segmenter.name == "graphemes"
    assert "--init: all 11 labels of the recogniser are kept" in notes
    with pytest.raises(ConfigError, match="head differs from that of the recogniser"):
        resolve_finetuning(with_values(config, {"head": HeadConfig(num_lstm_layers=2)}))


def test_the_blank_may_be_anywhere() -> None:
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 12, 5, generator=draws)
    lengths, labels = torch.tensor([12, 9]), [[1, 1, 2], [3]]
    moved = [[i - 1 for i in ids] for ids in labels]
    torch.testing.assert_close(
        ctc_loss(logits, lengths, labels), ctc_loss(logits.roll(-1, -1), lengths, moved, blank=4)
    )
    output = type("Output", (), {"logits": logits, "lengths": lengths})
    last = type("Output", (), {"logits": logits.roll(-1, -1), "lengths": lengths})
    assert blank_share(output) == blank_share(last, 4)  # type: ignore[arg-type]
