"""tools/environment.sh and what calls it: environments whole, half-made, unfit and absent. Nothing is installed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PYPROJECT
from shell import Run, in_environment, make_complete, real_python, write_script

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
