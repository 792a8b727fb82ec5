"""The engine on Ray: the only module that imports ray."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import curate
from curate.errors import CurateError, DataError, RunError, SpecError, TransientError
from curate.execution.engine import (
    MAX_HOLDER_DEATHS,
    MAX_TRANSIENT_RETRIES,
    TICK_S,
    Open,
    Resources,
    TaskResult,
    Work,
    backoff,
    label_of,
)
from curate.execution.worker import Function, after_deaths


class RayEngine:
    """Plain Ray tasks. `address` None starts Ray on this machine with `workers` CPUs; a cluster gets this package and
    the content of `working_dir` on every node."""

    def __init__(self, address: str | None = None, workers: int | None = None, working_dir: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        self._ray = ray
        self.running: dict[Any, float] = {}
        self._draining = False
        if address is None:
            cpus = workers or os.cpu_count()
            ray.init(
                "local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=2**28,
                logging_level=logging.ERROR,
            )
        else:
            shipped = {
                "py_modules": [os.path.dirname(curate.__file__)],
                **({"working_dir": working_dir} if working_dir else {}),
            }
            _check_listening(address)
            try:
                ray.init(address, runtime_env=shipped, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError) as error:
                raise SpecError(
                    f"--ray: no cluster answers at {address!r}: {error}. Start one with 'ray start --head'."
                ) from error
        self._window = 2 * max(1, int(self._cluster().get("CPU", 1)))

    def map(self, function: Function, context: Any, items: Iterable[Any], resources: Resources) -> Iterator[TaskResult | None]:
        ray = self._ray
        task = ray.remote(max_retries=0, max_calls=0, **_ray_options(resources))(_on_worker)
        shared = ray.put(context)
        source = iter(items)
        again: deque[Any] = deque()
        flying: dict[Any, Any] = {}
        deaths: Counter[Any] = Counter()
        faults: Counter[Any] = Counter()
        while True:
            while len(flying) < self._window and not (self._draining and not again):
                item = again.popleft() if again else next(source, None)
                if item is None:
                    break
                flying[task.remote(function, shared, item)] = item
                self.running[item] = time.time()
            if not flying:
                return
            ready, _ = ray.wait(list(flying), timeout=TICK_S)
            if not ready:
                yield None
            for reference in ready:
                item = flying.pop(reference)
                self.running.pop(item, None)
                outcome = self._outcome(reference, item, again, deaths, faults)
                if outcome:
                    yield outcome

    def _outcome(
        self, reference: Any, item: Any, again: deque[Any], deaths: Counter[Any], faults: Counter[Any]
    ) -> TaskResult | None:
        """What became of a finished task; None when the item will be tried again."""
        ray = self._ray
        try:
            return TaskResult(item, ray.get(reference))
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, CurateError) else RunError(f"{label_of(item)}: {error}")
            if isinstance(cause, TransientError) and faults[item] < MAX_TRANSIENT_RETRIES:
                time.sleep(backoff(faults[item]))
                faults[item] += 1
                again.append(item)
                return None
            return TaskResult(item, error=cause)
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
            key = label_of(item)
            deaths[key] += 1
            retry = after_deaths(item, deaths[key])
            if retry is None:
                return TaskResult(
                    item, error=DataError(f"{key}: its worker died {deaths[key]} times, outside any stage: {error}")
                )
            again.append(retry)
            return None

    def hold(self, open: Open, context: Any, work: Work, resources: Resources) -> Iterator[TaskResult | None]:
        """An actor per key. Those that find no place yet wait in Ray's queue, and begin when another key is done."""
        ray = self._ray
        self._check_resources(resources)
        holder = ray.remote(max_restarts=0, **_ray_options(resources))(_Holder)
        shared = ray.put(context)
        left = {key: deque(items) for key, items in work.items() if items}
        actors = {key: holder.remote(open, shared, key) for key in left}
        flying: dict[Any, tuple[str, Any]] = {}
        deaths: Counter[str] = Counter()
        faults: Counter[Any] = Counter()
        while True:
            idle = [key for key in actors if key not in {busy for busy, _ in flying.values()}]
            for key in idle:
                if left[key] and not self._draining:
                    item = left[key].popleft()
                    flying[actors[key].apply.remote(item)] = key, item
                    self.running[item] = time.time()
                else:
                    ray.kill(actors.pop(key))
            if not flying:
                return
            ready, _ = ray.wait(list(flying), timeout=TICK_S)
            if not ready:
                yield None
            for reference in ready:
                key, item = flying.pop(reference)
                self.running.pop(item, None)
                try:
                    yield TaskResult(item, ray.get(reference))
                except ray.exceptions.RayTaskError as error:
                    known = error.cause if isinstance(error.cause, CurateError) else None
                    if isinstance(known, TransientError) and faults[item] < MAX_TRANSIENT_RETRIES:
                        time.sleep(backoff(faults[item]))
                        faults[item] += 1
                        left[key].appendleft(item)
                        continue
                    yield TaskResult(item, error=known or RunError(f"{key}, {label_of(item)}: {error}"))
                except ray.exceptions.RayActorError as error:
                    deaths[key] += 1
                    if deaths[key] > MAX_HOLDER_DEATHS:
                        yield TaskResult(
                            item, error=RunError(f"{key}, {label_of(item)}: its worker died {deaths[key]} times: {error}")
                        )
                    else:
                        left[key].appendleft(item)
                    actors[key] = holder.remote(open, shared, key)

    def _check_resources(self, resources: Resources) -> None:
        """Raises SpecError for what no node of the cluster will ever have, which Ray would wait for."""
        there = self._cluster()
        for name, key in (("num_gpus", "GPU"), ("num_cpus", "CPU")):
            if resources.get(name, 0) > there.get(key, 0):
                raise SpecError(
                    f"{resources[name]:g} {key} are asked for, the cluster has {there.get(key, 0):g}. Ask for less."
                )

    def _cluster(self) -> dict[str, float]:
        ray: Any = self._ray
        resources: dict[str, float] = ray.cluster_resources()
        return resources

    def check_visible(self, paths: Iterable[str]) -> None:
        """Raises SpecError unless every node sees these local paths."""
        ray = self._ray
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = ray.remote(num_cpus=0)(_missing)
        wanted = [path for path in paths if "://" not in path]
        for node in ray.nodes():
            if node["Alive"]:
                pinned = look.options(scheduling_strategy=strategy(node["NodeID"], soft=False))
                missing = ray.get(pinned.remote(wanted))
                if missing:
                    raise SpecError(
                        f"--ray: {missing[0]!r} is not visible on node {node['NodeManagerAddress']}. "
                        "Use a shared folder or an object store URL (s3://, gs://)."
                    )

    def drain(self) -> None:
        self._draining = True

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._ray.shutdown()


