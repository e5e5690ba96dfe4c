"""Modules built as fairseq's source builds them, so that their state dicts have its names, and its checkpoints."""

import argparse
import collections
import io
import pickle
import sys
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"
SYMBOLS = ["<s>", "<pad>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
SMALL: dict[str, Any] = {
    "extractor_mode": "default", "encoder_layers": 3, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 4, "activation_fn": "gelu", "layer_norm_first": False, "conv_bias": False,
    "conv_feature_layers": CONVOLUTIONS, "conv_pos": 16, "conv_pos_groups": 4, "final_dim": 10, "latent_vars": 7,
    "latent_groups": 2, "latent_dim": 12, "latent_temp": [2.0, 0.5, 0.999995], "logit_temp": 0.1,
    "quantize_targets": True, "quantize_input": False, "target_glu": False, "num_negatives": 6,
    "cross_sample_negatives": 0, "codebook_negatives": 0, "negatives_from_everywhere": False, "mask_prob": 0.65,
    "mask_length": 10, "mask_channel_prob": 0.0, "mask_channel_length": 64, "feature_grad_mult": 0.1,
}  # fmt: skip
LARGE: dict[str, Any] = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}


class TransposeLast(nn.Module):
    pass


def convolution(inputs: int, channels: int, kernel: int, stride: int, *, mode: str, bias: bool, first: bool) -> Any:
    conv = nn.Conv1d(inputs, channels, kernel, stride=stride, bias=bias)
    if mode == "layer_norm":
        norm = nn.Sequential(TransposeLast(), nn.LayerNorm(channels), TransposeLast())
        return nn.Sequential(conv, nn.Dropout(), norm, nn.GELU())
    if first:
        return nn.Sequential(conv, nn.Dropout(), nn.GroupNorm(channels, channels), nn.GELU())
    return nn.Sequential(conv, nn.Dropout(), nn.GELU())


class FeatureExtractor(nn.Module):
    def __init__(self, mode: str, *, bias: bool) -> None:
        super().__init__()
        sizes = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]
        inputs = [1, *(channels for channels, _, _ in sizes)]
        self.conv_layers = nn.ModuleList(
            convolution(inputs[i], *size, mode=mode, bias=bias, first=i == 0) for i, size in enumerate(sizes)
        )


class Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.k_proj, self.v_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.q_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)


