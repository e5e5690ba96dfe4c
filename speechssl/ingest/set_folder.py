"""The folder of a set of shards: whether it may become one, what is in it until it is finished, whether it is whole."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.errors import ConfigError, DataError
from speechssl.shards.index import file_sha256, index_path, read_index
from speechssl.shards.listing import REPORT_FILE, UNFINISHED

MARK_FILE = "mark"
# Of a folder that is not known; what is no source shows its audio sooner.
_MOST_FILES = 10_000
_FORGOTTEN = "the folder for the shards comes last, after the sources: speechssl shard SOURCE ... OUTPUT"


def check_output(output: Path, sources: Sequence[str]) -> None:
    """Refuse what cannot become a folder of shards, before any work; most often the output was forgotten.

    Raises:
        ConfigError: it is a file or in one, cannot be written, is a source, or holds recordings as a source does.
    """
    if os.path.lexists(output) and not output.is_dir():
        raise ConfigError(f"output: {output} is a file, expected a folder; {_FORGOTTEN}")
    if any(os.path.realpath(source) == os.path.realpath(output) for source in sources):
        raise ConfigError(f"output: {output} is one of the sources; {_FORGOTTEN}")
    if (output / REPORT_FILE).is_file() or (output / UNFINISHED).is_dir():
        return
    above = next(path for path in (output, *output.absolute().parents) if os.path.lexists(path))
    if not above.is_dir():
        raise ConfigError(f"output: {output} cannot be made, {above} is a file; choose another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"output: {above} may not be written to; choose another folder, or see to its permissions")
    audio = next((path for path in _files_in(output) if path.suffix.lower() in AUDIO_SUFFIXES), None)
    if audio is not None:
        raise ConfigError(f"output: {output} holds recordings ({audio.relative_to(output)}); {_FORGOTTEN}")


def _files_in(folder: Path) -> Iterator[Path]:
    """The first files in a folder and below, in any order."""
    num_files = 0
    for top, _, names in os.walk(folder):
        for name in names:
            yield Path(top, name)
        num_files += len(names)
        if num_files > _MOST_FILES:
            return


def prepare_folder(output: Path, mark: str) -> Path:
    """Make the folder and the one in it for what is unfinished; begin anew if that is of another set.

    Raises:
        DataError: shards that no unfinished set explains are there, or the folder cannot be made.
    """
    work = output / UNFINISHED
    mark_file = work / MARK_FILE
    try:
        if mark_file.is_file() and mark_file.read_text() == mark:
            return work
        strangers = (
            [] if mark_file.is_file() else [path for path in output.rglob("*.tar") if not path.name.startswith(".")]
        )
        if strangers:
            raise DataError(
                f"{output}: holds shards that this command did not make ({strangers[0].name}); delete the folder or "
                "choose another one"
            )
        clear(output)
        work.mkdir(parents=True)
        mark_file.write_text(mark)
    except OSError as error:
        raise DataError(f"{output}: cannot be made ({error.strerror})") from error
    return work


def clear(output: Path) -> None:
    """Delete what an unfinished set of something else has left."""
    work = output / UNFINISHED
    for path in work.rglob("*.outcome.json"):
        shard = output / path.relative_to(work).with_name(path.name.replace(".outcome.json", ".tar"))
        shard.unlink(missing_ok=True)
        index_path(shard).unlink(missing_ok=True)
    for path in output.rglob(".partial_*"):
        path.unlink()
    shutil.rmtree(work, ignore_errors=True)


def is_whole(output: Path, shards: Sequence[str]) -> bool:
    """Whether every shard is there and has the checksum in its index."""
    try:
        return all(read_index(output / name).sha256 == file_sha256(output / name) for name in shards)
    except (DataError, OSError):
        return False


def finish(output: Path) -> None:
    """Remove what only an unfinished set needs; the report is there."""
    shutil.rmtree(output / UNFINISHED, ignore_errors=True)
