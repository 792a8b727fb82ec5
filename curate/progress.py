"""Progress of a run: bars on a terminal, plain lines elsewhere; and the funnel at the end."""

from __future__ import annotations

import time
from types import TracebackType

import click
from rich.console import Console
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

from curate.ledger import Account
from curate.runner import Summary

_LINE_EVERY_S = 10.0


class Progress:
    """A listener that draws."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._counts: dict[str, list[int]] = {}
        self._printed_at = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
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
            self._line(f"{name}: {done} of {total} done before" if done else f"{name}: {total} to do")

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
            self._line(f"{name}: {done} of {total}, last {item}{f', {rows:,} documents left' if rows is not None else ''}")

    def tick(self) -> None:
        return

    def note(self, message: str) -> None:
        self._line(message)

    def _line(self, message: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {message}", highlight=False, markup=False, soft_wrap=True)


def print_summary(summary: Summary) -> None:
    """The funnel: per stage documents in, dropped by reason, left, and the share of all that is left."""
    console = Console() if Console().is_terminal else Console(width=120)
    if summary.already_done:
        click.echo(f"{summary.out} is complete; nothing to do.")
    console.print(funnel(summary))
    for kind, count in sorted(summary.records.items(), key=lambda pair: (-pair[1], pair[0]))[:8]:
        click.echo(f"  {count:>9,}  {kind} (record, not a document)")
    for shard, error in summary.failed_shards.items():
        click.echo(f"  failed shard {shard}: {error}")
    size = sum(record["bytes"] for name, record in summary.files.items() if name.startswith("data/"))
    share = summary.documents_out / max(1, summary.documents_in)
    counts = f"{summary.documents_in:,} documents in, {summary.documents_out:,} out ({share:.1%})"
    click.echo(f"{counts}, {size / 1e6:,.1f} MB in {summary.out}/data")


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


def _reasons(account: Account) -> list[tuple[str, int]]:
    reasons = sorted(account.dropped.items(), key=lambda pair: (-pair[1], pair[0]))
    return [*reasons, ("failed: killed its worker", account.failed)] if account.failed else reasons
