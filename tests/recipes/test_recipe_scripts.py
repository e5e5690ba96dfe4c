"""The recipes' run.sh: command lines, stages, and the commands that they start. Nothing is trained."""

from itertools import pairwise
from pathlib import Path

import pytest
from shell import Run, make_complete

from speechssl.cli import VERBS
from speechssl.config.reading import build, read_arguments


@pytest.fixture
def recipe_log(checkout: Path, bin_folder: Path) -> Path:
    """The commands that recipes start go into this file, one argument a line, an empty line after each."""
    log = checkout / "log"
    make_complete(
        checkout,
        bin_folder,
        f'[ "$1" = -c ] || {{ printf "%s\\n" "$@" "" >>"{log}"; [ ! -e "{checkout}/fail-$3" ] || exit 3; exit 0; }}',
    )
    return log


def commands_in(log: Path) -> list[list[str]]:
    return [command.split("\n") for command in log.read_text().removesuffix("\n\n").split("\n\n")]


@pytest.mark.parametrize("recipe", ["quickstart", "an4", "label_efficiency"])
def test_recipe_help_needs_no_environment(run: Run, checkout: Path, recipe: str) -> None:
    result = run("bash", f"recipes/{recipe}/run.sh", "--help")
    assert result.returncode == 0
    for option in ("--stage N", "--stop-stage N", "--seeds 0,1,2", "--exp DIR", "--pretrain.training.max_updates 10"):
        assert option in result.stdout
    assert ("--corpus DIR" in result.stdout) == (recipe != "quickstart")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--stage 6", "--stage is '6'; expected a whole number from 0 to 5."),
        ("--stop-stage x", "--stop-stage is 'x'; expected a whole number"),
        ("--stage 3 --stop-stage 2", "--stage 3 is after --stop-stage 2."),
        ("--seeds 0,,1", "--seeds is '0,,1'; expected whole numbers with commas"),
        ("--seeds=a", "--seeds is 'a'"),
        ("--seeds", "--seeds needs a value"),
        ("--labels 5min", "--labels is '5min'; expected one or more of 10min full"),
        ("--inits random", "--inits is 'random'; expected one or more of scratch pretrained"),
        ("--objective two_view", "--objective is two_view, expected contrastive or masked_prediction"),
        ("--go-on-from nowhere", "--go-on-from: there is no folder nowhere."),
        ("--old-dev nowhere", "--old-dev: there is no nowhere."),
        ("--extra-untranscribed nowhere.tsv", "--extra-untranscribed: there is no file nowhere.tsv."),
        (
            "--training.max_updates 10",
            "unknown option '--training.max_updates'; overrides of the configuration follow '--'",
        ),
        ("--colour red", "unknown option '--colour'."),
        ("now", "unexpected argument 'now'."),
        ("-- 10", "'10' after '--' is no override"),
    ],
)
def test_mistakes_on_the_command_line_are_named(run: Run, arguments: str, message: str) -> None:
    result = run("bash", "recipes/an4/run.sh", *arguments.split())
    assert result.returncode == 2
    assert message in result.stderr
    assert "recipes/an4/run.sh --help" in result.stderr


def test_an4_without_corpus_says_where_to_get_it(run: Run, checkout: Path) -> None:
    result = run("bash", "recipes/an4/run.sh")
    assert result.returncode == 2
    assert "http://www.speech.cs.cmu.edu/databases/an4/" in result.stderr
    assert "--corpus DIR" in result.stderr
    assert not (checkout / ".venv").exists()


