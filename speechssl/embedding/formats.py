"""A part of the features in a file: npz, Parquet, or a webdataset tar. The same features give the same bytes."""

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechssl.config import FeatureFormat
from speechssl.errors import InstallationError
from speechssl.shards.webdataset_alone import tar_writer_class

SUFFIXES: dict[FeatureFormat, str] = {"npz": ".npz", "parquet": ".parquet", "webdataset": ".tar"}


class Features(NamedTuple):
    """Those of a recording; what is not known of it is empty."""

    key: str
    layers: dict[str, np.ndarray]
    """By name: (T, D), or pooled (D,) or (2 D,)."""
    times: np.ndarray
    """Middle of what each frame hears, in seconds, float64 (T,)."""
    seconds: float
    text: str
    speaker: str
    language: str
    path: str

    @property
    def known(self) -> dict[str, str]:
        """What is known of it."""
        every = {name: getattr(self, name) for name in ("text", "speaker", "language", "path")}
        return {name: value for name, value in every.items() if value}


WritePart = Callable[[Path, Sequence[Features], bool], None]
"""Writes features to a path; the flag says whether they are pooled."""


def writer_of(form: FeatureFormat) -> WritePart:
    """The function that writes a format.

    Raises:
        InstallationError: it takes a package that is not there.
    """
    if form == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise InstallationError(
                "format is parquet, which takes the package pyarrow: "
                f"{sys.executable} -m pip install 'speechssl[parquet]'; or give --format npz"
            ) from error
    writers: dict[FeatureFormat, WritePart] = {
        "npz": write_npz,
        "parquet": write_parquet,
        "webdataset": write_tar,
    }
    return writers[form]


def write_npz(path: Path, features: Sequence[Features], is_pooled: bool) -> None:
    """Arrays that ``numpy.load`` gives by name.

    ``keys``, ``texts``, ``speakers``, ``languages``, ``paths`` and ``seconds`` have an item per recording, (N,). So has
    each layer if it is pooled, (N, D). Else it holds the frames of all recordings, (frames, D), as does ``times``,
    (frames,); those of recording ``i`` are ``bounds[i]`` to ``bounds[i + 1]``, (N + 1,).
    """
    arrays: dict[str, Any] = {
        "keys": np.array([item.key for item in features], dtype=np.str_),
        "seconds": np.array([item.seconds for item in features]),
    }
    for name in ("text", "speaker", "language", "path"):
        arrays[f"{name}s"] = np.array([getattr(item, name) for item in features], dtype=np.str_)
    if not is_pooled:
        arrays["bounds"] = np.cumsum([0, *(len(item.times) for item in features)])
        arrays["times"] = np.concatenate([item.times for item in features])
    join = np.stack if is_pooled else np.concatenate
    for name in features[0].layers:
        arrays[name] = join([item.layers[name] for item in features])
    with path.open("wb") as file:
        np.savez(file, **arrays)


def write_parquet(path: Path, features: Sequence[Features], is_pooled: bool) -> None:
    """A row per recording: key, what is known of it, and each layer as a list of D numbers, or of frames of D each."""
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, Any] = {"key": [item.key for item in features], "seconds": [item.seconds for item in features]}
    for name in ("text", "speaker", "language", "path"):
        columns[name] = pyarrow.array([getattr(item, name) or None for item in features], pyarrow.string())
    bounds = np.cumsum([0, *(len(item.times) for item in features)])
    if not is_pooled:
        times = pyarrow.array(np.concatenate([item.times for item in features]))
        columns["times"] = pyarrow.LargeListArray.from_arrays(bounds, times)
    for name, first in features[0].layers.items():
        numbers = np.concatenate([item.layers[name].ravel() for item in features])
        vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(numbers), first.shape[-1])
        columns[name] = vectors if is_pooled else pyarrow.LargeListArray.from_arrays(bounds, vectors)
    parquet.write_table(pyarrow.table(columns), path)


def write_tar(path: Path, features: Sequence[Features], is_pooled: bool) -> None:
    """Samples that webdataset reads: an array per layer, the frames' times, and JSON of what is known."""
    with path.open("wb") as file:
        tar = tar_writer_class()(file, user="speechssl", group="speechssl", mtime=0, encoder=False, format="PAX_FORMAT")
        for item in features:
            sample: dict[str, Any] = {"__key__": item.key}
            for name, layer in item.layers.items():
                sample[f"{name}.npy"] = npy_bytes(layer)
            if not is_pooled:
                sample["times.npy"] = npy_bytes(item.times)
            about = {"seconds": item.seconds, "num_frames": len(item.times), **item.known}
            sample["json"] = json.dumps(about, ensure_ascii=False, sort_keys=True).encode()
            tar.write(sample)
        tar.close()


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as a file of NumPy's."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
