"""Made audio for benchmarks: noise with a changing spectrum, as FLAC files.

python tools/make_noise.py FOLDER --hours 4
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
from bench_models import RATE


def utterance(seconds: float, seed: int) -> np.ndarray:
    """Noise in syllables of changing colour, float32 (S,)."""
    draws = np.random.default_rng(seed)
    count = round(seconds * RATE)
    noise = draws.normal(0, 0.1, count)
    levels = draws.random(count // 4000 + 2)
    envelope = np.interp(np.arange(count), 4000 * np.arange(len(levels)), levels)
    return (noise * envelope).astype(np.float32)


def main() -> None:
    """Write utterances of 5 to 16 s until there are enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, default=1.0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    left, number = arguments.hours * 3600, 0
    draws = np.random.default_rng(0)
    while left > 0:
        seconds = draws.uniform(5, 16)
        soundfile.write(arguments.folder / f"{number:06d}.flac", utterance(seconds, number), RATE, subtype="PCM_16")
        left -= seconds
        number += 1


if __name__ == "__main__":
    main()
