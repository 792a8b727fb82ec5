"""A run in a notebook: tables and documents that show themselves, as HTML where there is a browser and as text elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import SpecError, known_values
from curate.logs import escape_controls
from curate.report.collectors import Size
from curate.report.gather import gather
from curate.report.render import render
from curate.report.search_query import Search

Row = Mapping[str, Any]
_WIDTH, _PREVIEW_CHARS = 40, 300
KINDS = ("dropped", "edited", "kept", "near")


@dataclass(frozen=True)
class Table(Sequence[Row]):
    """Rows of a few columns."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        cells = [self.columns, *(tuple(_cell(row.get(name)) for name in self.columns) for row in self.rows)]
        widths = [min(_WIDTH, max(len(line[place]) for line in cells)) for place in range(len(self.columns))]
        lines = ("  ".join(cell[:w].ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells)
        return escape_controls("\n".join(lines))

    def _repr_html_(self) -> str:
        numbers = {name for name in self.columns if all(isinstance(row.get(name), int | float | None) for row in self.rows)}
        lines = [[(_cell(row.get(name)), name in numbers) for name in self.columns] for row in self.rows]
        return render("table.html", columns=self.columns, lines=lines)


@dataclass(frozen=True)
class Documents(Sequence[Row]):
    """Documents to read: texts, and of edited ones what was cut and what was put in."""

    rows: tuple[Row, ...]

    def __getitem__(self, place: Any) -> Any:
        return Documents(self.rows[place]) if isinstance(place, slice) else self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        shown = (f"{_label(row)} {row.get('url') or row['id']}\n{_preview(row)}" for row in self.rows)
        return escape_controls("\n\n".join(shown))

    def _repr_html_(self) -> str:
        return render("documents.html", documents=[(_label(row), row) for row in self.rows])


class Inspection:
    """The parts of the report of a run, as tables and documents."""

    def __init__(self, directory: str, size: Size | None = None) -> None:
        """Raises SpecError if the folder has no run, or one that is not complete."""
        self.figures = gather(directory, size)
        """Everything, as in `report.json`."""

    @property
    def funnel(self) -> Table:
        columns = ("stage", "rows_in", "dropped", "edited", "rows_out", "frac_of_all", "chars_out")
        return Table(columns, tuple(self.figures["funnel"]))

    @property
    def reasons(self) -> Table:
        return Table(("stage", "reason", "documents", "frac"), tuple(self.figures["reasons"]))

    @property
    def rules(self) -> Table:
        """Edits by the rule that made them."""
        return Table(("stage", "rule", "edits"), tuple(self.figures["rules"]))

    @property
    def hosts(self) -> Table:
        return Table(("name", "dropped", "kept"), tuple(self.figures["hosts"]))

    @property
    def languages(self) -> Table:
        return Table(("name", "dropped", "kept"), tuple(self.figures["languages"]))

    def documents(
        self, kind: str | None = None, *, stage: str | None = None, reason: str | None = None, words: str | None = None,
        num: int = 5,
    ) -> Documents:  # fmt: skip
        """The first `num` of the documents of the sample that match: `kind` is dropped, edited, kept, or near (a limit), and
        `words` are a search in text and URL (`search_query.py`). Raises SpecError for an unknown kind, stage or reason."""
        everything: list[Row] = self.figures["documents"]
        if kind is not None and kind not in KINDS:
            raise SpecError(f"kind: {kind!r}. {known_values(kind, KINDS)}")
        reasons = [row["reason"] for row in self.figures["reasons"]] + [row["reason"] for row in everything if "reason" in row]
        for name, value, known in (
            ("stage", stage, [row["stage"] for row in self.figures["funnel"]]),
            ("reason", reason, reasons),
        ):
            if value is not None and value not in known:
                raise SpecError(f"{name}: {value!r}. {known_values(value, sorted({*known}))}")
        found = (
            row
            for row in everything
            if (kind is None or (row.get("near") if kind == "near" else row["kind"] == kind))
            and (stage is None or row.get("stage") == stage)
            and (reason is None or row.get("reason") == reason)
            and (words is None or Search.of(words).finds(_words(row)))
        )
        return Documents(tuple(row for _, row in zip(range(num), found, strict=False)))


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else str(value)


def _label(row: Row) -> str:
    if row["kind"] == "kept" and not row.get("near"):
        return "kept:"
    measured = f" ({row['value']:.4g}, limit {row['limit']:.4g})" if {"value", "limit"} <= row.keys() else ""
    return f"{row['kind']}{', near the limit' if row.get('near') else ''}: {row['stage']} / {row['reason']}{measured}:"


def _preview(row: Row) -> str:
    if "parts" in row:
        marks = {"gone": "[-{}-]", "new": "{{+{}+}}", "cut": "... {} ..."}
        return "".join(marks.get(kind, "{}").format(text) for kind, text, *_ in row["parts"])[: 2 * _PREVIEW_CHARS]
    text: str = row.get("text", "(no text on record)")
    return text if len(text) <= _PREVIEW_CHARS else f"{text[:_PREVIEW_CHARS]}... ({row['chars']:,} characters)"


def _words(row: Row) -> str:
    texts: Iterator[str] = (part[1] for part in row.get("parts", ()) if part[0] != "cut")
    return "\n".join([row.get("url") or "", row.get("id") or "", row.get("text") or "", *texts])
