"""The report of a run: `report.html` and `report.json` in its folder."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

import yaml
from markupsafe import Markup

from curate.pipeline import lockfile
from curate.report.collectors import Size
from curate.report.gather import gather
from curate.report.plots import histogram
from curate.report.render import render
from curate.storage.store import Store

REPORT, FIGURES = "report.html", "report.json"
_SCORES = 24
"""Histograms on the page. `report.json` has all."""


def write_report(directory: str, size: Size | None = None) -> str:
    """Write both files, and return the path of the page.

    Raises SpecError if the folder has no run, or one that is not complete.
    """
    found = gather(directory, size)
    store = Store(directory)
    store.write_text(FIGURES, json.dumps(found, ensure_ascii=False, allow_nan=False))
    store.write_text(REPORT, report_page(found, yaml.safe_dump(_pipeline(store), sort_keys=False, allow_unicode=True)))
    return f"{directory.rstrip('/')}/{REPORT}"


def report_page(found: dict[str, Any], pipeline: str) -> str:
    """Render the page, which loads no other files. Its content security policy allows only its own script, by hash.

    `found` is the content of `report.json`, and `pipeline` is the YAML of the run.
    """
    script = (files("curate.report") / "templates" / "run.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Inside <script> nothing is unescaped, and only "</" or "<!--" could end it.
    data = json.dumps({"documents": found["documents"]}, ensure_ascii=False).replace("<", "\\u003c")
    return render(
        "run.html", **{**found, "documents": None}, pipeline=pipeline, plots=_plots(found), script=Markup(script),
        script_hash=Markup(f"'sha256-{digest}'"), data=Markup(data),
    )  # fmt: skip


def _pipeline(store: Store) -> dict[str, Any]:
    saved = lockfile.load(store)
    assert saved is not None
    return {name: saved[name] for name in ("name", "source", "stages", "output") if name in saved}


def _plots(found: dict[str, Any]) -> dict[str, list[Markup]]:
    # Rules that stop most come first.
    shown = sorted(found["scores"], key=lambda one: -sum(one["stopped"]))[:_SCORES]
    scores = [
        histogram(
            {**({"others": one["passed"]} if any(one["passed"]) else {}), "dropped by it": one["stopped"]}, one["edges"],
            title=f"{one['stage']}: {one['reason']}", x_label=one["column"] or "value", mark=one["limit"],
        )
        for one in shown
    ]  # fmt: skip
    lengths = dict(found["lengths"])
    edges = lengths.pop("edges")
    return {
        "scores": scores,
        "lengths": [histogram(lengths, edges, title="Length", x_label="characters", logarithmic=True)],
    }
