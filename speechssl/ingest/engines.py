"""Where the work of making shards is done: threads of this process, its children, or a Ray cluster."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from speechssl.cores import end_with_parent, num_cores
from speechssl.errors import ConfigError, DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalEngine:
    """Threads of this process for little work, whose decoders release the interpreter; processes for much.

    Args:
        num_workers: threads or processes at a time.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self._processes: ProcessPoolExecutor | None = None

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, is_small: bool
    ) -> Iterator[tuple[int, Result]]:
        """Position and result of each item, as they come; function and items must be picklable.

        Args:
            function: what to do.
            items: with what.
            is_small: whether starting processes would take longer than the work.
        """
        if self.num_workers == 1 or len(items) <= 1:
            yield from ((i, function(item)) for i, item in enumerate(items))
            return
        if is_small:
            with ThreadPoolExecutor(self.num_workers) as threads:
                yield from _as_they_come(threads, function, items)
            return
        if self._processes is None:
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(self.num_workers, context, initializer=end_with_parent)
        try:
            yield from _as_they_come(self._processes, function, items)
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process ended without a word, as for lack of memory; lower --num_workers and give the "
                "same command again, it goes on from the shards that are whole"
            ) from error

    def close(self) -> None:
        if self._processes is not None:
            self._processes.shutdown(wait=True, cancel_futures=True)


def _as_they_come(
    pool: Executor, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[int, Result]]:
    futures = {pool.submit(function, item): i for i, item in enumerate(items)}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


class RayEngine:
    """Tasks of a Ray cluster: the one that RAY_ADDRESS or a running head names, else one of this machine.

    Args:
        num_workers: tasks at a time; 0 leaves it to Ray.
    """

    def __init__(self, num_workers: int) -> None:
        try:
            import ray  # an extra, and seconds to import
        except ImportError as error:
            raise ConfigError("engine is ray, but Ray is not installed; pip install 'speechssl[ray]'") from error
        self._ray: Any = ray
        if not self._ray.is_initialized():
            is_cluster = "RAY_ADDRESS" in os.environ
            self._ray.init(num_cpus=None if is_cluster else num_workers or None, log_to_driver=False)
        self.num_workers = num_workers or int(self._ray.cluster_resources().get("CPU", 1))

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, is_small: bool
    ) -> Iterator[tuple[int, Result]]:
        task = self._ray.remote(_apply)
        waiting = list(enumerate(items))[::-1]
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < 2 * self.num_workers:
                i, item = waiting.pop()
                running[task.remote(function, item)] = i
            done, _ = self._ray.wait(list(running), num_returns=1)
            for reference in done:
                yield running.pop(reference), self._ray.get(reference)

    def close(self) -> None:
        pass  # the cluster is not ours


def _apply(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


Engine = LocalEngine | RayEngine


def make_engine(name: str, num_workers: int) -> Engine:
    """Engine of a configuration; 0 workers: one per core.

    Raises:
        ConfigError: its package is not installed.
    """
    return RayEngine(num_workers) if name == "ray" else LocalEngine(num_workers or num_cores())
