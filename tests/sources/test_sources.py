"""JSON lines, HTML folders, Parquet and hub datasets: what goes in comes out, whatever the split; bad input is counted."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.api.source import ReadReport, Source, split_by_bytes
from curate.errors import DataError, SpecError
from curate.schema import FETCHED_AT_TYPE, MAX_BATCH_BYTES
from curate.sources.html import HtmlSource
from curate.sources.hub import HubSource
from curate.sources.jsonl import JsonlSource
from curate.sources.parquet import ParquetSource
from curate.storage.store import describe


def read(source: Source) -> list[dict[str, Any]]:
    """All rows of a source, shard by shard."""
    rows: list[dict[str, Any]] = []
    for shard in source.shards(describe(source.files())):
        for batch in source.read(shard, ReadReport()):
            rows += batch.to_pylist()
    return rows


def without_place(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in ("file", "id")} for row in rows]


LINES = [
    b'{"id": "a", "text": "one", "url": "https://a.example/"}',
    b"",
    b'{"id": 7, "text": "two \\u00e9 \\ud800 lone", "edu": 0.5}',
    b'{"text": "no id"}',
    b'{"id": "c", "text": null}',
    b'{"id": "d"}',
    b"[1, 2]",
    b"not json",
    b'{"id": "e", "text": "x", "edu": "high"}',
    b'{"id": "f", "text": "' + b"long " * 40 + b'"}',
]


def jsonl(path: Path, **options: Any) -> JsonlSource:
    return JsonlSource(paths=str(path), fields={"edu": "float64"}, max_document_bytes=100, **options)


def test_json_lines_are_documents_or_counted_drops(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(LINES) + b"\n")
    rows = read(jsonl(tmp_path / "a.jsonl"))
    assert [(row["id"], row["text"], row["drop"] and row["drop"]["reason"]) for row in rows] == [
        ("a", "one", None),
        ("7", "two é ? lone", None),
        (f"a.jsonl:{sum(map(len, LINES[:3])) + 3}", "no id", None),
        ("c", None, "missing_text"),
        ("d", None, "missing_text"),
        (rows[5]["id"], None, "malformed_line"),
        (rows[6]["id"], None, "malformed_line"),
        ("e", None, "wrong_type"),
        ("f", None, "document_too_large"),
    ]


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_compressed_json_lines_give_the_same_documents(tmp_path: Path, ending: str) -> None:
    content = b"\n".join(LINES) + b"\n"
    (tmp_path / "a.jsonl").write_bytes(content)
    packed = (
        gzip.compress(content)
        if ending == "gz"
        else b"".join(zstandard.compress(part) for part in (content[:50], content[50:]))
    )
    (tmp_path / f"b.jsonl.{ending}").write_bytes(packed)
    assert without_place(read(jsonl(tmp_path / "a.jsonl"))) == without_place(read(jsonl(tmp_path / f"b.jsonl.{ending}")))


def test_json_lines_read_the_same_however_they_are_split(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(n), "text": "word " * (n % 90)}).encode() for n in range(200)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    whole = read(jsonl(tmp_path / "a.jsonl"))
    for split in (1024, 1025, 1500, 4096, 9999):
        assert read(jsonl(tmp_path / "a.jsonl", split_bytes=split)) == whole
    assert len(whole) == 200


def test_a_line_far_too_long_is_skipped_without_being_held(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "' + b"x" * 5000 + b'"}\n{"id": "next", "text": "here"}\n')
    rows = read(jsonl(tmp_path / "a.jsonl"))
    assert [(row["text"], row["drop"] and row["drop"]["reason"]) for row in rows] == [
        (None, "document_too_large"),
        ("here", None),
    ]


def test_a_line_that_unpacks_to_a_thousand_times_its_bytes_is_skipped_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.zst"
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    parts = [packer.compress(b'{"text": "first"}\n{"text": "')]
    parts += [packer.compress(b"a" * 2**20) for _ in range(300)]
    path.write_bytes(b"".join([*parts, packer.compress(b'"}\n{"text": "last"}\n'), packer.flush()]))
    assert path.stat().st_size < 300_000
    pool = pa.default_memory_pool()
    pool_peak = pool.max_memory()
    tracemalloc.start()
    found = read(JsonlSource(paths=str(path), max_document_bytes=100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["drop"] and row["drop"]["reason"] for row in found] == [None, "document_too_large", None]
    assert peak < 64 * 2**20 and pool.max_memory() < pool_peak + 64 * 2**20


def test_a_folder_of_pages_is_read_with_addresses(tmp_path: Path) -> None:
    for name in ("b/two.html", "a/one.html", "a/.hidden", "big.html"):
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_bytes(name.encode() * (50 if name == "big.html" else 1))
    source = HtmlSource(paths=str(tmp_path / "site"), url_prefix="https://site.example/", max_document_bytes=99)
    rows = read(source)
    assert [(row["id"], row["url"], row["html"], row["drop"] and row["drop"]["reason"]) for row in rows] == [
        ("a/one.html", "https://site.example/a/one.html", b"a/one.html", None),
        ("b/two.html", "https://site.example/b/two.html", b"b/two.html", None),
        ("big.html", "https://site.example/big.html", None, "document_too_large"),
    ]


def test_parquet_carries_other_columns_along_and_names_documents_without_ids(tmp_path: Path) -> None:
    table = pa.table({"content": ["a", None, "c" * 200], "edu": [1, 2, 3], "tags": [["x"], [], None]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=2)
    rows = read(ParquetSource(paths=str(tmp_path / "p.parquet"), text="content", max_document_bytes=100))
    assert [(r["id"], r["text"], r["edu"], r["tags"], r["offset"], r["drop"] and r["drop"]["reason"]) for r in rows] == [
        ("p.parquet:0", "a", 1, ["x"], 0, None),
        ("p.parquet:1", None, 2, [], 1, None),
        ("p.parquet:2", None, 3, None, 2, "document_too_large"),
    ]
    kept = ParquetSource(paths=str(tmp_path / "p.parquet"), text="content", columns_kept=("tags",))
    assert set(kept.columns) == {"text", "tags"}


def test_parquet_may_hold_html_as_bytes_or_text(tmp_path: Path) -> None:
    for kind in (pa.binary(), pa.string()):
        pq.write_table(pa.table({"page": pa.array([b"<p>caf\xc3\xa9"], pa.binary()).cast(kind)}), tmp_path / "p.parquet")
        (row,) = read(ParquetSource(paths=str(tmp_path / "p.parquet"), html="page"))
        assert row["html"] == b"<p>caf\xc3\xa9"


def test_parquet_written_by_a_run_keeps_its_provenance_when_read_again(tmp_path: Path) -> None:
    """Moments too, though Parquet has no seconds and gives them back in thousandths."""
    when = datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC)
    columns = {
        "text": ["a"], "file": ["s3://crawl/x.warc.gz"], "offset": [123], "length": [45], "http_status": [200],
        "fetched_at": pa.array([when], FETCHED_AT_TYPE),
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    (row,) = read(ParquetSource(paths=str(tmp_path / "p.parquet")))
    assert (row["file"], row["offset"], row["length"], row["http_status"]) == ("s3://crawl/x.warc.gz", 123, 45, 200)
    assert row["fetched_at"] == when


def test_a_column_with_a_reserved_name_is_refused_with_a_way_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "drop": [1]}), tmp_path / "p.parquet")
    with pytest.raises(SpecError, match=r"has a column 'drop', a name with a meaning of its own here. Rename it, or list"):
        read(ParquetSource(paths=str(tmp_path / "p.parquet")))


@given(sizes=st.lists(st.integers(0, MAX_BATCH_BYTES // 3), max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_batches_are_cut_by_bytes_and_lose_nothing(sizes: list[int]) -> None:
    whole = pa.RecordBatch.from_pydict({"text": pa.array([b"x" * size for size in sizes], pa.large_binary())}).slice(1)
    parts = list(split_by_bytes(whole))
    assert [value for part in parts for value in part.column(0).to_pylist()] == whole.column(0).to_pylist()
    assert all(sum(map(len, part.column(0).to_pylist())) <= MAX_BATCH_BYTES for part in parts)


def test_a_local_dataset_folder_is_read_like_one_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "set" / "data").mkdir(parents=True)
    for split, text in (("train", "learn"), ("test", "judge")):
        pq.write_table(pa.table({"text": [text, text + "ed"]}), tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet")
    assert [row["text"] for row in read(HubSource(dataset=str(tmp_path / "set")))] == ["learn", "learned"]
    assert [row["text"] for row in read(HubSource(dataset=str(tmp_path / "set"), split="test"))] == ["judge", "judgeed"]
    with pytest.raises(SpecError, match=r"has no split 'tset'. Did you mean 'test'\?"):
        HubSource(dataset=str(tmp_path / "set"), split="tset").files()


def test_a_hub_dataset_must_be_pinned() -> None:
    with pytest.raises(ValueError, match=r"revision: 'main' does not pin 'org/name'. Give the 40-digit commit"):
        HubSource(dataset="org/name", revision="main")


def test_real_text_comes_out_of_parquet_as_it_went_in(shared: Path) -> None:
    path = sorted((shared / "web_text").glob("forum*.parquet"))[0]
    source = ParquetSource(paths=str(path))
    table = pq.read_table(path)
    texts: list[str] = []
    for shard in source.shards(describe(source.files())):
        for batch in source.read(shard, ReadReport()):
            texts += batch.column("text").to_pylist()
    assert Counter(texts) == Counter(table["text"].to_pylist())


def test_damaged_compressed_lines_fail_their_shard_by_name(tmp_path: Path) -> None:
    lines = b"".join(b'{"text": "%s"}\n' % random.Random(n).randbytes(30).hex().encode() for n in range(900))
    for ending, packed in (("gz", gzip.compress(lines)), ("zst", zstandard.compress(lines))):
        (tmp_path / f"a.jsonl.{ending}").write_bytes(packed[: len(packed) // 2])
        with pytest.raises(DataError, match=rf"cannot read .*a.jsonl.{ending}"):
            read(JsonlSource(paths=str(tmp_path / f"a.jsonl.{ending}")))


def test_numbers_too_large_and_lines_too_deep_are_dropped(tmp_path: Path) -> None:
    deep = "[" * 90_000 + "]" * 90_000
    lines = ['{"text": "a", "edu": ' + str(10**30) + "}", '{"text": "b", "tags": ' + deep + "}", '{"text": "c"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = read(JsonlSource(paths=str(tmp_path / "a.jsonl"), fields={"edu": "float64"}))
    assert [row["drop"] and row["drop"]["reason"] for row in rows] == ["wrong_type", "malformed_line", None]


def test_a_field_may_not_take_the_place_of_a_column_of_ours() -> None:
    with pytest.raises(ValueError, match="fields: 'ordinal' is a name with a meaning of its own"):
        JsonlSource(paths="a.jsonl", fields={"ordinal": "int64"})


def test_text_in_parquet_that_is_not_utf8_is_dropped(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"caf\xe9", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "p.parquet")
    rows = read(ParquetSource(paths=str(tmp_path / "p.parquet")))
    assert [(row["text"], row["drop"] and row["drop"]["reason"]) for row in rows] == [
        ("good", None),
        (None, "invalid_utf8"),
        (None, None),
    ]


def test_a_local_dataset_is_found_beside_the_pipeline_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curate.pipeline.spec import load

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "set" / "train.parquet")
    (tmp_path / "p.yaml").write_text("source: {hub: {dataset: ./set}}\nstages: []\n")
    assert [row["text"] for row in read(load(str(tmp_path / "p.yaml")).source)] == ["a"]
