"""Plots as SVG that takes its colours from the page: dark on light, or light on dark."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

# Drawn in colours that occur nowhere else, each of which is then a variable of the page's style sheet.
_INK, _FAINT = "#010203", "#040506"
_SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006")
_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--line)", **{c: f"var(--series-{n})" for n, c in enumerate(_SERIES)}}


@dataclass(frozen=True)
class Line:
    """A name, and its points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_plot(lines: Sequence[Line], *, title: str, x_label: str, y_label: str, marks: Sequence[float] = ()) -> Markup:
    """Lines over a common x, and upright ones at `marks`. At most six lines have colours of their own."""

    def draw(axes: Any) -> None:
        for place, line in enumerate(lines):
            axes.plot(line.x, line.y, color=_SERIES[place % len(_SERIES)], marker=".", label=line.name)
        for mark in marks:
            axes.axvline(mark, color=_FAINT, linewidth=1, zorder=0)
        axes.set(xlabel=x_label, ylabel=y_label)
        if len(lines) > 1:
            axes.legend(frameon=False)

    return _drawn(draw, title)


def histogram(
    counts: Mapping[str, Sequence[int]], edges: Sequence[float], *, title: str, x_label: str, mark: float | None = None,
    logarithmic: bool = False,
) -> Markup:  # fmt: skip
    """Counts by name in common bins, one behind the other, and an upright line at `mark`."""

    def draw(axes: Any) -> None:
        for place, (name, some) in enumerate(counts.items(), 2 - len(counts)):  # one alone is coloured as the last of two
            axes.stairs(some, edges, fill=True, alpha=0.45, color=_SERIES[1 - place], label=name)
            axes.stairs(some, edges, color=_SERIES[1 - place])
        if mark is not None:
            axes.axvline(mark, color=_INK, linewidth=1.2)
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set(xlabel=x_label, ylabel="documents")
        axes.legend(frameon=False)

    return _drawn(draw, title)


def _drawn(draw: Callable[[Any], None], title: str) -> Markup:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK,
        "axes.edgecolor": _FAINT, "xtick.color": _INK, "ytick.color": _INK, "grid.color": _FAINT, "axes.spines.top": False,
        "axes.spines.right": False, "font.family": "sans-serif",
        "text.parse_math": False,
    }  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(4.2, 2.8), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set_title(title)
        axes.grid(axis="y", linewidth=0.5)
        found = io.StringIO()
        figure.savefig(found, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = found.getvalue()[found.getvalue().index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    # Names come from files, and matplotlib escapes them; the rest is its own.
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{Markup.escape(title)}" ', 1))
