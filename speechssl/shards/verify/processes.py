"""Checks in processes of their own, since a decoder that crashes on a damaged file takes its process with it."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import SimpleQueue

from speechssl.cores import end_with_parent, num_cores
from speechssl.shards.verify.results import MAKE_AGAIN, ShardResult


def check_in_processes(
    check: Callable[[Path], ShardResult], shards: Sequence[Path], num_workers: int
) -> Iterator[ShardResult]:
    """Check shards in so many processes (0: one per core), and yield the results as they come.

    A process checks one shard at a time and is replaced if it dies, so that the shard that killed it is known.
    """
    count = min(num_workers or num_cores(), len(shards))
    idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
    for _ in range(count):
        idle.put(_new_process())

    def check_next(shard: Path) -> ShardResult:
        process = idle.get()
        try:
            return process.submit(check, shard).result()
        except BrokenProcessPool:
            process.shutdown(wait=False)
            process = _new_process()
            return _killed(shard)
        finally:
            idle.put(process)

    threads = ThreadPoolExecutor(count)
    try:
        for future in as_completed([threads.submit(check_next, shard) for shard in shards]):
            yield future.result()
    finally:
        threads.shutdown(cancel_futures=True)
        for _ in range(count):
            idle.get().shutdown()


def _new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin_process)


def _begin_process() -> None:
    """Die with the parent and at Ctrl-C, without a word: the parent speaks."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


def _killed(shard: Path) -> ShardResult:
    detail = (
        "the process that checked it was killed: memory ran out (try a smaller --num_workers) or a decoder crashed; "
        f"if it happens again with --num_workers 1, {MAKE_AGAIN}"
    )
    result = ShardResult(shard)
    result.name("killed its process", detail)
    return result
