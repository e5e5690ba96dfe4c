"""Plain text for language models: one sentence per line."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from speechssl.errors import DataError

Unit = Literal["words", "characters"]


def split_sentences(lines: Iterable[str], write: Callable[[str], str], unit: Unit) -> Iterator[list[str]]:
    """The words, or the characters without spaces, of each line that has some, once it is written as it should be."""
    for line in lines:
        words = write(line).split()
        if words:
            yield words if unit == "words" else list("".join(words))


def read_lines(path: Path) -> list[str]:
    """Lines of a text file, compressed or not.

    Raises:
        DataError: it cannot be read, is no text in UTF-8, or is a table.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}", f"no text in UTF-8 (byte {error.start})", "save it as UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}", f"damaged compression ({error})", "fetch or make it again") from error
    except OSError as error:
        raise DataError(f"{path}", f"cannot be read ({error.strerror or error})") from error
    if sum("\t" in line for line in lines) > len(lines) / 2:
        raise DataError(
            f"{path}", "a table, as its tabs say, expected one sentence per line", "give its column of text alone"
        )
    return lines
