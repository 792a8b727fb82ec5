"""Progress of a run: bars on a terminal, plain lines elsewhere; and the funnel at the end."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from curate.cli.output import echo
from curate.execution.accounting import StageCounts
from curate.execution.summary import Summary
from curate.logs import LogOptions, escape_controls
from curate.report.replay import DropReason
from curate.report.whatif import Count, Flip, WhatIf

_LINE_EVERY_S = 10.0
logger = logging.getLogger(__name__)


class Progress:
    """A listener that draws; with `--log-json` it logs, with `--quiet` it is silent."""

    def __init__(self, console: Console | None = None, options: LogOptions | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._options = options or LogOptions()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._counts: dict[str, list[int]] = {}
        self._printed_at = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._options.quiet and not self._options.log_json:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bars = Bars(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console)
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def phase(self, name: str, total: int, done: int) -> None:
        self._counts[name] = [done, total]
        if self._bars:
            self._tasks[name] = self._bars.add_task(name, total=total, completed=done)
        else:
            message = f"{name}: {done} of {total} done before" if done else f"{name}: {total} to do"
            self._line(message, phase=name, done=done, total=total)

    def advance(self, name: str, item: str, rows: int | None) -> None:
        if name not in self._counts:
            return
        self._counts[name][0] += 1
        if self._bars:
            self._bars.advance(self._tasks[name])
            return
        done, total = self._counts[name]
        if done == total or time.monotonic() - self._printed_at > _LINE_EVERY_S:
            self._printed_at = time.monotonic()
            left = f", {rows:,} documents left" if rows is not None else ""
            self._line(f"{name}: {done} of {total}, last {item}{left}", phase=name, done=done, total=total, last=item)

    def tick(self) -> None:
        return

    def note(self, message: str) -> None:
        self._line(message)

    def _line(self, message: str, **fields: Any) -> None:
        if self._options.log_json:
            logger.info(message, extra={"fields": fields})
        elif not self._options.quiet:
            text = f"{time.strftime('%H:%M:%S')} {escape_controls(message)}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_summary(summary: Summary) -> None:
    """The funnel: per stage documents in, dropped by reason, left, and the share of all that is left."""
    console = Console() if Console().is_terminal else Console(width=120)
    if summary.already_done:
        echo(f"{summary.out} is complete; nothing to do.")
    console.print(funnel(summary))
    others = sorted(summary.records.items(), key=lambda pair: (-pair[1], pair[0]))[:8]
    if others:
        echo(f"records, not documents: {', '.join(f'{kind} {count:,}' for kind, count in others)}")
    for name, account in summary.stages.items():
        counts = {**account.counts, **summary.decision_counts.get(name, {})}
        if counts:
            echo(f"{name}: {', '.join(f'{what} {count:,}' for what, count in counts.items())}")
    for shard, error in summary.failed_shards.items():
        echo(f"  failed shard {shard}: {error}")
    size = sum(record["bytes"] for name, record in summary.files.items() if name.startswith("data/"))
    share = summary.documents_out / max(1, summary.documents_in)
    documents = f"{summary.documents_in:,} documents in, {summary.documents_out:,} out ({share:.1%})"
    echo(f"{documents}, {decimal(size)} in {summary.out}/data")


def funnel(summary: Summary) -> Table:
    """One row per stage and, indented, per reason."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (
        ("stage", "left"),
        ("in", "right"),
        ("dropped", "right"),
        ("left", "right"),
        ("of all", "right"),
        ("chars left", "right"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left")
    first = max(1, summary.documents_in)
    for name, account in summary.stages.items():
        lost = sum(account.dropped.values()) + account.failed
        table.add_row(
            name,
            f"{account.rows_in:,}",
            f"{lost:,}",
            f"{account.rows_out:,}",
            f"{account.rows_out / first:.1%}",
            f"{account.chars_out:,}",
        )
        for reason, count in _reasons(account):
            table.add_row(f"    {reason}", "", f"{count:,}", "", "", "", style="dim")
    return table


def print_whatif(result: WhatIf) -> None:
    """The funnel of a run beside the one it would have, and documents that flip."""
    console = Console() if Console().is_terminal else Console(width=120)
    for name, (before, after) in result.changes.items():
        echo(f"{name}: {_value(before)} -> {_value(after)}")
    console.print(_two_funnels(result))
    before, after = (f"{documents:,} ({_share(documents, result)})" for documents in result.documents_out)
    echo(f"{result.documents_in:,} documents in, out {before} -> {after}")
    if result.chars_out:
        echo(f"{result.chars_out[0]:,} characters out -> {result.chars_out[1]:,}")
    for note in result.notes:
        echo(f"note: {note}")
    if result.num_moved:
        echo(f"{result.num_moved:,} documents are dropped by another rule than before")
    for what, number, flips in (
        ("no longer kept", result.num_lost, result.lost),
        ("no longer dropped", result.num_gained, result.gained),
    ):
        if number:
            echo(f"\n{number:,} documents {what}{f', {len(flips)} of them' if len(flips) < number else ''}:")
        for flip in flips:
            echo(f"  {_flip(flip)}")


def _share(documents: int, result: WhatIf) -> str:
    return f"{documents / max(1, result.documents_in):.1%}"


def _value(value: object) -> str:
    return "null" if value is None else str(value)


def _two_funnels(result: WhatIf) -> Table:
    """One row per stage and, indented, per reason: before and after."""
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    unseen = any(after.unseen for _, after in result.stages.values())
    for name in (
        "in",
        "dropped",
        "left",
        "of all",
        "in ->",
        "dropped ->",
        "left ->",
        "of all ->",
        *(["unseen"] if unseen else []),
    ):
        table.add_column(name, justify="right")
    for stage, (before, after) in result.stages.items():
        extra = [f"{after.unseen:,}" if after.unseen else ""] if unseen else []
        table.add_row(stage, *_cells(before, result), *_cells(after, result), *extra)
        lost = before.dropped + after.dropped
        for reason in sorted(lost, key=lambda reason: (-before.dropped[reason], -after.dropped[reason], reason)):
            one, other = (f"{count.dropped[reason]:,}" for count in (before, after))
            table.add_row(f"    {reason}", "", one, "", "", "", other, style=None if one != other else "dim")
        if before.failed:
            table.add_row(
                "    failed: killed its worker", "", f"{before.failed:,}", "", "", "", f"{after.failed:,}", style="dim"
            )
    return table


def _cells(count: Count, result: WhatIf) -> list[str]:
    lost = sum(count.dropped.values()) + count.failed
    return [f"{count.rows_in:,}", f"{lost:,}", f"{count.rows_out:,}", _share(count.rows_out, result)]


def _flip(flip: Flip) -> str:
    label = "  ".join(part for part in (flip.id, flip.url) if part)
    if flip.before is None:
        return f"{label}  kept -> {_drop_reason(flip.after)}"
    return f"{label}  {_drop_reason(flip.before)} -> passes"


def _drop_reason(reason: DropReason | None) -> str:
    if reason is None:
        return "passes"
    limit = "" if reason.limit is None else f", limit {reason.limit:.6g}"
    return f"{reason.stage}: {reason.reason} ({reason.measure} {reason.value:.6g}{limit})"


def _reasons(account: StageCounts) -> list[tuple[str, int]]:
    reasons = sorted(account.dropped.items(), key=lambda pair: (-pair[1], pair[0]))
    return [*reasons, ("failed: killed its worker", account.failed)] if account.failed else reasons
