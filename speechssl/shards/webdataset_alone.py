"""What is used of webdataset, without what webdataset imports besides.

The package imports PyTorch, which neither a list of names nor a tar has a use for: 2 s and 200 MB in every process. Its
modules are loaded from the package's files under a name of their own instead, beside an empty module in place of the
one that imports PyTorch.
"""

import importlib
import importlib.util
import re
import sys
from functools import lru_cache
from types import ModuleType
from typing import Any

_ALONE = "_webdataset_alone"
_RESERVED = re.compile(r"__[^/]*__($|/)")


def split_name(name: str) -> tuple[str | None, str]:
    """Key and suffix, in lower case, of a member: its name up to and from the first dot of its last part.

    By the function of webdataset's readers. The key is None for what they pass over: a name without a dot.
    """
    key, suffix = _module("tariterators").base_plus_ext(name)
    return (None, "") if key is None else (key, suffix.lower())


def is_reserved(name: str) -> bool:
    """Whether a name is hidden (``._a.wav`` of macOS), or one that webdataset keeps for itself (``__meta__/info``)."""
    return name.rpartition("/")[2].startswith(".") or _RESERVED.match(name) is not None


def tar_writer_class() -> Any:
    """The class ``webdataset.writer.TarWriter``."""
    return _module("writer").TarWriter


@lru_cache(maxsize=2)
def _module(name: str) -> Any:
    package = importlib.util.find_spec("webdataset")
    if "webdataset" in sys.modules or package is None or package.submodule_search_locations is None:
        return importlib.import_module(f"webdataset.{name}")  # is there, or says itself why it is not
    if _ALONE not in sys.modules:
        alone, without_torch = ModuleType(_ALONE), ModuleType(f"{_ALONE}.pytorch")
        alone.__path__ = list(package.submodule_search_locations)
        without_torch.TorchTensor = without_torch.DataLoader = without_torch.IterableDataset = object  # type: ignore[attr-defined]
        sys.modules.update({_ALONE: alone, without_torch.__name__: without_torch})
    return importlib.import_module(f"{_ALONE}.{name}")
