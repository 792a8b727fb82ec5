"""The texts whose verdicts by the peers are recorded here: the pages of the sample crawl, and those of the golden cases."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from curate.api.source import ReadReport, Shard
from curate.schema import HTML
from curate.sources.warc import WarcSource

ROOT = Path(__file__).parents[2]
STAGES = (
    "gopher_quality",
    "gopher_repetition",
    "c4_quality",
    "c4_paragraphs",
    "fineweb_quality",
    "refinedweb_lines",
    "dclm_page",
)


def texts() -> pa.Table:
    """Columns id (a hash of the text) and text: the same on every machine, whatever trafilatura makes of pages today."""
    found = dict.fromkeys([*_pages(), *_cases()])
    ids = [hashlib.sha1(text.encode()).hexdigest()[:16] for text in found]
    return pa.table({"id": ids, "text": pa.array(found, pa.large_string())})


def _pages() -> Iterator[str]:
    """Pages with their tags taken off: menus and footers stay, so that there is something to drop."""
    for file in sorted((ROOT / "pipelines" / "sample").glob("*.warc.gz")):
        source = WarcSource(paths=str(file))
        shard = Shard(0, file.name, str(file), 0, 0, None, file.stat().st_size)
        for batch in source.read(shard, ReadReport()):
            pages = batch.column(batch.schema.get_field_index(HTML)).to_pylist()
            yield from (_plain(page.decode(errors="ignore")) for page in pages if page and b"<html" in page)


def _plain(page: str) -> str:
    page = re.sub(r"(?is)<(script|style|head)\b.*?</\1>|<!--.*?-->", "", page)
    page = re.sub(r"(?i)\s*<(?:p|div|h[1-6]|section|article|ul|ol|table)\b[^>]*>\s*", "\n\n", page)
    page = re.sub(r"(?i)\s*<(?:br|li|tr|dt|dd)\b[^>]*>\s*", "\n", page)
    return html.unescape(re.sub(r"<[^>]*>", "", page)).strip()


def _cases() -> Iterator[str]:
    for stage in STAGES:
        for line in (ROOT / "tests" / "stages" / f"{stage}.jsonl").read_text(encoding="utf-8").split("\n"):
            if line.strip() and (text := json.loads(line).get("text")) is not None:
                yield text
