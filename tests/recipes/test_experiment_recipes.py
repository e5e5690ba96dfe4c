"""The experiments' run.sh: the arms of each, and the commands that they start. Nothing is trained."""

from itertools import pairwise
from pathlib import Path

import pytest
from recipe_commands import assert_valid, commands_in, values_of
from shell import Run


def test_commands_of_label_efficiency_are_valid(run: Run, recipe_log: Path) -> None:
    assert_valid(run("bash", "recipes/label_efficiency/run.sh", "--corpus=c"), recipe_log)


def test_commands_of_scaling_are_valid(run: Run, recipe_log: Path) -> None:
    options = ("--objectives=scratch,log_mel,masked_prediction", "--models=mini,tiny,small", "--hours=0.6")
    assert_valid(run("bash", "recipes/scaling/run.sh", "--corpus=c", *options), recipe_log)


def test_label_efficiency_has_an_arm_for_each_objective_and_amount(run: Run, checkout: Path, recipe_log: Path) -> None:
    result = run(
        *("bash", "recipes/label_efficiency/run.sh", "--corpus", "c", "--size", "whole", "--exp", f"{checkout}/exp"),
        *("--labels", "1,full", "--seeds", "0,7"),
    )
    assert result.returncode == 0, result.stderr
    assert "A small run" not in result.stdout
    commands = commands_in(recipe_log)
    assert commands[0][1:] == [f"{checkout}/c", f"{checkout}/exp/data/manifests", "--minutes", "1"]
    pretrained = [command for command in commands if command[2:3] == ["pretrain"]]
    runs = [Path(command[command.index("--output") + 1]) for command in pretrained]
    names = ["pretrain_contrastive", "pretrain_masked_prediction", "pretrain_self_distillation"]
    assert runs == [checkout / "exp" / seed / name for seed in ("seed0", "seed7") for name in names]
    assert not any("--training.max_updates=2000" in command for command in pretrained)
    arms = {}
    for command in (command for command in commands if command[2:3] == ["finetune"]):
        configs = [Path(value).stem for option, value in pairwise(command) if option == "--config"]
        init = command[command.index("--init") + 1] if "--init" in command else None
        arms[command[command.index("--output") + 1].removeprefix(f"{checkout}/exp/")] = (configs, init)
    assert len(arms) == 20
    assert arms["seed7/finetune_scratch_1min"] == (["finetune"], None)
    assert arms["seed7/finetune_log_mel_1min"] == (["finetune", "finetune_log_mel"], None)
    assert arms["seed7/finetune_masked_prediction_full"] == (
        ["finetune", "finetune_full", "finetune_pretrained"],
        f"{checkout}/exp/seed7/pretrain_masked_prediction",
    )
    assert sum(command[2:3] == ["evaluate"] for command in commands) == 20


def test_small_size_says_what_it_leaves_out_and_yields_to_options(run: Run, recipe_log: Path) -> None:
    result = run(
        *("bash", "recipes/label_efficiency/run.sh", "--corpus", "c", "--stage", "2", "--stop-stage", "3"),
        *("--", "--pretrain.training.max_updates", "9"),
    )
    assert result.returncode == 0, result.stderr
    assert "It leaves out" in result.stdout
    asked = [command for command in commands_in(recipe_log) if "--print_config" in command]
    # Overrides are tried on the configuration of the pretext task that they are for.
    assert [Path(command[4]).name for command in asked] == ["pretrain_masked_prediction.yaml", "finetune.yaml"]
    commands = [command for command in commands_in(recipe_log) if "--print_config" not in command]
    assert [command[2] for command in commands] == ["pretrain"] + ["finetune"] * 9
    # The last of two counts.
    assert commands[0][-3:] == ["--training.max_updates=2000", "--training.max_updates", "9"]


def test_scaling_has_an_arm_for_each_model_and_amount_of_audio(run: Run, checkout: Path, recipe_log: Path) -> None:
    (checkout / "more.tsv").touch()
    result = run(
        *("bash", "recipes/scaling/run.sh", "--corpus", "c", "--exp", f"{checkout}/exp", "--models", "mini,tiny"),
        *("--objectives", "scratch,log_mel,masked_prediction", "--hours", "0.3,2", "--untranscribed", "more.tsv"),
    )
    assert result.returncode == 0, result.stderr
    assert "It leaves out, of what --size whole does: two of three models" in result.stdout
    commands = [command for command in commands_in(recipe_log) if "--print_config" not in command]
    assert commands[0][2:] == [
        *(f"{checkout}/exp/data/manifests", "--minutes", "10", "--hours", "0.3,2"),
        *("--untranscribed", f"{checkout}/more.tsv"),
    ]
    sharded = [Path(command[4]).name for command in commands if command[2:3] == ["shard"]]
    assert sharded == ["pretrain_0.3h", "pretrain_2h", "dev", "test", "train_10min"]
    pretrained = {
        Path(values["--output"]).name: (Path(values["--model"]).stem, Path(values["--data.shards"]).name)
        for values in (values_of(command) for command in commands if command[2:3] == ["pretrain"])
    }
    assert pretrained == {
        f"pretrain_masked_prediction-{model}-{hours}": (model, f"pretrain_{hours}")
        for model in ("mini", "tiny")
        for hours in ("0.3h", "2h")
    }
    arms = [values_of(command) for command in commands if command[2:3] == ["finetune"]]
    assert len(arms) == 2 * 7  # two seeds
    models = {Path(values["--output"]).name: Path(values.get("--model", "its own")).stem for values in arms}
    assert models["finetune_scratch-mini_10min"] == models["finetune_masked_prediction-mini-2h_10min"] == "mini"
    assert models["finetune_log_mel_10min"] == "its own"
    assert {Path(values["--output"]).name for values in arms if "--init" not in values} == {
        *("finetune_log_mel_10min", "finetune_scratch-mini_10min", "finetune_scratch-tiny_10min"),
    }
    probes = [values_of(command) for command in commands if command[2:3] == ["probe"]]
    assert [values["--layers"] for values in probes] == ["[block_2]"] * 8  # the middle of three blocks, and of four


