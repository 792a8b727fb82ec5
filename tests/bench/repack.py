"""Pack pages from Parquet (columns `url`, `html`) as WARC, one gzip member a record, as crawls store them.

python tests/bench/repack.py OUT_FOLDER FILE.parquet...
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter


def repack(files: list[Path], out: Path) -> int:
    """One .warc.gz per Parquet file; the number of pages written."""
    out.mkdir(parents=True, exist_ok=True)
    pages = 0
    for file in files:
        with open(out / f"{file.stem}.warc.gz", "wb") as stream:
            writer = WARCWriter(stream, gzip=True)
            for batch in pq.ParquetFile(file).iter_batches(256, columns=["id", "url", "html"]):
                for row in batch.to_pylist():
                    _write(writer, row)
                    pages += 1
    return pages


def _write(writer: Any, row: dict[str, Any]) -> None:
    headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
    url = row["url"] or f"https://unknown.example/{row['id']}"
    warc = {"WARC-Date": "2026-01-01T00:00:00Z"}
    record = writer.create_warc_record(
        url, "response", payload=io.BytesIO(row["html"]), http_headers=headers, warc_headers_dict=warc
    )
    writer.write_record(record)


if __name__ == "__main__":
    print(repack([Path(name) for name in sys.argv[2:]], Path(sys.argv[1])), "pages")
