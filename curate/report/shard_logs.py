"""The logs that workers wrote about the shards of a run: `curate logs`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from curate.errors import SpecError
from curate.logs import escape_controls
from curate.pipeline import lockfile
from curate.storage.lease import is_held
from curate.storage.run_dir import (
    STATUS,
    failed_shard,
    failed_shards,
    logs_folder,
    parse_shard_log,
    shard_log,
    shard_manifests,
)
from curate.storage.store import Store

_ORDER = ("failed", "running", "done")
_ERROR_CHARS = 100


@dataclass(frozen=True)
class ShardState:
    """A shard in one segment, by the log of its last attempt. Without a log, numbers are None."""

    segment: str
    shard: str
    state: str
    """failed, running or done."""
    attempts: int
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    warnings: int | None = None
    error: str = ""
    """First line of the error of the last attempt."""


def shard_states(directory: str) -> list[ShardState]:
    """All shards of a run by segment: failed ones first, then running ones, the slowest first.

    Raises SpecError where there is no run.
    """
    store, saved = lockfile.opened(directory)
    running = set(store.read_json(STATUS)["running"]) if store.exists(STATUS) and is_held(store) else set()
    shards = [shard for segment in saved["steps"] for shard in _shards(store, segment, running)]
    with ThreadPoolExecutor(32) as pool:
        states = list(pool.map(lambda shard: _state(store, *shard), shards))
    return sorted(states, key=lambda state: (_ORDER.index(state.state), -(state.seconds or 0.0), state.segment, state.shard))


def _shards(store: Store, segment: str, running: set[str]) -> Iterator[tuple[str, str, list[str], str]]:
    """(segment, shard, attempts in order, state) of the shards of a segment; state is empty where only a log tells."""
    attempts = _attempts(store, segment)
    done, failed = (
        {name.removesuffix(".json") for name in store.list(folder(segment))} for folder in (shard_manifests, failed_shards)
    )
    for shard in sorted({*attempts, *done, *failed}):
        state = "failed" if shard in failed else "done" if shard in done else "running" if shard in running else ""
        yield segment, shard, attempts.get(shard, []), state


def _attempts(store: Store, segment: str) -> dict[str, list[str]]:
    """Shard -> its attempts in order."""
    attempts: dict[str, list[str]] = {}
    for parsed in map(parse_shard_log, store.list(logs_folder(segment))):
        if parsed:
            attempts.setdefault(parsed[0], []).append(parsed[1])
    return {shard: sorted(names) for shard, names in attempts.items()}


def _state(store: Store, segment: str, shard: str, attempts: list[str], state: str) -> ShardState:
    if not attempts:
        error = str(store.read_json(failed_shard(segment, shard))) if state == "failed" else ""
        return ShardState(segment, shard, state, 0, error=_first_line(error))
    records = _records(store, segment, shard, attempts[-1])
    end = next((record for record in records if record["message"] == "end"), {})
    error = next((record["error"] for record in records if record["message"] == "failed"), "")
    return ShardState(
        segment, shard, state or end.get("state", "failed"), len(attempts), end.get("seconds"), end.get("peak_memory_bytes"),
        end.get("warnings"), "" if state == "done" else _first_line(error),
    )  # fmt: skip


def _records(store: Store, segment: str, shard: str, attempt: str) -> list[dict[str, Any]]:
    text = store.read_text(shard_log(segment, shard, attempt))
    return [json.loads(line) for line in text.splitlines()]


def _first_line(error: str) -> str:
    line = escape_controls(error.split("\n")[0])
    return line if len(line) <= _ERROR_CHARS else f"{line[: _ERROR_CHARS - 3]}..."


def describe_logs(directory: str, num: int) -> str:
    """The first `num` shards of `shard_states` as a table. Raises SpecError where there is no run."""
    states = shard_states(directory)
    header = ("segment", "shard", "state", "attempts", "seconds", "peak MB", "warnings", "error")
    rows = [header, *(_cells(state) for state in states[:num])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(_aligned(cell, widths[column], column) for column, cell in enumerate(row)) for row in rows]
    more = [f"{len(states) - num:,} more shards: see them with -n {len(states)}"] if len(states) > num else []
    return "\n".join([*(line.rstrip() for line in lines), *more])


def _cells(state: ShardState) -> tuple[str, ...]:
    memory = None if state.peak_memory_bytes is None else state.peak_memory_bytes / 1e6
    return (
        state.segment, escape_controls(state.shard), state.state, str(state.attempts),
        "" if state.seconds is None else f"{state.seconds:,.1f}", "" if memory is None else f"{memory:,.0f}",
        "" if state.warnings is None else f"{state.warnings:,}", state.error,
    )  # fmt: skip


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if 3 <= column <= 6 else cell.ljust(width)


def describe_shard(directory: str, shard: str) -> str:
    """All logs of one shard, by segment and attempt. Raises SpecError where there is no run, or no log of the shard."""
    store, saved = lockfile.opened(directory)
    attempts = {segment: _attempts(store, segment) for segment in saved["steps"]}
    known = sorted({name for names in attempts.values() for name in names})
    if shard not in known:
        near = ", ".join(map(repr, difflib.get_close_matches(shard, known, n=3) or known[:3]))
        hint = f"Known, among {len(known):,}: {near}." if known else "No shard has one."
        raise SpecError(f"{directory!r} has no log of a shard {shard!r}. {hint}")
    lines = []
    for segment, names in attempts.items():
        for number, attempt in enumerate(names.get(shard, []), 1):
            lines.append(f"{segment}, shard {shard}, attempt {number} of {len(names[shard])}")
            for record in _records(store, segment, shard, attempt):
                lines += _record_lines(record)
    return escape_controls("\n".join(lines))


def _record_lines(record: dict[str, Any]) -> Iterator[str]:
    fields = {name: value for name, value in record.items() if name not in ("time", "level", "logger", "message", "traceback")}
    values = " ".join(f"{name}={value}" for name, value in fields.items())
    source = "" if record["logger"].startswith("curate.execution.shard_log") else f"{record['logger']}: "
    yield f"  {record['time']} {record['level']} {source}{record['message']} {values}".rstrip()
    yield from (f"    {line}" for line in record.get("traceback", "").splitlines())
