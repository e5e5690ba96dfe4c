import io
import json
import math
import os
import subprocess
import sys
import time

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechssl.training.run_log import RunLog, format_line, read_log, truncate_log


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=40)


def test_every_figure_reaches_terminal_json_lines_and_tensorboard(tmp_path, console):
    with RunLog(tmp_path, 1000, console=console) as log:
        log.log(50, {"loss": 4.25, "accuracy": 0.125})
        log.log(100, {"wer": 0.5}, kind="dev")
    records = read_log(tmp_path / "log.jsonl")
    assert [(record["kind"], record["update"]) for record in records] == [("train", 50), ("dev", 100)]
    assert records[0]["loss"] == 4.25
    assert 0 <= records[0]["wall_seconds"] <= records[1]["wall_seconds"]
    assert console.file.getvalue().splitlines() == [
        "train   50/1000  loss 4.250  accuracy 0.125",
        "dev    100/1000  WER 50.0%",
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(50, 4.25)]
    assert [(event.step, event.value) for event in events.Scalars("dev/wer")] == [(100, 0.5)]


def test_resuming_drops_what_lies_past_the_checkpoint_everywhere(tmp_path, console):
    with RunLog(tmp_path, 100, console=console) as log:
        for update in (10, 20, 30):
            log.log(update, {"loss": float(update)})
    with RunLog(tmp_path, 100, start_update=20, console=console) as log:
        log.log(30, {"loss": 0.0})
    assert [(record["update"], record["loss"]) for record in read_log(tmp_path / "log.jsonl")] == [
        (10, 10.0),
        (20, 20.0),
        (30, 0.0),
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(10, 10.0), (20, 20.0), (30, 0.0)]


def drawn(run, tag):
    """What TensorBoard draws, in its order."""
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_run_from_the_start_begins_an_empty_log(tmp_path, console):
    for attempt in range(3):
        with RunLog(tmp_path, 100, console=console) as log:
            log.log(0, {"loss": 9.0}, kind="dev")  # of a run with an init
            log.log(10, {"loss": float(attempt)})
    assert [(line["update"], line["loss"]) for line in read_log(tmp_path / "log.jsonl")] == [(0, 9.0), (10, 2.0)]
    assert drawn(tmp_path, "train/loss") == [(10, 2.0)]
    assert drawn(tmp_path, "dev/loss") == [(0, 9.0)]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_tensorboard_shows_one_line_whatever_the_clocks_of_the_machines_say(tmp_path, console, monkeypatch):
    hours = iter((9, 7, 8))
    resumed_after = (0, 20, 10)
    for start in resumed_after:
        now = 1.6e9 + 3600 * next(hours)
        monkeypatch.setattr(time, "time", lambda now=now: now)
        with RunLog(tmp_path, 100, start_update=start, console=console) as log:
            for update in range(start + 10, 50, 10):
                log.log(update, {"loss": float(update + start)})
    assert drawn(tmp_path, "train/loss") == [(10, 10.0), (20, 30.0), (30, 40.0), (40, 50.0)]


def test_events_that_a_kill_has_kept_from_the_disk_are_drawn_after_all(tmp_path, console):
    with RunLog(tmp_path, 100, console=console) as log:
        log.log(10, {"loss": 1.0, "wer": math.inf})
    for path in (tmp_path / "tensorboard").iterdir():
        path.write_bytes(b"")
    with RunLog(tmp_path, 100, start_update=10, console=console) as log:
        log.log(20, {"loss": 2.0})
    assert drawn(tmp_path, "train/loss") == [(10, 1.0), (20, 2.0)]


def test_scores_that_are_to_come_again_are_dropped(tmp_path, console):
    with RunLog(tmp_path, 100, console=console) as log:
        for update in (10, 20):
            log.log(update, {"loss": 1.0})
            log.log(update, {"wer": 0.5}, kind="dev")
    with RunLog(tmp_path, 100, start_update=20, scored=False, console=console) as log:
        log.log(20, {"wer": 0.4}, kind="dev")
    assert drawn(tmp_path, "dev/wer") == [(10, 0.5), (20, pytest.approx(0.4))]
    assert drawn(tmp_path, "train/loss") == [(10, 1.0), (20, 1.0)]


