"""torchaudio's pipelines by name, with weights that torchaudio itself fetches and loads."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechssl.config.schema import nearest
from speechssl.errors import CheckpointError
from speechssl.installation import import_torchaudio
from speechssl.interop.imported import Architecture, Family, Imported
from speechssl.interop.labels import make_vocabulary
from speechssl.interop.tensors import first_line
from speechssl.interop.torchaudio_config import model_of_module
from speechssl.interop.torchaudio_models import imported_from
from speechssl.text.vocabulary import Vocabulary

SCHEME = "torchaudio:"


def is_bundle(path: Path) -> bool:
    """Whether a path is the name of a pipeline."""
    return str(path).startswith(SCHEME)


def read_bundle(name: str) -> Imported:
    """A pipeline of torchaudio's, which fetches and loads its weights.

    Args:
        name: ``torchaudio:NAME``.

    Raises:
        CheckpointError: no such pipeline, or its weights cannot be fetched.
    """
    bundle = find_bundle(name)
    module = load_bundle(bundle, name)
    model = model_of_module(
        inner_module(module),
        sample_rate=int(bundle.sample_rate),
        normalize_audio=bool(getattr(module, "normalize_waveform", False)),
    )
    vocabulary = bundle_vocabulary(bundle)
    family: Family = "wavlm" if model.context.relative_bias else "wav2vec2"
    if name.startswith(f"{SCHEME}HUBERT"):
        family = "hubert"
    architecture = Architecture("encoder" if vocabulary is None else "ctc", family, model, vocabulary=vocabulary)
    return imported_from(architecture, inner_module(module).state_dict(), Path(name))


def inner_module(module: Any) -> Any:
    """A model without what a pipeline wraps it in."""
    return getattr(module, "model", module)


def find_bundle(name: str) -> Any:
    """The pipeline that is called ``torchaudio:NAME``.

    Raises:
        CheckpointError: torchaudio has none of this name.
    """
    pipelines = import_torchaudio("torchaudio.pipelines")
    bundles = {key: value for key, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)}
    short = name.removeprefix(SCHEME)
    if short not in bundles:
        raise CheckpointError(
            f"{name}: torchaudio has no such pipeline; the nearest is {SCHEME}{nearest(short, bundles)} (all: "
            f"{', '.join(sorted(bundles))})"
        )
    return bundles[short]


def load_bundle(bundle: Any, name: str) -> Any:
    """The model of a pipeline, loaded by torchaudio's own code.

    Raises:
        CheckpointError: the weights cannot be fetched, or are damaged.
    """
    # Theirs would unpickle whatever the server sends.
    options: dict[str, Any] = {"dl_kwargs": {"weights_only": True, "progress": False, "map_location": "cpu"}}
    if hasattr(bundle, "get_aligner"):
        options["with_star"] = False  # an output that is no label
    try:
        return bundle.get_model(**options)
    except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{name}: its weights cannot be fetched or read ({first_line(error)}); it needs a connection the first "
            "time, after which torchaudio has them in its cache"
        ) from error


def bundle_vocabulary(bundle: Any) -> Vocabulary | None:
    """Labels of a pipeline that recognises speech; its first one is the blank."""
    if not hasattr(bundle, "get_labels"):
        return None
    labels: Sequence[str] = bundle.get_labels(star=None) if hasattr(bundle, "get_aligner") else bundle.get_labels()
    return make_vocabulary(labels)
