"""Run work items: in this process, or on Ray. The only module that imports ray.

An engine maps a function over items and gives results in the order they finish. It retries TransientError, counts the
deaths of workers per item (`after_deaths` says what to try then), and keeps a bounded number of items in flight, so
neither the driver nor the object store ever holds documents: items and results are a few hundred bytes.

Decisions. Plain Ray tasks, not Ray Data: the death of a worker must be charged to a shard by name, retried, isolated and
bisected, which a task's own error allows and a dataset's does not (there it fails the run, or with errored blocks
allowed is a lost block without a name). Measured by `tests/bench/engines.py`; figures in the README.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from curate.errors import CurateError, TransientError
from curate.execution.worker import Function

MAX_TRANSIENT_RETRIES = 4
MAX_HOLDER_DEATHS = 2
TICK_S = 1.0

logger = logging.getLogger(__name__)

Resources = Mapping[str, float]
Open = Callable[[Any, str], contextlib.AbstractContextManager[Callable[[Any], Any]]]
Work = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class TaskResult:
    """An item and what became of it: a result, or the error that stopped it."""

    item: Any
    result: Any = None
    error: CurateError | None = None


class Engine(Protocol):
    """Runs items; `running` says which, and since when."""

    running: dict[Any, float]

    def map(self, function: Function, context: Any, items: Iterable[Any], resources: Resources) -> Iterator[TaskResult | None]:
        """Outcomes as they come; None now and then, so that the caller can report progress."""

    def hold(self, open: Open, context: Any, work: Work, resources: Resources) -> Iterator[TaskResult | None]:
        """For every key of `work`, enter `open(context, key)` once, and apply what that gives to each of the key's items.

        For models: what is opened is loaded once, and stays where it is until the key is done.
        """

    def drain(self) -> None:
        """Start nothing new; what runs is finished."""

    def close(self) -> None: ...


class InlineEngine:
    """Everything in this process, one item after the other: for tests, notebooks and debuggers."""

    def __init__(self) -> None:
        self.running: dict[Any, float] = {}
        self._draining = False

    def map(self, function: Function, context: Any, items: Iterable[Any], resources: Resources) -> Iterator[TaskResult | None]:
        for item in items:
            if self._draining:
                return
            self.running[item] = time.time()
            yield None
            yield self._attempt(function, context, item)
            self.running.pop(item, None)

    def hold(self, open: Open, context: Any, work: Work, resources: Resources) -> Iterator[TaskResult | None]:
        for key, items in work.items():
            if items and not self._draining:
                with open(context, key) as apply:
                    yield from self.map(lambda _, item, held=apply: held(item), None, items, resources)  # type: ignore[misc]

    def _attempt(self, function: Function, context: Any, item: Any) -> TaskResult:
        for attempt in range(MAX_TRANSIENT_RETRIES + 1):
            try:
                return TaskResult(item, function(context, item))
            except TransientError as error:
                failure = error
                logger.info("%s: attempt %d failed, trying again: %s", label_of(item), attempt + 1, error)
                time.sleep(backoff(attempt))
            except CurateError as error:
                return TaskResult(item, error=error)
        return TaskResult(item, error=failure)

    def drain(self) -> None:
        self._draining = True

    def close(self) -> None:
        return


def backoff(attempt: int) -> float:
    return 0.2 * 4.0**attempt


def label_of(item: Any) -> str:
    shard = getattr(item, "shard", None)
    return str(getattr(shard, "name", None) or getattr(item, "name", None) or type(item).__name__)
