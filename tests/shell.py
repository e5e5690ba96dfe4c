"""What tests of the shell scripts share: stand-ins for programs, and an environment that looks complete."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

Run = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a command in a checkout, with a PATH of its own; the fixture ``run``."""

PYPROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "speechssl"
version = "1.0"
dependencies = {needs}

[project.optional-dependencies]
quickstart = []
dev = {dev}
"""
BACKEND = """import shutil

def build_editable(folder, config_settings=None, metadata_directory=None):
    shutil.copy("{wheel}", folder)
    return "{wheel}"
"""


def write_script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def real_python(body: str = "") -> str:
    """The body of a script that is this Python, with exceptions before."""
    return f'{body}\nexec "{sys.executable}" "$@"'


def write_wheel(folder: Path, name: str, version: str, *, files: dict[str, str], metadata: str = "") -> str:
    """A package of these files; returns its file's name."""
    information = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{information}/RECORD"] = "".join(f"{path},,\n" for path in (*contents, f"{information}/RECORD"))
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            member = zipfile.ZipInfo(path)
            member.external_attr = 0o100755 << 16  # a file that may be executed
            archive.writestr(member, text)
    return wheel.name


def write_project(checkout: Path, *, needs: Sequence[str], dev: Sequence[str] = (), lock: str = "") -> None:
    """A project that needs little, and that uv installs with nothing from elsewhere."""
    (checkout / "pyproject.toml").write_text(PYPROJECT.format(needs=json.dumps(needs), dev=json.dumps(dev)))
    (checkout / "tools" / "requirements.lock").write_text(lock)
    required = [f"Requires-Dist: {text}\n" for text in needs]
    required += [f"Requires-Dist: {text}; extra == 'dev'\n" for text in dev]
    extras = "Provides-Extra: quickstart\nProvides-Extra: dev\n"
    wheel = write_wheel(checkout, "speechssl", "1.0", files={}, metadata=extras + "".join(required))
    (checkout / "backend.py").write_text(BACKEND.format(wheel=wheel))


def in_environment(commands: str) -> tuple[str, ...]:
    """Commands in a shell with tools/environment.sh."""
    return "bash", "-c", f"set -euo pipefail; . tools/environment.sh; {commands}"


def environment_module(checkout: Path) -> ModuleType:
    """tools/environment.py of a checkout."""
    specification = importlib.util.spec_from_file_location("environment", checkout / "tools" / "environment.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def make_complete(checkout: Path, bin_folder: Path, body: str = "") -> Path:
    """A .venv that the scripts take for complete; its python runs ``body`` first."""
    write_script(bin_folder / "python3", real_python())
    python = checkout / ".venv" / "bin" / "python"
    write_script(python, real_python(body))
    environment = environment_module(checkout)
    environment.MADE_HERE.write_text(environment.stamp("dev"))
    return python
