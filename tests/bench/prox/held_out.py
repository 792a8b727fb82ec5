"""`python tests/bench/prox/held_out.py`: what the refiner is judged by, from real pages it has not learnt from.

Into `out/prox/held`: `loose.parquet`, all visible text of the pages of sites held out by the recipe (a quarter of the known
domains, of all sources, also of those that weights may not be trained on), `extracted.parquet`, what trafilatura finds of the
same pages, and `turku.parquet`, English web documents whose lines people have labelled.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import curate
from curate.train.documents import hashes

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
OUT = ROOT / "out" / "prox"
HELD_FRAC = 0.25
"""The recipe learns from the groups above."""
HUMAN = ("human", "human_reviewed", "human_markdown")


def held_pages() -> pa.Table:
    """Pages with a main text by people, of domains held out."""
    table = pq.read_table(OUT / "pairs" / "data")
    table = table.filter(pc.and_(pc.is_valid(table["domain"]), pc.is_in(table["gold_kind"], pa.array(HUMAN))))
    shares = hashes(table["domain"].to_pylist(), "part") / 2**64
    return table.filter(pa.array(shares < HELD_FRAC))


def extracted(ids: pa.ChunkedArray, favor: str) -> pa.Table:
    """What trafilatura finds of the pages."""
    pages = pa.concat_tables(
        pq.read_table(path, columns=["id", "html"]) for path in sorted(DATA.glob("html_gold_dev-*.parquet"))
    )
    return curate.apply("extract", pages.filter(pc.is_in(pages["id"], ids.combine_chunks())), favor=favor).select(
        ["id", "text"]
    )


def turku() -> pa.Table:
    rows = []
    for path in sorted((DATA / "evals" / "refine_line_quality_turku").glob("en_*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows += [(f"{path.stem}:{number}", json.loads(line)) for number, line in enumerate(lines)]
    # A line that has a break in it is one line to those who labelled it.
    texts = ["\n".join(line.replace("\n", " ") for line in row["lines"]) for _, row in rows]
    return pa.table({"id": [name for name, _ in rows], "text": texts, "labels": [row["labels"] for _, row in rows]})


def main() -> None:
    held = OUT / "held"
    held.mkdir(parents=True, exist_ok=True)
    pages = held_pages()
    pq.write_table(_named("loose", pages), held / "loose.parquet")
    found = {favor: extracted(pages["id"], favor) for favor in ("balanced", "precision")}
    pq.write_table(found["precision"], OUT / "precision.parquet")
    balanced = found["balanced"].filter(pc.is_valid(found["balanced"]["text"]))
    pq.write_table(_named("extracted", balanced), held / "extracted.parquet")
    pq.write_table(_named("turku", labelled := turku()), held / "turku.parquet")
    pq.write_table(labelled, OUT / "turku.parquet")
    pq.write_table(balanced, OUT / "balanced.parquet")
    domains = len(set(pages["domain"].to_pylist()))
    print(f"{len(pages)} pages of {domains} domains, {len(balanced)} extracted; {len(labelled)} documents with labelled lines")


def _named(kind: str, table: pa.Table) -> pa.Table:
    names = [f"{kind}:{name}" for name in table["id"].to_pylist()]
    return pa.table({"id": names, "text": table["text"].cast(pa.large_string())})


if __name__ == "__main__":
    main()
