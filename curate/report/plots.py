"""Line plots and histograms as SVG. Colours are variables of the page's style sheet, in its light and its dark scheme."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 420.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 24.0, 26.0, 42.0
_CHAR_WIDTH, _LEGEND_ROW = 6.0, 15.0
_NUM_COLOURS = 6

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A series of a line plot."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_plot(lines: Sequence[Line], *, title: str, x_label: str, y_label: str, marks: Sequence[float] = ()) -> Markup:
    """Plot lines over a common x, with faint vertical lines at `marks`. Colours repeat after six lines."""
    colours = [f"var(--series-{number % _NUM_COLOURS})" for number in range(len(lines))]
    legend = [(line.name, colour) for line, colour in zip(lines, colours, strict=True)] if len(lines) > 1 else []
    frame = _Frame(
        title, x_label, y_label, legend,
        _Axis.linear(_padded([*(x for line in lines for x in line.x), *marks])),
        _Axis.linear(_padded([y for line in lines for y in line.y])),
    )  # fmt: skip
    parts = [frame.vertical(mark, "var(--line)") for mark in marks]
    for line, colour in zip(lines, colours, strict=True):
        pairs = zip(line.x, line.y, strict=True)
        points = [(frame.x(x), frame.y(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
        parts += [_path(points, f"fill: none; stroke: {colour}; stroke-width: 1.5")] if points else []
        parts += [Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2" style="fill: {}"/>').format(x, y, colour) for x, y in points]
    return frame.svg(parts)


def histogram(
    counts: Mapping[str, Sequence[int]], edges: Sequence[float], *, title: str, x_label: str, mark: float | None = None,
    logarithmic: bool = False,
) -> Markup:  # fmt: skip
    """Plot counts in common bins, one series behind the other, with a vertical line at the limit `mark`.

    `edges` has one value more than every series. They are positive if the x axis is `logarithmic`.
    """
    # A single series has the colour of the second of two.
    colours = [f"var(--series-{number})" for number in range(1, -1, -1)][-len(counts) :]
    x_axis = _Axis.logarithmic(edges[0], edges[-1]) if logarithmic else _Axis.linear((edges[0], edges[-1]))
    highest = max((count for series in counts.values() for count in series), default=0)
    y_axis = _Axis.linear((0.0, 1.05 * max(1, highest)))
    frame = _Frame(title, x_label, "documents", list(zip(counts, colours, strict=True)), x_axis, y_axis)
    parts = []
    for series, colour in zip(counts.values(), colours, strict=True):
        points = [(edges[0], 0.0)]
        for count, left, right in zip(series, edges, edges[1:], strict=False):
            points += [(left, count), (right, count)]
        outline = [(frame.x(x), frame.y(y)) for x, y in [*points, (edges[-1], 0.0)]]
        parts.append(_path(outline, f"fill: {colour}; fill-opacity: 0.45; stroke: {colour}"))
    return frame.svg([*parts, *([] if mark is None else [frame.vertical(mark, "var(--ink)")])])


@dataclass(frozen=True)
class _Axis:
    """Maps values to 0..1, and knows where its ticks are."""

    low: float
    high: float
    ticks: Sequence[float]
    scale: Callable[[float], float]

    @classmethod
    def linear(cls, limits: Point) -> _Axis:
        """About five ticks at multiples of 1, 2 or 5 times a power of ten."""
        low, high = limits
        rough = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        ticks = [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        return cls(low, high, ticks, float)

    @classmethod
    def logarithmic(cls, low: float, high: float) -> _Axis:
        """A tick at every power of ten."""
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        return cls(low, high, [10.0**power for power in powers], math.log10)

    def share(self, value: float) -> float:
        low, high = self.scale(self.low), self.scale(self.high)
        return (self.scale(value) - low) / (high - low)


def _padded(values: Iterable[float]) -> Point:
    """Limits a little beyond all values."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    margin = 0.05 * (max(finite) - min(finite)) or 0.5 * abs(finite[0]) or 0.5
    return min(finite) - margin, max(finite) + margin


