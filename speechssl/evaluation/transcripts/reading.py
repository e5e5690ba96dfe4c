"""Read a file of transcripts in the format that its content has, or that was said."""

import gzip
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from speechssl.errors import DataError
from speechssl.evaluation.stored import HYPOTHESES_FILE
from speechssl.evaluation.transcripts.lines import COMMENT, looks_like_trn, read_text, read_trn
from speechssl.evaluation.transcripts.nist import looks_like_ctm, looks_like_stm, read_ctm, read_stm
from speechssl.evaluation.transcripts.records import looks_like_table, read_records, read_table
from speechssl.evaluation.transcripts.spoken import Format, Side, Transcripts
from speechssl.shards.transcripts import marked_encoding

_NUM_LINES = 200
"""By which a format is known."""


def read_transcripts(path: Path, side: Side, stated: Format | None = None) -> Transcripts:
    """Read one side of a score.

    Args:
        path: file, compressed by gzip or not; or folder of an evaluation.
        side: which text to take of files that hold both.
        stated: format; None to know it by the content.

    Raises:
        DataError: it is not there, no text in UTF-8, empty, in a format that cannot be told, or damaged.
    """
    path = path / HYPOTHESES_FILE if path.is_dir() else path
    lines = read_lines(path)
    content = [line for line in lines if line.strip() and not line.startswith(COMMENT)]
    if not content:
        raise DataError(str(path), "there is nothing in it", "expected a transcript for each utterance")
    match stated or recognise(path, content[:_NUM_LINES]):
        case "json":
            return read_records(path, lines, side)
        case "table":
            return read_table(path, lines, side)
        case "trn":
            return read_trn(path, lines)
        case "ctm":
            return read_ctm(path, lines)
        case "stm":
            return read_stm(path, lines)
        case "text":
            return read_text(path, lines)


def read_lines(path: Path) -> list[str]:
    """Lines of a text in UTF-8, or in UTF-16 or UTF-32 if a mark says so; their ends are as they were.

    Raises:
        DataError: it cannot be read, or is no such text.
    """
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    encoding = marked_encoding(data) or "utf-8"
    if b"\0" in data and encoding.startswith("utf-8"):
        raise DataError(
            str(path), "holds zero bytes: no text, or UTF-16 without a mark", "give a file of transcripts in UTF-8"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}",
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            "the file is in another encoding, or no text; convert it, for instance with iconv",
        ) from error
    # Not splitlines, which takes marks inside of a text for ends of lines.
    return [f"{line}\n" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def recognise(path: Path, lines: Sequence[str]) -> Format:
    """Format of lines that are neither empty nor comments.

    Raises:
        DataError: it could be two of them.
    """
    suffix = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    # An id in brackets at the end is the surest sign; NIST's alternatives begin as JSON does.
    if looks_like_trn(lines) and suffix not in ("ctm", "stm"):
        return "trn"
    if lines[0].lstrip()[:1] in ("{", "["):
        return "json"
    if looks_like_table(lines, f".{suffix}"):
        return "table"
    tests: dict[Format, Callable[[Sequence[str]], bool]] = {"ctm": looks_like_ctm, "stm": looks_like_stm}
    found = [name for name, fits in tests.items() if fits(lines)]
    if len(found) == 1:
        return found[0]
    if len(found) == 2:
        by_name = next((name for name in found if name == suffix), None)
        if by_name is None:
            raise DataError(
                str(path),
                "could be CTM or STM, by its numbers",
                "say which with --reference_format or --hypothesis_format",
            )
        return by_name
    by_suffix: dict[str, Format] = {"trn": "trn", "ctm": "ctm", "stm": "stm"}
    return by_suffix.get(suffix, "text")
