"""Self-supervised speech representations: pretrain on audio, fine-tune on few transcripts, know what it bought."""

__version__ = "0.1.0.dev0"
