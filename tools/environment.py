"""Questions that tools/environment.sh asks about a Python environment; standard library only.

``missing EXTRA``   requirements of pyproject.toml, with those of the extra, that this environment does not meet
``installed``       whether speechssl itself is installed here, in editable mode, from this checkout
``damaged``         installed packages with missing or truncated files, as an interrupted installation leaves them
``unloadable``      compiled packages that cannot be imported, with the reason
``fetch-pip DIR``   downloads pip's wheel, for a Python that comes without pip and ensurepip

The first four print one finding per line and exit with 1 if there are any.
"""

import argparse
import hashlib
import html
import importlib
import importlib.metadata as metadata
import json
import os
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMPILED = ("numpy", "torch", "torchaudio", "soundfile", "soxr", "librosa", "matplotlib")


def first_importable(*names: str) -> ModuleType:
    """The first of several modules that this Python has. Raises ImportError if it has none."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(f"none of the modules {', '.join(names)}")


def find_missing(extra: str) -> Iterator[str]:
    """Unmet requirements of pyproject.toml, followed through the packages that are there."""
    toml = first_importable("tomllib", "tomli", "pip._vendor.tomli")
    requirements = first_importable("packaging.requirements", "pip._vendor.packaging.requirements")
    project = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated: dict[str, list[str]] = {"": project["dependencies"], **project["optional-dependencies"]}

    def read(texts: list[str] | None, extras: Iterable[str] = ()) -> list[Any]:
        """Of the requirements written in ``texts``, those that hold on this machine for the extras asked."""
        written = [requirements.Requirement(text) for text in texts or []]
        return [r for r in written if not r.marker or any(r.marker.evaluate({"extra": e}) for e in ("", *extras))]

    pending = [(requirement, "") for group in ("", extra) for requirement in read(stated[group])]
    seen: set[str] = set()
    while pending:
        requirement, wanted_by = pending.pop(0)
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        if requirement.name == project["name"]:
            pending += [(needed, "") for name in sorted(requirement.extras) for needed in read(stated[name])]
            continue
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement}{wanted_by}: not installed"
            continue
        if not requirement.specifier.contains(distribution.version, prereleases=True):
            yield f"{requirement}{wanted_by}: version {distribution.version} is installed"
        needs = read(distribution.requires, requirement.extras)
        pending += [(needed, f" for {requirement.name}") for needed in needs]


def find_not_installed() -> Iterator[str]:
    """One line if speechssl is not installed in editable mode from this checkout."""
    try:
        origin = json.loads(metadata.distribution("speechssl").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:
        origin = {}
    if origin.get("url") != ROOT.as_uri() or not origin.get("dir_info", {}).get("editable"):
        yield f"speechssl is not installed from {ROOT}"


def find_damaged() -> Iterator[str]:
    """Packages of this environment of which a file is missing or shorter than was recorded.

    A longer one was changed on purpose: people add their network's certificates to certifi's.
    """
    for distribution in metadata.distributions():
        if not Path(str(distribution.locate_file(""))).is_relative_to(sys.prefix):
            continue
        name = distribution.metadata["Name"]
        if name is None or distribution.files is None:
            yield f"{name or distribution.locate_file('')}: no record of its files"
            continue
        for file in distribution.files:
            path = Path(str(file.locate()))
            if file.suffix == ".pyc":
                continue
            if not path.exists() or path.stat().st_size < (file.size or 0):
                yield f"{name} {distribution.version}: {file}"
                break


def find_unloadable() -> Iterator[str]:
    """Compiled packages whose import fails, for example for want of a system library."""
    for name in COMPILED:
        try:
            importlib.import_module(name)
        except Exception as error:
            yield f"{name}: {error}"


def fetch_pip(folder: Path) -> Path:
    """Downloads the newest wheel of pip that suits this Python from the package index, checking its hash."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    with urllib.request.urlopen(index, timeout=60) as response:
        page, base = response.read().decode("utf-8"), response.geturl()
    wheels: dict[tuple[int, ...], str] = {}
    for attributes in re.findall(r"<a\s([^>]*)>", page):
        link = re.search(r'href="([^"]*/pip-([0-9.]+)-py3-none-any\.whl#sha256=[0-9a-f]+)"', attributes)
        oldest = re.search(r'data-requires-python="\s*>=\s*3\.(\d+)', html.unescape(attributes))
        if link and "data-yanked" not in attributes and sys.version_info[1] >= int(oldest[1] if oldest else 0):
            wheels[tuple(map(int, link[2].split(".")))] = urllib.parse.urljoin(base, html.unescape(link[1]))
    if not wheels:
        raise OSError(f"{index} lists no wheel of pip for Python {sys.version_info[0]}.{sys.version_info[1]}")
    address, _, digest = wheels[max(wheels)].partition("#sha256=")
    with urllib.request.urlopen(address, timeout=60) as response:
        content = response.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise OSError(f"{address} arrived damaged")
    wheel = folder / address.rsplit("/", 1)[1]
    wheel.write_bytes(content)
    return wheel


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    questions = parser.add_subparsers(dest="question", required=True)
    questions.add_parser("missing").add_argument("extra")
    for question in ("installed", "damaged", "unloadable"):
        questions.add_parser(question)
    questions.add_parser("fetch-pip").add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        match arguments.question:
            case "missing":
                findings = list(find_missing(arguments.extra))
            case "installed":
                findings = list(find_not_installed())
            case "damaged":
                findings = list(find_damaged())
            case "unloadable":
                findings = list(find_unloadable())
            case _:
                print(fetch_pip(arguments.folder))
                return 0
    except (ImportError, OSError) as error:
        findings = [str(error)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
