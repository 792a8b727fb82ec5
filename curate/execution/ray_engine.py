"""The engine on Ray: the only module that imports ray."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

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

logger = logging.getLogger(__name__)


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

    def map(self, function: Function, context: Any, items: Iterable[Any], resources: Resources) -> Iterator[TaskResult | None]:
        return self._run(_Tasks(self._ray, function, context, items, resources, 2 * max(1, int(self._cluster().get("CPU", 1)))))

    def hold(self, open: Open, context: Any, work: Work, resources: Resources) -> Iterator[TaskResult | None]:
        """One actor per key. Actors for which there are no resources yet wait in Ray's queue until another key is done."""
        self._check_resources(resources)
        yield from self._run(_Actors(self._ray, open, context, work, resources))

    def _run(self, source: _Source) -> Iterator[TaskResult | None]:
        """Submit items and wait for results, until nothing runs and the source starts nothing more."""
        ray = self._ray
        running: dict[Any, Any] = {}
        retries: Counter[Any] = Counter()
        while True:
            for reference, item in source.start(running, self._draining):
                running[reference] = item
                self.running[item] = time.time()
            if not running:
                return
            ready, _ = ray.wait(list(running), timeout=TICK_S)
            if not ready:
                yield None
            for reference in ready:
                item = running.pop(reference)
                self.running.pop(item, None)
                label = source.finished(reference, item)
                try:
                    outcome: TaskResult | None = TaskResult(item, ray.get(reference))
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause if isinstance(error.cause, CurateError) else RunError(f"{label}: {error}")
                    if isinstance(cause, TransientError) and retries[item] < MAX_TRANSIENT_RETRIES:
                        logger.info("%s: attempt %d failed, trying again: %s", label, retries[item] + 1, cause)
                        time.sleep(backoff(retries[item]))
                        retries[item] += 1
                        source.retry(item)
                        continue
                    outcome = TaskResult(item, error=cause)
                except source.deaths as error:
                    logger.warning("%s: its worker died: %s", label, str(error).split("\n")[0])
                    outcome = source.worker_died(item, error)
                if outcome:
                    yield outcome

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


class _Source(Protocol):
    """Where the engine's loop gets its items: it starts them on Ray, and decides what becomes of one whose worker died."""

    deaths: tuple[Any, ...]
    """Ray's exceptions for the death of a worker."""

    def start(self, running: Mapping[Any, Any], draining: bool) -> Iterator[tuple[Any, Any]]:
        """Start what may start now. Yields (reference, item); the caller adds it to `running` before the next is asked for."""

    def finished(self, reference: Any, item: Any) -> str:
        """The item runs no more, with whatever result. Returns its name for messages."""

    def retry(self, item: Any) -> None:
        """Queue an item for another attempt."""

    def worker_died(self, item: Any, error: BaseException) -> TaskResult | None:
        """The error to give up with; None when the item is queued for another attempt."""


class _Tasks:
    """Items as independent Ray tasks, `window` of them at a time."""

    def __init__(
        self, ray: Any, function: Function, context: Any, items: Iterable[Any], resources: Resources, window: int
    ) -> None:
        errors = ray.exceptions
        self.deaths: tuple[Any, ...] = (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError)
        self._task: Any = ray.remote(max_retries=0, max_calls=0, **_ray_options(resources))(_on_worker)
        self._function, self._context = function, ray.put(context)
        self._items, self._again, self._window = iter(items), deque[Any](), window
        self._num_deaths: Counter[str] = Counter()

    def start(self, running: Mapping[Any, Any], draining: bool) -> Iterator[tuple[Any, Any]]:
        while len(running) < self._window and not (draining and not self._again):
            item = self._again.popleft() if self._again else next(self._items, None)
            if item is None:
                return
            yield self._task.remote(self._function, self._context, item), item

    def finished(self, reference: Any, item: Any) -> str:
        return label_of(item)

    def retry(self, item: Any) -> None:
        self._again.append(item)

    def worker_died(self, item: Any, error: BaseException) -> TaskResult | None:
        label = label_of(item)
        self._num_deaths[label] += 1
        again = after_deaths(item, self._num_deaths[label])
        if again is None:
            deaths = self._num_deaths[label]
            return TaskResult(item, error=DataError(f"{label}: its worker died {deaths} times, outside any stage: {error}"))
        self._again.append(again)
        return None


class _Actors:
    """Items by key: one actor per key, which runs the key's items one after the other."""

    def __init__(self, ray: Any, open: Open, context: Any, work: Work, resources: Resources) -> None:
        self.deaths: tuple[Any, ...] = (ray.exceptions.RayActorError,)
        self._kill = ray.kill
        shared: Any = ray.put(context)
        actor: Any = ray.remote(max_restarts=0, **_ray_options(resources))(_Holder)
        self._new_actor: Callable[[str], Any] = lambda key: actor.remote(open, shared, key)
        self._left = {key: deque(items) for key, items in work.items() if items}
        self._actors = {key: self._new_actor(key) for key in self._left}
        self._busy: dict[Any, str] = {}
        """Reference -> key."""
        self._key_of: dict[Any, str] = {}
        """Item -> key of the attempt that finished last."""
        self._num_deaths: Counter[str] = Counter()

    def start(self, running: Mapping[Any, Any], draining: bool) -> Iterator[tuple[Any, Any]]:
        for key in [key for key in self._actors if key not in self._busy.values()]:
            if self._left[key] and not draining:
                item = self._left[key].popleft()
                reference = self._actors[key].apply.remote(item)
                self._busy[reference] = key
                yield reference, item
            else:
                self._kill(self._actors.pop(key))

    def finished(self, reference: Any, item: Any) -> str:
        self._key_of[item] = key = self._busy.pop(reference)
        return f"{key}, {label_of(item)}"

    def retry(self, item: Any) -> None:
        self._left[self._key_of[item]].appendleft(item)

    def worker_died(self, item: Any, error: BaseException) -> TaskResult | None:
        key = self._key_of[item]
        self._num_deaths[key] += 1
        self._actors[key] = self._new_actor(key)
        if self._num_deaths[key] > MAX_HOLDER_DEATHS:
            deaths = self._num_deaths[key]
            return TaskResult(item, error=RunError(f"{key}, {label_of(item)}: its worker died {deaths} times: {error}"))
        self.retry(item)
        return None


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
