"""How fast audio becomes shards, shards become batches, and a run resumes; each beside its bound or a peer.

    python tools/bench_data.py ingest AUDIO_FOLDER       against decoding, resampling and encoding alone
    python tools/bench_data.py read SHARDS               against soundfile alone, and webdataset with a DataLoader
    python tools/bench_data.py resume [HOURS]            first batch at update 1,000,000 of a made index

Contenders take turns in one run; the figures are medians, and the ratios have their spread.
"""

import io
import itertools
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.config import StreamConfig
from speechssl.data.batches import BatchLoader
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.streams import StreamPlan
from speechssl.shards.index import write_index
from speechssl.shards.table import SampleEntry
from speechssl.shards.writer import encode_audio
from speechssl.verbs import shard as ingest

ROUNDS = 5
RATE = 16000


def main(argv: Sequence[str]) -> int:
    """Run the benchmark that the command line names."""
    match argv:
        case ["ingest", folder] if Path(folder).is_dir():
            bench_ingest(Path(folder))
        case ["read", shards]:
            bench_read(shards)
        case ["resume", *hours]:
            bench_resume(float(hours[0]) if hours else 10_000)
        case ["resume-from", folder]:
            resume_from(Path(folder))
        case _:
            print(__doc__)
            return 2
    return 0


def alternate(contenders: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> None:
    """Let contenders take turns; each returns audio-seconds. Prints speeds, and ratios to the first."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            started = time.perf_counter()
            speeds[name].append(contender() / (time.perf_counter() - started))
    first = next(iter(contenders))
    for name, values in speeds.items():
        ratios = sorted(value / base for value, base in zip(values, speeds[first], strict=True))
        print(
            f"{name:44s} {statistics.median(values):8.0f} audio-s/s   "
            f"{statistics.median(ratios):.2f} of '{first}' ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def bench_ingest(folder: Path) -> None:
    """Ingest against the same decoding, resampling and FLAC encoding in as many threads, without anything else."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    cores = len(os.sched_getaffinity(0))

    def convert(path: Path) -> float:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1, dtype=np.float32)
        if rate != RATE:
            mono = soxr.resample(mono, rate, RATE, quality="HQ")
        encode_audio(mono, RATE, "flac")
        return len(samples) / rate

    def bare() -> float:
        with ThreadPoolExecutor(cores) as pool:
            return sum(pool.map(convert, paths))

    def whole() -> float:
        with tempfile.TemporaryDirectory() as output:
            # As users start it: its workers must not import what this file does.
            command = [sys.executable, "-m", "speechssl", "shard", str(folder), f"{output}/shards"]
            subprocess.run(command, check=True, capture_output=True)
            report = ingest.read_report(Path(output) / "shards")
            assert report is not None
            return report.hours * 3600

    whole()  # the files are in memory now, as they are for each that follows
    alternate({"decode, resample, encode": bare, "speechssl shard": whole})


def bench_read(shards: str) -> None:
    """Batches from shards against decoding the same members with soundfile, on one thread, and a usual pipeline."""
    corpus = read_corpus([shards])
    config = StreamConfig(shards=[shards], max_batch_seconds=80, max_seconds=40)
    plan = StreamPlan(corpus, config, seed=0, crop=False)
    num_batches = next(update for update in range(10**9) if plan.epoch(update, 0))
    encoded = [members_of(corpus, i) for i in range(len(corpus))]

    def bare() -> float:
        return sum(len(soundfile.read(io.BytesIO(data), dtype="float32")[0]) for data in encoded) / corpus.sample_rate

    def ours() -> float:
        loader = BatchLoader(plan, [0], start_update=0, max_updates=num_batches, num_workers=0, cache_megabytes=0)
        return sum(float(batch.lengths.sum()) for batches in loader for batch in batches) / corpus.sample_rate

    def theirs() -> float:
        return sum(webdataset_batches(list(corpus.shards))) / corpus.sample_rate

    alternate({"soundfile alone": bare, "speechssl batches": ours, "webdataset, DataLoader without workers": theirs})


def members_of(corpus: Corpus, i: int) -> bytes:
    """Encoded audio of a sample."""
    ref = corpus[i]
    with open(ref.shard, "rb") as file:  # noqa: PTH123
        file.seek(ref.offset + ref.audio_start)
        return file.read(ref.audio_size)


def webdataset_batches(shards: list[str]) -> list[int]:
    """A pipeline as webdataset's documentation has it: decode, batch, pad; audio samples of each batch."""
    import torch
    import webdataset

    def decode(sample: dict) -> torch.Tensor:
        audio = next(sample[suffix] for suffix in ("flac", "opus", "wav") if suffix in sample)
        return torch.from_numpy(soundfile.read(io.BytesIO(audio), dtype="float32")[0])

    def collate(samples: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(sample) for sample in samples])
        return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True), lengths

    dataset = webdataset.WebDataset(shards, shardshuffle=False).shuffle(1000).map(decode)
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, collate_fn=collate, num_workers=0)
    return [int(lengths.sum()) for _, lengths in loader]


def bench_resume(hours: float) -> None:
    """Write the index of a large corpus, then time what a resumed run does before its first batch, in a new process."""
    folder = Path(tempfile.mkdtemp(prefix="bench_data_"))
    try:
        make_index(folder, hours)
        for _ in range(3):
            subprocess.run([sys.executable, __file__, "resume-from", str(folder)], check=True)
    finally:
        shutil.rmtree(folder)


def resume_from(folder: Path) -> None:
    """Print how long a run takes to find the micro-batches of an update, all of its streams on one process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    marks = [time.perf_counter()]
    corpus = read_corpus([str(folder)])
    marks.append(time.perf_counter())
    config = StreamConfig(shards=[str(folder)], num_streams=64, max_seconds=15.6)
    plan = StreamPlan(corpus, config, seed=0, crop=True)
    marks.append(time.perf_counter())
    for update in (1_000_000, 1_000_001):
        for stream in range(64):
            plan.batch(update, stream)
        marks.append(time.perf_counter())
    names = ("read indexes", "plan", "update 1,000,000, 64 streams", "next update")
    parts = [f"{name} {end - start:.3f}" for name, (start, end) in zip(names, itertools.pairwise(marks), strict=True)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{marks[3] - marks[0]:.2f} s to the first batches ({', '.join(parts)}); {len(corpus)} utterances, "
        f"{len(corpus.shards)} shards, {corpus.seconds / 3600:.0f} hours; {peak:.2f} GiB at most, imports {before:.2f}"
    )


def make_index(folder: Path, hours: float) -> None:
    """Indexes of shards that exist as empty files of the right size."""
    draws = np.random.default_rng(0)
    num_samples = int(hours * 3600 / 12.3)
    per_shard = 1200
    lengths = (np.clip(draws.gamma(6, 12.3 / 6, num_samples), 1, 35) * RATE).astype(int)
    for number, start in enumerate(range(0, num_samples, per_shard)):
        shard = folder / f"shard-{number:06d}.tar"
        shard.write_bytes(b"")
        entries = [
            SampleEntry(f"speaker{i % 977:04d}-{i:08d}", 0, 0, int(lengths[i]), 0, 0, 0)
            for i in range(start, min(start + per_shard, num_samples))
        ]
        write_index(shard, RATE, entries, shard.with_name(shard.name + ".index"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
