"""Plots as SVG: scales, ticks, and names that are text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from curate.report.plots import Line, histogram, line_plot

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def paths(svg: str, style: str) -> list[list[tuple[float, float]]]:
    """Points of the paths whose style has `style`."""
    found = [path for path in ElementTree.fromstring(svg).iter(f"{SVG}path") if style in path.attrib["style"]]
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.-]+),([\d.-]+)", path.attrib["d"])] for path in found]


def test_names_are_text_and_not_markup() -> None:
    svg = histogram({"<i>a</i>": [1], "b & c": [2]}, [0, 1], title='<b>"x"', x_label="<script>")
    assert {'<b>"x"', "<i>a</i>", "b & c", "<script>"} < set(texts(svg))


@pytest.mark.parametrize(
    ("edges", "logarithmic", "ticks"),
    [
        ([0, 0.5, 1], False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([-3500, 0, 12000], False, ["0", "5,000", "10,000"]),
        ([1, 50, 25000], True, ["1", "10", "100", "1,000", "10,000"]),
    ],
)
def test_ticks_are_round_numbers_inside_the_limits(edges: list[float], logarithmic: bool, ticks: list[str]) -> None:
    svg = histogram({"all": [1, 1]}, edges, title="t", x_label="x", logarithmic=logarithmic)
    assert [text for text in texts(svg) if text in ticks][-len(ticks) :] == ticks


def test_bars_are_as_high_as_their_counts_and_the_limit_stands_at_its_value() -> None:
    svg = histogram({"all": [10, 5]}, [0, 1, 2], title="t", x_label="x", mark=1.0)
    (outline,) = paths(svg, "fill-opacity")
    base, high, low = outline[0][1], outline[1][1], outline[3][1]
    assert base - high == pytest.approx(2 * (base - low), abs=0.2)
    ((top, bottom),) = paths(svg, "var(--ink)")
    assert top[0] == bottom[0] == pytest.approx((outline[0][0] + outline[-1][0]) / 2)


def test_what_is_not_a_number_is_left_out_of_a_line() -> None:
    nan = float("nan")
    svg = line_plot([Line("a", [0, 1, 2], [1, nan, 3]), Line("b", [0, 2], [nan, nan])], title="t", x_label="x", y_label="y")
    assert [len(points) for points in paths(svg, "fill: none; stroke: var(--series")] == [2]
