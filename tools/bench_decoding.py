"""Speed and accuracy of beam search on emissions of a recogniser, beside other decoders, on one core.

python tools/bench_decoding.py RUN SHARDS LM.arpa                            ours, with narrower and wider beams
python tools/bench_decoding.py RUN SHARDS LM.arpa --peers pyctcdecode ...    in turns with others that are installed

Utterances are scored as they are, and timed joined to 10 s each, in seconds of the processor, which other work on the
machine disturbs less than those of the clock. All decoders get the same language model, weight and word score.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch

from speechssl.config import BeamConfig
from speechssl.data.corpus import read_corpus
from speechssl.decoding.arpa import read_arpa
from speechssl.decoding.beam import BeamDecoder, load_search_space
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.decoding.ngrams import BEGIN, END, UNKNOWN
from speechssl.evaluation.scoring import score
from speechssl.frames import hop_samples
from speechssl.recogniser import Recogniser, load_recogniser

Decode = Callable[[np.ndarray], str]
"""Emissions (T, labels) to a text."""

UNTIMED = "beam, 20 times as wide, hardly pruned"
"""What the others' error rates are compared with."""


def our_decoders(recogniser: Recogniser, config: BeamConfig) -> dict[str, Decode]:
    """Greedy decoding, and beam search with several widths."""
    space = load_search_space(config, recogniser.vocabulary)
    greedy = GreedyDecoder(recogniser.vocabulary)

    def beam(changed: BeamConfig) -> Decode:
        decoder = BeamDecoder(recogniser.vocabulary, changed, space)
        return lambda rows: decoder.best(torch.from_numpy(rows), 1)[0].hypothesis.text

    def best_path(rows: np.ndarray) -> str:
        return greedy.decode(torch.from_numpy(rows)[None], torch.tensor([len(rows)]))[0].text

    wide = replace(config, beam_width=20 * config.beam_width, beam_threshold=60.0, label_threshold=16.0)
    return {
        "beam, as shipped": beam(config),
        "beam, half as wide": beam(replace(config, beam_width=config.beam_width // 2)),
        UNTIMED: beam(wide),
        "greedy": best_path,
    }


def pyctcdecode(recogniser: Recogniser, config: BeamConfig, words: list[str], *, module: str = "pyctcdecode") -> Decode:
    """pyctcdecode, or what has its interface, with its own settings but for the weights (beam 100)."""
    texts = recogniser.vocabulary.spell(range(len(recogniser.vocabulary)))
    decoder: Any = __import__(module).build_ctcdecoder(
        texts, str(config.language_model), words, alpha=config.weight, beta=config.word_score
    )
    return lambda rows: str(decoder.decode(rows))


def ctc_beam_decoder(recogniser: Recogniser, config: BeamConfig, words: list[str]) -> Decode:
    """ctc-beam-decoder, which is pyctcdecode in C++."""
    return pyctcdecode(recogniser, config, words, module="ctc_beam_decoder")


def flashlight(recogniser: Recogniser, config: BeamConfig, words: list[str]) -> Decode:
    """flashlight-text's lexicon decoder with torchaudio's defaults (beam 50, threshold 50)."""
    from flashlight.lib.text import decoder as lib
    from flashlight.lib.text.dictionary import Dictionary

    dictionary = Dictionary()
    for word in [*words, UNKNOWN]:
        dictionary.add_entry(word)
    model = lib.KenLM(str(config.language_model), dictionary)
    vocabulary = recogniser.vocabulary
    boundary, unknown = vocabulary.spell(range(len(vocabulary))).index(" "), dictionary.get_index(UNKNOWN)
    trie, start = lib.Trie(len(vocabulary), boundary), model.start(False)
    for word in words:
        number = dictionary.get_index(word)
        trie.insert([*vocabulary.encode(word), boundary], number, model.score(start, number)[1])
    trie.smear(lib.SmearingMode.MAX)
    options = lib.LexiconDecoderOptions(
        beam_size=50, beam_size_token=len(vocabulary), beam_threshold=50.0, lm_weight=config.weight,
        word_score=config.word_score, unk_score=-math.inf, sil_score=0.0, log_add=False,
        criterion_type=lib.CriterionType.CTC,
    )  # fmt: skip
    decoder = lib.LexiconDecoder(options, trie, model, boundary, vocabulary.blank, unknown, [], False)

    def decode(rows: np.ndarray) -> str:
        found = decoder.decode(rows.ctypes.data, *rows.shape)
        return " ".join(dictionary.get_entry(number) for number in found[0].words if number >= 0)

    return decode


PEERS = {"pyctcdecode": pyctcdecode, "ctc_beam_decoder": ctc_beam_decoder, "flashlight": flashlight}


def measure(decoders: dict[str, Decode], rows: list[np.ndarray], truth: list[str], frames: int, rounds: int) -> None:
    """Print error rates, speeds, and how many times as fast the first decoder is, round by round."""
    joined = np.concatenate(rows)
    long = [joined[i : i + frames].copy() for i in range(0, len(joined) - frames + 1, frames)]
    timed = {name: decode for name, decode in decoders.items() if name != UNTIMED}
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for decode in timed.values():
        decode(long[0])
    for _ in range(rounds):
        for name, decode in timed.items():
            started = time.process_time()
            for row in long:
                decode(row)
            seconds[name].append(time.process_time() - started)
    first = next(iter(decoders))
    for name, decode in decoders.items():
        wer = jiwer.wer(truth, [" ".join(decode(row).split()) for row in rows])
        if name == UNTIMED:
            print(f"{name:38s} WER {wer:7.2%}", flush=True)
            continue
        ratios = sorted(b / a for a, b in zip(seconds[first], seconds[name], strict=True))
        print(
            f"{name:38s} WER {wer:7.2%}  {len(long) / statistics.median(seconds[name]):8.1f} utterances/s  "
            f"'{first}' is {statistics.median(ratios):.3g} times as fast ({ratios[0]:.3g} to {ratios[-1]:.3g})",
            flush=True,
        )


def main() -> None:
    """Hear once, decode in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("shards")
    parser.add_argument("language_model", type=Path)
    parser.add_argument("--weight", type=float, default=BeamConfig.weight)
    parser.add_argument("--word_score", type=float, default=BeamConfig.word_score)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=[])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recogniser = load_recogniser(arguments.run, "cpu")
    kept: dict[str, torch.Tensor] = {}
    corpus = read_corpus([arguments.shards], with_texts=True)
    scored = score(
        recogniser.model,
        corpus,
        GreedyDecoder(recogniser.vocabulary),
        max_batch_seconds=80,
        autocast_dtype=None,
        device=torch.device("cpu"),
        keep=kept.__setitem__,
    )
    rows = [item.numpy() for item in kept.values()]
    config = BeamConfig(
        language_model=arguments.language_model, weight=arguments.weight, word_score=arguments.word_score
    )
    words = [word for word in read_arpa(arguments.language_model).words if word not in (BEGIN, END, UNKNOWN)]
    decoders = our_decoders(recogniser, config)
    decoders |= {name: PEERS[name](recogniser, config, words) for name in arguments.peers}
    frames = round(10 * recogniser.config.sample_rate / hop_samples(recogniser.config.feature_encoder.conv_layers))
    measure(decoders, rows, [scored.references[key] for key in kept], frames, arguments.rounds)


if __name__ == "__main__":
    main()
