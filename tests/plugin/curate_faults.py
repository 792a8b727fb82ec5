"""Stages that break their contract or their process, and crashes at chosen points of a run: for the fault tests."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.api import Batch, Stage, drop_where, edit_text


@dataclass(frozen=True, kw_only=True)
class Kill(Stage):
    """Take the worker process down, on a document with this word, or once per flag file."""

    word: str = "POISON"
    once: str | None = None
    """A path: the process dies only if the file is not there yet, and leaves it behind."""

    def apply(self, batch: Batch) -> Batch:
        found = any(self.word in (text or "") for text in batch["text"].to_pylist())
        if found and not (self.once and os.path.exists(self.once)):
            if self.once:
                with open(self.once, "w"):
                    pass
            os.kill(os.getpid(), signal.SIGKILL)
        return batch


@dataclass(frozen=True, kw_only=True)
class Slow(Stage):
    """Wait, so that a run can be interrupted."""

    seconds: float = 0.05
    cpus: int = 1

    @property
    def resources(self) -> dict[str, float]:
        return {} if self.cpus == 1 else {"num_cpus": self.cpus}

    def apply(self, batch: Batch) -> Batch:
        time.sleep(self.seconds)
        return batch


@dataclass(frozen=True, kw_only=True)
class Broken(Stage):
    """Break one promise of the contract."""

    how: Literal[
        "loses_rows", "reorders", "reason", "column", "type", "missing", "edit", "wrong_edit", "silent_edit",
        "drops_column", "raises",
    ]  # fmt: skip

    reasons = ("declared",)
    writes = {"made": pa.int64(), "text": pa.large_string()}

    def apply(self, batch: Batch) -> Batch:
        rows = len(batch)
        good = batch.put("made", pa.array(np.arange(rows)))
        shouted = pa.array([(text or "") + "!" for text in batch["text"].to_pylist()], pa.large_string())
        match self.how:
            case "loses_rows":
                return Batch(good.records.slice(1))
            case "reorders":
                return Batch(good.records.take(pa.array(range(rows - 1, -1, -1))))
            case "reason":
                return drop_where(good, np.ones(rows, np.bool_), "undeclared")
            case "column":
                return good.put("other", pa.array(np.arange(rows)))
            case "type":
                return good.put("made", pa.array(["text"] * rows))
            case "missing":
                return batch
            case "edit":
                return good.put("text", shouted)
            case "wrong_edit":
                return edit_text(good, shouted, [[("x", 0, 1, "ab" * 9)]] * rows)
            case "silent_edit":
                louder = pa.array([(text or "").upper() for text in batch["text"].to_pylist()], pa.large_string())
                return edit_text(good, louder, [None] * rows)
            case "drops_column":
                return good.select([name for name in good.names if name != "url"])
            case "raises":
                if any("document 7 " in (text or "") for text in batch["text"].to_pylist()):
                    raise ValueError("seven")
                return good


def _arm(crash: str) -> None:
    """Kill the process once at a chosen point of a run: CURATE_EXAMPLE_CRASH=point:flag file, or several with `;` between.

    A point that is none of the names below is part of a file's name: the process dies when that file is about to be written.
    """
    from curate.stages.score.select import Select
    from curate.storage.parquet import TableWriter
    from curate.storage.store import Store

    point, _, flag = crash.partition(":")
    owner, method, name_part = {
        "write": (TableWriter, "_flush", ""),
        "commit": (Store, "write_json", "/ledger/"),
        "map": (Select, "map_shard", ""),
        "reduce": (Select, "reduce", ""),
        "compaction": (TableWriter, "_write_canonical", ""),
        "marker": (Store, "write_json", "steps/output/"),
        "manifest": (Store, "write_json", "manifest.json"),
    }.get(point, (Store, "create", point))
    original = getattr(owner, method)

    def deadly(self: object, *args: object, **options: object) -> object:
        if name_part in str(args[0] if args else "") and not os.path.exists(flag):
            with open(flag, "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args, **options)

    setattr(owner, method, deadly)


for _crash in filter(None, os.environ.get("CURATE_EXAMPLE_CRASH", "").split(";")):
    _arm(_crash)
