"""What many tests share: small corpora of real files, and checkouts in which the shell scripts can run."""

import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

# Threads that wait for each other spin by default, at many times the cost if another program has their core.
# To be set before PyTorch is imported; the processes that tests start have it too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import soundfile
from shell import Run, write_project

from speechssl.config import ShardConfig
from speechssl.verbs import shard as ingest

pytest_plugins = [
    "accounts",
    "distribution",
    "recipe_commands",
    "remote_site",
    "shards_to_verify",
    "small_arpa",
    "small_chain",
]

RATE = 16000
ROOT = Path(__file__).resolve().parents[1]
UNIX_TOOLS = "basename bash cat dirname find grep mkdir sed sleep sort tail tr"
WORDS = ["YES", "NO", "STOP", "GO", "HELP"]


@pytest.fixture(autouse=True)
def no_log_of_a_command_line() -> None:
    """Commands that earlier tests ran in this process have set the log's level, and thus which records are made."""
    logger = logging.getLogger("speechssl")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


def write_corpus(folder: Path, lengths: list[int], *, rate: int = RATE) -> Path:
    """Noise of the given numbers of samples with transcripts; returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    lines = ["path\tspeaker\ttext"]
    for i, length in enumerate(lengths):
        soundfile.write(folder / f"u{i:03d}.wav", draws.normal(0, 0.1, length), rate, subtype="PCM_16")
        lines.append(f"u{i:03d}.wav\ts{i % 3}\t{WORDS[i % len(WORDS)]}")
    manifest = folder / "list.tsv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three shards with 24 utterances of 0.5 to 1.65 s."""
    root = tmp_path_factory.mktemp("corpus")
    manifest = write_corpus(root / "audio", [8000 + 800 * i for i in range(24)])
    output = root / "shards"
    ingest.run(ShardConfig(sources=[str(manifest)], output=output, max_shard_megabytes=0.25))
    assert len(list(output.glob("*.tar"))) >= 2
    return output


@pytest.fixture(scope="session")
def transformers() -> Any:
    """The package, without its advertisements."""
    module = pytest.importorskip("transformers", reason="needs the transformers package (speechssl[interop])")
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the scripts, with a project that needs one package only, which this Python has."""
    root = tmp_path / "a checkout"
    for folder in ("tools", "recipes"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("exp", "__pycache__"))
    shutil.copytree(ROOT / ".ci", root / ".ci")
    (root / "speechssl").mkdir()
    for module in ("__init__", "errors", "installation"):
        shutil.copy(ROOT / "speechssl" / f"{module}.py", root / "speechssl")
    write_project(root, needs=["pytest>=1"])
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
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH without programs."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


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
