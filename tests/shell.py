"""What tests of the shell scripts share: stand-ins for programs, and an environment that looks complete."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a command in a checkout, with a PATH of its own; the fixture ``run``."""


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
