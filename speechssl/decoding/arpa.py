"""ARPA files, which every toolkit for n-gram models reads and writes (``ngram-format`` of SRILM's manual)."""

import gzip
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from speechssl.decoding.ngrams import BEGIN, END, UNKNOWN, NgramModel, NgramOrder, find_rows
from speechssl.errors import DataError
from speechssl.files import written_whole

_LN_10 = math.log(10)
_NEVER = -99.0
"""Logarithm that stands for a probability of zero."""
_OF_SHARDS = "# speechssl: transcripts of shards "
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
_MAX_ORDER = 20
_REMEDY = "make the language model again, with `speechssl lm` or KenLM's lmplz"


def write_arpa(model: NgramModel, path: Path, *, shards: Sequence[str] = ()) -> None:
    """Write a model as ARPA, compressed if the name ends in .gz; whole or not at all.

    Args:
        model: a model.
        path: of the file.
        shards: digests of the sets whose transcripts it is of, for ``shards_of``; they stand in comments before the
            model, as KenLM takes them.
    """
    with written_whole(path) as partial, _opened(partial, "wt", is_compressed=path.suffix == ".gz") as file:
        file.writelines(f"{_OF_SHARDS}{digest}\n" for digest in shards)
        file.write("\\data\\\n")
        file.writelines(f"ngram {number}={len(table)}\n" for number, table in enumerate(model.orders, 1))
        for number, (table, texts) in enumerate(zip(model.orders, model.texts(), strict=True), 1):
            file.write(f"\n\\{number}-grams:\n")
            probs = np.maximum(table.log_prob / _LN_10, _NEVER).tolist()
            weights = (table.backoff / _LN_10).tolist()
            if number == model.order:
                file.writelines(f"{prob:.7f}\t{text}\n" for prob, text in zip(probs, texts, strict=True))
            else:
                rows = zip(probs, texts, weights, strict=True)
                file.writelines(f"{prob:.7f}\t{text}\t{weight:.7f}\n" for prob, text, weight in rows)
        file.write("\n\\end\\\n")


def is_arpa(path: Path) -> bool:
    """Whether a file begins as ARPA language models do."""
    with _bytes_of(path) as file:
        return _after_comments(file, []).lstrip().startswith(b"\\data\\")


def shards_of(path: Path) -> set[str]:
    """Digests of the sets whose transcripts a model of ours is of; none of others' models.

    Raises:
        DataError: it cannot be read.
    """
    comments: list[bytes] = []
    with _told(path), _bytes_of(path) as file:
        _after_comments(file, comments)
    lines = [line.decode(errors="replace").strip() for line in comments]
    return {line.removeprefix(_OF_SHARDS) for line in lines if line.startswith(_OF_SHARDS)}


def _after_comments(file: IO[bytes], comments: list[bytes]) -> bytes:
    """The first line that is neither empty nor a comment, up to 1 KiB of it; comments are appended."""
    while line := file.readline(1024):
        if line.startswith(b"#"):
            comments.append(line)
        elif line.strip():
            break
    return line


@contextmanager
def _bytes_of(path: Path) -> Iterator[IO[bytes]]:
    """A file without its compression."""
    with path.open("rb") as raw:
        is_compressed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path) if is_compressed else path.open("rb") as file:
        yield file  # type: ignore[misc]


def read_arpa(path: Path) -> NgramModel:
    """Read a model; the unknown word is added with a probability of zero where there is none.

    Raises:
        DataError: missing, damaged, or no ARPA.
    """
    with _told(path), path.open("rb") as raw:
        head = raw.read(64)
    if head.startswith(b"mmap lm http://kheafield.com"):
        raise DataError(f"{path}", "a binary of KenLM's, expected ARPA", "give the ARPA file that it was made from")
    with _told(path), _opened(path, "rt", is_compressed=head.startswith(b"\x1f\x8b")) as file:
        return _Reader(path, file).read()


@contextmanager
def _opened(path: Path, mode: str, *, is_compressed: bool) -> Iterator[IO[str]]:
    if is_compressed:
        with gzip.open(path, mode, encoding="utf-8", newline="\n") as file:
            yield file  # type: ignore[misc]
    else:
        with path.open(mode, encoding="utf-8", newline="\n") as plain:
            yield plain


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}", f"damaged compression ({error})", "fetch or make it again") from error
    except OSError as error:
        raise DataError(f"{path}", f"cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}", "no text in UTF-8, expected an ARPA language model", _REMEDY) from error


