"""Audio files as they are given: by themselves, or by the folders that they are in."""

from collections.abc import Sequence
from pathlib import Path

from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.errors import ConfigError


def find_audio(sources: Sequence[Path]) -> list[Path]:
    """Files as given, folders by their audio files, in order of name.

    Raises:
        ConfigError: nothing was given, or a folder holds none.
    """
    paths: list[Path] = []
    for source in sources:
        if source.is_dir():
            found = sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
            if not found:
                raise ConfigError(f"{source}: no audio files here ({', '.join(sorted(AUDIO_SUFFIXES))})")
            paths += found
        else:
            paths.append(source)
    if not paths:
        raise ConfigError("no audio files were given")
    return paths
