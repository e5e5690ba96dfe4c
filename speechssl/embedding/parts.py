"""The folder of features: parts that are whole or not there, and a list of them once all are."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speechssl.errors import ConfigError
from speechssl.files import PARTIAL
from speechssl.outputs import write_json

LIST_FILE = "embedding.json"
UNFINISHED = ".unfinished"
"""Folder of what is known of the parts until all are there."""
MARK_FILE = "made_of.json"
_ELSEWHERE = "choose another folder, or delete it"


@dataclass(frozen=True)
class Part:
    """What one file holds."""

    name: str
    num_recordings: int
    num_frames: int
    """That the encoder gave, whether they were pooled or not."""
    seconds: float
    num_bytes: int
    """Of the file; 0 if it has nothing to hold, and is not there."""
    unread: dict[str, str] = field(default_factory=dict)
    """What could not be read, by key, and why: belongs here, and is not in the file."""

    @property
    def num_entries(self) -> int:
        """Recordings of the source that it stands for."""
        return self.num_recordings + len(self.unread)


class PartFolder:
    """A folder in which parts are added one after the other, to its end.

    Args:
        path: of the folder, which need not be there.
        made_of: all that decides what is in the parts; plain values.
        suffix: of the parts.

    Raises:
        ConfigError: features of something else are there, or parts that no list explains.
    """

    def __init__(self, path: Path, made_of: dict[str, Any], suffix: str) -> None:
        self.path = path
        self._made_of = made_of
        self._suffix = suffix
        self._work = path / UNFINISHED
        self.finished = _read(path / LIST_FILE)
        """Content of the list, if all parts are there; else None."""
        found = self.finished["made_of"] if self.finished else _read(self._work / MARK_FILE)
        if found is None:
            if stranger := next(self.path.glob("part-[0-9]*"), None):
                raise ConfigError(
                    f"output is {path}, where {stranger.name} is something that this command did not write; "
                    f"{_ELSEWHERE}"
                )
        elif found != made_of:
            names = [name for name in {**found, **made_of} if found.get(name) != made_of.get(name)]
            raise ConfigError(
                f"output is {path}, which holds features of other {', '.join(names).replace('_', ' ')}; {_ELSEWHERE}"
            )
        self.parts = self._whole_parts(self.finished)
        """Those that are there, in order."""

    def _whole_parts(self, finished: dict[str, Any] | None) -> list[Part]:
        if finished:
            parts = [Part(**part) for part in finished["parts"]]
            if missing := [part.name for part in parts if not self._is_there(part)]:
                raise ConfigError(
                    f"output is {self.path}, where {missing[0]} is missing or of another size than {LIST_FILE} says; "
                    "delete the folder, and give the command again"
                )
            return parts
        parts = []
        while (content := _read(self._record(len(parts)))) and self._is_there(Part(**content)):
            parts.append(Part(**content))
        return parts

    def _is_there(self, part: Part) -> bool:
        path = self.path / part.name
        return part.num_recordings == 0 or (path.is_file() and path.stat().st_size == part.num_bytes)

    def _record(self, number: int) -> Path:
        return self._work / f"part-{number:06d}.json"

    def begin(self) -> None:
        """Mark the folder as that of this set, before the first part of it; delete what is left of a half-made one."""
        write_json(self._work / MARK_FILE, self._made_of)
        for path in self.path.glob(f"{PARTIAL}part-*"):
            path.unlink()

    @property
    def next_path(self) -> Path:
        """Of the part that comes next."""
        return self.path / f"part-{len(self.parts):06d}{self._suffix}"

    def add(self, part: Part) -> None:
        """Take in the part that has been written to ``next_path``."""
        write_json(self._record(len(self.parts)), asdict(part))
        self.parts.append(part)

    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Write the list of all parts, with what else is to be known of them; returns its content."""
        unread = {key: reason for part in self.parts for key, reason in part.unread.items()}
        content = {
            "made_of": self._made_of,
            **about,
            "num_recordings": sum(part.num_recordings for part in self.parts),
            "num_frames": sum(part.num_frames for part in self.parts),
            "seconds": round(sum(part.seconds for part in self.parts), 6),
            "unread": unread,
            "parts": [asdict(part) for part in self.parts],
        }
        write_json(self.path / LIST_FILE, content)
        shutil.rmtree(self._work, ignore_errors=True)
        return content


def _read(path: Path) -> dict[str, Any] | None:
    """Content of a file that is written whole; None if it is not there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"output: {path} cannot be read ({error}); {_ELSEWHERE}") from error
    return content if isinstance(content, dict) else None
