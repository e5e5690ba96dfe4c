"""How tests are shared between processes: the default suite between two, others as the options of pytest-xdist say."""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
NUM_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# What was last seen to fail is little, and the others need the terminal.
FOR_ONE_PROCESS = ("lf", "stepwise", "usepdb", "trace", "collectonly")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which reads these options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask for two processes where the whole default suite is run. One has the result of a part sooner."""
    if not config.pluginmanager.hasplugin("xdist") or "PYTEST_XDIST_WORKER" in os.environ or NUM_CORES == 1:
        return
    options = config.option
    places = {(config.invocation_params.dir / place).resolve() for place in config.args}
    is_whole = not places.isdisjoint({TESTS, TESTS.parent}) and not options.keyword and options.markexpr == "not slow"
    is_settled = options.numprocesses is not None or options.dist != "no" or options.tx
    needs_one = options.capture == "no" or any(getattr(options, name, False) for name in FOR_ONE_PROCESS)
    if is_whole and not is_settled and not needs_one:
        options.numprocesses = 2
        # Each begins with half of the tests in their order, so that few fixtures of modules are made twice.
        options.dist = "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    """Divide the cores among the processes, which are started with this environment."""
    num_processes = len(getattr(config.option, "tx", ()))
    if num_processes:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, NUM_CORES // num_processes)))
