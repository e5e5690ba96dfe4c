"""What tests of the recipes share: the commands that a run.sh starts, taken down instead of run."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from shell import make_complete

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


def values_of(command: list[str]) -> dict[str, str]:
    """Of each option of a command the last value, which counts."""
    return {option: value for option, value in pairwise(command) if option.startswith("--")}


def assert_valid(result: "subprocess.CompletedProcess[str]", recipe_log: Path) -> None:
    assert result.returncode == 0, result.stderr
    for command in commands_in(recipe_log):
        if command[2:3] == ["tune"]:  # what it would find
            Path(command[4]).mkdir(parents=True, exist_ok=True)
            (Path(command[4]) / "decoding.yaml").write_text("decoding: {name: beam}\n")
        if command[:2] == ["-m", "speechssl"]:
            verb = VERBS[command[2]]
            build(verb.config, read_arguments(verb.config, command[3:], positionals=verb.positionals))
