"""Speed of greedy decoding, beside the decoder of Hugging Face's tokenizer on the same scores.

python tools/bench_decode.py                        greedy decoding of random scores with runs of blanks
python tools/bench_decode.py --peer huggingface     the same in turns with transformers
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from bench_data import alternate
from torch import Tensor

from speechssl.config import ModelConfig
from speechssl.decoding.decoder import emissions
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.interop.huggingface_config import describe
from speechssl.interop.imported import Architecture
from speechssl.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_characters("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
FRAMES_PER_SECOND = 50


def scores(batch: int, seconds: float) -> Tensor:
    """Scores (B, T, labels) with about 14 letters a second between blanks."""
    generator = torch.Generator().manual_seed(0)
    frames = round(seconds * FRAMES_PER_SECOND)
    logits = torch.randn(batch, frames, len(VOCABULARY), generator=generator)
    letters = torch.randint(1, len(VOCABULARY), (batch, frames), generator=generator)
    spoken = torch.rand(batch, frames, generator=generator) < 14 / FRAMES_PER_SECOND
    best = torch.where(spoken, letters, 0)
    return logits.scatter(2, best[:, :, None], 9.0)


def their_decoder() -> Callable[[Tensor], list[str]]:
    """Hugging Face's tokenizer with our labels."""
    from transformers import Wav2Vec2CTCTokenizer

    with tempfile.TemporaryDirectory() as name:
        files = describe(Architecture("ctc", "wav2vec2", ModelConfig(), None, VOCABULARY))
        for file in ("vocab.json", "tokenizer_config.json"):
            (Path(name) / file).write_text(json.dumps(files[file]), encoding="utf-8")
        tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(name)
    return lambda logits: [" ".join(text.split()) for text in tokenizer.batch_decode(logits.argmax(-1))]


def main() -> None:
    """Decode in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="utterances")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each")
    parser.add_argument("--peer", choices=["huggingface"], help="run this one in turns with ours")
    arguments = parser.parse_args()
    logits = scores(arguments.batch, arguments.seconds)
    frames = torch.full((len(logits),), logits.shape[1])
    decoder = GreedyDecoder(VOCABULARY)
    decoders: dict[str, Callable[[Tensor], list[str]]] = {
        "speechssl": lambda x: [hypothesis.text for hypothesis in decoder.decode(emissions(x), frames)]
    }
    if arguments.peer:
        decoders["huggingface"] = their_decoder()
    texts = {name: decode(logits) for name, decode in decoders.items()}
    if arguments.peer:
        same = sum(a == b for a, b in zip(*texts.values(), strict=True))
        print(f"{same} of {len(logits)} transcripts are the same")

    def timed(decode: Callable[[Tensor], list[str]]) -> Callable[[], float]:
        def contender() -> float:
            decode(logits)
            return arguments.batch * float(arguments.seconds)

        return contender

    alternate({name: timed(decode) for name, decode in decoders.items()}, rounds=9)


if __name__ == "__main__":
    main()
