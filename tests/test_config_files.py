import dataclasses
import re
import typing
from pathlib import Path

import pytest

from speechssl import config as config_module
from speechssl.config import (
    AlignConfig,
    ContrastiveConfig,
    EvaluateConfig,
    EvaluationSetConfig,
    ExportConfig,
    FinetuneConfig,
    ImportConfig,
    LanguageModelConfig,
    MaskedPredictionConfig,
    ModelConfig,
    PretrainConfig,
    ReportConfig,
    ScoreConfig,
    ShardConfig,
    TranscribeConfig,
    UnitsConfig,
    VerifyConfig,
)
from speechssl.config.help import field_texts, help_text
from speechssl.config.limits import problems_of
from speechssl.config.reading import from_dict, parse, to_dict, to_yaml
from speechssl.config.schema import convert, schema_of
from speechssl.config.sources import SHIPPED, read_arguments, shipped_names
from speechssl.errors import ConfigError

COMPLETE = [
    PretrainConfig(),
    FinetuneConfig(init=Path("exp/pretrain")),
    ShardConfig(["list.tsv", "more"], Path("shards")),
    EvaluateConfig(Path("exp/finetune"), EvaluationSetConfig(shards=["a", "b"]), Path("out")),
    TranscribeConfig(Path("exp/finetune"), [Path("a.wav"), Path("b c.wav")]),
    ReportConfig(Path("exp"), "an4"),
    ImportConfig(Path("torchaudio:WAV2VEC2_BASE"), Path("exp/imported")),
    ImportConfig(Path("model.pt"), Path("exp/imported"), labels=Path("dict.ltr.txt")),
]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problem_of(cls: type, *argv: str, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(cls, argv, **options)
    return str(caught.value)


@pytest.mark.parametrize("config", COMPLETE, ids=lambda config: type(config).__name__)
def test_every_configuration_survives_yaml_and_plain_values(tmp_path, config):
    path = write(tmp_path / "config.yaml", to_yaml(config))
    assert parse(type(config), ["--config", str(path)]) == config
    assert from_dict(type(config), to_dict(config)) == config


@pytest.mark.parametrize("config", COMPLETE, ids=lambda config: type(config).__name__)
def test_help_explains_every_key(config):
    cls = type(config)
    text = " ".join(help_text(cls, command="speechssl verb").split())
    for key in schema_of(cls).leaves:
        assert re.search(rf"--{re.escape(key)}[ ,]", text)


def test_every_field_has_a_text():
    for name in (part for part in dir(config_module) if part.endswith("Config")):
        section = getattr(config_module, name)
        texts = field_texts(section)
        assert texts.keys() == {item.name for item in dataclasses.fields(section)}
        assert all(texts.values())


def test_help_shows_the_text_of_the_field_its_type_and_its_default():
    text = " ".join(help_text(PretrainConfig, command="speechssl pretrain").split())
    assert "Distractors per masked frame" in text
    assert "--training.max_updates MAX_UPDATES Optimiser updates. (a whole number; default: 400000)" in text
    assert "--data.num_streams NUM_STREAMS Micro-batches" in text
    assert "default: 64" in text  # the pretraining default, not the one of StreamConfig


def test_defaults_of_a_section_stay_where_only_one_of_its_keys_is_given():
    found = parse(PretrainConfig, ["--data.shards", "a"]).data
    assert found == dataclasses.replace(PretrainConfig().data, shards=["a"])


def test_later_files_win_over_earlier_and_the_command_line_over_all(tmp_path):
    first = write(tmp_path / "1.yaml", "training: {seed: 1, log_every: 1, max_updates: 1}\n")
    second = write(tmp_path / "2.yaml", "training: {log_every: 2, max_updates: 2}\n")
    argv = ["--training.max_updates", "3", "--config", str(first), f"--config={second}"]
    found = parse(PretrainConfig, argv).training
    assert (found.seed, found.log_every, found.max_updates) == (1, 2, 3)


def test_a_section_may_be_a_file_named_relative_to_the_one_that_names_it(tmp_path, monkeypatch):
    write(tmp_path / "conf" / "parts" / "context.yaml", "dim: 192\nnum_layers: 4\n")
    write(tmp_path / "conf" / "tiny.yaml", "sample_rate: 8000\ncontext: parts/context.yaml\n")
    recipe = write(tmp_path / "recipe" / "conf" / "pretrain.yaml", "model: ../../conf/tiny.yaml\n")
    over = write(tmp_path / "over.yaml", "model: {context: {num_heads: 3}}\n")
    monkeypatch.chdir(tmp_path / "conf")
    argv = ["--config", str(recipe), "--config", str(over), "--model.context.num_layers", "2"]
    for cls in (PretrainConfig, FinetuneConfig):
        model = parse(cls, argv).model
        assert (model.sample_rate, model.context.dim, model.context.num_heads) == (8000, 192, 3)
        assert model.context.num_layers == 2
        assert model.feature_encoder == ModelConfig().feature_encoder
    assert parse(PretrainConfig, ["--model", "tiny.yaml"]).model.context.dim == 192


def test_values_take_the_types_of_their_fields(tmp_path):
    path = write(
        tmp_path / "config.yaml",
        """
        training.max_updates: 7
        optimizer: {learning_rate: 5e-4, eps: 1, betas: [0.8, 0.9]}
        model: {feature_encoder: {conv_layers: [[64, 10, 5], [64, 3, 2]]}}
        data: {shards: one}
        dev:
        init: null
        """,
    )
    found = parse(PretrainConfig, ["--config", str(path)])
    assert found.training.max_updates == 7
    assert found.optimizer.learning_rate == 0.0005
    assert type(found.optimizer.eps) is float
    assert found.optimizer.betas == (0.8, 0.9)
    assert found.model.feature_encoder.conv_layers == [(64, 10, 5), (64, 3, 2)]
    assert found.data.shards == ["one"]
    assert found.dev == EvaluationSetConfig()
    assert found.init is None
    assert parse(PretrainConfig, ["--init", "exp/a"]).init == Path("exp/a")
    assert parse(PretrainConfig, ["--config", str(path), "--init", "null"]).init is None


def test_lists_on_the_command_line():
    def shards(*argv: str) -> list[str]:
        return parse(PretrainConfig, argv).data.shards

    assert shards("--data.shards", "a", "b", "--training.seed", "1") == ["a", "b"]
    assert shards("--data.shards=[a, b]") == ["a", "b"]
    assert parse(PretrainConfig, ["--optimizer.betas", "0.5", "0.6"]).optimizer.betas == (0.5, 0.6)
    layers = parse(PretrainConfig, ["--model.feature_encoder.conv_layers", "[[8, 10, 5], [8, 3, 2]]"])
    assert layers.model.feature_encoder.conv_layers == [(8, 10, 5), (8, 3, 2)]
    assert parse(PretrainConfig, ["--model.normalize_audio"]).model.normalize_audio is True


def test_positionals_fill_the_keys_that_no_option_gave():
    names = ("checkpoint", "audio")
    by_position = parse(TranscribeConfig, ["run", "a.wav", "-", "--format", "jsonl"], positionals=names)
    assert by_position == TranscribeConfig(Path("run"), [Path("a.wav"), Path("-")], format="jsonl")
    mixed = parse(TranscribeConfig, ["--checkpoint", "run", "a.wav", "--", "--odd.wav"], positionals=names)
    assert mixed == TranscribeConfig(Path("run"), [Path("a.wav"), Path("--odd.wav")])
    lm, score = ("text", "output"), ("reference", "hypothesis", "other")
    assert parse(LanguageModelConfig, ["o"], positionals=lm) == LanguageModelConfig(Path("o"))
    texts = parse(LanguageModelConfig, ["a", "b", "o"], positionals=lm)
    assert texts == LanguageModelConfig(Path("o"), [Path("a"), Path("b")])
    assert parse(ScoreConfig, ["a", "b"], positionals=score) == ScoreConfig(Path("a"), [Path("b")])
    assert parse(ScoreConfig, ["a", "b", "c"], positionals=score) == ScoreConfig(Path("a"), [Path("b")], [Path("c")])
    aligned = parse(AlignConfig, ["r", "a", "b", "o"], positionals=("checkpoint", "sources", "output"))
    assert aligned == AlignConfig(Path("r"), ["a", "b"], Path("o"))
    refused = problem_of(ScoreConfig, "a", "b", "c", "d", positionals=score)
    assert "unexpected argument 'd'; by place there are REFERENCE [HYPOTHESIS] [OTHER], keys" in refused
    assert "unexpected argument 'c'" in problem_of(ReportConfig, "a", "b", "c", positionals=("experiment", "recipe"))


@pytest.mark.parametrize(
    "argv",
    [
        ["--write_index", "a", "b"],
        ["a", "b", "--write_index"],
        ["--write_index", "true", "a", "b"],
        ["--write_index=yes", "a", "b"],
        ["--write_index", "On", "--", "a", "b"],
        ["a", "--write_index", "b"],
        ["--decode", "--write_index", "a", "b"],
    ],
    ids=" ".join,
)
def test_a_switch_takes_no_argument_that_is_not_true_or_false(argv):
    assert parse(VerifyConfig, argv, positionals=("shards",)) == VerifyConfig(["a", "b"], write_index=True)


def test_a_switch_is_turned_off_by_a_word():
    for word in ("false", "no", "off", "FALSE"):
        found = parse(VerifyConfig, ["--write_index", "--decode", word, "a"], positionals=("shards",))
        assert found == VerifyConfig(["a"], decode=False, write_index=True)


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("training.max_udates", "training.max_updates"),
        ("trainig.max_updates", "training.max_updates"),
        ("training.max-updates", "training.max_updates"),
        ("max_updates", "training.max_updates"),
        ("lr", "optimizer.learning_rate"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("masking.time_prob", "objective.masking.time_prob"),
        ("models", "model"),
    ],
)
def test_an_unknown_option_is_one_line_with_its_value_and_the_nearest_key(argument, nearest):
    message = problem_of(PretrainConfig, f"--{argument}", "17")
    assert message == f"command line: unknown key --{argument} (value '17'); the nearest valid key is --{nearest}"


