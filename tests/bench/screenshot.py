"""`make screenshot`: the report of the quickstart as README shows it, in `pipelines/report.png`.

With a folder of a run and one for pictures (`screenshot.py out/real/gold out/pictures`), that run's report and `curate serve`,
in light, dark and narrow, to be looked at.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from werkzeug.serving import make_server

import curate
from curate.report.run import REPORT, write_report
from curate.report.serve import application
from tests.browser import opened

ROOT = Path(__file__).parents[2]
WIDE, NARROW = (1100, 900), (360, 740)


def for_readme() -> None:
    with tempfile.TemporaryDirectory() as folder, opened() as browser:
        out = Path(folder) / "quickstart"
        curate.run(str(ROOT / "pipelines" / "quickstart.yaml"), out=str(out))
        write_report(str(out))
        page = browser.new_page(viewport={"width": 1100, "height": 775}, color_scheme="light")
        page.goto(f"file://{out / REPORT}")
        page.screenshot(path=str(ROOT / "pipelines" / "report.png"))


def to_look_at(run: Path, pictures: Path) -> None:
    pictures.mkdir(parents=True, exist_ok=True)
    write_report(str(run))
    server = make_server("127.0.0.1", 0, application(str(run), "token"), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    places = {"report": f"file://{run.resolve() / REPORT}", "serve": f"http://127.0.0.1:{server.server_port}/token/"}
    with opened() as browser:
        for name, address in places.items():
            for how, scheme, size in (("light", "light", WIDE), ("dark", "dark", WIDE), ("narrow", "light", NARROW)):
                page: Any = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme)
                page.goto(address)
                page.screenshot(path=str(pictures / f"{name}-{how}.png"))
                if name == "report":
                    for part in ("reasons", "scores", "what", "read"):
                        if page.locator(f"#{part}").count():
                            page.locator(f"#{part}").evaluate("one => one.scrollIntoView()")
                            if part == "read":
                                page.locator("#documents summary").first.click()
                            page.screenshot(path=str(pictures / f"{name}-{how}-{part}.png"))
    server.shutdown()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for_readme()
    else:
        to_look_at(Path(sys.argv[1]), Path(sys.argv[2]))
