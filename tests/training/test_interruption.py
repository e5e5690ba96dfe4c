"""Ctrl-C while a server that shards come from is silent."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from forked_ranks import start_ranks
from http_server import Fault, FaultyServer
from remote_site import wait_until
from small_runs import PRETRAIN, changed, command, spread


@pytest.mark.parametrize(("silent", "workers", "ranks"), [(".index", 1, 1), ("", 2, 1), ("", 1, 2)])
def test_ctrl_c_ends_a_run_whose_server_is_silent(
    silent: str, workers: int, ranks: int, server: FaultyServer, tmp_path: Path
) -> None:
    gate = threading.Event()
    names = [f"shard-{number:06d}.tar{silent}" for number in range(5)]
    server.script = {name: [Fault(gate=gate) for _ in range(9)] for name in names}
    config = changed(PRETRAIN, data={"num_workers": workers})
    argv = command("pretrain", config, tmp_path / "run", tmp_path, "--data.shards", f"{server.url}/set/")
    argv += ["--data.cache", str(tmp_path / "cache"), *spread(ranks)]
    processes = start_ranks(argv, ranks, tmp_path / "printed.txt")
    try:
        wait_until(lambda: any(server.asked(name) for name in names), 60)
        time.sleep(0.5)  # until those wait too who do not fetch themselves
        for process in processes:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)
        for process in processes:
            process.join(30)  # half of the silence that counts as a failure
        assert [process.exitcode for process in processes] == [130] * ranks
    finally:
        gate.set()
        for process in processes:
            process.kill()
    printed = (tmp_path / "printed.txt").read_text()
    before_training = "speechssl: interrupted; the same command goes on from the last checkpoint"
    assert printed.count(before_training if silent else "run: interrupted before its first update") == 1
    assert "Traceback" not in printed
