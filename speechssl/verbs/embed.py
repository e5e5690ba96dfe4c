"""``speechssl embed``: shards or audio files as an encoder represents them, in files."""

import logging
from time import monotonic
from typing import Any

import torch

from speechssl import __version__
from speechssl.config import EmbedConfig
from speechssl.config.limits import check
from speechssl.embedder import Embedder, load_encoder
from speechssl.embedding.formats import SUFFIXES, writer_of
from speechssl.embedding.parts import LIST_FILE, PartFolder
from speechssl.embedding.representation import Representation
from speechssl.embedding.sources import Source, open_source
from speechssl.embedding.writing import Work, write_parts
from speechssl.errors import DataError
from speechssl.frames import frame_seconds, hop_samples
from speechssl.model.loading import weights_digest
from speechssl.outputs import check_output_folder, has_json
from speechssl.training.machine import configure_cpu, resolve_accelerator, resolve_precision
from speechssl.training.run_folder import run_lock

logger = logging.getLogger(__name__)

SHOWN = 5
"""Samples that are named in a line."""


def run(config: EmbedConfig) -> dict[str, Any]:
    """Write the features of all recordings; returns the content of ``embedding.json``.

    Raises:
        ConfigError: no such layer, nothing to embed, or a folder that holds something else.
        CheckpointError: no encoder at ``checkpoint``.
        DataError: shards are missing or of another sample rate; or, once all others are written, names each recording
            that could not be read.
    """
    check(config)
    check_output_folder(config.output, ours={LIST_FILE: has_json("made_of", "parts")})
    write = writer_of(config.format)
    configure_cpu()
    device = torch.device(resolve_accelerator(config.accelerator))
    precision = resolve_precision(config.precision, device.type)
    embedder = load_encoder(config.checkpoint, device)
    representation = representation_of(config, embedder)
    model = embedder.encoder.config
    source = open_source(config, model)
    made_of = describe(config, embedder, representation, source) | {"precision": precision}
    folder = PartFolder(config.output, made_of, SUFFIXES[config.format])
    content, note = folder.finished, "embedded before, with the same weights and audio; nothing was repeated"
    if content is None:
        started = monotonic()
        dtype = torch.bfloat16 if precision == "bf16" else None
        work = Work(
            config,
            model,
            representation,
            lambda recordings: embedder.hear(recordings, representation, config.max_batch_seconds, dtype),
            write,
        )
        with run_lock(config.output, doing="writing features into"):
            write_parts(work, source, folder)
            content = folder.finish(about(embedder, representation, source))
        note = f"in {monotonic() - started:.1f} s"
    say(config, content, note)
    if unread := content["unread"]:
        total = content["num_recordings"] + len(unread)
        raise DataError(f"{len(unread)} of {total} recordings were not embedded:\n" + "\n".join(unread.values()))
    return content


def representation_of(config: EmbedConfig, embedder: Embedder) -> Representation:
    """What a configuration asks for.

    Raises:
        ConfigError: there is no such layer.
    """
    names = embedder.layer_names if config.layers == ["all"] else tuple(config.layers)
    weights = tuple(config.mix_weights or [1.0] * len(names)) if config.mix else None
    return Representation(embedder.layer_names, names, weights, config.pooling)


def describe(config: EmbedConfig, embedder: Embedder, representation: Representation, source: Source) -> dict[str, Any]:
    """All that decides what is in the parts, but for rounding: batches and devices."""
    weights = representation.weights
    return {
        "weights": weights_digest(embedder.checkpoint.encoder_state),
        "audio": source.digest(),
        "layers": list(representation.layers),
        "mix_weights": None if weights is None else list(weights),
        "pooling": config.pooling,
        "format": config.format,
        "dtype": config.dtype,
        "max_part_megabytes": config.max_part_megabytes,
        "max_part_hours": config.max_part_hours,
        "version": __version__,
    }


def about(embedder: Embedder, representation: Representation, source: Source) -> dict[str, Any]:
    """What a reader of the parts may want to know."""
    model = embedder.encoder.config
    layers = model.feature_encoder.conv_layers
    return {
        "checkpoint": str(embedder.checkpoint.path),
        "update": embedder.checkpoint.update,
        "names": list(representation.names),
        "dim": model.context.dim,
        "sample_rate": model.sample_rate,
        "frame_hop_seconds": hop_samples(layers) / model.sample_rate,
        "first_frame_seconds": frame_seconds(0.0, layers, model.sample_rate),
        "shorter_than_a_frame": list(source.too_short),
    }


def say(config: EmbedConfig, content: dict[str, Any], note: str) -> None:
    """Tell in a line what there is, and name what was left out."""
    files = [part for part in content["parts"] if part["num_recordings"]]
    megabytes = sum(part["num_bytes"] for part in files) / 1e6
    print(
        f"{config.output}: {', '.join(content['names'])} of {content['num_recordings']} recordings "
        f"({content['seconds'] / 60:.1f} min, {content['num_frames']} frames) in {len(files)} files of "
        f"{megabytes:.1f} MB; {note}"
    )
    if too_short := content["shorter_than_a_frame"]:
        more = ", ..." if len(too_short) > SHOWN else ""
        logger.warning("left out, shorter than a frame: %d (%s%s)", len(too_short), ", ".join(too_short[:SHOWN]), more)
