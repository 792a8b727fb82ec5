"""Input for the measurements: the same documents every time, written once into a folder."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SHARED = Path(__file__).parents[3] / "shared" / "data" / "web_text"
COLUMNS = ["id", "text", "url", "source", "n_bytes"]


def text_tables() -> Iterator[pa.Table]:
    """Real web text where it is at hand, else sentences from a word list: about 235 MB either way."""
    files = sorted(SHARED.glob("*.parquet"))
    yield from (pq.read_table(file, columns=COLUMNS) for file in files)
    if not files:
        yield _made_up(100_000)


def _made_up(rows: int) -> pa.Table:
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(20_000)]
    texts = [" ".join(draw.choices(words, k=draw.randint(50, 700))) for _ in range(rows)]
    columns: dict[str, Any] = {
        "id": [f"made-{n}" for n in range(rows)],
        "text": texts,
        "url": [f"https://site-{n % 97}.example/{n}" for n in range(rows)],
        "source": ["made"] * rows,
        "n_bytes": [len(text) for text in texts],
    }
    return pa.table(columns)


def large(folder: Path, copies: int = 5) -> tuple[Path, int]:
    """`copies` files of all the text; the folder and the bytes of text in it. Over 1 GB by default."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.concat_tables(text_tables())
    for copy in range(copies):
        pq.write_table(table, folder / f"part-{copy}.parquet", compression="zstd", compression_level=3, row_group_size=10_000)
    return folder, copies * int(table["text"].nbytes)


def many(folder: Path, files: int, rows: int = 50) -> Path:
    """`files` small files: one shard each."""
    folder.mkdir(parents=True, exist_ok=True)
    table = next(text_tables()).slice(0, rows)
    for number in range(files):
        pq.write_table(table, folder / f"part-{number:05d}.parquet")
    return folder
