"""Self-supervised speech representations: pretrain on audio, fine-tune on few transcripts, know what it bought."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechssl.embedder import load_encoder
    from speechssl.recogniser import load_recogniser

__all__ = ["__version__", "load_encoder", "load_recogniser"]
__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> Any:
    """What takes PyTorch is imported when it is asked for: the command line answers without it."""
    if name == "load_encoder":
        from speechssl.embedder import load_encoder

        return load_encoder
    if name == "load_recogniser":
        from speechssl.recogniser import load_recogniser

        return load_recogniser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