def test_an_unknown_key_in_a_file_names_the_file(tmp_path):
    path = write(tmp_path / "p.yaml", "objectiv: {quantizer: {num_entries: 4}}\n")
    assert problem_of(PretrainConfig, "--config", str(path)) == (
        f"{path}: unknown key objectiv.quantizer.num_entries (value 4); "
        "the nearest valid key is objective.quantizer.num_entries"
    )


def test_a_mistake_in_a_nested_file_names_that_file(tmp_path):
    tiny = write(tmp_path / "tiny.yaml", "context: {num_headz: 3}\n")
    path = write(tmp_path / "p.yaml", "model: tiny.yaml\n")
    message = problem_of(PretrainConfig, "--config", str(path))
    assert message.startswith(f"{tiny}: unknown key model.context.num_headz (value 3)")
    tiny.unlink()
    assert problem_of(PretrainConfig, "--config", str(path)) == (
        f"{path}: model: {tiny}: No such file or directory; by name there are base, large, tiny"
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("training.max_updates", "ten", "expected a whole number, found 'ten'"),
        ("training.max_updates", "1.5", "expected a whole number, found '1.5'"),
        ("optimizer.learning_rate", "fast", "expected a number, found 'fast'"),
        ("schedule.decay", "liner", "expected one of linear, exponential, none, found 'liner'; did you mean linear?"),
        ("optimizer.betas", "0.9", "expected a list of 2 (a number, a number), found '0.9'"),
        ("training.seed", "null", "expected a whole number, found 'null'"),
    ],
)
def test_an_ill_typed_value_is_one_line_with_key_value_and_expectation(tmp_path, key, value, expected):
    assert problem_of(PretrainConfig, f"--{key}", value) == f"command line: --{key}: {expected}"
    path = write(tmp_path / "p.yaml", f"{key}: '{value}'\n")
    message = problem_of(PretrainConfig, "--config", str(path))
    assert message == f"{path}: {key}: {expected}"


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, True),
        (int, 1.0),
        (int, None),
        (float, True),
        (float, [1.0]),
        (bool, 1),
        (str, 1),
        (str, None),
        (Path, 1),
        (Path, None),
        (Path, ["a"]),
        (list[str], 5),
        (list[str], {"a": 1}),
        (list[str], [1]),
        (tuple[float, float], [0.1, 0.2, 0.3]),
        (list[tuple[int, int, int]], [[1, 2]]),
        (typing.Literal["a", "b"], None),
        (Path | None, 3),
    ],
    ids=str,
)
def test_nothing_slips_into_a_field_of_another_type(hint, value):
    with pytest.raises(ValueError, match=r"expected .*, found"):
        convert(hint, value)


