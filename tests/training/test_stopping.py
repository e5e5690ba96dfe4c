"""Ctrl-C, SIGTERM and SLURM's warning: what was learned is saved, and nothing shows that a run was interrupted."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from changing import with_values
from forked_ranks import run_rank, start_ranks
from remote_site import wait_until
from small_chain import finetune_config, pretrain_config, weights
from small_runs import (
    PRETRAIN,
    SPEECHSSL,
    changed,
    check_same_checkpoint,
    check_same_learning,
    command,
    newest,
    spread,
    train,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechssl import files
from speechssl.cli import main
from speechssl.config import FinetuneConfig, MaskedPredictionConfig, PretrainConfig, UnitsConfig
from speechssl.data import batches
from speechssl.errors import RunStopped
from speechssl.objectives.units import Units
from speechssl.remote.waiting import pause
from speechssl.tasks.ctc import FinetuneTask
from speechssl.tasks.pretraining import PretrainTask
from speechssl.training import stopping
from speechssl.training.checkpoints import load_checkpoint, load_training_state, read_best
from speechssl.training.loop import Trainer
from speechssl.training.run_log import read_log
from speechssl.training.saving import Saver
from speechssl.verbs import finetune, pretrain

Configure = Callable[[Path], FinetuneConfig | PretrainConfig]


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """A terminal's handler, also where a script has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def run(config: FinetuneConfig | PretrainConfig) -> None:
    (finetune if isinstance(config, FinetuneConfig) else pretrain).run(config)


def finetuning(shards: Path, output: Path) -> FinetuneConfig:
    """Eight updates, scored after every second one; three checkpoints are kept, and the best."""
    config = finetune_config(shards, output, None)
    return with_values(config, {"training.max_updates": 8, "training.keep_checkpoints": 3})


