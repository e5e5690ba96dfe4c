"""Configurations that come with speechssl, found by name where a YAML file is expected."""

import difflib
from pathlib import Path

FOLDER = Path(__file__).parent / "conf"


def locate(name: str, folder: Path) -> Path | None:
    """The file that a name stands for: of that path, relative to a folder, or else one that comes with speechssl."""
    path = folder / name
    is_shipped = name in shipped_names()
    try:
        is_there = bool(name) and path.exists() and not (path.is_dir() and is_shipped)
    except OSError:  # a name that is too long, or a folder that may not be looked into
        is_there = False
    if is_there:
        return path
    return FOLDER / f"{name}.yaml" if is_shipped else None


def shipped_names(section: str | None = None) -> list[str]:
    """Names of those that hold the keys of a section, of a whole configuration (""), or (None) of all."""
    found = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
    if section is None:
        return found
    # Architectures are at the top, whole configurations in folders.
    return [name for name in found if section in ("", "model") and ("/" in name) == (section == "")]


def describe_missing(name: str, folder: Path, section: str) -> str:
    """What to say of a name that stands for nothing: what is most like it, and what there is."""
    path = folder / name
    text = f"there is no file {path}"
    try:
        beside = {other.stem: other for other in path.parent.iterdir() if other.suffix in (".yaml", ".yml")}
    except (OSError, ValueError):
        beside = {}
    if close := difflib.get_close_matches(path.stem, beside, n=1):
        text += f"; the nearest is {beside[close[0]]}"
    shipped = shipped_names(section)
    return f"{text}; by name there are {', '.join(shipped)}" if shipped else text
