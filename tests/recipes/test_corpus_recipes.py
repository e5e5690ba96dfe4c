"""The recipes of public corpora: what they ask for, and the commands that they start. Nothing is trained."""

from pathlib import Path

import pytest
from recipe_commands import assert_valid, commands_in
from shell import Run

LIBRISPEECH = ("train-clean-100", "train-clean-360", "train-other-500", "dev-other", "test-clean", "test-other")


def value(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture
def librispeech(checkout: Path) -> list[str]:
    """Options that name a corpus and limited labels, of empty folders."""
    for name in LIBRISPEECH:
        (checkout / "LibriSpeech" / name).mkdir(parents=True)
    for name in ("1h/0", "9h"):
        (checkout / "limited" / name).mkdir(parents=True)
    return ["--corpus", "LibriSpeech", "--limited", "limited", "--exp", f"{checkout}/exp"]


def test_librispeech_learns_from_the_limited_labels(
    run: Run, checkout: Path, recipe_log: Path, librispeech: list[str]
) -> None:
    result = run("bash", "recipes/librispeech/run.sh", *librispeech, "--labels", "10min,10h")
    commands = commands_in(recipe_log)
    made = {command[-1].rsplit("/", 1)[1]: command[3:-1] for command in commands if command[2] == "shard"}
    assert made["train_10min"] == [f"{checkout}/limited/1h/0"]
    assert made["train_10h"] == [f"{checkout}/limited/1h", f"{checkout}/limited/9h"]
    assert [Path(source).name for source in made["pretrain"]] == list(LIBRISPEECH[:3])
    assert made["test-other"] == [f"{checkout}/LibriSpeech/test-other"]
    finetunes = [command for command in commands if command[2] == "finetune"]
    assert [value(command, "--config") for command in finetunes] == ["published/finetune_10min"] * 2 + [
        "published/finetune_10h"
    ] * 2
    assert [value(command, "--init") for command in finetunes if "--init" in command] == [
        f"{checkout}/exp/seed0/pretrain"
    ] * 2
    assert [value(command, "--order") for command in commands if command[2] == "lm"] == ["3", "3"]
    assert_valid(result, recipe_log)


def test_librispeech_with_an_encoder_and_a_language_model_of_others(
    run: Run, checkout: Path, recipe_log: Path, librispeech: list[str]
) -> None:
    (checkout / "imported").mkdir()
    (checkout / "4-gram.arpa.gz").touch()
    given = ["--encoder", "imported", "--lm", "4-gram.arpa.gz", "--labels", "1h", "--inits", "pretrained"]
    result = run("bash", "recipes/librispeech/run.sh", *librispeech, *given)
    assert result.returncode == 0, result.stderr
    commands = commands_in(recipe_log)
    assert not [command for command in commands if command[2] in ("pretrain", "lm")]
    [finetune] = [command for command in commands if command[2] == "finetune"]
    assert value(finetune, "--init") == f"{checkout}/imported"
    [tune] = [command for command in commands if command[2] == "tune"]
    assert value(tune, "--decoding.language_model") == f"{checkout}/4-gram.arpa.gz"
    assert value(tune, "--data.shards") == f"{checkout}/exp/data/shards/dev-other"
    scored = [value(command, "--output").rsplit("/", 1)[1] for command in commands if command[2] == "evaluate"]
    sets = ["evaluate_test-clean", "evaluate_test-other"]
    assert scored == [*sets, *(f"{name}_lm" for name in sets)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--corpus nowhere --labels 100h --inits scratch", "there is no {0}/nowhere/dev-other {0}/nowhere/test-clean"),
        ("--corpus LibriSpeech --labels 10min", "those of Libri-light: --limited DIR."),
        ("--labels 100h", "this recipe needs LibriSpeech: --corpus DIR."),
    ],
)
def test_what_librispeech_lacks_is_named(
    run: Run, checkout: Path, librispeech: list[str], options: str, message: str
) -> None:
    result = run("bash", "recipes/librispeech/run.sh", *options.split())
    assert result.returncode == 2
    assert message.format(checkout) in result.stderr


def test_common_voice_is_written_and_cut_as_its_language_is(run: Run, checkout: Path, recipe_log: Path) -> None:
    (checkout / "tr" / "clips").mkdir(parents=True)
    result = run("bash", "recipes/commonvoice/run.sh", "--corpus", "tr")
    assert result.returncode == 2
    assert f"there is no {checkout}/tr/train.tsv {checkout}/tr/dev.tsv {checkout}/tr/test.tsv." in result.stderr
    for name in ("train", "dev", "test", "other"):
        (checkout / "tr" / f"{name}.tsv").touch()
    result = run("bash", "recipes/commonvoice/run.sh", "--corpus", "tr", "--exp", f"{checkout}/exp")
    assert_valid(result, recipe_log)
    commands = commands_in(recipe_log)
    writing = f"{checkout}/recipes/commonvoice/conf/writing.yaml"
    for command in commands:
        if command[2] == "finetune":
            assert (value(command, "--text"), value(command, "--text.language")) == (writing, "tr")
            assert value(command, "--targets.name") == "graphemes"
        if command[2] == "lm":
            assert (value(command, "--writing"), value(command, "--writing.language")) == (writing, "tr")
    assert {command[2] for command in commands} >= {"lm", "pretrain", "finetune", "tune", "evaluate", "report"}
