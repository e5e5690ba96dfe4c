"""A little language model, for all tests of decoding."""

from pathlib import Path

import pytest

from speechssl.decoding.arpa import write_arpa
from speechssl.decoding.kneser_ney import estimate, tokenize

SENTENCES = [["A"], ["AB", "A"], ["A", "AB"], ["BA", "A", "A"], ["AB"], ["A", "A"]]


@pytest.fixture(scope="session")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    write_arpa(estimate(tokenize(SENTENCES), 3).model, path)
    return path
