"""`python tests/bench/report.py DIR...`: the reports of runs in a browser: how large, and how soon one can read and filter.

Each twice: as `curate report` writes it, and with some 5,000 documents in it. Medians of five, in Chromium on this machine:
until the first documents stand there, and from a key in the search field until the list is that of the matches (the field waits
0.12 s for more keys). Then `curate serve`: until it has the first page of all kept documents, and of those with two words.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import yaml

from curate.pipeline import lockfile
from curate.report.collectors import Size
from curate.report.gather import gather
from curate.report.run import report_page
from curate.report.serve import Browser, Query
from tests.browser import opened

TIMES = 5
MANY = Size(per_reason=300, per_stage=600, kept=4_200, near=20)
CASES = {"as written": Size(), "many documents": MANY}
_FILTER = """asked => new Promise((done) => {
    const started = performance.now(), field = document.getElementById("search");
    const seen = new MutationObserver(() => {
        seen.disconnect();
        requestAnimationFrame(() => done(performance.now() - started));
    });
    seen.observe(document.getElementById("documents"), { childList: true });
    field.value = asked;
    field.dispatchEvent(new Event("input"));
})"""


def main(runs: list[str]) -> None:
    print("| run | documents | report: documents | written in | size | until it can be read | filtered in |")
    print(f"|{'---|' * 7}")
    with opened() as browser, tempfile.TemporaryDirectory() as folder:
        for run in runs:
            asked = yaml.safe_dump(lockfile.opened(run)[1]["stages"])
            for name, size in CASES.items():
                started = time.perf_counter()
                found = gather(run, size)
                html = Path(folder) / "report.html"
                html.write_text(report_page(found, asked), "utf-8")
                gathered = time.perf_counter() - started
                opening, filtering = zip(*(_opened(browser, html) for _ in range(TIMES)), strict=True)
                print(
                    f"| {run} | {found['documents_in']:,} | {name}: {len(found['documents']):,} | {gathered:.1f} s | "
                    f"{html.stat().st_size / 1e6:.1f} MB | {statistics.median(opening):.2f} s | "
                    f"{statistics.median(filtering):.2f} s |",
                    flush=True,
                )

    print("\n| run | served: first page of those kept | of those with two words | of a reason |\n|---|---|---|---|")
    for run in runs:
        served = Browser(run)
        reason = max((count, name) for one in served.manifest["stages"].values() for name, count in one["dropped"].items())[1]
        questions: tuple[dict[str, str], ...] = (
            {"kind": "kept"},
            {"kind": "kept", "words": "water light"},
            {"kind": "dropped", "reason": reason},
        )
        shown = [f"{statistics.median(_found(served, Query.of(one)) for _ in range(TIMES)):.2f} s" for one in questions]
        print(f"| {run} | {' | '.join(shown)} |", flush=True)


def _found(browser: Browser, query: Query) -> float:
    started = time.perf_counter()
    browser.find(query)
    return time.perf_counter() - started


def _opened(browser: Any, html: Path) -> tuple[float, float]:
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    started = time.perf_counter()
    page.goto(f"file://{html}")
    page.wait_for_selector("#documents details")
    opening = time.perf_counter() - started
    milliseconds = page.evaluate(_FILTER, "the -cookie")
    page.close()
    return opening, milliseconds / 1000


if __name__ == "__main__":
    main(sys.argv[1:])