class GatedAttention(Attention):
    """WavLM's, from Microsoft's code: the first block has the distances of all."""

    def __init__(self, dim: int, heads: int, buckets: int) -> None:
        super().__init__(dim)
        if buckets:
            self.relative_attention_bias = nn.Embedding(buckets, heads)
        self.grep_linear = nn.Linear(dim // heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))


class Layer(nn.Module):
    def __init__(self, dim: int, ffn_dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.self_attn = attention
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)


def positions(dim: int, kernel: int, groups: int, depth: int) -> nn.Module:
    """One convolution with weight norm, or data2vec's several, of which each has its share of the kernel."""
    if depth > 1:
        size = max(3, kernel // depth)
        convs = [nn.Conv1d(dim, dim, size, padding=size // 2, groups=groups) for _ in range(depth)]
        return nn.Sequential(*(nn.Sequential(conv, nn.Identity(), nn.GELU()) for conv in convs))
    conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the deprecated one has the names of fairseq's files
        conv = nn.utils.weight_norm(conv, name="weight", dim=2)
    return nn.Sequential(conv, nn.Identity(), nn.GELU())


def attention(args: dict[str, Any], *, first: bool) -> nn.Module:
    dim = args["encoder_embed_dim"]
    if not args.get("relative_position_embedding"):
        return Attention(dim)
    return GatedAttention(dim, args["encoder_attention_heads"], args["num_buckets"] if first else 0)


class TransformerEncoder(nn.Module):
    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__()
        dim = args["encoder_embed_dim"]
        self.pos_conv = positions(dim, args["conv_pos"], args["conv_pos_groups"], args.get("pos_conv_depth", 1))
        self.layers = nn.ModuleList(
            Layer(dim, args["encoder_ffn_embed_dim"], attention(args, first=i == 0))
            for i in range(args["encoder_layers"])
        )
        self.layer_norm = nn.LayerNorm(dim)


class Quantizer(nn.Module):
    def __init__(self, inputs: int, args: dict[str, Any]) -> None:
        super().__init__()
        entries = args["latent_groups"] * args["latent_vars"]
        self.vars = nn.Parameter(torch.rand(1, entries, args["latent_dim"] // args["latent_groups"]))
        self.weight_proj = nn.Linear(inputs, entries)


class Wav2Vec2(nn.Module):
    """``task``: "wav2vec2", "hubert" and "data2vec" with their pretext tasks, or "" without."""

    def __init__(self, args: dict[str, Any], task: str) -> None:
        super().__init__()
        dim = args["encoder_embed_dim"]
        self.mask_emb = nn.Parameter(torch.rand(dim))
        self.feature_extractor = FeatureExtractor(args["extractor_mode"], bias=args["conv_bias"])
        self.post_extract_proj = nn.Linear(16, dim)
        self.encoder = TransformerEncoder(args)
        self.layer_norm = nn.LayerNorm(16)
        if task == "wav2vec2":
            self.quantizer = Quantizer(16, args)
            self.project_q = nn.Linear(args["latent_dim"], args["final_dim"])
        if task == "hubert":
            self.label_embs_concat = nn.Parameter(torch.rand(20, args["final_dim"]))
        if task:
            self.final_proj = nn.Linear(dim, args["final_dim"])


class FineTuned(nn.Module):
    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__()
        self.w2v_encoder = nn.Module()
        self.w2v_encoder.w2v_model = Wav2Vec2(args, "")
        self.w2v_encoder.proj = nn.Linear(args["encoder_embed_dim"], len(SYMBOLS))


def random_state(module: nn.Module) -> dict[str, Tensor]:
    """A state dict in which norms and biases are not what they begin as."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in module.state_dict().items()
    }


def make_class(monkeypatch: Any, path: str) -> type:
    """A class that pickles under a name of a package that is not installed."""
    module, _, name = path.rpartition(".")
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        package = ".".join(parts[:i])
        if package not in sys.modules:
            monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    if not hasattr(sys.modules[module], name):
        made = type(name, (), {"__module__": module, "__qualname__": name})
        monkeypatch.setattr(sys.modules[module], name, made, raising=False)
    found: type = getattr(sys.modules[module], name)
    return found


def dictionary(monkeypatch: Any, symbols: list[str]) -> Any:
    """A fairseq dictionary of symbols."""
    made = make_class(monkeypatch, "fairseq.data.dictionary.Dictionary")()
    made.symbols, made.indices = symbols, {symbol: i for i, symbol in enumerate(symbols)}
    return made


def namespace(**values: Any) -> argparse.Namespace:
    return argparse.Namespace(**values)


def save(path: Path, content: Any, *, old: bool = False) -> Path:
    """As torch.save writes it now, or as it did before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


class Trap:
    """What a hostile pickle holds: a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def plain_pickle(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def archive_of(path: Path, code: bytes, **parts: bytes) -> Path:
    """An archive with a pickle of one's own, and storages by key."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", code)
        for name, content in parts.items():
            archive.writestr(f"model/data/{name}", content)
    return path


class Stored:
    """What pickles as a storage called s."""

    def __init__(self, size: int) -> None:
        self.identity = ("storage", torch.FloatStorage, "s", "cpu", size)


class StoragePickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, Stored) else None


def code_of(
    *, size: int = 4, shape: tuple[int, ...] = (2, 2), stride: tuple[int, ...] = (2, 1), offset: int = 0
) -> bytes:
    """A pickle of {"a": tensor} over a storage called s."""
    buffer = io.BytesIO()
    arguments: tuple[Any, ...] = (Stored(size), offset, shape, stride, False, collections.OrderedDict())
    StoragePickler(buffer, protocol=2).dump({"a": Trap(torch._utils._rebuild_tensor_v2, *arguments)})
    return buffer.getvalue()