def test_quickstart_stages(run: Run, checkout: Path, recipe_log: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = run(
        "bash", str(checkout / "recipes/quickstart/run.sh"), "--exp", "my exp", "--seeds", "0,7", cwd=elsewhere
    )
    assert result.returncode == 0, result.stderr
    exp = elsewhere / "my exp"
    commands = commands_in(recipe_log)
    assert commands[0] == [f"{checkout}/recipes/quickstart/local/make_corpus.py", f"{exp}/data/corpus"]
    assert [command[2] for command in commands[1:]] == (
        ["shard"] * 4 + ["pretrain"] * 2 + ["finetune"] * 4 + ["evaluate"] * 4 + ["report"]
    )
    outputs = [command[command.index("--output") + 1] for command in commands if "--output" in command]
    assert f"{exp}/seed7/finetune_pretrained_5min" in outputs
    assert f"{exp}/seed0/finetune_scratch_5min/evaluate_test" in outputs
    assert len(set(outputs)) == len(outputs)
    for command in commands:
        if command[2:3] == ["finetune"]:
            output = command[command.index("--output") + 1]
            assert ("--init" in command) == ("finetune_pretrained" in output)
            seed = command[command.index("--training.seed") + 1]
            assert f"/seed{seed}/" in output


def test_an4_arms_and_extra_audio(run: Run, checkout: Path, recipe_log: Path) -> None:
    (checkout / "more.tsv").touch()
    result = run(
        *("bash", "recipes/an4/run.sh", "--corpus", "corpus", "--extra-untranscribed", "more.tsv"),
        *("--extra-untranscribed=more.tsv", "--labels", "full", "--inits", "pretrained", "--exp", f"{checkout}/exp"),
    )
    assert result.returncode == 0, result.stderr
    commands = commands_in(recipe_log)
    assert commands[0][1:] == [f"{checkout}/corpus", f"{checkout}/exp/data/manifests"]
    pretrain = next(command for command in commands if command[2:3] == ["pretrain"])
    shards = f"{checkout}/exp/data/shards"
    assert pretrain[pretrain.index("--data.shards") :] == [
        "--data.shards",
        f"{shards}/pretrain",
        f"{shards}/extra/0",
        f"{shards}/extra/1",
    ]
    finetune = [command for command in commands if command[2:3] == ["finetune"]]
    assert [command[command.index("--train.shards") + 1] for command in finetune] == [f"{shards}/train_full"]


def test_an4_goes_on_from_a_run_and_watches_what_is_forgotten(run: Run, checkout: Path, recipe_log: Path) -> None:
    (checkout / "before" / "shards").mkdir(parents=True)
    result = run(
        *("bash", "recipes/an4/run.sh", "--corpus", "corpus", "--go-on-from", "before", "--old-dev", "before/shards"),
        *("--inits", "pretrained", "--stage", "2", "--stop-stage", "2"),
    )
    assert result.returncode == 0, result.stderr
    pretrain = next(command for command in commands_in(recipe_log) if command[2:3] == ["pretrain"])
    assert pretrain[-4:] == ["--init", f"{checkout}/before", "--dev.shards", f"{checkout}/before/shards"]


@pytest.mark.parametrize("recipe", ["quickstart", "an4", "label_efficiency"])
def test_commands_of_recipes_are_valid(run: Run, recipe_log: Path, recipe: str) -> None:
    """Every speechssl command line that a recipe starts names only keys that exist, in files that can be read."""
    result = (
        run("bash", f"recipes/{recipe}/run.sh")
        if recipe == "quickstart"
        else run("bash", f"recipes/{recipe}/run.sh", "--corpus=c")
    )
    assert result.returncode == 0, result.stderr
    for command in commands_in(recipe_log):
        if command[:2] == ["-m", "speechssl"]:
            verb = VERBS[command[2]]
            build(verb.config, read_arguments(verb.config, command[3:], positionals=verb.positionals))


def test_stages_can_be_chosen(run: Run, recipe_log: Path) -> None:
    result = run("bash", "recipes/quickstart/run.sh", "--stage", "2", "--stop-stage=3")
    assert result.returncode == 0, result.stderr
    assert [command[2] for command in commands_in(recipe_log)] == ["pretrain", "finetune", "finetune"]


def test_configs_of_an_arm_follow_from_general_to_special(run: Run, checkout: Path, recipe_log: Path) -> None:
    conf = checkout / "recipes" / "an4" / "conf"
    names = ("finetune_full", "finetune_scratch", "finetune_scratch_full", "finetune_pretrained")
    for name in names:
        (conf / f"{name}.yaml").touch()
    run("bash", "recipes/an4/run.sh", "--stage", "3", "--stop-stage", "3", "--labels", "full", "--inits", "scratch")
    command = commands_in(recipe_log)[0]
    configs = [Path(value).stem for option, value in pairwise(command) if option == "--config"]
    assert configs[:4] == ["finetune", "finetune_full", "finetune_scratch", "finetune_scratch_full"]
    assert len(configs) == 4


def test_overrides_reach_their_verbs(run: Run, recipe_log: Path) -> None:
    result = run(
        *("bash", "recipes/quickstart/run.sh", "--stage", "1", "--stop-stage", "3", "--"),
        *("--pretrain.training.max_updates", "10", "--training.log_every=5", "--shard.format", "wav"),
    )
    assert result.returncode == 0, result.stderr
    commands = commands_in(recipe_log)
    asked = [command for command in commands if "--print_config" in command]
    assert [command[2] for command in asked] == ["pretrain", "finetune"]
    done = [command for command in commands if "--print_config" not in command]
    assert all(command[-2:] == ["--format", "wav"] for command in done if command[2] == "shard")
    assert [command[-3:] for command in done if command[2] == "pretrain"] == [
        ["--training.max_updates", "10", "--training.log_every=5"]
    ]
    finetune = [command for command in done if command[2] == "finetune"]
    assert all(command[-1] == "--training.log_every=5" and "10" not in command for command in finetune)


def test_unhealthy_run_ends_the_recipe_with_its_status(run: Run, checkout: Path, recipe_log: Path) -> None:
    (checkout / "fail-pretrain").touch()
    result = run("bash", "recipes/quickstart/run.sh")
    assert result.returncode == 3
    assert commands_in(recipe_log)[-1][2] == "pretrain"


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
    names = ["pretrain_contrastive", "pretrain_masked_prediction"]
    assert runs == [checkout / "exp" / seed / name for seed in ("seed0", "seed7") for name in names]
    assert not any("--training.max_updates=2000" in command for command in pretrained)
    arms = {}
    for command in (command for command in commands if command[2:3] == ["finetune"]):
        configs = [Path(value).stem for option, value in pairwise(command) if option == "--config"]
        init = command[command.index("--init") + 1] if "--init" in command else None
        arms[command[command.index("--output") + 1].removeprefix(f"{checkout}/exp/")] = (configs, init)
    assert len(arms) == 12
    assert arms["seed7/finetune_scratch_1min"] == (["finetune"], None)
    assert arms["seed7/finetune_masked_prediction_full"] == (
        ["finetune", "finetune_full", "finetune_pretrained"],
        f"{checkout}/exp/seed7/pretrain_masked_prediction",
    )
    assert sum(command[2:3] == ["evaluate"] for command in commands) == 12


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
    assert [command[2] for command in commands] == ["pretrain"] + ["finetune"] * 6
    # The last of two counts.
    assert commands[0][-3:] == ["--training.max_updates=2000", "--training.max_updates", "9"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--size large", "--size is 'large'; expected small or whole."),
        ("--labels 0.5", "--labels is '0.5'; expected whole minutes or full"),
        ("--labels 05", "--labels is '05'"),
        ("--labels ,", "--labels is empty"),
        (
            "--objectives scratch,hubert",
            "--objectives is 'scratch,hubert'; expected one or more of scratch contrastive",
        ),
        ("--size small", "this recipe needs a transcribed corpus: --corpus DIR"),
    ],
)
def test_mistakes_of_label_efficiency_are_named(run: Run, arguments: str, message: str) -> None:
    result = run("bash", "recipes/label_efficiency/run.sh", *arguments.split())
    assert result.returncode == 2
    assert message in result.stderr
    assert "recipes/label_efficiency/run.sh --help" in result.stderr
