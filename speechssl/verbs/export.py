"""``speechssl export``: a checkpoint in a format that others load, if it computes the same there."""

from torch import Tensor

from speechssl.config import ContrastiveConfig, ExportConfig, HeadConfig, ModelConfig, PretrainConfig
from speechssl.config.limits import check
from speechssl.config.reading import from_dict
from speechssl.interop.huggingface import write_huggingface
from speechssl.interop.huggingface_config import check_expressible
from speechssl.interop.huggingface_reference import huggingface_reference
from speechssl.interop.imported import FAMILIES, Architecture
from speechssl.interop.model_card import model_card
from speechssl.interop.onnx_models import export_onnx
from speechssl.interop.proof import made_voice, prove
from speechssl.interop.whole_folder import check_new, new_folder
from speechssl.model.loading import load_weights
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import Checkpoint, load_checkpoint


def run(config: ExportConfig) -> None:
    """Write the model under a temporary name, prove it, and give it its name.

    Raises:
        ConfigError: the output cannot be made, or a package that is needed is not installed.
        CheckpointError: the output is there already, or there is no checkpoint, or one that the format cannot hold;
            nothing is left then.
    """
    check(config)
    check_new(config.output)
    checkpoint = load_checkpoint(config.checkpoint)
    architecture = architecture_of(checkpoint)
    if config.to == "huggingface":
        check_expressible(architecture)
    if checkpoint.kind != architecture.kind:
        name = checkpoint.config["objective"]["name"]
        print(f"note: the encoder alone is written, since other frameworks have no {name} of this kind")
    module, weights = architecture.build(), weights_of(checkpoint, architecture)
    load_weights(module, weights, source=checkpoint.path)
    with new_folder(config.output) as folder:
        if config.to == "onnx":
            export_onnx(folder, architecture, module, tolerance=config.tolerance, proof=config.proof)
        else:
            card = model_card(checkpoint, architecture, name=config.output.name, license=config.license)
            write_huggingface(folder, architecture, weights)
            (folder / "README.md").write_text(card, encoding="utf-8")
            if config.proof:
                voice = made_voice(architecture.model.sample_rate)
                prove(module, huggingface_reference(folder, architecture), voice, config.tolerance)
        if not config.proof:
            print("not proved (--proof false)")
    print(f"{config.output}: {', '.join(sorted(path.name for path in config.output.iterdir()))}")


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """What a checkpoint's model computes; of a pretext task that other frameworks do not have, its encoder alone."""
    sections, kind, objective = checkpoint.config, checkpoint.kind, None
    if kind == "pretrain":
        found = from_dict(PretrainConfig, {"objective": sections["objective"]}).objective
        kind, objective = ("pretrain", found) if isinstance(found, ContrastiveConfig) else ("encoder", None)
    return Architecture(
        kind,
        (checkpoint.origin or {}).get("family", FAMILIES[0]),
        from_dict(ModelConfig, sections["model"]),
        objective,
        Vocabulary.from_dict(checkpoint.vocabulary) if checkpoint.vocabulary is not None else None,
        from_dict(HeadConfig, sections.get("head", {})),
    )


def weights_of(checkpoint: Checkpoint, architecture: Architecture) -> dict[str, Tensor]:
    """The weights of a checkpoint that are of its architecture."""
    is_encoder = architecture.kind == "encoder"
    return {k: v for k, v in checkpoint.model_state.items() if not is_encoder or k.startswith("encoder.")}
