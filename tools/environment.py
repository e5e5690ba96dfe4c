"""Finds or makes this repository's environment for an extra of pyproject.toml, and prints the path of its Python.

With "missing" after the extra, prints what the environment of the Python that runs this lacks; with "mirror" alone, the
package index of pip's settings. Standard library only.
"""

import ast
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV, LOCK = ROOT / ".venv", ROOT / "tools" / "requirements.lock"
MADE_HERE = VENV / ".made-by-tools-environment"  # says from what, once all is installed
REASONS = {
    "No space left|os error 28|uota exceeded": "The disk is full: 7 GB are needed on Linux, 3 GB on macOS.",
    "onnect|timed out|sending|Proxy|SSL": "The package index cannot be reached: network, proxy, pip's or uv's mirror?",
    "ABI tag|platform tag|no wheels": "There are builds for Linux with glibc and for macOS 14 on Apple silicon only.",
}


def say(*lines: str) -> None:
    print(*lines, sep="\n  ", file=sys.stderr, flush=True)


def fail(what: str, *advice: str) -> None:
    say(f"error: {what}", *advice)
    sys.exit(2)


def output(*command: str | Path) -> str | None:
    """What a command prints; None if it fails."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, close_fds=False).stdout
    return None


def download(*command: str | Path) -> None:
    """Runs a command for all to see; if it fails once more, what it says is explained. It keeps the lock if we die."""
    for stderr in (None, subprocess.PIPE):
        done = subprocess.run(command, cwd=ROOT, stdout=2, stderr=stderr, text=True, close_fds=False, check=False)
        if done.returncode == 0:
            return
        os.environ["UV_SYSTEM_CERTS"] = "1"  # which pip has looked at, where a firewall signs with its own
        say("That failed; trying once more." if stderr is None else done.stderr)
    why = [reason for signs, reason in REASONS.items() if re.search(signs, done.stderr)]
    fail("the packages could not be installed (see above).", *why[:1], "Run this again to go on from there.")


def find(extra: str) -> Path:
    """The Python of the active environment if it fits; or without any, and without .venv, this one; else .venv's."""
    ours = MADE_HERE.exists() or not VENV.exists() or not any(VENV.iterdir())
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX") or (None if ours else str(VENV))
    if active and ours and VENV.exists() and VENV.samefile(active):
        active = None
    if active or not VENV.exists():
        python = Path(active, "bin", "python") if active else Path(sys.executable)
        lacks = output(python, __file__, extra, "missing")
        if lacks == "":
            say(f"Using the environment of {python}.")
            return python
        if active:
            lacks = lacks or "no Python 3.10 or newer that runs, and has the package packaging"
            say(f"The environment {active} does not fit and is left as it is:", *lacks.splitlines()[:3])
    if not ours:
        fail(f"{VENV} was not made here.", "Install into it what it lacks, or move it away.")
    return make(extra)


def find_missing(extra: str) -> Iterator[str]:
    """Requirements of pyproject.toml that the environment of this Python does not meet."""
    # Python 3.10 reads no TOML, but its lists of strings are Python's.
    assigned = re.findall(r"(?ms)^([\w-]+) = (\[.*?\])$", (ROOT / "pyproject.toml").read_text("utf-8"))
    lists = {name: ast.literal_eval(text) for name, text in assigned}
    texts = [*lists["dependencies"], *lists[extra]]
    for needed in map(import_module("packaging.requirements").Requirement, texts):  # which grow
        found = next((package.version for package in metadata.distributions(name=needed.name)), None)
        if needed.marker and not needed.marker.evaluate():
            continue
        if needed.name == "speechssl":
            texts += [text for name in needed.extras for text in lists[name]]
        elif found is None or not needed.specifier.contains(found, prereleases=True):
            yield f"{needed}: {found or 'none'} is installed"
    sys.path.append(str(ROOT))
    yield from filter(None, [import_module("speechssl.installation").versions_that_clash()])


def stamp(extra: str) -> str:
    """What .venv is made from, and on a second line what cannot be changed in it: its Python and place."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + LOCK.read_bytes()).hexdigest()
    version = output(VENV / "bin" / "python", "-c", "import sys; print(*sys.version_info[:2], end='')")
    return f"{extra} {digest}\n{version} {ROOT}"


def read_stamp() -> str:
    return MADE_HERE.read_text() if MADE_HERE.exists() else ""


def make(extra: str) -> Path:
    """The Python of .venv, which is made, completed or made anew if need be, by one script at a time."""
    if read_stamp() not in (stamp(extra), stamp("dev")):
        with (ROOT / ".venv.lock").open("w") as lock:
            os.set_inheritable(lock.fileno(), True)
            with contextlib.suppress(OSError):  # of a file system that has no locks
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say(f"Waiting for another script that is making {VENV}.")
                    fcntl.flock(lock, fcntl.LOCK_EX)
            if read_stamp() not in (stamp(extra), stamp("dev")):
                build(extra)
    return VENV / "bin" / "python"


def build(extra: str) -> None:
    """Installs what is needed; what was interrupted, or moved with the checkout, is made anew."""
    python, uv = VENV / "bin" / "python", shutil.which("uv")
    anew = read_stamp().partition("\n")[2] != stamp(extra).partition("\n")[2]
    VENV.mkdir(exist_ok=True)
    MADE_HERE.write_text("")
    if anew:
        say(f"Making {VENV}: some minutes and, on Linux, 7 GB of disk; once.")
        for path in set(VENV.iterdir()) - {MADE_HERE}:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        maker = (uv, "venv", "--allow-existing", "--python", sys.executable) if uv else (sys.executable, "-m", "venv")
        if output(*maker, VENV) is None:
            package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            fail(f"{sys.executable} makes no environments.", f"Debian: sudo apt install {package}. Or install uv.")
    if not uv:
        download(python, "-m", "pip", "install", "--quiet", "--constraint", LOCK, "uv")
    if mirror := find_mirror(python, sys.executable):
        os.environ["UV_DEFAULT_INDEX"] = mirror
    os.environ.setdefault("UV_COMPILE_BYTECODE", str(int(sys.dont_write_bytecode)))  # or each process would, for itself
    what = ("--constraint", LOCK, "--build-constraint", LOCK, "pip", "--editable", f".[{extra}]")
    download(uv or python.with_name("uv"), "pip", "install", "--python", python, *what)
    compiled = "import numpy, scipy, torch, torchaudio, soundfile, soxr, librosa, matplotlib"
    loading = subprocess.run([python, "-c", compiled], stderr=subprocess.PIPE, text=True, check=False)
    if loading.returncode:
        fail(f"the packages do not load: {loading.stderr.splitlines()[-1]}", "Is a library of the system missing?")
    MADE_HERE.write_text(stamp(extra))


def find_mirror(*pythons: str | Path) -> str:
    """pip's index, for uv does not read pip's settings; empty if there is none, or uv knows one itself."""
    if {"UV_INDEX_URL", "UV_DEFAULT_INDEX"} & os.environ.keys() or Path("~/.config/uv/uv.toml").expanduser().exists():
        return ""
    settings = (output(python, "-m", "pip", "config", "get", "global.index-url") for python in pythons)
    return (os.environ.get("PIP_INDEX_URL") or next(filter(None, settings), "")).strip()


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case ["mirror"]:
                print(find_mirror(sys.executable))
            case [extra, "missing"]:
                print(*find_missing(extra), sep="\n", end="")
            case [extra]:
                print(find(extra))
    except OSError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on from here.")
