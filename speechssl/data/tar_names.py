"""webdataset's rule for the names of members, without what webdataset imports besides.

Samples are grouped by the very function that its readers use. The package imports PyTorch, which a list of names has no
use for (2 s and 200 MB in every process), so the module with that function is loaded from the package's files under a
name of its own, beside an empty module in place of the one that imports PyTorch.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

_ALONE = "_webdataset_alone"
_RESERVED = re.compile(r"__[^/]*__($|/)")


def split_name(name: str) -> tuple[str | None, str]:
    """Key and suffix, in lower case, of a member: its name up to and from the first dot of its last part.

    The key is None for what webdataset's readers pass over: a name without a dot.
    """
    key, suffix = _base_plus_ext()(name)
    return (None, "") if key is None else (key, suffix.lower())


def is_reserved(name: str) -> bool:
    """Whether a name is hidden (``._a.wav`` of macOS), or one that webdataset keeps for itself (``__meta__/info``)."""
    return name.rpartition("/")[2].startswith(".") or _RESERVED.match(name) is not None


@lru_cache(maxsize=1)
def _base_plus_ext() -> Callable[[str], tuple[str | None, str]]:
    function: Any = _tariterators().base_plus_ext
    return function


def _tariterators() -> ModuleType:
    package = importlib.util.find_spec("webdataset")
    if "webdataset" in sys.modules or package is None or package.submodule_search_locations is None:
        return importlib.import_module("webdataset.tariterators")  # is there, or says itself why it is not
    if _ALONE not in sys.modules:
        alone = ModuleType(_ALONE)
        alone.__path__ = list(package.submodule_search_locations)
        sys.modules[_ALONE] = alone
    without_torch = ModuleType(f"{_ALONE}.pytorch")
    without_torch.TorchTensor = without_torch.DataLoader = without_torch.IterableDataset = object  # type: ignore[attr-defined]
    sys.modules.setdefault(without_torch.__name__, without_torch)
    return importlib.import_module(f"{_ALONE}.tariterators")