@pytest.mark.parametrize(
    ("cls", "positionals", "key", "problem"),
    [
        (PretrainConfig, (), "output", "--output: expected a path, found an empty text"),
        (PretrainConfig, (), "init", "--init: expected a path, or null, found an empty text"),
        (PretrainConfig, (), "data.shards", "--data.shards: expected a list, each item text, found an empty text"),
        (PretrainConfig, (), "config", "--config: expected a YAML file, found an empty text"),
        (PretrainConfig, (), "model", "--model: expected a YAML file, found an empty text"),
        (VerifyConfig, ("shards",), "shards", "--shards: expected a list, each item text, found an empty text"),
    ],
)
def test_an_unset_variable_is_no_path(cls, positionals, key, problem):
    """``--output "$OUT"`` would mean the folder in which a person stands."""
    for argv in ([f"--{key}="], [f"--{key}", ""]):
        assert problem_of(cls, *argv, positionals=positionals) == f"command line: {problem}"
    assert parse(ExportConfig, ["a", "b", "--license", ""], positionals=("checkpoint", "output")).license == ""


def test_what_is_missing_of_the_arguments_is_told_in_one_line_with_their_places():
    assert problem_of(ScoreConfig, positionals=("reference", "hypothesis", "other")) == (
        "reference is missing: give it by place (REFERENCE [HYPOTHESIS] [OTHER]), as --reference, or in a --config file"
    )
    assert problem_of(AlignConfig, positionals=("checkpoint", "sources", "output")) == (
        "checkpoint, sources and output are missing: give them by place (CHECKPOINT SOURCES ... OUTPUT), as "
        "--checkpoint --sources --output, or in a --config file"
    )
    usage = help_text(LanguageModelConfig, command="speechssl lm", positionals=("text", "output")).split("\n")[0]
    assert usage == "usage: speechssl lm [TEXT ...] OUTPUT [--config FILE ...] [--KEY VALUE ...]"