def test_scaling_does_not_probe_again(run: Run, checkout: Path, recipe_log: Path) -> None:
    probe = checkout / "exp" / "seed1" / "probe_masked_prediction-tiny-0.15h"
    probe.mkdir(parents=True)
    (probe / "probe.json").touch()
    options = ("--stage=2", "--stop-stage=2", "--exp", f"{checkout}/exp")
    assert run("bash", "recipes/scaling/run.sh", *options).returncode == 0
    made = [values_of(command)["--output"] for command in commands_in(recipe_log) if command[2:3] == ["probe"]]
    assert len(made) == 5
    assert str(probe) not in made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--hours 0.3,x", "--hours is '0.3,x'; expected numbers such as 0.3"),
        ("--hours .3", "--hours is '.3'"),
        ("--hours 0.0", "--hours is '0.0'; expected amounts over 0."),
        ("--hours ,", "--hours is empty"),
        ("--models huge", "--models is 'huge'; expected one or more of mini tiny small"),
        ("--untranscribed nowhere.tsv", "--untranscribed: there is no list or folder nowhere.tsv."),
        ("--size small", "this recipe needs a transcribed corpus: --corpus DIR"),
    ],
)
def test_mistakes_of_scaling_are_named(run: Run, arguments: str, message: str) -> None:
    result = run("bash", "recipes/scaling/run.sh", *arguments.split())
    assert result.returncode == 2
    assert message in result.stderr
    assert "recipes/scaling/run.sh --help" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--size large", "--size is 'large'; expected small or whole."),
        ("--labels 0.5", "--labels is '0.5'; expected whole minutes or full"),
        ("--labels 05", "--labels is '05'"),
        ("--labels ,", "--labels is empty"),
        (
            "--objectives scratch,hubert",
            "--objectives is 'scratch,hubert'; expected one or more of scratch log_mel contrastive",
        ),
        ("--size small", "this recipe needs a transcribed corpus: --corpus DIR"),
    ],
)
def test_mistakes_of_label_efficiency_are_named(run: Run, arguments: str, message: str) -> None:
    result = run("bash", "recipes/label_efficiency/run.sh", *arguments.split())
    assert result.returncode == 2
    assert message in result.stderr
    assert "recipes/label_efficiency/run.sh --help" in result.stderr


def with_conditions(checkout: Path, *names: str) -> str:
    """An --exp in which stage 0 has made these sets."""
    folder = checkout / "exp" / "data" / "conditions"
    folder.mkdir(parents=True)
    for name in (*(f"{name}.tsv" for name in names), "conditions.json"):
        (folder / name).touch()
    return f"{checkout}/exp"


def test_generalisation_evaluates_every_arm_on_every_set(run: Run, checkout: Path, recipe_log: Path) -> None:
    (checkout / "more").mkdir()
    (checkout / "more" / "test.tsv").touch()
    (checkout / "ages.tsv").touch()
    exp = with_conditions(checkout, "babble_0db", "room_0.3s", "other_more")
    result = run(
        *("bash", "recipes/generalisation/run.sh", "--corpus", "c", "--exp", exp, "--seeds", "0,7"),
        *("--other", "more=more", "--groups", "ages.tsv", "--noise=more", "--objectives=scratch,contrastive"),
    )
    assert_valid(result, recipe_log)
    assert "It leaves out" in result.stdout
    commands = [command for command in commands_in(recipe_log) if "--print_config" not in command]
    prepared, made = commands[:2]
    assert prepared[1:] == [f"{checkout}/c", f"{exp}/data/manifests", "--minutes", "10", "--seen-minutes", "5"]
    assert made[1:] == [
        *(f"{exp}/data/manifests", f"{exp}/data/conditions", "--corpus", f"{checkout}/c"),
        *("--other", f"more={checkout}/more", "--groups", f"{checkout}/ages.tsv", "--noise", f"{checkout}/more"),
    ]
    sharded = [command[-1] for command in commands if command[2:3] == ["shard"]]
    sets = ["test", "babble_0db", "other_more", "room_0.3s"]
    assert {f"{exp}/data/shards/{name}" for name in sets} <= set(sharded)
    outputs = [values_of(command)["--output"] for command in commands if command[2:3] == ["evaluate"]]
    assert outputs == [
        f"{exp}/seed{seed}/finetune_{arm}_10min/evaluate_{name}"
        for seed in (0, 7)
        for arm in ("scratch", "contrastive")
        for name in sets
    ]
    assert commands[-1][-2:] == ["--conditions", f"{exp}/data/conditions/conditions.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--other meetings", "--other is 'meetings'; expected NAME=DIR."),
        ("--other meetings=nowhere", "--other: there is no file nowhere/test.tsv."),
        ("--noise nowhere", "--noise: there is no folder nowhere."),
        ("--groups nowhere", "--groups: there is no file nowhere."),
        ("--size small", "this recipe needs a transcribed corpus: --corpus DIR"),
        ("--stage 4", "conditions.json; run stage 0 first."),
    ],
)
def test_mistakes_of_generalisation_are_named(run: Run, recipe_log: Path, arguments: str, message: str) -> None:
    result = run("bash", "recipes/generalisation/run.sh", *arguments.split())
    assert result.returncode == 2
    assert message in result.stderr
    assert not recipe_log.exists() or {command[2] for command in commands_in(recipe_log)} <= {"pretrain", "finetune"}
