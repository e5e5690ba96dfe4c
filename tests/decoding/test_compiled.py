"""Compiled loops are those of the sources."""

from pathlib import Path

import pytest

from speechssl.decoding import compiled


def test_what_is_kept_belongs_to_the_sources_of_all_that_is_called(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text("from callee import f")
    (tmp_path / "callee.py").write_text("def f(): return 1")
    before = compiled.sources_digest(tmp_path)
    (tmp_path / "callee.py").write_text("def f(): return 2")
    assert compiled.sources_digest(tmp_path) != before
    if not compiled.is_compiled:
        pytest.skip("numba is not installed")
    from speechssl.decoding.prefix_search import advance

    assert compiled.sources_digest(Path(compiled.__file__).parent) in advance.stats.cache_path
