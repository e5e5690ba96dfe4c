"""Installed packages that do not go together are named with the remedy, from every verb and every import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from speechssl import cli, installation
from speechssl.errors import InstallationError

KNOWN_BAD = [
    ("2.11.0", "2.11.1", "torchaudio==2.11.0"),
    ("2.11.0+cu130", "2.11.1", "torchaudio==2.11.0"),
    ("2.11.0a0+git1234", "2.11.1+cu132", "torchaudio==2.11.0"),
    ("2.12.1", "2.11.1", "torchaudio==2.11.0"),
    ("2.12.1", "2.12.0", "torchaudio==2.11.0"),
    ("2.15.0", "2.11.0", "'torchaudio>=2.11.1'"),
    ("2.16.0", "2.11.0+cu130", "'torchaudio>=2.11.1'"),
]
GOOD = [
    ("2.11.0", "2.11.0"),
    ("2.12.0", "2.11.0"),
    ("2.13.0", "2.11.0"),
    ("2.13.0", "2.11.1"),
    ("2.14.1+cpu", "2.11.0+cpu"),
    ("2.15.0+cpu", "2.11.0+cpu"),
    ("2.15.0", "2.11.1"),
    ("3.0", "2.12"),
    ("unknown", "2.11.0"),
]


def install(folder: Path, **versions: str) -> None:
    """Packages of which there is nothing but what their installers would have written about them."""
    for name, version in versions.items():
        information = folder / f"{name}-{version}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def write_torchaudio(folder: Path, code: str) -> None:
    (folder / "torchaudio").mkdir(parents=True)
    (folder / "torchaudio" / "__init__.py").write_text(code)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no build is for CUDA")
@pytest.mark.parametrize(("torch", "torchaudio", "remedy"), KNOWN_BAD)
def test_versions_that_do_not_load_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: str, torchaudio: str, remedy: str
) -> None:
    install(tmp_path, torch=torch, torchaudio=torchaudio)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InstallationError) as caught:
        installation.check_installation()
    assert str(caught.value) == (
        f"torchaudio {torchaudio} does not load with torch {torch}; install another: "
        f"{sys.executable} -m pip install {remedy}"
    )


@pytest.mark.parametrize(("torch", "torchaudio"), GOOD)
def test_other_versions_are_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: str, torchaudio: str
) -> None:
    install(tmp_path, torch=torch, torchaudio=torchaudio)
    monkeypatch.syspath_prepend(str(tmp_path))
    installation.check_installation()


VERBS = {
    "shard": ("audio", "shards"),
    "verify": ("shards",),
    "plan": ("pretrain.yaml", "shards"),
    "pretrain": ("--data.shards", "shards", "--output", "run"),
    "finetune": ("--train.shards", "shards", "--dev.shards", "shards", "--output", "run"),
    "evaluate": ("run", "--data.shards", "shards", "--output", "scores"),
    "transcribe": ("run", "a.wav"),
    "align": ("run", "audio", "out"),
    "calibrate": ("run", "--data.shards", "shards"),
    "probe": ("run", "--train.shards", "shards", "--test.shards", "shards", "--output", "scores"),
    "embed": ("run", "features", "--audio", "a.wav"),
    "import": ("model", "run"),
    "export": ("run", "model"),
    "report": ("exp", "--recipe", "quickstart"),
    "score": ("r.trn", "h.trn"),
    "lm": ("text.txt", "lm.arpa"),
    "tune": ("run", "tuned", "--data.shards", "shards", "--decoding.language_model", "lm.arpa"),
}


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    install(tmp_path, torch="2.11.0", torchaudio="2.11.1")
    (tmp_path / "pretrain.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.main([verb, *VERBS[verb]]) == 2
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed
    assert "torchaudio 2.11.1 does not load with torch 2.11.0; install another: " in printed


def test_nothing_is_loaded_before_it_is_said(tmp_path: Path) -> None:
    """The real torchaudio 2.11.1 speaks of a symbol."""
    install(tmp_path, torch="2.12.0", torchaudio="2.11.1")
    write_torchaudio(tmp_path, "raise OSError('undefined symbol: torch_exception_get_what_without_backtrace')")
    (tmp_path / "torch.py").write_text("raise OSError('loaded')")
    result = run(tmp_path, "-m", "speechssl", "transcribe", "run", "a.wav")
    assert result.returncode == 2
    assert "does not load with torch 2.12.0" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_does_not_ask(tmp_path: Path) -> None:
    install(tmp_path, torch="2.11.0", torchaudio="2.11.1")
    assert run(tmp_path, "-m", "speechssl", "pretrain", "--help").returncode == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "raise OSError('libcudart.so.13: cannot open shared object file\\nfile 2\\nfile 3')",
            "libcudart.so.13: cannot",
        ),
        ("raise RuntimeError('compiled with different CUDA versions')", "different CUDA versions"),
        ("import torchaudio.absent", "No module named 'torchaudio.absent'"),
    ],
)
def test_torchaudio_that_cannot_be_loaded(tmp_path: Path, code: str, reason: str) -> None:
    install(tmp_path, torch="2.15.0", torchaudio="2.11.1")
    write_torchaudio(tmp_path, code)
    result = run(tmp_path, "-c", "from speechssl.model.feature_encoder import mel_filters\nmel_filters(8, 64, 16000)")
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith(
        "speechssl.errors.InstallationError: torchaudio 2.11.1 cannot be loaded beside torch 2.15.0"
    )
    assert reason in message
    assert message.endswith("-m pip install --upgrade torch torchaudio")


def test_torchaudio_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(InstallationError, match=r"torchaudio is not installed: .* -m pip install torchaudio$"):
        installation.import_torchaudio("torchaudio.functional")
