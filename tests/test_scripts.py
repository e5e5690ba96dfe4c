"""The shell scripts: environments whole, half-made, unfit and absent; command lines; stages. Nothing is installed."""

import contextlib
import hashlib
import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from speechssl.cli import VERBS
from speechssl.config_files import build, read_arguments

ROOT = Path(__file__).resolve().parents[1]
UNIX_TOOLS = "awk basename bash cat cksum df dirname find grep mkdir mv rm rmdir sed sleep sort tail tr uname"
PYPROJECT = """[project]
name = "speechssl"
dependencies = ["{needs}"]
optional-dependencies = {{ quickstart = [], dev = [] }}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the scripts that needs one package only, which this Python has."""
    root = tmp_path / "a checkout"
    for folder in ("tools", "recipes"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("exp", "__pycache__"))
    shutil.copytree(ROOT / ".ci", root / ".ci")
    (root / "pyproject.toml").write_text(PYPROJECT.format(needs="pytest>=1"))
    return root


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A PATH with the Unix tools that the scripts may use, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in UNIX_TOOLS.split():
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return folder


@pytest.fixture
def run(checkout: Path, bin_folder: Path) -> Run:
    def run_command(*command: str, cwd: Path = checkout, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd,
            env={"PATH": str(bin_folder), "HOME": str(bin_folder), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_command


def write_script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def real_python(body: str = "") -> str:
    """The body of a script that is this Python, with exceptions before."""
    return f'{body}\nexec "{sys.executable}" "$@"'


def in_environment(commands: str) -> tuple[str, ...]:
    """Commands in a shell with tools/environment.sh, whose slow steps are replaced."""
    return "bash", "-c", f"set -euo pipefail; . tools/environment.sh; ensure_pip() {{ :; }}; {commands}"


def make_complete(checkout: Path, run: Run, body: str = "") -> Path:
    """A .venv that the scripts take for complete; its python runs ``body`` first."""
    python = checkout / ".venv" / "bin" / "python"
    write_script(python, real_python(body))
    result = run(*in_environment('stamp_text >"$VENV/.complete-dev"'))
    assert result.returncode == 0, result.stderr
    return python


# ---- which Python ----


def test_without_python_says_what_to_install(run: Run) -> None:
    result = run("bash", "recipes/quickstart/run.sh")
    assert result.returncode == 2
    assert "speechssl needs Python 3.10 to 3.14; found: no Python at all." in result.stderr
    assert "sudo apt install python3 python3-venv" in result.stderr


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.15"])
def test_unfit_python_is_named_with_its_version(run: Run, bin_folder: Path, checkout: Path, version: str) -> None:
    write_script(bin_folder / "python3", f"echo {version}")
    result = run("bash", "tools/test.sh")
    assert result.returncode == 2
    assert f"found: {bin_folder}/python3 ({version})" in result.stderr
    assert not (checkout / ".venv").exists()
    assert not (checkout / ".venv.lock").exists()


def test_newer_python_is_taken_when_the_default_is_too_old(run: Run, bin_folder: Path) -> None:
    write_script(bin_folder / "python3", "echo 3.8")
    write_script(bin_folder / "python", "exit 127")
    write_script(bin_folder / "python3.11", real_python())
    result = run(*in_environment("find_python"))
    assert result.stdout.strip() == sys.executable, result.stderr


def test_python_without_venv_module_gives_the_package_to_install(run: Run, bin_folder: Path) -> None:
    write_script(bin_folder / "python3", real_python('case "$2" in *"import venv"*) exit 1 ;; esac'))
    result = run(*in_environment("make_venv"))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert result.returncode == 2
    assert f"{bin_folder}/python3 lacks its module venv." in result.stderr
    assert f"sudo apt install python{version}-venv" in result.stderr


# ---- an environment that is there already ----


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_active_environment_that_fits_is_used_unchanged(
    run: Run, checkout: Path, tmp_path: Path, variable: str
) -> None:
    active = tmp_path / "active"
    write_script(active / "bin" / "python", real_python())
    result = run(*in_environment('ensure_environment dev; echo "$PYTHON $PYTHONPATH"'), **{variable: str(active)})
    assert result.stdout.splitlines()[-1] == f"{active}/bin/python {checkout}", result.stderr
    assert not (checkout / ".venv").exists()
    assert sorted(path.name for path in active.rglob("*")) == ["bin", "python"]


def test_python_on_path_that_fits_is_used_if_there_is_no_venv(run: Run, bin_folder: Path) -> None:
    write_script(bin_folder / "python3", real_python())
    result = run(*in_environment('ensure_environment dev; echo "$PYTHON"'))
    assert result.stdout.splitlines()[-1] == f"{bin_folder}/python3", result.stderr


def test_active_environment_that_does_not_fit_is_named_and_left_alone(run: Run, checkout: Path, tmp_path: Path) -> None:
    (checkout / "pyproject.toml").write_text(PYPROJECT.format(needs="pytest>=9999"))
    active = tmp_path / "active"
    write_script(active / "bin" / "python", real_python())
    result = run(*in_environment("ensure_environment dev"), VIRTUAL_ENV=str(active))
    assert result.returncode == 2
    assert f"The active environment {active} does not fit and is left as it is" in result.stdout
    assert f"pytest>=9999: version {pytest.__version__} is installed" in result.stdout
    assert sorted(path.name for path in active.rglob("*")) == ["bin", "python"]


# ---- .venv ----


def test_complete_venv_is_used_at_once_until_the_requirements_change(run: Run, checkout: Path) -> None:
    python = make_complete(checkout, run, 'case "$*" in *environment.py*) echo checking >&2; exit 1 ;; esac')
    result = run(*in_environment('ensure_environment quickstart; echo "$PYTHON"'))
    assert result.stdout.strip() == str(python)
    assert result.stderr == ""
    (checkout / "pyproject.toml").write_text(PYPROJECT.format(needs="pytest>=2"))
    assert run(*in_environment("venv_is_complete quickstart")).returncode == 1


def test_quickstart_stamp_is_not_enough_for_the_tests(run: Run, checkout: Path) -> None:
    make_complete(checkout, run)
    (checkout / ".venv" / ".complete-dev").rename(checkout / ".venv" / ".complete-quickstart")
    assert run(*in_environment("venv_is_complete quickstart")).returncode == 0
    assert run(*in_environment("venv_is_complete dev")).returncode == 1


def test_venv_is_made_and_stamped_last(run: Run, bin_folder: Path, checkout: Path) -> None:
    write_script(bin_folder / "python3.12", real_python())
    steps = 'install_packages() { [ ! -e "$VENV/.complete-dev" ]; }; check_venv() { [ ! -e "$VENV/.complete-dev" ]; }'
    result = run(*in_environment(f'{steps}; ensure_environment dev; "$PYTHON" -c "import sys; print(sys.prefix)"'))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(checkout / ".venv")
    assert (checkout / ".venv" / ".complete-dev").is_file()
    assert not (checkout / ".venv.lock").exists()


@pytest.mark.parametrize("left_behind", ["empty folder", "marked, no python", "marked, broken python"])
def test_half_made_venv_is_made_anew(run: Run, bin_folder: Path, checkout: Path, left_behind: str) -> None:
    write_script(bin_folder / "python3", real_python())
    (checkout / ".venv").mkdir()
    if left_behind != "empty folder":
        (checkout / ".venv" / ".made-by-tools-environment").touch()
    if left_behind == "marked, broken python":
        (checkout / ".venv" / "bin").mkdir()
        (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    result = run(*in_environment('make_venv; "$VENV/bin/python" -c "print(1)"'))
    assert result.returncode == 0, result.stderr
    assert not list(checkout.glob(".venv.broken*"))


def test_broken_venv_of_someone_else_is_moved_aside(run: Run, bin_folder: Path, checkout: Path) -> None:
    write_script(bin_folder / "python3", real_python())
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "notes.txt").write_text("mine")
    result = run(*in_environment("make_venv"))
    assert result.returncode == 0, result.stderr
    assert (checkout / ".venv.broken-1" / "notes.txt").read_text() == "mine"
    assert ".venv.broken-1" in result.stdout


@pytest.mark.parametrize("made_here", [True, False])
def test_damaged_packages(run: Run, checkout: Path, made_here: bool) -> None:
    """What these scripts made is made anew, once; another's .venv is only reported."""
    write_script(checkout / ".venv" / "bin" / "python", real_python())
    if made_here:
        (checkout / ".venv" / ".made-by-tools-environment").touch()
    steps = (
        'made=0; make_venv() { made=$((made + 1)); echo "made $made"; mkdir -p "$VENV"; };'
        "install_packages() { :; }; check_venv() { [ $made -eq 2 ]; }"
    )
    result = run(*in_environment(f"{steps}; complete_venv dev"))
    if made_here:
        assert result.returncode == 0, result.stderr
        assert "made 2" in result.stdout
    else:
        assert result.returncode == 2
        assert "has damaged packages" in result.stderr
        assert (checkout / ".venv" / "bin" / "python").exists()
    assert not (checkout / ".venv.lock").exists()


@pytest.mark.parametrize(
    ("log", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("Failed to establish a new connection: NewConnectionError", "package index could not be reached"),
        ("ERROR: No matching distribution found for torch~=2.11.0", "no build for this machine"),
        ("ERROR: something else", "The lines above say what went wrong."),
    ],
)
def test_failing_pip_is_explained(run: Run, checkout: Path, log: str, advice: str) -> None:
    pip = f'if [ "$2" = pip ]; then while [ "$1" != --log ]; do shift; done; echo "{log}" >"$2"; exit 1; fi'
    make_complete(checkout, run, pip)
    result = run(*in_environment("worker=; mkdir .venv.lock; pip_install something"))
    assert result.returncode == 2
    assert "error: pip could not install the packages" in result.stderr
    assert f"  | {log}" in result.stderr
    assert advice in result.stderr
    assert not (checkout / ".venv" / ".complete-dev").exists()


@pytest.mark.parametrize(("free_kilobytes", "warned"), [(3 << 20, True), (20 << 20, False)])
def test_little_disk_space_is_said_before_the_download(
    run: Run, bin_folder: Path, free_kilobytes: int, warned: bool
) -> None:
    (bin_folder / "df").unlink()
    write_script(bin_folder / "df", f'echo "Filesystem blocks"; echo "/dev/x 99999999 9999 {free_kilobytes} 50% /"')
    (bin_folder / "uname").unlink()
    write_script(bin_folder / "uname", "echo Linux")
    result = run(*in_environment("announce_size"))
    assert result.returncode == 0, result.stderr
    assert ("warning: 3 GB are free under" in result.stdout) == warned


def test_interruption_ends_the_installer_and_frees_the_lock(checkout: Path, bin_folder: Path) -> None:
    steps = 'make_venv() { :; }; install_packages() { run_worker bash -c "echo \\$\\$ >worker; exec sleep 60"; }'
    script = subprocess.Popen(
        in_environment(f"{steps}; mkdir .venv; complete_venv dev"),
        cwd=checkout,
        env={"PATH": str(bin_folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (checkout / "worker").is_file() and (checkout / "worker").read_text() != "")
    script.send_signal(signal.SIGTERM)
    _, message = script.communicate(timeout=30)
    assert script.returncode == 130
    assert "Interrupted; run the same command again to go on from here." in message
    assert not (checkout / ".venv.lock").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((checkout / "worker").read_text()), 0)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lock_of_a_dead_script_is_taken_over(run: Run, checkout: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (checkout / ".venv.lock").mkdir()
    (checkout / ".venv.lock" / "owner").write_text(f"host {os.uname().nodename}, process {dead.pid}\n")
    result = run(*in_environment("take_lock; lock_owner"))
    assert result.returncode == 0, result.stderr
    assert str(dead.pid) not in result.stdout.split()
    assert [path.name for path in checkout.glob(".venv.lock*")] == [".venv.lock"]


@pytest.mark.parametrize("owner", ["host {host}, process 999999999 {alive}", "host elsewhere, process 999999999"])
def test_lock_that_may_be_held_is_respected(run: Run, checkout: Path, owner: str) -> None:
    (checkout / ".venv.lock").mkdir()
    text = owner.format(host=os.uname().nodename, alive=os.getpid())
    (checkout / ".venv.lock" / "owner").write_text(f"{text}\n")
    result = run(*in_environment("LOCK_PATIENCE_SECONDS=1; take_lock"))
    assert result.returncode == 2
    assert f"Waiting for another script that is making .venv: {text}." in result.stdout
    assert "rm -rf" in result.stderr
    assert (checkout / ".venv.lock" / "owner").read_text() == f"{text}\n"


def test_two_scripts_at_once_make_one_venv(checkout: Path, bin_folder: Path) -> None:
    write_script(bin_folder / "python3", real_python())
    steps = "install_packages() { echo installed; sleep 1; }; check_venv() { :; }"
    scripts = [
        subprocess.Popen(
            in_environment(f"{steps}; ensure_environment dev"),
            cwd=checkout,
            env={"PATH": str(bin_folder), "VIRTUAL_ENV": "/nowhere"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [script.communicate(timeout=60)[0] for script in scripts]
    assert [script.returncode for script in scripts] == [0, 0]
    assert sum(output.count("installed\n") for output in outputs) == 1
    assert sum(output.count("Waiting for another script") for output in outputs) == 1


# ---- tools/environment.py ----


@pytest.fixture
def environment_module() -> ModuleType:
    specification = importlib.util.spec_from_file_location("environment", ROOT / "tools" / "environment.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def write_package(folder: Path, *, recorded_bytes: int) -> None:
    (folder / "thing.py").write_text("x = 1\n")
    information = folder / "thing-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nRequires-Dist: absent>=2\n"
    )
    (information / "RECORD").write_text(f"thing.py,,{recorded_bytes}\nthing-1.0.dist-info/RECORD,,\n")


@pytest.mark.parametrize(("recorded_bytes", "expected"), [(5, []), (6, []), (7, ["thing 1.0: thing.py"])])
def test_truncated_files_are_found(
    environment_module: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded_bytes: int,
    expected: list[str],
) -> None:
    write_package(tmp_path, recorded_bytes=recorded_bytes)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert list(environment_module.find_damaged()) == expected


def test_requirements_of_requirements_are_followed(
    environment_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, recorded_bytes=6)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "speechssl"\ndependencies = ["thing>=1"]\n'
        '[project.optional-dependencies]\nall = ["speechssl[more]"]\nmore = ["thing>=2", "x; python_version < \'3\'"]\n'
    )
    monkeypatch.setattr(environment_module, "ROOT", tmp_path)
    assert list(environment_module.find_missing("all")) == [
        "absent>=2 for thing: not installed",
        "thing>=2: version 1.0 is installed",
    ]


class FakeIndex:
    """Answers urlopen from a dictionary of addresses."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self.pages = pages

    @contextlib.contextmanager
    def urlopen(self, address: str, *, timeout: float) -> Iterator[object]:
        response = io.BytesIO(self.pages[address])
        response.geturl = lambda: address  # type: ignore[attr-defined]
        yield response


def test_newest_pip_for_this_python_is_fetched_and_checked(
    environment_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"wheel").hexdigest()
    page = f"""
        <a href="../../files/pip-9.0-py3-none-any.whl#sha256={digest}">old</a>
        <a href="../../files/pip-23.1-py3-none-any.whl#sha256={digest}" data-requires-python="&gt;=3.7">fits</a>
        <a href="../../files/pip-24.0-py3-none-any.whl#sha256={digest}" data-yanked="oops">withdrawn</a>
        <a href="../../files/pip-99.0-py3-none-any.whl#sha256={digest}" data-requires-python="&gt;=3.99">too new</a>
        <a href="../../files/pip-24.1.tar.gz#sha256={digest}">not a wheel</a>
    """
    wheel = "https://index.example/files/pip-23.1-py3-none-any.whl"
    pages = {"https://index.example/simple/pip/": page.encode(), wheel: b"wheel"}
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple/")
    monkeypatch.setattr(environment_module.urllib.request, "urlopen", FakeIndex(pages).urlopen)
    assert environment_module.fetch_pip(tmp_path) == tmp_path / "pip-23.1-py3-none-any.whl"
    assert (tmp_path / "pip-23.1-py3-none-any.whl").read_bytes() == b"wheel"
    pages[wheel] = b"whee"
    with pytest.raises(OSError, match="arrived damaged"):
        environment_module.fetch_pip(tmp_path)


# ---- tools/test.sh and .ci/run ----


@pytest.mark.parametrize("script", ["tools/test.sh", ".ci/run"])
def test_all_checks_run_and_the_failed_one_is_named(run: Run, checkout: Path, script: str) -> None:
    make_complete(
        checkout, run, 'if [ "$1" = -m ]; then printf "ran"; printf " %q" "$@"; echo; [ "$2" != mypy ]; exit; fi'
    )
    write_script(checkout / ".venv" / "bin" / "shellcheck", 'echo "ran shellcheck $*"')
    result = run("bash", script, *(["-x", "tests/a file.py"] if script == "tools/test.sh" else []))
    ran = [line for line in result.stdout.splitlines() if line.startswith("ran ")]
    assert result.returncode == 1
    checked = [line.split()[2 if "-m" in line else 1] for line in ran]
    assert checked == ["ruff", "ruff", "mypy", "mypy", "mypy", "shellcheck", "pytest"]
    assert {".ci/run", "./tools/test.sh", "./recipes/quickstart/run.sh"} <= set(ran[-2].split())
    if script == "tools/test.sh":
        assert ran[-1] == r"ran -m pytest -x tests/a\ file.py"
    summary = result.stdout.split("== summary\n")[1].splitlines()
    assert [re.sub(r" +", " ", line).rpartition(",")[0] for line in summary] == [
        "ruff check passed",
        "ruff format passed",
        "mypy FAILED (exit status 1)",
        "shellcheck passed",
        "pytest passed",
    ]


# ---- recipes ----


@pytest.fixture
def recipe_log(checkout: Path, run: Run) -> Path:
    """The commands that recipes start go into this file, one argument a line, an empty line after each."""
    log = checkout / "log"
    make_complete(
        checkout,
        run,
        f'[ "$1" = -c ] || {{ printf "%s\\n" "$@" "" >>"{log}"; [ ! -e "{checkout}/fail-$3" ] || exit 3; exit 0; }}',
    )
    return log


def commands_in(log: Path) -> list[list[str]]:
    return [command.split("\n") for command in log.read_text().removesuffix("\n\n").split("\n\n")]


@pytest.mark.parametrize("recipe", ["quickstart", "an4"])
def test_recipe_help_needs_no_environment(run: Run, checkout: Path, recipe: str) -> None:
    result = run("bash", f"recipes/{recipe}/run.sh", "--help")
    assert result.returncode == 0
    for option in ("--stage N", "--stop-stage N", "--seeds 0,1,2", "--exp DIR", "--pretrain.training.max_updates 10"):
        assert option in result.stdout
    assert ("--corpus DIR" in result.stdout) == (recipe == "an4")
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


@pytest.mark.parametrize("recipe", ["quickstart", "an4"])
def test_commands_of_recipes_are_valid(run: Run, recipe_log: Path, recipe: str) -> None:
    """Every speechssl command line that a recipe starts names only keys that exist, in files that can be read."""
    result = (
        run("bash", f"recipes/{recipe}/run.sh", "--corpus=c")
        if recipe == "an4"
        else run("bash", f"recipes/{recipe}/run.sh")
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
