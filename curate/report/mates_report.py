"""The report of a MATES loop: losses, accuracy of predicted influences, and the cost of data selection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.errors import SpecError
from curate.report.plots import Line, line_plot
from curate.report.render import render

RESULT, REPORT = "rounds.json", "rounds.html"
_EXTREMES, _SHOWN_CHARS = 6, 300


def write_loop_report(folder: Path, beside: Sequence[Path] = ()) -> Path:
    """Write `rounds.html` into the folder of a loop, with the loss curves of the loops `beside` for comparison.

    Raises SpecError if a loop is not complete.
    """
    found = _result(folder)
    alike = len({place.resolve().name for place in (folder, *beside)}) <= len(beside)
    others = {str(other) if alike else other.resolve().name: _result(other)["rounds"] for other in beside}
    rounds = found["rounds"]
    curves = [name for name in rounds[0]["losses"][0] if name not in ("step", "tokens")]
    scorers = [one["scorer"] for one in rounds if "scorer" in one]
    ends = [one["losses"][-1]["tokens"] / 1e6 for one in rounds[:-1]]
    name = folder.resolve().name
    runs = {name: rounds, **others}
    plots = [
        line_plot(
            [_curve(name, some, of) for name, some in runs.items() if of in some[0]["losses"][0]],
            title=of, x_label="million tokens", y_label="loss", marks=ends,
        )
        for of in curves
    ]  # fmt: skip
    page = render(
        "rounds.html",
        name=name, rounds=rounds, curves=curves, scorers=scorers, plots=plots, others=list(others),
        flops=found["flops"], parts=[name for name in found["flops"] if name not in ("total", "selection_frac")],
        tokens=rounds[-1]["losses"][-1]["tokens"], extremes=_extremes(folder, rounds) if scorers else [],
    )  # fmt: skip
    (folder / REPORT).write_text(page, encoding="utf-8")
    return folder / REPORT


def _result(folder: Path) -> dict[str, Any]:
    path = folder / RESULT
    if not path.is_file():
        raise SpecError(f"{folder} has no {RESULT}, so its rounds are not done. 'curate rounds' again continues them.")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _curve(name: str, rounds: Sequence[Mapping[str, Any]], of: str) -> Line:
    points = [point for one in rounds for point in one["losses"]]
    return Line(name, [point["tokens"] / 1e6 for point in points], [point[of] for point in points])


def _extremes(folder: Path, rounds: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The probes of the last round with the highest influence, and those with the lowest."""
    path = folder / f"round-{rounds[-1]['round']}" / "probes" / "probes.parquet"
    table = pq.read_table(path, columns=["influence", "text"]).sort_by([("influence", "descending")])
    rows = [{**row, "text": " ".join(row["text"].split())[:_SHOWN_CHARS]} for row in table.to_pylist()]
    return [("Highest influence", rows[:_EXTREMES]), ("Lowest influence", rows[::-1][:_EXTREMES])]
