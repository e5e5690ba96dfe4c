"""Speed and memory of embedding many recordings, beside transformers' Wav2Vec2Model with equal weights.

    python tools/bench_embed.py                                  small, 24 recordings of 2 to 15 s, alone
    python tools/bench_embed.py --peers one_by_one padded        beside transformers: recordings by themselves, or eight
                                                                 neighbours at a time, padded by its feature extractor

Everyone hears recordings in memory and gives all layers of each as float32 arrays on the host; the mean magnitude of
the last one is printed. Where group norm is over the padding as well, as it is in transformers, padded recordings are
not represented as each alone is, and the figures differ.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contenders import Contender, compare, describe_machine

# Contenders' processes import this file: what only some of them or none needs is imported in functions.

OURS = "speechssl"
PEERS = ("one_by_one", "padded")
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 15.0
PADDED_TOGETHER = 8


class Case(NamedTuple):
    """What is timed."""

    device: str
    folder: Path
    """Of the random weights, in everyone's form."""
    audio: Path
    """Recordings, an npz of arrays (S,)."""
    rate: int

    def recordings(self) -> list[np.ndarray]:
        """In the order of the file."""
        with np.load(self.audio) as file:
            return [file[name] for name in file.files]


class Ours:
    """``embed_many``."""

    def __init__(self, case: Case) -> None:
        from speechssl import load_encoder
        from speechssl.training.machine import configure_cpu

        configure_cpu()
        self.case, self.recordings = case, case.recordings()
        self.embedder = load_encoder(case.folder / "ours", case.device)

    def last_layers(self) -> Iterator[np.ndarray]:
        """Of each recording, while all layers are made."""
        layers = self.embedder.layer_names[:-1]
        for found in self.embedder.embed_many(self.recordings, self.case.rate, layers=layers):
            yield found.layers.numpy()[-1]

    def run(self) -> None:
        for _ in self.last_layers():
            pass

    def check(self) -> float:
        return float(np.abs(np.concatenate(list(self.last_layers()))).mean())


class Transformers(Ours):
    """transformers' Wav2Vec2Model.

    Args:
        case: what is timed.
        together: recordings in a batch, neighbours in the order of the file.
    """

    def __init__(self, case: Case, together: int) -> None:
        from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model, logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.case, self.recordings, self.together = case, case.recordings(), together
        self.extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
        model: Any = Wav2Vec2Model.from_pretrained(case.folder / "huggingface")
        self.model = model.to(case.device).eval()

    def last_layers(self) -> Iterator[np.ndarray]:
        import torch

        for start in range(0, len(self.recordings), self.together):
            batch = self.recordings[start : start + self.together]
            inputs = self.extractor(batch, sampling_rate=self.case.rate, padding=True, return_tensors="pt")
            with torch.inference_mode():
                states = self.model(**inputs.to(self.case.device), output_hidden_states=True).hidden_states
            layers = torch.stack(states[1:]).cpu().numpy()  # (layers, B, T, D)
            for row, samples in enumerate(batch):
                num_frames = int(self.model._get_feat_extract_output_lengths(len(samples)))
                yield layers[:, row, :num_frames].copy()[-1]


def make_contender(kind: str, case: Case) -> Contender:
    """A contender, in its own process."""
    return Ours(case) if kind == OURS else Transformers(case, PADDED_TOGETHER if kind == "padded" else 1)


def bench(model: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time one model, everyone in turns."""
    from bench_models import RATE, model_config
    from infer_weights import write_weights

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder, model_config(model), ["huggingface"])
        draws = np.random.default_rng(0)
        lengths = draws.uniform(SHORTEST_SECONDS * RATE, LONGEST_SECONDS * RATE, arguments.recordings).astype(int)
        recordings = {f"{i:04d}": draws.normal(0, 0.1, n).astype(np.float32) for i, n in enumerate(lengths)}
        np.savez(folder / "audio.npz", **recordings)
        case = Case(arguments.device, folder, folder / "audio.npz", RATE)
        seconds = float(lengths.sum()) / RATE
        print(f"\n{model}, {arguments.recordings} recordings, {seconds:.0f} s")
        outcomes = compare(
            {kind: partial(make_contender, kind, case) for kind in (OURS, *arguments.peers)},
            device=arguments.device,
            audio_seconds=seconds,
            rounds=arguments.rounds,
            warmup=1,
            figure="mean",
        )
    row: dict[str, Any] = {"model": model, "recordings": arguments.recordings, "seconds": seconds}
    for kind, found in outcomes.items():
        row[kind] = {
            "audio_seconds_per_second": seconds / found.seconds,
            "peak_memory_bytes": found.peak_bytes,
            "ours_over_it": found.ratio._asdict(),
        }
    return row


def main() -> None:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["small"], choices=["base", "large", "small"])
    parser.add_argument("--recordings", type=int, default=24)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--peers", nargs="+", default=[], choices=PEERS, help="run these in turns with ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    print(json.dumps(describe_machine(arguments.device)))
    rows = [bench(model, arguments) for model in arguments.models]
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
