"""``speechssl pretrain``: read and check, build the model, run the loop."""

from lightning_fabric import Fabric

from speechssl.config import PretrainConfig
from speechssl.config.limits import check
from speechssl.data.augmented import make_augmenter
from speechssl.data.corpus import Corpus
from speechssl.data.streams import StreamPlan
from speechssl.model.loading import load_weights, weights_digest
from speechssl.probing.in_training import ProbeSample, TrainingProbe, read_sample
from speechssl.remote.store import make_store
from speechssl.seeding import Purpose, seed_torch
from speechssl.shards.addresses import redact_all
from speechssl.tasks.initial import resolve_pretraining
from speechssl.tasks.pretraining import PretrainTask, make_model, skips_parameters
from speechssl.tasks.sets import load_corpus, plan_dev, plan_train
from speechssl.training.checkpoints import Checkpoint, describe_latest
from speechssl.training.loop import Trainer
from speechssl.training.machine import configure_cpu, resolve_precision
from speechssl.training.optimizers import count_parameters
from speechssl.training.processes import announce, count_devices, launch, make_fabric, ranks_together
from speechssl.training.resume import RunData
from speechssl.training.run_folder import check_run_folder, run_lock


def run(config: PretrainConfig) -> None:
    """Pretrain, resuming an unfinished run in the output folder.

    Raises:
        ConfigError: the configuration cannot be run, or differs from the unfinished run's.
        DataError: shards are missing or damaged.
        HealthError: the run is not learning.
    """
    check_run_folder(config.output)
    config, initial = resolve_pretraining(config)
    check(config)
    config = config.with_min_seconds()
    count_devices(config.training, config.data.num_streams)
    configure_cpu(config.training)
    corpus = load_corpus(config.data.shards, config.model, store=make_store(config.data))
    plan = plan_train(corpus, config.data, config.training.seed, crop=True, two_views=config.two_views)
    dev = plan_dev(config, corpus)
    sample = read_sample(config, corpus)
    with run_lock(config.output):
        train(config, corpus, plan, dev, initial, sample)


def train(
    config: PretrainConfig,
    corpus: Corpus,
    plan: StreamPlan,
    dev: StreamPlan | None,
    initial: Checkpoint | None,
    sample: ProbeSample | None,
) -> None:
    """Build the model, with the weights of ``init`` if there is one, and run the loop."""
    seed, hours = config.training.seed, plan.seconds / 3600
    fabric = make_fabric(config.training, config.data.num_streams, skips_parameters=skips_parameters(config))
    launch(fabric)
    seed_torch(seed, Purpose.WEIGHTS)
    model = make_model(config, initial.teacher if initial else describe_latest(config.output).get("teacher"))
    origin = ""
    if initial is not None:
        load_weights(model, initial.model_state, source=initial.path)
        origin = weights_digest(initial.model_state)
    announce(
        fabric,
        f"pretraining {count_parameters(model) / 1e6:.1f} M parameters on {hours:.2f} h of audio "
        f"({redact_all(config.data.shards)}), {fabric.world_size} process(es), {fabric._precision.precision}",
    )
    with ranks_together(fabric):
        task = PretrainTask(config, model, dev, make_probe(config, sample, fabric))
        keeps_clean, store = model.views == "heard and clean", make_store(config.data)
        augment = make_augmenter(config.augmentation, corpus, seed, store=store, keeps_clean=keeps_clean)
        probe = sample.describe(config.probe, config.model) if sample else None
        data = RunData(plan, corpus, None, augment, origin, probe)
        known = {"audio_hours": round(hours, 4), "encoder_parameters": count_parameters(model.encoder)}
        Trainer(config, task, data, fabric, known).run()


def make_probe(config: PretrainConfig, sample: ProbeSample | None, fabric: Fabric) -> TrainingProbe | None:
    """What scores checkpoints, on the first rank alone: it reads them from the disk, however the model is spread."""
    if sample is None or not fabric.is_global_zero:
        return None
    precision = resolve_precision(config.training.precision, fabric.device.type)
    return TrainingProbe(config.probe, sample, fabric.device, precision)
