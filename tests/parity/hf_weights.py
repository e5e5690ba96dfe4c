"""Weights of Hugging Face's models under speechssl's names, for tests that have both in memory."""

from collections.abc import Mapping

from torch import Tensor

from speechssl.config import ContrastiveConfig, ModelConfig, QuantizerConfig
from speechssl.interop import naming, tensors
from speechssl.interop.huggingface import PREFIXES
from speechssl.interop.imported import Architecture, Family
from speechssl.interop.naming import HUGGINGFACE, Pair, model_pairs
from speechssl.text.vocabulary import Vocabulary


def encoder_pairs(config: ModelConfig) -> list[Pair]:
    """Every tensor of ``Encoder`` with its names in ``Wav2Vec2Model`` or the family's equivalent."""
    return naming.encoder_pairs(config, HUGGINGFACE)


def pretraining_pairs(config: ModelConfig, quantizer: QuantizerConfig) -> list[Pair]:
    """Every tensor of ``ContrastiveModel`` with its names in ``Wav2Vec2ForPreTraining``."""
    architecture = Architecture("pretrain", "wav2vec2", config, ContrastiveConfig(quantizer=quantizer))
    return model_pairs(architecture, HUGGINGFACE, PREFIXES["wav2vec2"])


def ctc_pairs(config: ModelConfig, family: Family) -> list[Pair]:
    """Every tensor of ``CtcModel`` with a linear head, and its names in the family's ``Wav2Vec2ForCTC``."""
    architecture = Architecture("ctc", family, config, vocabulary=Vocabulary.of_characters("A"))
    return model_pairs(architecture, HUGGINGFACE, PREFIXES[family])


def to_ours(pairs: list[Pair], theirs: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors under our names, in the shapes of ``like``."""
    return tensors.to_ours(pairs, theirs, {name: value.shape for name, value in like.items()}, source="theirs")