def _ray_options(resources: Resources) -> dict[str, Any]:
    own = ("num_cpus", "num_gpus", "memory")
    named = {name: value for name, value in resources.items() if name in own}
    custom = {name: value for name, value in resources.items() if name not in own}
    return {"num_cpus": 1, **named, **({"resources": custom} if custom else {})}


def _check_listening(address: str) -> None:
    """Raises SpecError at once where nobody listens: Ray itself would wait for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\[\]]+?)\]?:(\d+)", address)
    if match:
        try:
            socket.create_connection((match.group(1), int(match.group(2))), timeout=10).close()
        except OSError as error:
            raise SpecError(f"--ray: no cluster answers at {address!r}: {error}. Start one with 'ray start --head'.") from error


class _Holder:
    """An actor that opens something once, when it is first asked, so that an error in opening is an item's."""

    def __init__(self, open: Open, context: Any, key: str) -> None:
        self._open, self._context, self._key = open, context, key
        self._manager: contextlib.AbstractContextManager[Callable[[Any], Any]] | None = None

    def apply(self, item: Any) -> Any:
        if self._manager is None:  # it is held here, and never left: the actor is killed
            self._manager = self._open(self._context, self._key)
            self._held = self._manager.__enter__()
        return self._held(item)


def _on_worker(function: Function, context: Any, item: Any) -> Any:
    """In a Ray worker: one thread per worker for arrow and OpenMP, then the work."""
    import pyarrow as pa

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pa.set_cpu_count(1)
    pa.set_io_thread_count(2)
    return function(context, item)


def _missing(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.path.exists(path)]
