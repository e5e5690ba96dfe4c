"""``speechssl finetune``: read and check, build the recogniser, run the loop."""

import logging
from collections.abc import Sequence

from speechssl.config import FinetuneConfig
from speechssl.config.limits import check
from speechssl.data.augmented import make_augmenter
from speechssl.data.streams import StreamPlan
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.model.ctc import CtcModel
from speechssl.remote.store import make_store
from speechssl.seeding import Purpose, seed_torch
from speechssl.shards.addresses import redact_all
from speechssl.tasks.ctc import FinetuneTask, skips_parameters
from speechssl.tasks.doctor import examine
from speechssl.tasks.facts import gather_facts
from speechssl.tasks.initial import load_initial, resolve_finetuning
from speechssl.tasks.sets import Sets, find_earlier, labelled_seconds, plan_train, read_sets
from speechssl.training.checkpoints import Checkpoint
from speechssl.training.loop import Trainer
from speechssl.training.machine import configure_cpu
from speechssl.training.optimizers import count_parameters
from speechssl.training.processes import announce, count_devices, launch, make_fabric, ranks_together
from speechssl.training.resume import RunData
from speechssl.training.run_folder import check_run_folder, run_lock

logger = logging.getLogger(__name__)


def run(config: FinetuneConfig) -> None:
    """Fine-tune, resuming an unfinished run in the output folder.

    Raises:
        ConfigError: the configuration cannot be run, or differs from the unfinished run's.
        CheckpointError: ``init`` is no checkpoint, or of another architecture than ``model`` or ``head``.
        DataError: shards are missing or damaged, or transcripts cannot be used.
        HealthError: the loss is not finite or explodes, or outputs stay empty or wrong.
    """
    check_run_folder(config.output)
    config, initial = resolve_finetuning(config)
    check(config)
    count_devices(config.training, config.train.num_streams)
    configure_cpu(config.training)
    sets = read_sets(config, find_earlier(config, initial))
    doubts = examine(config, sets.train, sets.dev, sets.vocabulary)
    for doubt in doubts:
        logger.warning("%s.", doubt)
    plan = plan_train(sets.train, config.train, config.training.seed, crop=False)
    with run_lock(config.output):
        train(config, sets, plan, initial, doubts)


def train(
    config: FinetuneConfig, sets: Sets, plan: StreamPlan, initial: Checkpoint | None, doubts: Sequence[Diagnosis] = ()
) -> None:
    """Build the model, with the weights of ``init`` if there is one, and run the loop.

    Args:
        config: as it runs.
        sets: read and checked.
        plan: of the training set.
        initial: checkpoint of ``init``.
        doubts: what was found before the run, of which some explain what goes wrong in it.
    """
    seed, minutes = config.training.seed, labelled_seconds(plan, sets.train, config) / 60
    pseudo = f" and {plan.seconds / 60 - minutes:.1f} that a recogniser transcribed" if config.pseudo_labels else ""
    fabric = make_fabric(config.training, config.train.num_streams, skips_parameters=skips_parameters(config))
    launch(fabric)
    vocabulary = sets.vocabulary
    seed_torch(seed, Purpose.WEIGHTS)
    model = CtcModel(config.model, config.dropout, len(vocabulary), config.head)
    model.encoder.recompute(config.training.recompute)
    origin = "" if initial is None else load_initial(model, initial, vocabulary)
    goes_on = initial is not None and initial.kind == "ctc"
    facts = gather_facts(config, sets.train, vocabulary, minutes, doubts)
    task = FinetuneTask(config, model, vocabulary, sets.dev, goes_on=goes_on, facts=facts)
    announce(
        fabric,
        f"{'fine-tuning' if config.init else 'training from scratch'} {count_parameters(model) / 1e6:.1f} M parameters "
        f"on {minutes:.1f} minutes of transcribed audio{pseudo} ({redact_all(config.train.shards)}), "
        f"{len(vocabulary)} labels, {fabric.world_size} process(es), {fabric._precision.precision}",
    )
    for note in sets.notes:
        announce(fabric, note)
    with ranks_together(fabric):
        augment = make_augmenter(config.augmentation, sets.train, seed, store=make_store(config.train))
        data = RunData(plan, sets.train, sets.dev, augment, origin)
        Trainer(config, task, data, fabric, {"labels_minutes": round(minutes, 2)}).run()
