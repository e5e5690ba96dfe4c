"""tools/environment.py: missing and damaged packages, and fetching pip."""

import contextlib
import hashlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT


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