class SignalAt:
    """Sends a signal to this process when a function has been called so often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, number: int) -> None:
        original = getattr(owner, name)
        self.calls = 0

        def called(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == call:
                send(number)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, called)


def stop_at(owner: Any, name: str, call: int, number: int = signal.SIGTERM) -> Callable[[Any], RunStopped]:
    """Runs a configuration until a signal, sent when a function has been called so often, has stopped it."""

    def stopped(config: Any) -> RunStopped:
        with pytest.MonkeyPatch.context() as patched:
            SignalAt(patched, owner, name, call, number)
            with pytest.raises(RunStopped) as raised:
                run(config)
        return raised.value

    return stopped


def story(folder: Path) -> Any:
    """What remains of a run: checkpoints and their scores, the best, and what it drew for whoever watches."""
    kept = sorted((folder / "checkpoints").iterdir())
    scores = [(path.name, load_checkpoint(path).metrics) for path in kept]
    lines = [(line["update"], line["wer"]) for line in read_log(folder / "log.jsonl") if line["kind"] == "dev"]
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    drawn = [(event.step, round(event.value, 6)) for event in events.Scalars("dev/wer")]
    return scores, read_best(folder), lines, drawn, json.loads((folder / "summary.json").read_text())["updates"]


def same_weights(found: Path, expected: Path) -> bool:
    ours, theirs = weights(found), weights(expected)
    optimizers = [load_training_state(newest(folder))["optimizer"]["state"] for folder in (found, expected)]
    return (
        ours.keys() == theirs.keys()
        and all(torch.equal(ours[name], value) for name, value in theirs.items())
        and all(torch.equal(optimizers[0][i]["exp_avg"], state["exp_avg"]) for i, state in optimizers[1].items())
    )


@pytest.fixture(scope="module")
def straight(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    run(finetuning(shards, folder))
    return folder


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        *((FinetuneTask, "step", call) for call in (1, 3, 4, 8)),
        *((FinetuneTask, "validate", call) for call in (1, 4)),
        (files, "sync", 1),
        (files, "sync", 12),
        (Saver, "keep_best", 4),
    ],
)
def test_nothing_shows_that_a_run_was_interrupted(
    owner: Any, name: str, call: int, shards: Path, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = stop_at(owner, name, call)(finetuning(shards, tmp_path / "run"))
    saved = load_checkpoint(newest(tmp_path / "run")).update
    assert stopped.exit_status == 143
    assert f"interrupted after update {saved} of 8, which is saved" in str(stopped)
    assert f"speechssl: {stopped}" in capsys.readouterr().err
    assert saved == {"step": call, "validate": 2 * call, "sync": 2 + 2 * (call > 1), "keep_best": 2 * call}[name]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*")), "nothing partial is left"
    run(finetuning(shards, tmp_path / "run"))
    assert same_weights(tmp_path / "run", straight)
    assert story(tmp_path / "run") == story(straight)


def test_a_run_interrupted_after_every_update_is_the_same(shards: Path, straight: Path, tmp_path: Path) -> None:
    for update in range(1, 9):
        stop_at(FinetuneTask, "step", 1)(finetuning(shards, tmp_path / "run"))
        assert load_checkpoint(newest(tmp_path / "run")).update == update
    run(finetuning(shards, tmp_path / "run"))
    assert same_weights(tmp_path / "run", straight)
    # Of the checkpoints that are kept, some are an interruption's own.
    assert story(tmp_path / "run")[1:] == story(straight)[1:]


@pytest.mark.parametrize("update", [3])
def test_pretraining_stops_as_well(update: int, shards: Path, pretrained: Path, tmp_path: Path) -> None:
    config = pretrain_config(shards, tmp_path / "run")
    stop_at(PretrainTask, "step", 2 * update)(config)  # in its second micro-batch
    assert load_checkpoint(newest(config.output)).update == update
    run(pretrain_config(shards, tmp_path / "run"))
    assert same_weights(config.output, pretrained)


def test_a_signal_while_units_are_fitted_ends_in_the_usual_words(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pretrain_config(shards, tmp_path / "run")
    objective = MaskedPredictionConfig(masking=config.objective.masking, units=UnitsConfig(num_entries=[3]))
    config = replace(config, objective=objective)
    stopped = stop_at(Units, "fit", 1)(config)
    assert stopped.exit_status == 143
    assert "run: interrupted before its first update; the same command begins it" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_the_exit_status_names_the_signal(number: int, shards: Path, tmp_path: Path) -> None:
    argv = command("pretrain", PRETRAIN, tmp_path / "run", shards)
    with pytest.MonkeyPatch.context() as patched:
        SignalAt(patched, PretrainTask, "step", 2, number)
        assert main(argv) == 128 + number
    assert main(argv) == 0


def test_a_second_ctrl_c_ends_at_once(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = FinetuneTask.step

    def step(self: FinetuneTask, batch: Any, update: int) -> Any:
        if update == 5:
            send(signal.SIGINT)
            time.sleep(stopping.REPEAT_SECONDS + 0.1)
            send(signal.SIGINT)
        return original(self, batch, update)

    monkeypatch.setattr(FinetuneTask, "step", step)
    with pytest.raises(KeyboardInterrupt) as raised:
        run(finetuning(shards, tmp_path / "run"))
    assert not isinstance(raised.value, RunStopped)
    assert load_checkpoint(newest(tmp_path / "run")).update == 4
    monkeypatch.undo()
    run(finetuning(shards, tmp_path / "run"))


def test_a_second_ctrl_c_in_a_checkpoint_leaves_the_one_before(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = files.sync
    calls = 0

    def sync(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 9:  # in the second checkpoint
            send(signal.SIGINT)
            time.sleep(stopping.REPEAT_SECONDS + 0.1)
            send(signal.SIGINT)
        original(path)

    monkeypatch.setattr(files, "sync", sync)
    with pytest.raises(KeyboardInterrupt):
        run(finetuning(shards, tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["update_00000002"]


def test_a_ctrl_c_that_a_launcher_repeats_is_one(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = FinetuneTask.step

    def step(self: FinetuneTask, batch: Any, update: int) -> Any:
        if update == 4:
            for _ in range(3):
                send(signal.SIGINT)
                time.sleep(0.01)
        return original(self, batch, update)

    monkeypatch.setattr(FinetuneTask, "step", step)
    with pytest.raises(RunStopped):
        run(finetuning(shards, tmp_path / "run"))
    assert load_checkpoint(newest(tmp_path / "run")).update == 5


def test_a_signal_before_the_first_update_is_obeyed_at_once(shards: Path, tmp_path: Path) -> None:
    stopped = stop_at(Trainer, "set_up", 1)(finetuning(shards, tmp_path / "run"))
    assert "interrupted before its first update; the same command begins it" in str(stopped)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_wait_for_data_ends_and_what_was_learned_is_saved(
    shards: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = batches.load_batch
    config = finetuning(shards, tmp_path / "run")
    config = with_values(config, {"training.log_every": 1})
    loaded = 0

    def load_batch(*args: Any, **kwargs: Any) -> Any:
        nonlocal loaded
        loaded += 1
        if loaded > 3:
            wait_until(lambda: any(line["update"] == 3 for line in read_log(config.output / "log.jsonl")), 60)
            send()
            pause(60)
        return original(*args, **kwargs)

    monkeypatch.setattr(batches, "load_batch", load_batch)
    began = time.monotonic()
    with pytest.raises(RunStopped, match="after update 3 of 8, which is saved"):
        run(config)
    assert time.monotonic() - began < 30
    monkeypatch.undo()
    run(finetuning(shards, tmp_path / "run"))
    assert same_weights(tmp_path / "run", straight)


def test_handlers_of_others_come_back_and_what_is_ignored_stays_so(shards: Path, tmp_path: Path) -> None:
    earlier = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with pytest.MonkeyPatch.context() as patched:
            SignalAt(patched, FinetuneTask, "step", 2, signal.SIGUSR1)
            run(finetuning(shards, tmp_path / "run"))
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGUSR1, earlier)


def test_a_run_in_another_thread_takes_no_signals(shards: Path, tmp_path: Path) -> None:
    thread = threading.Thread(target=lambda: run(finetuning(shards, tmp_path / "run")))
    thread.start()
    thread.join(60)
    assert (tmp_path / "run" / "summary.json").exists()


LONG = changed(
    PRETRAIN,
    data={"num_streams": 2},
    schedule={"decay": "none", "warmup": 0.0},
    training={"max_updates": 2000, "checkpoint_every": 5000},
)


def lines(folder: Path) -> int:
    return len(read_log(folder / "log.jsonl"))


@pytest.mark.parametrize(
    ("signalled", "strategy"),
    [
        ([1], "ddp"),
        pytest.param([0], "ddp", marks=pytest.mark.slow),
        pytest.param([0, 1], "ddp", marks=pytest.mark.slow),
        pytest.param([1], "fsdp", marks=pytest.mark.slow),
    ],
)
def test_ranks_stop_after_the_same_update_though_one_alone_has_the_signal(
    signalled: list[int], strategy: str, shards: Path, tmp_path: Path
) -> None:
    argv = [*command("pretrain", LONG, tmp_path / "run", shards), *spread(2, strategy)]
    processes = start_ranks(argv, 2, tmp_path / "printed.txt")
    try:
        wait_until(lambda: lines(tmp_path / "run") > 3, 60)
        for rank in signalled:
            os.kill(processes[rank].pid or 0, signal.SIGTERM)
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [143, 143], (tmp_path / "printed.txt").read_text()
    finally:
        for process in processes:
            process.kill()
    printed = (tmp_path / "printed.txt").read_text()
    saved = load_checkpoint(newest(tmp_path / "run")).update
    assert printed.count(f"run: interrupted after update {saved} of 2000, which is saved") == 1
    assert "Traceback" not in printed
    assert "error" not in printed
    end = ("--training.max_updates", str(saved + 2))
    train([*command("pretrain", LONG, tmp_path / "run", shards), *end])
    train(command("pretrain", LONG, tmp_path / "straight", shards, *end))
    check_same_learning(tmp_path / "straight", tmp_path / "run")


def run_silent_second_rank(argv: list[str], variables: Any, printed: Path) -> None:
    """A rank; the data of the second one does not come any more after its third micro-batch."""
    original = batches.load_batch
    loaded = 0

    def load_batch(*args: Any, **kwargs: Any) -> Any:
        nonlocal loaded
        loaded += 1
        if loaded > 3:
            pause(600)
        return original(*args, **kwargs)

    if variables["RANK"] == 1:
        batches.load_batch = load_batch
    run_rank(argv, variables, printed)


@pytest.mark.slow
def test_a_rank_whose_data_does_not_come_ends_and_the_first_saves_what_was_learned(
    shards: Path, tmp_path: Path
) -> None:
    argv = [*command("pretrain", LONG, tmp_path / "run", shards), *spread(2)]
    processes = start_ranks(argv, 2, tmp_path / "printed.txt", target=run_silent_second_rank)
    try:
        wait_until(lambda: lines(tmp_path / "run") == 3, 60)
        time.sleep(1)
        began = time.monotonic()
        for process in processes:
            os.kill(process.pid or 0, signal.SIGTERM)
        for process in processes:
            process.join(60)
        passed = time.monotonic() - began
        printed = (tmp_path / "printed.txt").read_text()
        assert [process.exitcode for process in processes] == [143, 143], printed
    finally:
        for process in processes:
            process.kill()
    assert stopping.PATIENCE_SECONDS - 1 < passed < 3 * stopping.PATIENCE_SECONDS
    assert "run: interrupted after update 3 of 2000, which is saved" in printed
    end = ("--training.max_updates", "5")
    train([*command("pretrain", LONG, tmp_path / "run", shards), *end])
    train(command("pretrain", LONG, tmp_path / "straight", shards, *end))
    check_same_checkpoint(tmp_path / "straight", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("of_group", [True, False], ids=["terminal", "kill"])
def test_processes_that_fabric_starts_end_with_the_first(of_group: bool, shards: Path, tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to all of a command's processes, ``kill`` to the first alone."""
    argv = [*command("pretrain", LONG, tmp_path / "run", shards), *spread(2)]
    process = subprocess.Popen(
        [*SPEECHSSL, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        wait_until(lambda: lines(tmp_path / "run") > 3, 120)
        (os.killpg if of_group else os.kill)(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, printed
    assert "which is saved; the same command goes on from there" in printed
    assert "Forcefully" not in printed
    assert "Traceback" not in printed