def test_tensorboards_clock_shows_the_time_that_was_trained(tmp_path, console):
    lines = [{"kind": "train", "update": 10 * i, "wall_seconds": 1000.0 * i, "loss": 1.0} for i in (1, 2)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with RunLog(tmp_path, 100, start_update=20, console=console):
        pass
    first, second = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert second.wall_time - first.wall_time == pytest.approx(1000.0)
    assert second.wall_time == pytest.approx(time.time(), abs=60)


def test_seconds_go_on_counting_over_a_resume(tmp_path, console):
    line = {"kind": "train", "update": 10, "wall_seconds": 100.0}
    (tmp_path / "log.jsonl").write_text(
        json.dumps(line) + "\n" + json.dumps(line | {"update": 20, "wall_seconds": 200})
    )
    with RunLog(tmp_path, 100, start_update=10, console=console) as log:
        assert 100 <= log.wall_seconds < 110


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "train", "update": 10, "wall_seconds": 1.5}\n{"kind": "train", "upd')
    assert len(read_log(path)) == 1
    assert truncate_log(path, 100) == 1.5
    assert path.read_text() == '{"kind": "train", "update": 10, "wall_seconds": 1.5}\n'


def test_a_damaged_line_does_not_take_those_behind_it_along(tmp_path, caplog):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"kind": "train", "update": update, "wall_seconds": 1.0}) for update in (10, 20, 30)]
    path.write_text("\n".join([lines[0], lines[1][:9] + "\0", lines[2]]) + "\n")
    assert [line["update"] for line in read_log(path)] == [10, 30]
    assert "line 2: damaged" in caplog.text


def test_figures_that_are_not_finite_stay_valid_json(tmp_path, console):
    with RunLog(tmp_path, 10, console=console) as log:
        log.log(1, {"loss": math.nan})

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    record = json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=refuse)
    assert record["loss"] is None
    assert "loss nan" in console.file.getvalue()


def test_a_rank_that_does_not_log_leaves_no_trace(tmp_path, console):
    with RunLog(tmp_path / "run", 10, enabled=False, console=console) as log:
        log.log(1, {"loss": 1.0})
        log.advance(2)
        log.message("hello")
    assert not (tmp_path / "run").exists()
    assert console.file.getvalue() == ""


def test_a_terminal_gets_a_progress_bar_and_a_file_does_not(tmp_path):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with RunLog(tmp_path, 10, console=terminal) as log:
        log.advance(3)
        log.log(4, {"loss": 1.0})
    assert "4/10" in terminal.file.getvalue()
    assert "━" in terminal.file.getvalue()


def test_the_line_names_every_figure_and_keeps_square_brackets(tmp_path, console):
    line = format_line(
        7,
        10,
        {"loss": 1.0, "perplexity_0": 3.0, "perplexity_1": 4.0, "padding_share": 0.031, "novel": 12.34567},
        kind="train",
    )
    assert line == "train  7/10  loss 1.000  perplexity 3.0+4.0  padding 3.1%  novel 12.35"
    with RunLog(tmp_path, 10, console=console) as log:
        log.message("[bold]shard[/bold]")
    assert "[bold]shard[/bold]" in console.file.getvalue()


def test_a_run_goes_on_when_its_reader_has_gone(tmp_path):
    """What is printed goes to a pipe, of which `head` has read enough."""
    code = (
        "import sys; from pathlib import Path; from types import SimpleNamespace; sys.stdin.read()\n"
        "from speechssl.training.processes import announce; from speechssl.training.run_log import RunLog\n"
        "with RunLog(Path(sys.argv[1]), 10) as log:\n"
        "    for update in range(1, 4):\n"
        "        log.log(update, {'loss': 1.0})\n"
        "        announce(SimpleNamespace(is_global_zero=True), 'said')\n"
    )
    read, write = os.pipe()
    command = [sys.executable, "-u", "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write, stderr=write) as process:
        os.close(write)
        os.close(read)
        process.communicate()
    assert process.returncode == 0
    assert len(read_log(tmp_path / "log.jsonl")) == 3