def test_a_list_that_must_be_given_is_not_given_empty():
    assert problem_of(VerifyConfig, "--shards", "[]").startswith("shards is missing: give it as --shards")


@pytest.mark.parametrize("name", ["base", "large", "tiny"])
def test_architectures_are_found_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()  # as a folder of experiments may be called
    found = parse(PretrainConfig, ["--model", name]).model
    assert found == parse(PretrainConfig, ["--model", str(SHIPPED / f"{name}.yaml")]).model
    assert parse(FinetuneConfig, ["--config", str(write(tmp_path / "a.yaml", f"model: {name}\n"))]).model == found
    own = write(tmp_path / "base", "context: {dim: 32}\n")
    assert parse(PretrainConfig, ["--model", own.name]).model.context.dim == 32


def test_whole_configurations_are_found_by_name():
    assert parse(PretrainConfig, ["--config", "published/pretrain_large"]).model.context.num_layers == 24
    assert "nearest valid key is model.sample_rate" in problem_of(PretrainConfig, "--config", "tiny")


def test_a_name_that_stands_for_nothing_is_told_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert problem_of(PretrainConfig, "--model", "bass") == (
        "command line: --model: bass: No such file or directory; by name there are base, large, tiny"
    )
    whole = ", ".join(name for name in shipped_names() if name.startswith("published/"))
    for name in ("gone/a.yaml", "a" * 300, "../conf"):
        found = problem_of(PretrainConfig, "--config", name)
        assert found.startswith(f"command line: --config: {name}: ")
        assert found.endswith(f"; by name there are {whole}")
    assert problem_of(PretrainConfig, "--optimizer", "adam") == (
        "command line: --optimizer: adam: No such file or directory"
    )


def test_what_comes_with_speechssl_is_in_its_package():
    """Without it ``--model tiny`` would work in a checkout alone."""
    pyproject = (SHIPPED.parents[1] / "pyproject.toml").read_text()
    [patterns] = re.findall(r"^\[tool\.setuptools\.package-data\]\nspeechssl = \[(.*)\]$", pyproject, re.MULTILINE)
    packed = {path for pattern in re.findall(r'"(.+?)"', patterns) for path in SHIPPED.parent.glob(pattern)}
    assert packed == {path for path in SHIPPED.rglob("*") if path.is_file()}


