"""webdataset's ``TarWriter``, without what webdataset imports besides.

The package imports PyTorch, which a tar has no use for: 2 s and 200 MB in every process that makes shards. Its writer
and the two modules that it needs are loaded under a name of their own instead, from the files of the same package.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_ALONE = "_webdataset_alone"


def tar_writer_class() -> Any:
    """The class ``webdataset.writer.TarWriter``."""
    package = importlib.util.find_spec("webdataset")
    if "webdataset" in sys.modules or package is None or package.submodule_search_locations is None:
        from webdataset.writer import TarWriter  # is there, or says itself why it is not

        return TarWriter
    if _ALONE not in sys.modules:
        alone = ModuleType(_ALONE)
        alone.__path__ = list(package.submodule_search_locations)
        sys.modules[_ALONE] = alone
    return importlib.import_module(f"{_ALONE}.writer").TarWriter
