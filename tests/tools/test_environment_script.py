"""tools/environment.sh and environment.py: environments found, made, completed and left alone.

uv is the real one, with an index of its own: a folder of packages that hold next to nothing.
"""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from shell import (
    Run,
    environment_module,
    in_environment,
    make_complete,
    real_python,
    write_project,
    write_script,
    write_wheel,
)

COMPILED = "numpy scipy torch torchaudio soundfile soxr librosa matplotlib"
USE = 'ensure_environment quickstart; echo "$PYTHON"'


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two versions of "thing", with the compiled packages that a new environment imports, and pip."""
    folder = tmp_path_factory.mktemp("packages")
    for version in ("1.0", "2.0"):
        modules = {f"{name}.py": "" for name in ("thing", *COMPILED.split())}
        write_wheel(folder, "thing", version, files=modules)
    write_wheel(folder, "pip", "99.0", files={"pip.py": ""})
    write_wheel(folder, "tool", "1.0", files={"tool.py": ""})
    return folder


@pytest.fixture
def install(run: Run, bin_folder: Path, checkout: Path, packages: Path) -> Run:
    """Runs a command where Python and uv are there, and the index has nothing but ``packages``."""
    uv = pytest.importorskip("uv", reason="uv is not installed")
    (bin_folder / "uv").symlink_to(uv.find_uv_bin())
    write_script(bin_folder / "python3", real_python())
    write_project(checkout, needs=["thing>=1"], dev=["tool"], lock="thing==1.0\npip==99.0\n")

    def run_offline(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        offline = {
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(packages),
            "UV_CACHE_DIR": str(packages.parent / "cache"),
            "PIP_INDEX_URL": "http://127.0.0.1:9/simple",  # else pip is asked for it, which takes a second
        }
        return run(*command, **{**offline, **environment})

    return run_offline


def versions(python: Path) -> dict[str, str]:
    code = "import importlib.metadata as m; print({d.metadata['Name']: d.version for d in m.distributions()})"
    printed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(ast.literal_eval(printed))


# ---- which Python ----


def test_without_python_says_what_to_install(run: Run) -> None:
    result = run("bash", "recipes/quickstart/run.sh")
    assert result.returncode == 2
    assert "speechssl needs Python 3.10 to 3.15; found: none." in result.stderr
    assert "sudo apt install python3 python3-venv" in result.stderr


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.14t", "3.16"])
def test_unfit_python_is_named_with_its_version(run: Run, bin_folder: Path, checkout: Path, version: str) -> None:
    write_script(bin_folder / "python3", f"echo {version}")
    result = run("bash", "tools/test.sh")
    assert result.returncode == 2
    assert f"found: python3 ({version})" in result.stderr
    assert not (checkout / ".venv").exists()


def test_newer_python_is_taken_when_the_default_is_too_old(run: Run, bin_folder: Path) -> None:
    write_script(bin_folder / "python3", "echo 3.8")
    write_script(bin_folder / "python", "exit 127")
    write_script(bin_folder / "python3.11", real_python('[ "${2#*abiflags}" = "$2" ] || { echo 3.11; exit; }'))
    result = run(*in_environment("find_python"))
    assert result.stdout.strip() == sys.executable, result.stderr


@pytest.mark.parametrize("can", [True, False])
def test_uv_brings_a_python_if_there_is_none(run: Run, bin_folder: Path, can: bool) -> None:
    write_script(bin_folder / "uv", f'[ "$2" = install ] && exit {0 if can else 1}; echo /brought/python')
    result = run(*in_environment("find_python"))
    if can:
        assert result.stdout == "/brought/python\n", result.stderr
    else:
        assert result.returncode == 2
        assert "speechssl needs Python 3.10 to 3.15; found: none." in result.stderr


def test_python_that_makes_no_environments_gives_the_package_to_install(run: Run, bin_folder: Path) -> None:
    """Debian and Ubuntu leave ensurepip out."""
    write_script(bin_folder / "python3", real_python('[ "${2:-}" != venv ] || exit 1'))
    (bin_folder.parent / "a checkout" / "pyproject.toml").write_text("")  # which nothing fits
    code = f"import runpy, sys; sys.executable = '{bin_folder}/python3'; sys.argv[1:] = ['dev']\n"
    result = run(sys.executable, "-c", f"{code}runpy.run_path('tools/environment.py', run_name='__main__')")
    assert result.returncode == 2
    assert f"error: {bin_folder}/python3 makes no environments." in result.stderr
    assert f"sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in result.stderr


# ---- an environment that is there already ----


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_active_environment_that_fits_is_used_unchanged(
    run: Run, bin_folder: Path, checkout: Path, tmp_path: Path, variable: str
) -> None:
    active = tmp_path / "active"
    write_script(bin_folder / "python3", real_python())
    write_script(active / "bin" / "python", real_python())
    result = run(*in_environment('ensure_environment dev; echo "$PYTHON $PYTHONPATH"'), **{variable: str(active)})
    assert result.stdout == f"{active}/bin/python {checkout}\n", result.stderr
    assert result.stderr == f"Using the environment of {active}/bin/python.\n"
    assert not (checkout / ".venv").exists()
    assert sorted(path.name for path in active.rglob("*")) == ["bin", "python"]


def test_python_on_path_that_fits_is_used_if_there_is_no_venv(run: Run, bin_folder: Path) -> None:
    write_script(bin_folder / "python3", real_python())
    result = run(*in_environment(USE))
    assert result.stdout == f"{sys.executable}\n", result.stderr


@pytest.mark.parametrize(
    ("needs", "body", "message"),
    [
        (["thing>=1"], real_python(), "thing>=1: none is installed"),
        (["thing>=1", "pytest>=9999"], real_python(), f"pytest>=9999: {pytest.__version__} is installed"),
        (["thing>=1"], "exit 1", "no Python 3.10 or newer that runs"),
        (["thing>=1"], None, "no Python 3.10 or newer that runs"),
    ],
)
def test_active_environment_that_does_not_fit_is_named_and_left_alone(
    install: Run, checkout: Path, tmp_path: Path, needs: list[str], body: str | None, message: str
) -> None:
    active = tmp_path / "active"
    (active / "bin").mkdir(parents=True)
    if body is not None:
        write_script(active / "bin" / "python", body)
    before = sorted(active.rglob("*"))
    write_project(checkout, needs=needs)
    result = install(*in_environment(USE), VIRTUAL_ENV=str(active))
    assert f"The environment {active} does not fit and is left as it is:" in result.stderr
    assert message in result.stderr
    assert sorted(active.rglob("*")) == before
    if len(needs) == 1:
        assert result.stdout == f"{checkout}/.venv/bin/python\n", result.stderr


def test_active_environment_whose_torch_and_torchaudio_clash_does_not_fit(
    install: Run, checkout: Path, tmp_path: Path
) -> None:
    for package in ("torch-2.11.0", "torchaudio-2.11.1"):
        (tmp_path / "old" / f"{package}.dist-info").mkdir(parents=True)
        name, version = package.split("-")
        (tmp_path / "old" / f"{package}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    write_project(checkout, needs=["pytest"])
    active = tmp_path / "active"
    write_script(active / "bin" / "python", real_python(f'export PYTHONPATH="{tmp_path}/old"'))
    result = install(*in_environment(USE), VIRTUAL_ENV=str(active))
    assert "torchaudio 2.11.1 does not load with torch 2.11.0" in result.stderr


def test_requirements_are_read_as_toml_reads_them() -> None:
    toml: Any = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = toml.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: texts for name, texts in project["optional-dependencies"].items() if name != "dev"}
    module = environment_module(ROOT)
    missing = {text.partition(": ")[0] for name in extras for text in without_packages(module.find_missing, name)}
    expected = [*project["dependencies"], *(text for texts in extras.values() for text in texts)]
    assert missing == {str(Requirement(text)) for text in expected}


def without_packages(find_missing: Callable[[str], Iterator[str]], extra: str) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.metadata.distributions", lambda **_: iter(()))
        patch.setattr(sys, "path", list(sys.path))
        return list(find_missing(extra))


# ---- .venv ----


def test_bare_directory(install: Run, checkout: Path) -> None:
    result = install(*in_environment(USE))
    assert result.stdout == f"{checkout}/.venv/bin/python\n", result.stderr
    assert versions(Path(result.stdout.strip())) == {"thing": "1.0", "pip": "99.0", "speechssl": "1.0"}
    assert install(*in_environment(USE)).stderr == ""


def test_without_uv_pip_installs_it(install: Run, bin_folder: Path, checkout: Path, packages: Path) -> None:
    script = f'#!/bin/bash\nexec "{(bin_folder / "uv").resolve()}" "$@"\n'
    write_wheel(packages, "uv", "0.1", files={"uv-0.1.data/scripts/uv": script})
    (bin_folder / "uv").unlink()
    result = install(*in_environment(USE), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(packages))
    (packages / "uv-0.1-py3-none-any.whl").unlink()
    assert result.stdout == f"{checkout}/.venv/bin/python\n", result.stderr
    assert versions(Path(result.stdout.strip())).items() >= {"thing": "1.0", "pip": "99.0"}.items()


def test_quickstart_needs_no_development_packages_but_takes_an_environment_that_has_them(
    install: Run, checkout: Path
) -> None:
    python = checkout / ".venv" / "bin" / "python"
    assert install(*in_environment("ensure_environment quickstart")).returncode == 0
    assert "tool" not in versions(python)
    assert install(*in_environment("ensure_environment dev")).returncode == 0
    assert "tool" in versions(python)
    assert install(*in_environment("ensure_environment quickstart")).stderr == ""


@pytest.mark.parametrize("changed", ["lock", "requirements"])
def test_change_updates_the_environment_and_keeps_what_was_added(install: Run, checkout: Path, changed: str) -> None:
    assert install(*in_environment(USE)).returncode == 0
    added = checkout / ".venv" / "added"
    added.touch()
    newer = {"needs": ["thing>=1"], "lock": "thing==2.0"} if changed == "lock" else {"needs": ["thing>=1", "tool"]}
    write_project(checkout, **newer)  # type: ignore[arg-type]
    result = install(*in_environment(USE))
    assert result.returncode == 0, result.stderr
    found = versions(checkout / ".venv" / "bin" / "python")
    assert found["thing"] == "2.0" if changed == "lock" else "tool" in found
    assert added.exists()


@pytest.mark.parametrize("left", ["empty folder", "no python", "broken python", "not all packages", "half deleted"])
def test_half_made_environment_is_made_anew(install: Run, checkout: Path, left: str) -> None:
    venv = checkout / ".venv"
    venv.mkdir()
    if left != "empty folder":
        (venv / ".made-by-tools-environment").touch()
    if left == "broken python":
        (venv / "bin").mkdir()
        (venv / "bin" / "python").symlink_to("/nowhere/python3")
    if left in ("not all packages", "half deleted"):
        assert install(*in_environment(USE)).returncode == 0
        (venv / ".made-by-tools-environment").write_text("")
        next(venv.rglob("thing.py")).unlink()
        shutil.rmtree(venv / ("bin" if left == "half deleted" else "share"), ignore_errors=True)
    result = install(*in_environment(USE))
    assert result.returncode == 0, result.stderr
    assert versions(venv / "bin" / "python")["thing"] == "1.0"
    assert list(venv.rglob("thing.py"))


def test_moved_checkout_gets_an_environment_of_its_place(install: Run, checkout: Path) -> None:
    assert install(*in_environment(USE)).returncode == 0
    moved = checkout.with_name("moved")
    checkout.rename(moved)
    result = install(*in_environment(USE), cwd=moved)
    assert result.stdout == f"{moved}/.venv/bin/python\n", result.stderr
    assert str(moved) in (moved / ".venv" / "bin" / "activate").read_text()


def test_environment_of_someone_else_is_used_if_it_fits_and_never_changed(install: Run, checkout: Path) -> None:
    write_script(checkout / ".venv" / "bin" / "python", real_python())
    result = install(*in_environment(USE))
    assert result.returncode == 2
    assert f"The environment {checkout}/.venv does not fit and is left as it is:\n  thing>=1: none" in result.stderr
    assert f"{checkout}/.venv was not made here." in result.stderr
    write_project(checkout, needs=["pytest"])
    result = install(*in_environment(USE))
    assert result.stdout == f"{checkout}/.venv/bin/python\n", result.stderr
    assert [path.name for path in (checkout / ".venv").rglob("*")] == ["bin", "python"]


def test_packages_that_do_not_load_are_named_and_not_taken_for_complete(
    install: Run, checkout: Path, packages: Path
) -> None:
    write_wheel(packages, "bad", "1.0", files={"zz.pth": "import sys; sys.modules['soxr'] = None\n"})
    write_project(checkout, needs=["thing", "bad"])
    for _ in range(2):
        result = install(*in_environment(USE))
        assert result.returncode == 2
        assert "error: the packages do not load: ModuleNotFoundError: import of soxr halted" in result.stderr


# ---- when things go wrong ----


def test_without_network(install: Run, checkout: Path) -> None:
    nowhere = {"UV_OFFLINE": "0", "UV_FIND_LINKS": "", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}
    result = install(*in_environment(USE), UV_HTTP_RETRIES="0", **nowhere)
    assert result.returncode == 2
    assert "That failed; trying once more." in result.stderr
    assert "The package index cannot be reached: network, proxy, pip's or uv's mirror?" in result.stderr
    assert install(*in_environment(USE)).returncode == 0


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("failed to write to file: No space left on device (os error 28)", "The disk is full"),
        ("torch==2.15.0 has no wheels with a matching platform tag (e.g., musllinux_1_2)", "Linux with glibc"),
        ("ERROR: HTTPSConnectionPool: NewConnectionError", "The package index cannot be reached"),
        ("something else", "Run this again to go on from there."),
    ],
)
def test_failed_installation_is_explained(install: Run, bin_folder: Path, said: str, advice: str) -> None:
    (bin_folder / "uv").unlink()
    write_script(bin_folder / "uv", f'[ "$1" = venv ] && exit; echo "{said}" >&2; exit 1')
    result = install(*in_environment(USE))
    assert result.returncode == 2
    assert said in result.stderr
    assert advice in result.stderr


def test_bytecode_is_compiled_where_python_would_keep_none(install: Run, checkout: Path) -> None:
    """Else each of the many processes of the tests compiles all packages, for itself."""
    assert install(*in_environment(USE)).returncode == 0
    assert not list((checkout / ".venv").rglob("pip.*.pyc"))
    shutil.rmtree(checkout / ".venv")
    assert install(*in_environment(USE), PYTHONDONTWRITEBYTECODE="1").returncode == 0
    assert list((checkout / ".venv").rglob("pip.*.pyc"))


def test_second_try_trusts_the_certificates_of_the_system(install: Run, bin_folder: Path, checkout: Path) -> None:
    real = (bin_folder / "uv").resolve()
    (bin_folder / "uv").unlink()
    write_script(bin_folder / "uv", f'[ "$1" = venv ] || [ "${{UV_SYSTEM_CERTS:-}}" ] || exit 1; exec "{real}" "$@"')
    result = install(*in_environment(USE))
    assert result.stdout == f"{checkout}/.venv/bin/python\n", result.stderr


@pytest.mark.parametrize(
    ("settings", "index"),
    [
        ({"PIP_INDEX_URL": "https://mirror/simple"}, "https://mirror/simple"),
        ({"PIP_INDEX_URL": "https://mirror/simple", "UV_DEFAULT_INDEX": "https://own"}, "https://own"),
        ({"PIP_INDEX_URL": "https://mirror/simple", "UV_INDEX_URL": "https://own"}, ""),
        ({"PIP_INDEX_URL": "", "PIP_CONFIG_FILE": "{home}/pip.conf"}, "https://configured/simple"),
        ({"PIP_INDEX_URL": "", "PIP_CONFIG_FILE": os.devnull}, ""),
    ],
)
def test_mirror_of_pip_is_that_of_uv(install: Run, bin_folder: Path, settings: dict[str, str], index: str) -> None:
    (bin_folder / "pip.conf").write_text("[global]\nindex-url = https://configured/simple\n")
    (bin_folder / "uv").unlink()
    write_script(bin_folder / "uv", '[ "$1" = venv ] && exit; echo "index: $UV_DEFAULT_INDEX;" >&2; exit 1')
    settings = {name: value.format(home=bin_folder) for name, value in settings.items()}
    assert f"index: {index};" in install(*in_environment(USE), **settings).stderr


def test_killed_script_leaves_the_lock_to_its_installer_and_half_an_environment(
    install: Run, bin_folder: Path, checkout: Path, packages: Path
) -> None:
    real = (bin_folder / "uv").resolve()
    (bin_folder / "uv").unlink()
    write_script(
        bin_folder / "uv",
        f'if [ "$1" = pip ] && [ ! -e first ]; then echo $PPID $$ >first.new; mv first.new first; sleep 60; fi\n'
        f'exec "{real}" "$@"',
    )
    shutil.copy("/bin/mv", bin_folder)
    environment = {"PATH": str(bin_folder), "HOME": str(bin_folder)}
    script = subprocess.Popen(
        in_environment(USE), cwd=checkout, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    first = checkout / "first"
    wait_for(first.exists)
    maker, installer = (int(number) for number in first.read_text().split())
    os.kill(maker, signal.SIGKILL)
    script.wait(timeout=30)
    second = subprocess.Popen(
        in_environment(USE),
        cwd=checkout,
        env={**environment, "UV_OFFLINE": "1", "UV_FIND_LINKS": str(packages)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.stderr is not None
    assert second.stderr.readline() == f"Waiting for another script that is making {checkout}/.venv.\n"
    os.killpg(os.getpgid(installer), signal.SIGKILL)
    output, said = second.communicate(timeout=60)
    assert output == f"{checkout}/.venv/bin/python\n", said
    assert versions(Path(output.strip()))["thing"] == "1.0"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_scripts_at_once_make_one_environment(install: Run, checkout: Path) -> None:
    result = install(*in_environment(f"({USE}) & ({USE}); wait"))
    assert result.stdout == f"{checkout}/.venv/bin/python\n" * 2, result.stderr
    assert result.stderr.count(f"Making {checkout}/.venv") == 1
    assert result.stderr.count("Waiting for another script") == 1


# ---- the lock ----


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"])
@pytest.mark.parametrize(("system", "machine"), [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")])
def test_lock_has_one_version_of_each_requirement_everywhere(version: str, system: str, machine: str) -> None:
    here = {
        "python_version": version,
        "python_full_version": f"{version}.1",
        "sys_platform": system,
        "platform_machine": machine,
    }
    lines = [line for line in (ROOT / "tools" / "requirements.lock").read_text().splitlines() if line[:1] != "#"]
    locked = [requirement for requirement in map(Requirement, lines) if holds(requirement, here)]
    pins = {requirement.name: str(requirement.specifier).removeprefix("==") for requirement in locked}
    assert len(pins) == len(locked)
    module = environment_module(ROOT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("packaging.markers.default_environment", lambda: here)
        for text in without_packages(module.find_missing, "dev"):
            requirement = Requirement(text.partition(": ")[0])
            name = requirement.name.lower().replace("_", "-")
            assert requirement.specifier.contains(pins[name]), requirement


def holds(requirement: Requirement, here: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(here)


def test_lock_has_no_address() -> None:
    assert "://" not in (ROOT / "tools" / "requirements.lock").read_text()


# ---- tools/test.sh and .ci/run ----


def log_of_checks(checkout: Path, bin_folder: Path) -> None:
    """Checks that print what they are; mypy fails."""
    make_complete(
        checkout,
        bin_folder,
        'if [ "$1" = -m ]; then printf "ran"; printf " %q" "$@"; echo; [ "$2" != mypy ]; exit; fi',
    )
    write_script(checkout / ".venv" / "bin" / "shellcheck", 'echo "ran shellcheck $*"')


@pytest.mark.parametrize("script", ["tools/test.sh", ".ci/run"])
def test_all_checks_run_and_the_failed_one_is_named(run: Run, bin_folder: Path, checkout: Path, script: str) -> None:
    log_of_checks(checkout, bin_folder)
    result = run("bash", script)
    ran = [line for line in result.stdout.splitlines() if line.startswith("ran ")]
    assert result.returncode == 1
    checked = [line.split()[2 if "-m" in line else 1] for line in ran]
    assert checked == ["ruff", "ruff", "mypy", "mypy", "mypy", "shellcheck", "pytest"]
    assert {".ci/run", "./tools/test.sh", "./recipes/quickstart/run.sh"} <= set(ran[-2].split())
    summary = result.stdout.split("== summary\n")[1].splitlines()
    assert [re.sub(r" +", " ", line).rpartition(",")[0] for line in summary] == [
        "ruff check passed",
        "ruff format passed",
        "mypy FAILED (exit status 1)",
        "shellcheck passed",
        "pytest passed",
    ]


def test_arguments_run_the_tests_alone(run: Run, bin_folder: Path, checkout: Path) -> None:
    log_of_checks(checkout, bin_folder)
    result = run("bash", "tools/test.sh", "-x", "tests/a file.py")
    assert result.stdout == "ran -m pytest -x tests/a\\ file.py\n", result.stderr
    assert result.returncode == 0


def test_newest_is_an_environment_of_its_own_compared_with_the_lock(
    install: Run, bin_folder: Path, checkout: Path
) -> None:
    uv = (bin_folder / "uv").resolve()
    make_complete(checkout, bin_folder, f'if [ "${{2:-}}" = uv ]; then shift 2; exec "{uv}" "$@"; fi')
    (checkout / ".venv-newest").mkdir()
    for name in ("left", "pyvenv.cfg"):
        (checkout / ".venv-newest" / name).touch()
    result = install("bash", "tools/test.sh", "--newest", "tests/x.py")
    assert versions(checkout / ".venv-newest" / "bin" / "python").items() >= {"thing": "2.0", "tool": "1.0"}.items()
    assert not (checkout / ".venv-newest" / "left").exists()
    difference = result.stdout.split("(- newest, + lock):\n")[1].split("\n")
    assert [line.strip() for line in difference if "thing" in line] == ["- thing==2.0", "+ thing==1.0"]
    assert "No module named pytest" in result.stderr


def test_help(run: Run) -> None:
    result = run("bash", "tools/test.sh", "--help")
    assert "bash tools/test.sh --newest" in result.stdout
    assert "set -" not in result.stdout
