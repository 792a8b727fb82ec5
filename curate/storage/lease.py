"""One driver per output directory: a small file with host and process, beaten like a heart.

A lease is taken over when its process is gone (same host) or its heart has stopped for STALE_S seconds (other hosts).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any

from curate.errors import LeaseError, TransientError
from curate.storage.run_dir import LEASE
from curate.storage.store import Store

logger = logging.getLogger(__name__)

STALE_S = 120.0
_BEAT_S = 20.0


class Lease:
    """A context manager; raises LeaseError when another run is at work in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Lease:
        if not self._store.create_once(LEASE, self._mine()):
            holder = _read(self._store)
            if holder and holds(holder):
                raise LeaseError(
                    f"{self._store.root} is being written by process {holder['pid']} on {holder['host']}. "
                    f"Wait for it, stop it, or use another --out. A dead holder's lease ends after {STALE_S:.0f} s."
                )
            logger.info("taking over the lease of a run that ended without giving it back: %s", holder)
            self._store.write_text(LEASE, self._mine())
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._heart.join()
        self._store.delete(LEASE)

    def _mine(self) -> str:
        return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "beat": time.time()})

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_S):
            with contextlib.suppress(OSError, TransientError):  # the next beat may come through; STALE_S allows for five
                self._store.write_text(LEASE, self._mine())


def _read(store: Store) -> dict[str, Any] | None:
    """The lease; None where it is gone by now, or no lease at all."""
    try:
        holder = store.read_json(LEASE)
    except (FileNotFoundError, ValueError):
        return None
    return holder if isinstance(holder, dict) and {"host", "pid", "born", "beat"} <= set(holder) else None


def is_held(store: Store) -> bool:
    """Whether a process that is still at work has the lease of this folder."""
    holder = _read(store)
    return holder is not None and holds(holder)


def holds(holder: dict[str, Any]) -> bool:
    """Whether the process a lease names is still at work."""
    if holder["host"] == socket.gethostname():
        return bool(_born(holder["pid"]) == holder["born"])
    return time.time() - float(holder["beat"]) < STALE_S


def _born(pid: int) -> float | None:
    """Start time of a process, which tells it from a later one with the same number; None when there is none."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