def test_all_problems_are_told_at_once(tmp_path):
    path = write(tmp_path / "p.yaml", "training: {seed: x}\nnothing: 1\n")
    message = problem_of(
        EvaluateConfig, "--config", str(path), "--data.shard", "a", "--precision", "fp8", "--config", "no"
    )
    lines = message.splitlines()
    assert lines[0] == f"{len(lines) - 1} problems in the configuration:"
    for part in (
        "training.seed",
        "nothing",
        "--data.shard",
        "fp8",
        "checkpoint is missing",
        "output is missing",
        "--config: no: No such file",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\nb: 2", "line 2: expected ',' or ']'"),
        ("training: {seed: 1}\ntraining: {seed: 2}\n", "line 2: training is given twice"),
        ("- a\n", "expected keys with values, found ['a']"),
        ("training: 3\n", "training: expected a YAML file or keys with values, found 3"),
        ("a: \x00", "special characters are not allowed"),
        ("training: {seed: {a: 1}}\n", "training.seed: expected a whole number, found {'a': 1}"),
        ("3: 4\n", "unknown key 3 (value 4)"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text, expected):
    path = write(tmp_path / "p.yaml", text)
    message = problem_of(PretrainConfig, "--config", str(path))
    assert str(path) in message
    assert expected in message


def test_an_empty_file_changes_nothing(tmp_path):
    path = write(tmp_path / "p.yaml", "# nothing yet\n")
    assert parse(PretrainConfig, ["--config", str(path)]) == PretrainConfig()


@pytest.mark.parametrize("option", ["--training.seed", "--data.shards", "--config", "--model"])
def test_an_option_without_a_value_is_named(option):
    assert problem_of(PretrainConfig, option, "--training.log_every", "3") == f"command line: {option} needs a value"


def test_a_checkpoints_configuration_is_judged_like_a_file():
    with pytest.raises(ConfigError, match=r"^run/config\.yaml: unknown key model\.contxt"):
        from_dict(PretrainConfig, {"model": {"contxt": {"dim": 1}}}, source="run/config.yaml")


def test_reading_a_command_line_raises_nothing_where_only_help_is_wanted():
    sources = read_arguments(PretrainConfig, ["--nonsense", "1", "--help"])
    assert sources.help
    assert sources.settings


def test_a_section_of_several_kinds_has_the_keys_of_the_one_that_is_named(tmp_path):
    named = ["--objective.name", "masked_prediction"]
    found = parse(PretrainConfig, [*named, "--objective.units.num_entries", "50", "200"]).objective
    assert found == MaskedPredictionConfig(units=UnitsConfig(num_entries=[50, 200]))
    assert from_dict(PretrainConfig, {"objective": to_dict(found)}).objective == found
    assert parse(PretrainConfig, ["--objective.num_negatives", "7"]).objective == ContrastiveConfig(num_negatives=7)
    path = tmp_path / "run.yaml"
    path.write_text("objective: {num_negatives: 7, masking: {time_length: 3}}")
    with pytest.raises(ConfigError) as caught:
        parse(PretrainConfig, ["--config", str(path), *named])
    assert str(caught.value) == (
        f"{path}: objective.num_negatives is no key of objective.name masked_prediction, but of contrastive: give "
        "--objective.name contrastive, or take it out"
    )


def test_a_key_is_given_once_in_a_file_however_it_is_spelt(tmp_path):
    path = write(tmp_path / "c.yaml", "data: {num_streams: 3}\ndata.num_streams: 5\n")
    assert problem_of(PretrainConfig, "--config", str(path)) == f"{path}: data.num_streams is given 2 times"


def test_a_glob_may_begin_with_a_bracket():
    assert parse(VerifyConfig, ["[ab]*.tar"], positionals=["shards"]).shards == ["[ab]*.tar"]


def test_messages_have_no_credentials():
    told = problem_of(PretrainConfig, "--data.shard", "https://user:secret@host/x.tar?sig=abc")
    assert "https://host/x.tar" in told
    assert not re.search("secret|sig|abc", told)


def test_limits_on_length_leave_samples():
    config = parse(PretrainConfig, ["--data.shards", "a", "--data.min_seconds", "30", "--data.max_seconds", "10"])
    assert problems_of(config) == ["data.min_seconds is 30, above max_seconds (10): no sample is left"]
