"""Picture of a set of shards: lengths, levels, and what some of its samples look like."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import librosa
import librosa.display
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from speechssl.ingest.shard_maker import clipped_share
from speechssl.report.axes import new_picture, save, tidy
from speechssl.report.exhibits import Exhibit
from speechssl.report.ingest import IngestReport
from speechssl.report.ingest_summary import headline
from speechssl.shards.writer import to_pcm

COLOUR = "#1f6fb4"
NUM_COLUMNS = 4
SHOWN_SECONDS = 8.0
NUM_MELS = 80
SHOWN_HERTZ = (0, 500, 1000, 2000, 4000, 8000, 16000)
# Share of clipped samples from which on it is said.
CLIPPED_SHARE = 0.001
# dB of a band below a sine of full scale: of noise floors, and of loud vowels.
LOWEST_DB, HIGHEST_DB = -100.0, -20.0


def plot_ingest(report: IngestReport, exhibits: Sequence[Exhibit], path: Path) -> None:
    """One PNG.

    Args:
        report: of the set.
        exhibits: samples of it to show.
        path: of the picture.
    """
    figure = new_picture(13, 7.6, places_are_given=True)
    figure.suptitle(headline(report), x=0.045, y=0.985, ha="left", fontsize="large")
    # Places are given: to let matplotlib find them takes as long as to draw everything.
    above = figure.add_gridspec(1, 2, left=0.045, right=0.985, top=0.89, bottom=0.54, wspace=0.16)
    plot_histogram(figure.add_subplot(above[0]), report.length_histogram, 0.5, "utterances by length (s)")
    levels = figure.add_subplot(above[1])
    plot_histogram(levels, report.level_histogram, 3.0, "utterances by mean level (dB below full scale)")
    plot_exhibits(figure, exhibits)
    save(figure, path)


def plot_histogram(axes: Axes, counts: Mapping[str, int], width: float, title: str) -> None:
    """Bars from the lower edges of their bins."""
    edges = [float(edge) for edge in counts]
    axes.bar(edges, list(counts.values()), width, align="edge", color=COLOUR, alpha=0.7)
    axes.set_xlim(min(edges) - width, max(edges) + 2 * width)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes, title)


def plot_exhibits(figure: Figure, exhibits: Sequence[Exhibit]) -> None:
    """Waveform and mel spectrogram of each sample, one beside the other, all on the same scales."""
    grid = figure.add_gridspec(
        2, NUM_COLUMNS, left=0.045, right=0.925, top=0.43, bottom=0.07, wspace=0.06, hspace=0.1, height_ratios=[1, 3]
    )
    for i, exhibit in enumerate(exhibits):
        waveform = figure.add_subplot(grid[0, i])
        spectrogram = figure.add_subplot(grid[1, i], sharex=waveform)
        plot_waveform(waveform, exhibit)
        mesh = plot_spectrogram(spectrogram, exhibit)
        waveform.tick_params(labelbottom=False, labelleft=not i)
        spectrogram.tick_params(labelleft=not i)
        spectrogram.set_ylabel("" if i else "Hz", fontsize="small")
    place = grid[1, len(exhibits) - 1].get_position(figure)
    colours = figure.colorbar(mesh, cax=figure.add_axes((place.x1 + 0.01, place.y0, 0.009, place.height)))
    colours.set_label("dB below full scale", fontsize="small")
    colours.ax.tick_params(labelsize="small")


def plot_waveform(axes: Axes, exhibit: Exhibit) -> None:
    """Lowest and highest value at each moment, against full scale: silence, clipping and offsets show."""
    audio = exhibit.audio[: round(SHOWN_SECONDS * exhibit.sample_rate)]
    size = max(1, len(audio) // 400)
    blocks = audio[: len(audio) // size * size].reshape(-1, size)
    times = np.arange(len(blocks)) * size / exhibit.sample_rate
    axes.fill_between(times, blocks.min(1), blocks.max(1), color=COLOUR, linewidth=0.6)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1])
    axes.tick_params(labelsize="small")
    share = clipped_share(to_pcm(exhibit.audio))
    clipped = f", {share:.1%} clipped" if share > CLIPPED_SHARE else ""
    facts = f"{exhibit.seconds:.1f} s, {exhibit.level_db:.0f} dB{clipped}".replace("-", "\u2212")
    tidy(axes, f"{exhibit.role}: {shortened(exhibit.key)}\n{facts}")
    axes.title.set_fontsize("small")


def plot_spectrogram(axes: Axes, exhibit: Exhibit) -> QuadMesh:
    """Mel bands over time: the band that is empty in upsampled telephone speech, hum, noise and pauses show."""
    hop = exhibit.sample_rate // 100
    mesh = librosa.display.specshow(
        mel_spectrogram(exhibit.audio[: round(SHOWN_SECONDS * exhibit.sample_rate)], exhibit.sample_rate, hop),
        sr=exhibit.sample_rate,
        hop_length=hop,
        x_axis="time",
        y_axis="mel",
        vmin=LOWEST_DB,
        vmax=HIGHEST_DB,
        cmap="magma",
        ax=axes,
    )
    axes.set_yticks([hertz for hertz in SHOWN_HERTZ if hertz <= exhibit.sample_rate / 2])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("seconds", fontsize="small")
    axes.tick_params(labelsize="small")
    return mesh


def mel_spectrogram(audio: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """Power in mel bands in dB below a sine of full scale, (bands, T), of audio (S,).

    The transform by numpy: librosa's own compiles itself for 15 s at its first use on a machine.
    """
    size = 1 << (sample_rate // 30).bit_length()  # 32 to 64 ms
    window = np.hanning(size + 1)[:-1]
    padded = np.pad(audio, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * window)) / (window.sum() / 2))
    bands = librosa.filters.mel(sr=sample_rate, n_fft=size, n_mels=NUM_MELS, norm=None) @ power.T
    return np.asarray(10 * np.log10(np.maximum(bands, 1e-12)))


def shortened(key: str, length: int = 26) -> str:
    """A key with its middle left out if it is long."""
    return key if len(key) <= length else f"{key[: length // 2 - 1]}…{key[-length // 2 + 1 :]}"
