"""The recipes' run.sh: command lines, stages, and the commands that they start. Nothing is trained."""

from itertools import pairwise
from pathlib import Path

import pytest
from recipe_commands import assert_valid, commands_in, values_of
from shell import Run


@pytest.mark.parametrize(
    "recipe", ["quickstart", "an4", "librispeech", "commonvoice", "label_efficiency", "generalisation", "scaling"]
)
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
        ("--inits random", "--inits is 'random'; expected one or more of scratch log_mel pretrained"),
        ("--objective two_view", "expected one of contrastive masked_prediction self_distillation"),
        ("--units syllables", "--units is syllables, expected log_mel, contrastive, iteration or recogniser"),
        ("--units-layer 0", "--units-layer is '0'; expected a whole number from 1"),
        ("--units-layer 3", "--units-layer is for --units other than log_mel"),
        ("--units contrastive --objective contrastive", "--units contrastive is for --objective masked_prediction"),
        ("--units recogniser --go-on-from recipes", "--go-on-from brings its units: no --units recogniser with it"),
        ("--self-training yes", "--self-training is 'yes'; expected a share of wrong words such as 0.1"),
        ("--go-on-from nowhere", "--go-on-from: there is no folder nowhere."),
        ("--old-dev nowhere", "--old-dev: there is no nowhere."),
        ("--extra-untranscribed nowhere.tsv", "--extra-untranscribed: there is no file nowhere.tsv."),
        (
            "--training.max_updates 10",
            "unknown option '--training.max_updates'; overrides of the configuration follow '--'",
        ),
        ("--lm nowhere.arpa", "--lm is 'nowhere.arpa', expected labels, none, or the file of an n-gram"),
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


@pytest.mark.parametrize(
    ("units", "first", "source", "layer"),
    [
        ("contrastive", "pretrain_contrastive", "pretrain_first", "3"),
        ("iteration", "pretrain_masked_prediction", "pretrain_first", "3"),
        ("recogniser", "pretrain_masked_prediction", "recogniser", "4"),
    ],
)
@pytest.mark.parametrize("recipe", ["quickstart", "an4"])
def test_units_of_an_encoder_that_is_pretrained_before(
    run: Run, checkout: Path, recipe_log: Path, recipe: str, units: str, first: str, source: str, layer: str
) -> None:
    options = ("--units", units, "--stage", "2", "--stop-stage", "3", "--seeds", "5", "--exp", f"{checkout}/exp")
    result = run("bash", f"recipes/{recipe}/run.sh", *options)
    assert result.returncode == 0, result.stderr
    folder, commands = f"{checkout}/exp/seed5", commands_in(recipe_log)
    before, *between, last = [values_of(command) for command in commands[: 3 if units == "recogniser" else 2]]
    assert (Path(before["--config"]).stem, before["--output"]) == (first, f"{folder}/pretrain_first")
    assert "--objective.units.checkpoint" not in before
    for recogniser in between:
        assert recogniser["--init"] == f"{folder}/pretrain_first"
        assert recogniser["--output"] == f"{folder}/recogniser"
        assert Path(recogniser["--config"]).stem == "finetune_pretrained"
        assert Path(recogniser["--train.shards"]).name == {"quickstart": "train", "an4": "train_10min"}[recipe]
    assert (Path(last["--config"]).stem, last["--output"]) == ("pretrain_masked_prediction", f"{folder}/pretrain")
    assert last["--objective.units.features"] == "layer"
    assert (last["--objective.units.checkpoint"], last["--objective.units.layer"]) == (f"{folder}/{source}", layer)
    assert {values["--training.seed"] for values in (before, *between, last)} == {"5"}
    arms = [values_of(command) for command in commands if command[2:3] == ["finetune"]][len(between) :]
    assert {values["--init"] for values in arms if "--init" in values} == {f"{folder}/pretrain"}


def test_another_layer_of_it(run: Run, recipe_log: Path) -> None:
    run("bash", "recipes/quickstart/run.sh", "--units=iteration", "--units-layer=2", "--stage=2", "--stop-stage=2")
    assert values_of(commands_in(recipe_log)[1])["--objective.units.layer"] == "2"


def test_overrides_are_checked_against_the_pretext_task_that_runs(run: Run, recipe_log: Path) -> None:
    options = ("--objective", "masked_prediction", "--stage", "2", "--stop-stage", "2")
    run("bash", "recipes/an4/run.sh", *options, "--", "--pretrain.objective.units.num_entries", "[9]")
    checked = commands_in(recipe_log)[0]
    assert "--print_config" in checked
    assert Path(values_of(checked)["--config"]).stem == "pretrain_masked_prediction"


@pytest.mark.parametrize("are_kept", [True, False])
@pytest.mark.parametrize(("recipe", "labels"), [("quickstart", "5min"), ("an4", "10min")])
def test_self_training_is_in_both_arms(
    run: Run, checkout: Path, recipe_log: Path, recipe: str, labels: str, are_kept: bool
) -> None:
    folder = checkout / "exp" / "seed0"
    for init in ("scratch", "pretrained") if are_kept else ():
        (folder / f"pseudo_labels_{init}_{labels}").mkdir(parents=True)
        (folder / f"pseudo_labels_{init}_{labels}" / "pseudo_labels.tsv").touch()
    two_arms = ("--labels", labels, "--inits", "scratch,pretrained")
    options = ("--self-training", "0.15", "--stage=3", "--stop-stage=3", "--exp", f"{checkout}/exp")
    result = run("bash", f"recipes/{recipe}/run.sh", *options, *(two_arms if recipe == "an4" else ()))
    assert result.returncode == 0, result.stderr
    commands = commands_in(recipe_log)
    of_each = 4 if are_kept else 3
    assert len(commands) == 2 * of_each
    for number, init in enumerate(("scratch", "pretrained")):
        teacher, labelling, *sharding, student = commands[number * of_each : (number + 1) * of_each]
        pseudo = folder / f"pseudo_labels_{init}_{labels}"
        assert values_of(teacher)["--output"] == f"{folder}/teacher_{init}_{labels}"
        assert values_of(student)["--output"] == f"{folder}/finetune_{init}_{labels}"
        for option in ("--training.seed", "--init", "--dev.shards"):
            assert values_of(teacher).get(option) == values_of(student).get(option)
        assert Path(labelling[0]).name == "pseudo_labels.py"
        assert labelling[1] == f"{folder}/teacher_{init}_{labels}"
        given = values_of(teacher)["--train.shards"]
        assert [Path(name).stem for name in labelling[2:5]] == ["pretrain", "dev", Path(given).name]
        assert labelling[5:] == [str(pseudo), "--max-wer", "0.15"]
        assert len(sharding) == are_kept
        more = [f"{pseudo}/shards", "--pseudo_labels", f"{pseudo}/shards"] if are_kept else []
        assert student[student.index("--train.shards") + 1 : student.index("--dev.shards")] == [given, *more]


@pytest.mark.parametrize(
    "options",
    [(), ("--objective", "masked_prediction"), ("--units", "recogniser"), ("--self-training", "0.1")],
    ids=str,
)
@pytest.mark.parametrize("recipe", ["quickstart", "an4"])
def test_commands_of_recipes_are_valid(run: Run, recipe_log: Path, recipe: str, options: tuple[str, ...]) -> None:
    """Every speechssl command line that a recipe starts names only keys that exist, in files that can be read."""
    corpus = ("--corpus=c",) if recipe == "an4" else ()
    assert_valid(run("bash", f"recipes/{recipe}/run.sh", *corpus, *options), recipe_log)


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
