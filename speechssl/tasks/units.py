"""Units that a pretext task predicts, if it does: whose encoder they are of, and the audio that they are fitted to."""

from collections.abc import Iterator
from itertools import count

from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from speechssl.config import ModelConfig, UnitsConfig
from speechssl.config.reading import from_dict
from speechssl.data.batches import Quarantine, load_batch
from speechssl.data.streams import StreamPlan
from speechssl.errors import ConfigError
from speechssl.frames import hop_samples, receptive_field_samples
from speechssl.objectives.units import Units
from speechssl.training.checkpoints import Checkpoint, load_checkpoint
from speechssl.training.processes import announce


def units_source(units: UnitsConfig | None, model: ModelConfig) -> Checkpoint | None:
    """The checkpoint of the encoder whose layer units are of, if they are.

    Raises:
        ConfigError: it has no such layer, or makes frames less or more often than the model.
    """
    if units is None or units.features != "layer" or units.checkpoint is None:
        return None
    checkpoint = load_checkpoint(units.checkpoint)
    theirs = from_dict(ModelConfig, checkpoint.config["model"])
    problems = []
    if units.layer > theirs.context.num_layers:
        problems.append(f"objective.units.layer is {units.layer}, {checkpoint.path} has {theirs.context.num_layers}")
    of_both = [
        (config.sample_rate, hop_samples(layers), receptive_field_samples(layers))
        for config in (theirs, model)
        for layers in [config.feature_encoder.conv_layers]
    ]
    if of_both[0] != of_both[1]:
        (rate, hop, field), (own_rate, own_hop, own_field) = of_both
        problems.append(
            f"{checkpoint.path} makes a frame of {field} samples every {hop} at {rate} Hz, and this model one of "
            f"{own_field} every {own_hop} at {own_rate} Hz; units have to be of the same frames"
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return checkpoint


def fit_units(units: Units, plan: StreamPlan, fabric: Fabric, seed: int) -> None:
    """Fit the units on the first process, to what the first updates hear before augmentation, and tell the others."""
    seconds = min(units.config.fit_seconds, plan.seconds)
    entries = " and ".join(map(str, units.config.num_entries))
    announce(fabric, f"fitting {entries} units to {seconds / 60:.0f} minutes of audio")
    if fabric.is_global_zero:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("fitting units", total=seconds)

            def heard() -> Iterator[Tensor]:
                for audio in audio_of(plan, seconds):
                    yield audio
                    progress.advance(bar, audio.numel() / plan.sample_rate)

            units.fit(heard(), seed)
    if fabric.world_size > 1:
        units.load_state_dict(fabric.broadcast(units.state_dict()))


def audio_of(plan: StreamPlan, seconds: float) -> Iterator[Tensor]:
    """Waveforms (B, S) of the first micro-batches of a plan, so much of each stream as of the others."""
    quarantine = Quarantine(int(plan.config.max_bad_share * plan.num_samples + 1e-9), plan.num_samples)
    found = 0.0
    for update in count():
        for stream in range(plan.num_streams):
            batch = load_batch(plan.batch(update, stream), plan.sample_rate, quarantine=quarantine)
            yield batch.audio
            found += float(batch.lengths.sum()) / plan.sample_rate
        if found >= seconds:
            return
