"""The texts that `scorers/preselect-mini-v1` and its models learn from: sources whose licence allows a model to be given away.

    python tests/bench/preselect/texts.py OUT

Writes OUT/<source>.parquet from the real data beside the checkout: English documents of the sources and under the terms of
`pipelines/train_tokenizer.py`, with a column `group` of what belongs together. A host is a group where a source has many of
them; where all pages are one site's, it is the thread, book, author, service or page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "pipelines"))

from train_tokenizer import SOURCES, Terms, allowed  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "web_text"
MORE = {
    "c4_samples": Terms(
        "C4 (Common Crawl), samples of github.com/allenai/wimbd and github.com/XuandongZhao/pf-decoding", "ODC-BY", 0
    ),
    "novels_en": Terms("English novels published up to 1930, github.com/computationalstylistics", "public domain", 0),
    "open_terms_archive": Terms("Open Terms Archive", "ODC-BY", 0),
}
META_GROUPS = ("author", "subreddit", "site", "book", "service", "path")
MIN_CHARS = 200
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "text", "url", "source", "group", "licence")])


def group_of(source: str, url: str | None, meta: Mapping[str, Any], name: str) -> str:
    """`source|what belongs together`."""
    for key in META_GROUPS:
        if meta.get(key):
            return f"{source}|{meta[key]}"
    if source == "medquad_qa":  # questions about one page: 8_NHLBI_QA_XML_0000108-4
        return name.rsplit("-", 1)[0]
    host = urlsplit(url or "").hostname
    return host if host and source == "c4_samples" else name


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(DATA.glob("*.parquet")):
        for row in pq.read_table(file, columns=["id", "text", "url", "source", "lang", "meta"]).to_pylist():
            source, meta = row["source"], json.loads(row["meta"] or "{}")
            if row["lang"] != "en" or len(row["text"]) < MIN_CHARS or not (allowed(source, meta) or source in MORE):
                continue
            group = group_of(source, row["url"], meta, row["id"])
            licence = (SOURCES.get(source) or MORE[source]).licence
            kept = {
                "id": row["id"],
                "text": row["text"],
                "url": row["url"],
                "source": source,
                "group": group,
                "licence": licence,
            }
            rows.setdefault(source, []).append(kept)
    for source, found in sorted(rows.items()):
        pq.write_table(pa.Table.from_pylist(found, SCHEMA), out / f"{source}.parquet", row_group_size=2000)
        print(f"{source}: {len(found):,} documents, {len({row['group'] for row in found}):,} groups")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