class _Reader:
    """Reads one file, and knows in which line it is."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self.lines = enumerate(file, 1)
        self.number = 0
        self.words: list[str] = []
        self.numbers: dict[str, int] = {}

    def read(self) -> NgramModel:
        """The model."""
        if not any(line == "\\data\\" for line in self.filled()):
            raise DataError(f"{self.path}", "no line \\data\\, which ARPA language models begin with", _REMEDY)
        counts, line = self.read_counts()
        orders: list[NgramOrder] = []
        for order, count in enumerate(counts, 1):
            if line != f"\\{order}-grams:":
                raise self.fault(f"found {line[:60]!r}, expected \\{order}-grams:")
            rows, line = self.read_rows(order, count)
            orders.append(self.table(order, rows, orders))
        if line != "\\end\\":
            raise self.fault(f"found {line[:60]!r}, expected \\end\\")
        return NgramModel(self.words, orders)

    def filled(self) -> Iterator[str]:
        """Lines that are not empty, without white space around them."""
        for number, line in self.lines:
            self.number = number
            if text := line.strip():
                yield text

    def next(self) -> str:
        """The next line; empty at the end of the file."""
        return next(self.filled(), "")

    def fault(self, what: str) -> DataError:
        """What is wrong in the line that was read last."""
        return DataError(f"{self.path}, line {self.number}", what, _REMEDY)

    def read_counts(self) -> tuple[list[int], str]:
        """How many n-grams of each order follow, and the line behind."""
        counts: list[int] = []
        while found := _COUNT.fullmatch(line := self.next()):
            if int(found[1]) != len(counts) + 1 or len(counts) == _MAX_ORDER or len(found[2]) > 11:
                raise self.fault(f"found {line[:60]!r}, expected the number of {len(counts) + 1}-grams")
            counts.append(int(found[2]))
        if not counts:
            raise self.fault("no numbers of n-grams")
        while len(counts) > 1 and counts[-1] == 0:
            counts.pop()
        return counts, line

    def read_rows(self, order: int, count: int) -> tuple[tuple[list[int], list[float], list[float]], str]:
        """Words, logarithms and weights of an order's n-grams, and the line behind."""
        ids: list[int] = []
        probs: list[float] = []
        weights: list[float] = []
        for line in self.filled():
            if line.startswith("\\") and "\t" not in line:
                break
            fields = line.split()
            if not order < len(fields) < order + 3:
                raise self.fault(f"{len(fields)} fields, expected a number, {order} words and perhaps a weight")
            try:
                probs.append(float(fields[0]))
                weights.append(float(fields[order + 1]) if len(fields) > order + 1 else 0.0)
            except ValueError:
                raise self.fault(f"found {line[:60]!r}, expected numbers before and behind the words") from None
            if order == 1:
                self.add(fields[1])
            try:
                ids += [self.numbers[word] for word in fields[1 : order + 1]]
            except KeyError as error:
                raise self.fault(f"{error.args[0]!r} is not among the 1-grams") from None
        else:
            line = ""
        if len(probs) != count:
            raise self.fault(f"{len(probs)} {order}-grams, expected {count} as the file's head says; is it cut off?")
        return (ids, probs, weights), line

    def add(self, word: str) -> None:
        """Number another word."""
        if word in self.numbers:
            raise self.fault(f"{word!r} is there twice")
        self.numbers[word] = len(self.words)
        self.words.append(word)

    def table(
        self, order: int, rows: tuple[list[int], list[float], list[float]], lower: list[NgramOrder]
    ) -> NgramOrder:
        """The n-grams of an order, sorted."""
        probs, weights = np.array(rows[1]), np.array(rows[2])
        if not (np.isfinite(weights).all() and (probs <= 1e-4).all()):  # NaN is not below anything
            raise DataError(f"{self.path}", f"{order}-grams with a logarithm above 0 or no number", _REMEDY)
        log_prob = np.where(probs <= _NEVER, -np.inf, np.minimum(probs, 0) * _LN_10)
        if order == 1:
            return self.singles(log_prob, weights * _LN_10)
        ids = np.array(rows[0], np.int64).reshape(-1, order)
        prefix = ids[:, 0]
        for number in range(1, order - 1):
            prefix = find_rows(lower[number], prefix, ids[:, number], len(self.words))
        if (lost := np.flatnonzero(prefix < 0)).size:
            text = " ".join(self.words[i] for i in ids[lost[0]])
            raise DataError(f"{self.path}", f"{text!r} is there, but not what it begins with", _REMEDY)
        keys = prefix * len(self.words) + ids[:, -1]
        ranks = np.argsort(keys, kind="stable")
        if (np.diff(keys[ranks]) == 0).any():
            raise DataError(f"{self.path}", f"{order}-grams that are there twice", _REMEDY)
        return NgramOrder(prefix[ranks], ids[ranks, -1], log_prob[ranks], weights[ranks] * _LN_10)

    def singles(self, log_prob: np.ndarray, weights: np.ndarray) -> NgramOrder:
        """Single words, with those that a decoder asks for."""
        if missing := [word for word in (BEGIN, END) if word not in self.numbers]:
            raise DataError(f"{self.path}", f"no {' and no '.join(missing)} among the 1-grams", _REMEDY)
        if UNKNOWN not in self.numbers:
            self.add(UNKNOWN)
            log_prob, weights = np.append(log_prob, -np.inf), np.append(weights, 0.0)
        number = np.arange(len(self.words))
        return NgramOrder(np.zeros(len(number), np.int64), number, log_prob, weights)
