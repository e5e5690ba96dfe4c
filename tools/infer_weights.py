"""Random weights of a recogniser in the form of everyone whom bench_infer.py times."""

from collections.abc import Collection
from pathlib import Path

import torch

from speechssl.config import DropoutConfig, FinetuneConfig, HeadConfig, ModelConfig
from speechssl.config.reading import to_dict
from speechssl.interop.huggingface import write_huggingface
from speechssl.interop.imported import Architecture
from speechssl.interop.onnx_models import MODEL_FILE, write_float
from speechssl.interop.portable import describe
from speechssl.interop.torchaudio_models import write_torchaudio
from speechssl.model.ctc import CtcModel
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import save_checkpoint

VOCABULARY = Vocabulary.of_characters("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")


def write_weights(folder: Path, config: ModelConfig, peers: Collection[str]) -> None:
    """Write ours and those of peers into folders of their names."""
    torch.manual_seed(0)
    model = CtcModel(config, DropoutConfig(), len(VOCABULARY), HeadConfig()).eval()
    save_checkpoint(
        folder / "ours",
        kind="ctc",
        update=1,
        config=to_dict(FinetuneConfig(model=config)),
        model_state=model.state_dict(),
        training_state={},
        vocabulary=VOCABULARY.to_dict(),
        metrics={},
    )
    architecture = Architecture("ctc", "wav2vec2", config, None, VOCABULARY)
    for peer in peers:
        (folder / peer).mkdir()
    if "huggingface" in peers:
        write_huggingface(folder / "huggingface", architecture, model.state_dict())
    if "torchaudio" in peers:
        write_torchaudio(folder / "torchaudio", architecture, model.state_dict())
    if "onnxruntime" in peers:  # without the int8 model and the proof of an export: the benchmark compares logits
        write_float(folder / "onnxruntime" / MODEL_FILE, architecture, model, describe(architecture, min_frames=1))
