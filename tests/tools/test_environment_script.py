"""tools/environment.sh and environment.py: environments found, made, completed and left alone.

uv is the real one, with an index of its own: a folder of packages that hold next to nothing.
"""

import ast
import itertools
import re
import shutil
import subprocess
import sys
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

VERSIONS = [f"3.{minor}" for minor in range(10, 16)]
PLATFORMS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
COMPILED = "numpy scipy torch torchaudio soundfile soxr librosa matplotlib"
NOWHERE = "http://127.0.0.1:9/simple"
USE = 'ensure_environment quickstart; echo "$PYTHON"'


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two versions of "thing", with the compiled packages that a new environment imports, and pip."""
    folder = tmp_path_factory.mktemp("packages")
    for version in ("1.0", "2.0"):
        modules = {f"{name}.py": "" for name in ("thing", *COMPILED.split())}
        write_wheel(folder, "thing", version, files=modules)
    for name, version in (("pip", "99.0"), ("tool", "1.0")):
        write_wheel(folder, name, version, files={f"{name}.py": ""})
    return folder


@pytest.fixture
def install(run: Run, bin_folder: Path, checkout: Path, packages: Path) -> Run:
    """Runs a command where Python and uv are there, and the index has nothing but ``packages``."""
    uv = pytest.importorskip("uv", reason="uv is not installed")
    (bin_folder / "uv").symlink_to(uv.find_uv_bin())
    write_script(bin_folder / "python3", real_python())
    write_project(checkout, needs=["thing>=1"], dev=["tool"], lock="thing==1.0\npip==99.0\n")

    def run_offline(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        uv = {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(packages), "UV_CACHE_DIR": str(packages.parent / "cache")}
        # Else pip is asked for its index, which takes a second.
        return run(*command, **{**uv, "PIP_INDEX_URL": NOWHERE, **environment})

    return run_offline


def versions(python: Path) -> dict[str, str]:
    code = "import importlib.metadata as m; print({d.metadata['Name']: d.version for d in m.distributions()})"
    printed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(ast.literal_eval(printed))


@pytest.mark.parametrize("version", [None, "2.7", "3.9", "3.14t", "3.16"])
def test_unfit_python_is_named_with_what_to_install(
    run: Run, bin_folder: Path, checkout: Path, version: str | None
) -> None:
    if version is not None:
        write_script(bin_folder / "python3", f"echo {version}")
    result = run("bash", "tools/test.sh" if version else "recipes/quickstart/run.sh")
    assert result.returncode == 2
    found = f"python3 ({version})" if version else "none"
    assert f"speechssl needs Python 3.10 to 3.15; found: {found}." in result.stderr
    assert "sudo apt install python3 python3-venv" in result.stderr
    assert not (checkout / ".venv").exists()


def test_newer_python_is_taken_when_the_default_is_too_old(run: Run, bin_folder: Path) -> None:
    write_script(bin_folder / "python3", "echo 3.8")
    write_script(bin_folder / "python3.11", real_python('[ "${2#*abiflags}" = "$2" ] || { echo 3.11; exit; }'))
    result = run(*in_environment("find_python"))
    assert result.stdout.strip() == sys.executable, result.stderr


def test_uv_brings_a_python_if_there_is_none(run: Run, bin_folder: Path) -> None:
    write_script(bin_folder / "uv", '[ "$2" = install ] || echo /brought/python')
    assert run(*in_environment("find_python")).stdout == "/brought/python\n"


def test_python_that_makes_no_environments_gives_the_package_to_install(run: Run, bin_folder: Path) -> None:
    write_script(bin_folder / "python3", real_python('[ "${2:-}" != venv ] || exit 1'))
    (bin_folder.parent / "a checkout" / "pyproject.toml").write_text("")  # which nothing fits
    code = f"import runpy, sys; sys.executable = '{bin_folder}/python3'; sys.argv[1:] = ['dev']\n"
    result = run(sys.executable, "-c", f"{code}runpy.run_path('tools/environment.py', run_name='__main__')")
    assert result.returncode == 2
    assert f"error: {bin_folder}/python3 makes no environments." in result.stderr
    assert f"sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in result.stderr


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


OLD_TORCH = """
mkdir -p torch-2.11.0.dist-info torchaudio-2.11.1.dist-info
printf 'Name: torch\\nVersion: 2.11.0\\n' >torch-2.11.0.dist-info/METADATA
printf 'Name: torchaudio\\nVersion: 2.11.1\\n' >torchaudio-2.11.1.dist-info/METADATA
export PYTHONPATH=$PWD"""


@pytest.mark.parametrize(
    ("needs", "body", "message"),
    [
        ("thing>=1", real_python(), "thing>=1: none is installed"),
        ("pytest>=9999", real_python(), f"pytest>=9999: {pytest.__version__} is installed"),
        ("pytest", real_python(OLD_TORCH), "torchaudio 2.11.1 does not load with torch 2.11.0"),
        ("thing>=1", "exit 1", "no Python 3.10 or newer that runs"),
        ("thing>=1", None, "no Python 3.10 or newer that runs"),
    ],
)
def test_active_environment_that_does_not_fit_is_named_and_left_alone(
    install: Run, checkout: Path, tmp_path: Path, needs: str, body: str | None, message: str
) -> None:
    active = tmp_path / "active"
    (active / "bin").mkdir(parents=True)
    if body is not None:
        write_script(active / "bin" / "python", body)
    before = sorted(active.rglob("*"))
    write_project(checkout, needs=[needs])
    result = install(*in_environment(USE), VIRTUAL_ENV=str(active))
    assert f"The environment {active} does not fit and is left as it is:" in result.stderr
    assert message in result.stderr
    assert sorted(active.rglob("*")) == before
    assert result.stdout == (f"{checkout}/.venv/bin/python\n" if needs == "thing>=1" else ""), result.stderr


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


def test_bare_directory_gets_what_its_extra_needs(install: Run, checkout: Path) -> None:
    result = install(*in_environment(USE))
    assert result.stdout == f"{checkout}/.venv/bin/python\n", result.stderr
    python = Path(result.stdout.strip())
    assert versions(python) == {"thing": "1.0", "pip": "99.0", "speechssl": "1.0"}
    assert install(*in_environment(USE)).stderr == ""
    assert install(*in_environment("ensure_environment dev")).returncode == 0
    assert versions(python)["tool"] == "1.0"
    assert install(*in_environment(USE)).stderr == "", "it has the development packages besides"


def test_without_uv_pip_installs_it(install: Run, bin_folder: Path, checkout: Path, packages: Path) -> None:
    script = f'#!/bin/bash\nexec "{(bin_folder / "uv").resolve()}" "$@"\n'
    write_wheel(packages, "uv", "0.1", files={"uv-0.1.data/scripts/uv": script})
    (bin_folder / "uv").unlink()
    result = install(*in_environment(USE), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(packages))
    (packages / "uv-0.1-py3-none-any.whl").unlink()
    assert result.stdout == f"{checkout}/.venv/bin/python\n", result.stderr
    assert versions(Path(result.stdout.strip())).items() >= {"thing": "1.0", "pip": "99.0"}.items()


def test_change_updates_the_environment_and_keeps_what_was_added(install: Run, checkout: Path) -> None:
    assert install(*in_environment(USE)).returncode == 0
    (checkout / ".venv" / "added").touch()
    for needs, expected in ((["thing"], {"thing": "2.0"}), (["thing", "tool"], {"thing": "2.0", "tool": "1.0"})):
        write_project(checkout, needs=needs, lock="thing==2.0")
        result = install(*in_environment(USE))
        assert result.returncode == 0, result.stderr
        assert versions(checkout / ".venv" / "bin" / "python").items() >= expected.items()
    assert (checkout / ".venv" / "added").exists()


@pytest.mark.parametrize("left", ["empty folder", "half deleted"])
def test_half_made_environment_is_made_anew(install: Run, checkout: Path, left: str) -> None:
    venv = checkout / ".venv"
    if left == "half deleted":
        assert install(*in_environment(USE)).returncode == 0
        (venv / ".made-by-tools-environment").write_text("")
        next(venv.rglob("thing.py")).unlink()
        shutil.rmtree(venv / "bin")
    venv.mkdir(exist_ok=True)
    assert install(*in_environment(USE)).returncode == 0
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


def test_without_network(install: Run, checkout: Path) -> None:
    result = install(*in_environment(USE), UV_HTTP_RETRIES="0", UV_OFFLINE="0", UV_FIND_LINKS="")
    assert result.returncode == 2
    assert "That failed; trying once more." in result.stderr
    assert "The package index cannot be reached: network, proxy, pip's or uv's mirror?" in result.stderr
    assert install(*in_environment(USE)).returncode == 0


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("failed to write to file: No space left on device (os error 28)", "The disk is full"),
        ("torch==2.15.0 has no wheels with a matching platform tag (e.g., musllinux_1_2)", "Linux with glibc"),
    ],
)
def test_failed_installation_is_explained(install: Run, bin_folder: Path, said: str, advice: str) -> None:
    replace_uv(bin_folder, f'[ "$1" = venv ] && exit; echo "{said}" >&2; exit 1')
    result = install(*in_environment(USE))
    assert said in result.stderr
    assert advice in result.stderr
    assert "Run this again to go on from there." in result.stderr


def replace_uv(bin_folder: Path, body: str) -> Path:
    """Put a script in the place of uv; returns the real one."""
    real = (bin_folder / "uv").resolve()
    (bin_folder / "uv").unlink()
    write_script(bin_folder / "uv", body.replace("REAL", f'exec "{real}" "$@"'))
    return real


PIP = {"PIP_INDEX_URL": "https://mirror/simple"}


@pytest.mark.parametrize(
    ("command", "settings", "index"),
    [
        (in_environment(USE), PIP, "https://mirror/simple"),
        (in_environment(USE), {**PIP, "UV_DEFAULT_INDEX": "https://own"}, "https://own"),
        (in_environment(USE), {"PIP_INDEX_URL": "", "PIP_CONFIG_FILE": "{home}/pip.conf"}, "https://configured/simple"),
        (("bash", "tools/test.sh", "--newest"), PIP, "https://mirror/simple"),
        (("bash", "tools/relock.sh"), PIP, "https://mirror/simple"),
    ],
)
def test_mirror_of_pip_is_that_of_uv(
    install: Run, bin_folder: Path, checkout: Path, command: tuple[str, ...], settings: dict[str, str], index: str
) -> None:
    (bin_folder / "pip.conf").write_text("[global]\nindex-url = https://configured/simple\n")
    say = '[ "$1" = venv ] && exit; echo "index: ${UV_DEFAULT_INDEX:-};" >&2; exit 1'
    replace_uv(bin_folder, say)
    if "--newest" in command:
        make_complete(checkout, bin_folder, f'if [ "${{2:-}}" = uv ]; then shift 2; {say}; fi')
    settings = {name: value.format(home=bin_folder) for name, value in settings.items()}
    assert f"index: {index};" in install(*command, **settings).stderr


def test_what_was_interrupted_is_gone_on_with_by_one_of_two(install: Run, bin_folder: Path, checkout: Path) -> None:
    replace_uv(bin_folder, 'if [ "$1" = pip ] && [ ! -e first ]; then : >first; kill -9 $PPID; exit; fi\nREAL')
    assert install(*in_environment(USE)).returncode != 0
    result = install(*in_environment(f"({USE}) & ({USE}); wait"))
    assert result.stdout == f"{checkout}/.venv/bin/python\n" * 2, result.stderr
    assert result.stderr.count(f"Making {checkout}/.venv") == result.stderr.count("Waiting for another script") == 1
    assert versions(checkout / ".venv" / "bin" / "python")["thing"] == "1.0"


def test_lock_has_one_version_of_each_requirement_everywhere() -> None:
    text = (ROOT / "tools" / "requirements.lock").read_text()
    assert "://" not in text
    lines = [Requirement(line) for line in text.splitlines() if line[:1] != "#"]
    find_missing = environment_module(ROOT).find_missing
    for version, (system, machine) in itertools.product(VERSIONS, PLATFORMS):
        names = ("python_version", "python_full_version", "sys_platform", "platform_machine")
        here = dict(zip(names, (version, f"{version}.1", system, machine), strict=True))
        locked = [line for line in lines if line.marker is None or line.marker.evaluate(here)]
        pins = {line.name: str(line.specifier).removeprefix("==") for line in locked}
        assert len(pins) == len(locked)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("packaging.markers.default_environment", lambda here=here: here)
            for missing in without_packages(find_missing, "dev"):
                requirement = Requirement(missing.partition(": ")[0])
                assert requirement.specifier.contains(pins[requirement.name.lower().replace("_", "-")]), requirement


@pytest.fixture
def checks(run: Run, bin_folder: Path, checkout: Path) -> Run:
    """Runs a script whose checks print what they are; mypy fails."""
    body = 'if [ "$1" = -m ]; then printf "ran"; printf " %q" "$@"; echo; [ "$2" != mypy ]; exit; fi'
    make_complete(checkout, bin_folder, body)
    write_script(checkout / ".venv" / "bin" / "shellcheck", 'echo "ran shellcheck $*"')
    return run


@pytest.mark.parametrize("script", ["tools/test.sh", ".ci/run"])
def test_all_checks_run_and_the_failed_one_is_named(checks: Run, script: str) -> None:
    result = checks("bash", script)
    assert result.returncode == 1
    ran = [line for line in result.stdout.splitlines() if line.startswith("ran ")]
    checked = [line.split()[2 if "-m" in line else 1] for line in ran]
    with_scripts = len(list((ROOT / "recipes").glob("*/local")))
    assert checked == ["ruff", "ruff", "mypy", *["mypy"] * with_scripts, "shellcheck", "pytest"]
    assert {".ci/run", "./tools/test.sh", "./recipes/quickstart/run.sh"} <= set(ran[-2].split())
    summary = result.stdout.split("== summary\n")[1].splitlines()
    results = [re.sub(r" +", " ", line).rpartition(",")[0] for line in summary]
    passed = [f"{name} passed" for name in ("ruff check", "ruff format", "shellcheck", "pytest")]
    assert results == [*passed[:2], "mypy FAILED (exit status 1)", *passed[2:]]


def test_arguments_run_the_tests_alone(checks: Run) -> None:
    result = checks("bash", "tools/test.sh", "-x", "tests/a file.py")
    assert (result.returncode, result.stdout) == (0, "ran -m pytest -x tests/a\\ file.py\n"), result.stderr


def test_newest_is_an_environment_of_its_own_compared_with_the_lock(
    install: Run, bin_folder: Path, checkout: Path
) -> None:
    uv = (bin_folder / "uv").resolve()
    make_complete(checkout, bin_folder, f'if [ "${{2:-}}" = uv ]; then shift 2; exec "{uv}" "$@"; fi')
    (checkout / ".venv-newest").mkdir()
    (checkout / ".venv-newest" / "pyvenv.cfg").touch()
    (checkout / ".venv-newest" / "left").touch()
    result = install("bash", "tools/test.sh", "--newest", "tests/x.py")
    assert versions(checkout / ".venv-newest" / "bin" / "python").items() >= {"thing": "2.0", "tool": "1.0"}.items()
    assert not (checkout / ".venv-newest" / "left").exists()
    difference = result.stdout.split("(- newest, + lock):\n")[1].split("\n")
    assert [line.strip() for line in difference if "thing" in line] == ["- thing==2.0", "+ thing==1.0"]
    assert "No module named pytest" in result.stderr
