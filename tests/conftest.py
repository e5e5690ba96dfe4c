"""Small corpora of real files that many tests share."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.config import ShardConfig
from speechssl.data import sharding

RATE = 16000
WORDS = ["YES", "NO", "STOP", "GO", "HELP"]


def write_corpus(folder: Path, lengths: list[int], *, rate: int = RATE) -> Path:
    """Noise of the given numbers of samples with transcripts; returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    lines = ["path\tspeaker\ttext"]
    for i, length in enumerate(lengths):
        soundfile.write(folder / f"u{i:03d}.wav", draws.normal(0, 0.1, length), rate, subtype="PCM_16")
        lines.append(f"u{i:03d}.wav\ts{i % 3}\t{WORDS[i % len(WORDS)]}")
    manifest = folder / "list.tsv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three shards with 24 utterances of 0.5 to 1.65 s."""
    root = tmp_path_factory.mktemp("corpus")
    manifest = write_corpus(root / "audio", [8000 + 800 * i for i in range(24)])
    output = root / "shards"
    sharding.run(ShardConfig(manifest=manifest, output=output, max_shard_megabytes=0.25))
    assert len(list(output.glob("*.tar"))) >= 2
    return output
