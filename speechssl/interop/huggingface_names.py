"""Tensors of Hugging Face's files that their own code knows under another name, or passes over."""

from collections.abc import Mapping

from torch import Tensor

from speechssl.interop.naming import HUGGINGFACE
from speechssl.training.checkpoints import CheckpointKind

FORMER_NAMES = {"mask_time_emb_vector": HUGGINGFACE.mask_embedding}
"""In an encoder: what the first versions of transformers called a tensor (facebook/wav2vec2-base-100h has it so)."""
PASSED_OVER = ("position_ids",)
"""Last parts of names of buffers that transformers no longer keeps."""
HEADS: dict[CheckpointKind, tuple[str, ...]] = {
    "pretrain": ("quantizer", "project_hid", "project_q"),
    "ctc": ("lm_head",),
    # Classifiers of utterances, frames and speakers.
    "encoder": ("projector", "classifier", "layer_weights", "tdnn", "feature_extractor", "objective"),
}
"""Modules beside an encoder, by the kind of model that has them; of classifiers the encoder alone is taken."""


def settled(theirs: Mapping[str, Tensor], prefix: str, kind: CheckpointKind, notes: list[str]) -> dict[str, Tensor]:
    """Tensors under their present names, without those of other heads.

    Args:
        theirs: all tensors of a file.
        prefix: of the encoder's; without one, none is beside it.
        kind: of the model that is wanted.
        notes: what a person should know is added to it.
    """
    heads = {name for other, names in HEADS.items() if other != kind or other == "encoder" for name in names}
    kept: dict[str, Tensor] = {}
    others: set[str] = set()
    for name, value in theirs.items():
        is_inner = name.startswith(prefix)
        present = prefix + FORMER_NAMES.get(name.removeprefix(prefix), name.removeprefix(prefix)) if is_inner else name
        module = name.partition(".")[0]
        if name.rpartition(".")[2] in PASSED_OVER or (present != name and present in theirs):
            notes.append(f"{name}: transformers passes it over, and so does this")
        elif not is_inner and module in heads:
            others.add(module)
        else:
            kept[present] = value
            if present != name:
                notes.append(f"{name}: a former name of {present}")
    if others:
        notes.append(f"{', '.join(sorted(others))}: heads of other tasks, left out")
    return kept