@dataclass(frozen=True)
class _Frame:
    """Title, legend, axes and grid of a plot."""

    title: str
    x_label: str
    y_label: str
    legend: Sequence[tuple[str, str]]
    """Name and colour of every series."""
    x_axis: _Axis
    y_axis: _Axis

    @property
    def _entries(self) -> list[tuple[float, int, str, str]]:
        """Legend entries: x, row, name, colour. An entry that does not fit begins a new row."""
        placed, x, row = [], _LEFT, 0
        for name, colour in self.legend:
            width = 24 + _CHAR_WIDTH * len(name)
            if x > _LEFT and x + width > _WIDTH:
                x, row = _LEFT, row + 1
            placed.append((x, row, name, colour))
            x += width
        return placed

    @property
    def _top(self) -> float:
        return _TOP + _LEGEND_ROW * (1 + max((row for _, row, _, _ in self._entries), default=-1))

    def x(self, value: float) -> float:
        return _LEFT + self.x_axis.share(value) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - self.y_axis.share(value) * (_HEIGHT - _BOTTOM - self._top)

    def vertical(self, value: float, colour: str) -> Markup:
        return _path([(self.x(value), self._top), (self.x(value), _HEIGHT - _BOTTOM)], f"stroke: {colour}; stroke-width: 1.2")

    def svg(self, parts: Iterable[Markup]) -> Markup:
        bottom, right, top = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT, self._top
        centre = (_LEFT + right) / 2
        drawn = [_text(centre, 15, self.title, size=12), _text(centre, _HEIGHT - 8, self.x_label)]
        drawn.append(_text(12, (top + bottom) / 2, self.y_label, turned=True))
        for x, row, name, colour in self._entries:
            y = _TOP + _LEGEND_ROW * row + 3
            swatch = Markup('<rect x="{:.1f}" y="{:.1f}" width="10" height="8" style="fill: {}"/>')
            drawn += [swatch.format(x, y - 4, colour), _text(x + 14, y + 4, name, anchor="start")]
        for tick, label in zip(self.y_axis.ticks, _labels(self.y_axis.ticks), strict=True):
            y = self.y(tick)
            drawn.append(_path([(_LEFT, y), (right, y)], "stroke: var(--line); stroke-width: 0.5"))
            drawn.append(_text(_LEFT - 6, y + 4, label, anchor="end"))
        for tick, label in zip(self.x_axis.ticks, _labels(self.x_axis.ticks), strict=True):
            x = self.x(tick)
            drawn += [_path([(x, bottom), (x, bottom + 4)], "stroke: var(--line)"), _text(x, bottom + 16, label)]
        drawn.append(_path([(_LEFT, top), (_LEFT, bottom), (right, bottom)], "fill: none; stroke: var(--line)"))
        opening = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {:.0f} {:.0f}" xmlns="http://www.w3.org/2000/svg">')
        return opening.format(self.title, _WIDTH, _HEIGHT) + Markup("").join([*drawn, *parts]) + Markup("</svg>")


def _labels(ticks: Sequence[float]) -> list[str]:
    """Numbers with as many digits as the distance of the ticks needs, or in scientific notation if they are huge or tiny."""
    step = min((right - left for left, right in itertools.pairwise(ticks)), default=abs(ticks[0]) if ticks else 1.0) or 1.0
    if not 1e-5 <= step < 1e8:
        return [f"{tick:.3g}" for tick in ticks]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:,.{digits}f}" for tick in ticks]


def _path(points: Sequence[Point], style: str) -> Markup:
    return Markup('<path d="M{}" style="{}"/>').format(" L".join(f"{x:.1f},{y:.1f}" for x, y in points), style)


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 11, turned: bool = False) -> Markup:
    style = f"fill: var(--ink); font: {size}px sans-serif; text-anchor: {anchor}"
    turn = Markup(' transform="rotate(-90 {:.1f} {:.1f})"').format(x, y) if turned else ""
    return Markup('<text x="{:.1f}" y="{:.1f}"{} style="{}">{}</text>').format(x, y, turn, style, text)
