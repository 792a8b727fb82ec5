"""The logs that workers wrote about the shards of a run: `curate logs`."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from curate.errors import SpecError
from curate.execution.shard_log import LOGGER
from curate.logs import escape_controls, indented
from curate.pipeline import lockfile
from curate.storage.lease import is_held
from curate.storage.run_dir import (
    LOCKFILE,
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
_FIRST_WITH_LOGS = (0, 2, 0)


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
    num_unreadable: int = 0
    """Lines of the log that could not be read."""


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
    records, num_unreadable = _records(store, segment, shard, attempts[-1])
    own = {record["message"]: record for record in records if record["logger"] == LOGGER}
    end, error = own.get("end", {}), str(own.get("failed", {}).get("error", ""))
    seconds, memory, warnings = (_number(end, field) for field in ("seconds", "peak_memory_bytes", "warnings"))
    state = state or ("done" if end.get("state") == "done" else "failed")
    return ShardState(
        segment, shard, state, len(attempts), seconds, None if memory is None else int(memory),
        None if warnings is None else int(warnings), "" if state == "done" else _first_line(error), num_unreadable,
    )  # fmt: skip


def _number(record: dict[str, Any], field: str) -> float | None:
    value = record.get(field)
    return value if isinstance(value, int | float) and abs(value) < 1e15 else None


def _records(store: Store, segment: str, shard: str, attempt: str) -> tuple[list[dict[str, Any]], int]:
    """The records of a log, and the number of its lines that could not be read."""
    with store.reading(shard_log(segment, shard, attempt)) as file:
        lines = [line for line in file.read().split(b"\n") if line]
    records = [record for record in map(_record, lines) if record]
    return records, len(lines) - len(records)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    keys = ("time", "level", "logger", "message")
    return record if isinstance(record, dict) and all(isinstance(record.get(key), str) for key in keys) else None


def _first_line(error: str) -> str:
    line = escape_controls(error.split("\n")[0])
    return line if len(line) <= _ERROR_CHARS else f"{line[: _ERROR_CHARS - 3]}..."


def describe_logs(directory: str, num: int) -> str:
    """The first `num` shards of `shard_states` as a table, and what is missing. Raises SpecError where there is no run."""
    states = shard_states(directory)
    header = ("segment", "shard", "state", "attempts", "seconds", "peak MB", "warnings", "error")
    rows = [header, *(_cells(state) for state in states[:num])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(_aligned(cell, widths[column], column) for column, cell in enumerate(row)) for row in rows]
    more = [f"{len(states) - num:,} more shards: see them with -n {len(states)}"] if len(states) > num else []
    missing = [f"{_lines(state.num_unreadable)} of the log of {_name(state.shard)}" for state in states if state.num_unreadable]
    none = [] if any(state.attempts for state in states) else [_why_none(Store(directory))]
    return "\n".join([*(line.rstrip() for line in lines), *more, *missing[:num], *none])


def _lines(num: int) -> str:
    return f"{num:,} line{'s' if num > 1 else ''} could not be read"


def _name(shard: str) -> str:
    return escape_controls(shard).replace("\n", "\\n")


def _why_none(store: Store) -> str:
    written = re.match(r"# Written by curate (\d+\.\d+\.\d+)\.", store.read_text(LOCKFILE))
    if written and tuple(map(int, written.group(1).split("."))) < _FIRST_WITH_LOGS:
        return f"No shard has a log: curate {written.group(1)}, which wrote this run, kept none."
    return "No shard has a log yet. Reused steps have none."


def _cells(state: ShardState) -> tuple[str, ...]:
    memory = None if state.peak_memory_bytes is None else state.peak_memory_bytes / 1e6
    return (
        state.segment, _name(state.shard), state.state, str(state.attempts),
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
        hint = f"Known, among {len(known):,}: {near}." if known else _why_none(store)
        raise SpecError(f"{directory!r} has no log of a shard {shard!r}. {hint}")
    lines = []
    for segment, names in attempts.items():
        for number, attempt in enumerate(names.get(shard, []), 1):
            lines.append(f"{segment}, shard {_name(shard)}, attempt {number} of {len(names[shard])}")
            records, num_unreadable = _records(store, segment, shard, attempt)
            for record in records:
                lines += _record_lines(record)
            if num_unreadable:
                lines.append(f"  {_lines(num_unreadable)}")
            elif not records:
                lines.append("  the log is empty")
    return escape_controls("\n".join(lines))


def _record_lines(record: dict[str, Any]) -> Iterator[str]:
    fields = {name: value for name, value in record.items() if name not in ("time", "level", "logger", "message", "traceback")}
    values = " ".join(f"{name}={value}" for name, value in fields.items())
    source = "" if record["logger"] == LOGGER else f"{record['logger']}: "
    yield "  " + indented(f"{record['time']} {record['level']} {source}{record['message']} {values}".rstrip())
    yield from (f"    {line}" for line in str(record.get("traceback", "")).splitlines())
