"""The command from end to end, on very small models."""

import json
from pathlib import Path

import pytest

from speechssl.cli import main
from speechssl.outputs import is_plot


def probe(checkpoint: Path, shards: Path, output: Path, *more: str) -> int:
    sets = ["--train.shards", str(shards), "--test.shards", str(shards), "--output", str(output)]
    fast = [
        "--num_seeds",
        "2",
        "--heads.updates",
        "3",
        "--num_units",
        "5",
        "--bootstrap_samples",
        "100",
        "--accelerator",
        "cpu",
    ]
    return main(["probe", str(checkpoint), *sets, *fast, *more])


def test_every_task_of_every_layer_is_in_one_file_and_one_table(
    pretrained: Path, finetuned: Path, shards: Path, tmp_path: Path, capsys
) -> None:
    assert probe(pretrained, shards, tmp_path / "one", "--aligner", str(finetuned)) == 0
    printed = capsys.readouterr().out
    assert "character error rate" in printed
    assert "left out: language: train and test do not have two languages in common" in printed
    assert "left out: verification: test does not know two speakers, other than those of train" in printed
    found = json.loads((tmp_path / "one" / "probe.json").read_text())
    assert set(found["left_out"]) == {"language", "verification"}
    layers = ["features", "block_1", "block_2", "log_mel", "mfcc", "random_features", "random_block_2"]
    assert list(dict.fromkeys(figure["layer"] for figure in found["figures"])) == layers
    assert found["cka"]["layers"] == layers
    assert {figure["task"] for figure in found["figures"]} == {"ctc", "speaker", "units", "abx", "rank"}
    assert found["sets"]["test"]["num_utterances"] == 24
    assert is_plot(tmp_path / "one" / "probe.png")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["probe.json", "probe.png"]


def test_the_same_command_gives_the_same_figures_in_the_same_place(
    pretrained: Path, shards: Path, tmp_path: Path
) -> None:
    asked = ("--layers", "block_2", "--baselines", "random", "--tasks", "ctc", "speaker", "units")
    assert probe(pretrained, shards, tmp_path, *asked) == 0
    first = (tmp_path / "probe.json").read_text()
    assert probe(pretrained, shards, tmp_path, *asked) == 0
    assert (tmp_path / "probe.json").read_text() == first
    assert probe(pretrained, shards, tmp_path, *asked, "--seed", "7") == 0
    assert json.loads((tmp_path / "probe.json").read_text())["figures"] != json.loads(first)["figures"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layers", "block_9"], "layers: block_9; expected some of features, block_1, block_2, context"),
        (["--tasks", "units", "language"], "nothing can be probed:\n  units: no --aligner is given"),
        (["--tasks", "weather"], "expected some of|expected"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_computed(
    more: list[str], message: str, pretrained: Path, shards: Path, tmp_path: Path, capsys
) -> None:
    assert probe(pretrained, shards, tmp_path / "out", *more) == 2
    assert message.split("|")[-1] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_of_others_is_not_replaced(pretrained: Path, shards: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "probe.json").write_text("mine")
    assert probe(pretrained, shards, tmp_path) == 2
    assert "probe.json is something that this command did not write" in capsys.readouterr().err
