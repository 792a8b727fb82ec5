"""WARC, WET and ARC files: which records are documents, what becomes of broken ones, and that splits change nothing."""

from __future__ import annotations

import gzip
import random
import re
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from curate.api.source import ReadReport, Shard
from curate.errors import DataError, SpecError
from curate.schema import POSITION_BITS
from curate.sources.warc import WarcSource
from curate.storage.store import InputFile, describe
from tests.conftest import Thin

DATE = "2024-02-03T04:05:06Z"
HTML = b"<html><body>page</body></html>"


class Writer(WARCWriter):  # type: ignore[misc]
    """Without the temporary files of warcio, which it leaves open."""

    _create_temp_file = staticmethod(BytesIO)


def record(kind: str, name: str, body: bytes, http: StatusAndHeaders | None = None, **headers: str) -> bytes:
    """One uncompressed record; `name` is the end of its id and of its URL."""
    out = BytesIO()
    given = {"WARC-Record-ID": f"<urn:{name}>", "WARC-Date": DATE}
    given |= {key.replace("_", "-"): value for key, value in headers.items()}
    writer = Writer(out, gzip=False)
    made = writer.create_warc_record(
        f"http://a.example/{name}", kind, payload=BytesIO(body), http_headers=http, warc_headers_dict=given
    )
    writer.write_record(made)
    return out.getvalue()


def response(name: str, body: bytes = HTML, mime: str | None = "text/html", status: str = "200 OK", **headers: str) -> bytes:
    given = [("Content-Type", mime)] if mime is not None else []
    given += [(key.replace("_", "-"), value) for key, value in headers.items()]
    return record("response", name, body, StatusAndHeaders(status, given, protocol="HTTP/1.1"))


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


def read(path: Path, start: int = 0, stop: int | None = None, **options: Any) -> tuple[list[dict[str, Any]], ReadReport]:
    source, report = WarcSource(paths=str(path), **options), ReadReport()
    shard = Shard(0, "s", str(path), 3, start, stop, 0)
    rows = [row for batch in source.read(shard, report) for row in batch.to_pylist()]
    assert [row["ordinal"] for row in rows] == sorted({row["ordinal"] for row in rows})
    return rows, report


def read_bytes(folder: Path, data: bytes, **options: Any) -> tuple[list[dict[str, Any]], ReadReport]:
    (folder / "x.bin").write_bytes(data)
    return read(folder / "x.bin", **options)


def outcomes(rows: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """(end of the id, reason) of every row."""
    return [(row["id"].rpartition(":")[2], row["drop"] and row["drop"]["reason"]) for row in rows]


RECORDS = [
    record("warcinfo", "info", b"software: by hand\r\n"),
    response("one"),
    record("request", "asked", b"GET / HTTP/1.1\r\n\r\n"),
    response("two", b"plain words", "text/plain; charset=latin-1"),
    response("gone", b"<html>no</html>", status="404 Not Found"),
    response("image", b"\x89PNG", "image/png"),
    response("three", b"<p>x", "application/xhtml+xml", status="203 Other"),
]
COUNTS = Counter({"warcinfo": 1, "request": 1, "response 404": 1, "response image/png": 1})
DICTIONARY = zstandard.train_dictionary(400, [bytes(RECORDS[n % 7]) + str(n).encode() for n in range(200)])


def gzips(records: list[bytes], level: int = 6) -> bytes:
    return b"".join(gzip.compress(part, level, mtime=0) for part in records)


def frames(records: list[bytes], dictionary: zstandard.ZstdCompressionDict | None = None) -> bytes:
    packer = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True)
    return b"".join(packer.compress(part) for part in records)


def skippable(content: bytes, magic: int = 0x184D2A5D) -> bytes:
    return magic.to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


FORMS = {
    "plain": b"".join(RECORDS),
    "gzip": gzips(RECORDS),
    "gzip stored": gzips(RECORDS, 0),
    "one gzip member": gzip.compress(b"".join(RECORDS)),
    "zstd": frames(RECORDS),
    "one zstd frame": frames([b"".join(RECORDS)]),
    "zstd and a dictionary": skippable(DICTIONARY.as_bytes()) + frames(RECORDS, DICTIONARY),
    "zstd and a packed dictionary": skippable(frames([DICTIONARY.as_bytes()])) + frames(RECORDS, DICTIONARY),
}


# -- documents


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file_gives_the_same_documents(tmp_path: Path, form: str) -> None:
    rows, report = read_bytes(tmp_path, FORMS[form])
    names = ("id", "url", "html", "content_type", "http_status", "fetched_at", "drop")
    time = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("urn:one", "http://a.example/one", HTML, "text/html", 200, time, None),
        ("urn:two", "http://a.example/two", b"plain words", "text/plain; charset=latin-1", 200, time, None),
        ("urn:three", "http://a.example/three", b"<p>x", "application/xhtml+xml", 203, time, None),
    ]
    assert report.records == COUNTS


def test_a_record_can_be_fetched_again_by_its_range(tmp_path: Path) -> None:
    unpack: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes,
        "gzip": gzip.decompress,
        "zstd": zstandard.ZstdDecompressor().decompress,
    }
    for form, function in unpack.items():
        for row in read_bytes(tmp_path, FORMS[form])[0]:
            part = FORMS[form][row["offset"] : row["offset"] + row["length"]]
            assert function(part).strip() in {data.strip() for data in RECORDS}
            assert row["id"].encode() in function(part)
            assert row["ordinal"] == 3 << POSITION_BITS | row["offset"]


def test_records_of_one_member_are_numbered_and_only_the_last_knows_the_members_length(tmp_path: Path) -> None:
    data = FORMS["one gzip member"]
    rows, _ = read_bytes(tmp_path, data)
    assert [(row["ordinal"] & 0xFF, row["offset"], row["length"]) for row in rows] == [
        (1, 0, None),
        (3, 0, None),
        (6, 0, len(data)),
    ]


def test_conversions_of_text_are_documents_without_a_status(tmp_path: Path) -> None:
    data = record("conversion", "wet", "Grüße".encode(), Content_Type="text/plain")
    data += record("conversion", "other", b"%PDF", Content_Type="application/pdf")
    rows, report = read_bytes(tmp_path, data)
    assert [(row["html"].decode(), row["content_type"], row["http_status"]) for row in rows] == [
        ("Grüße", "text/plain; charset=utf-8", None)
    ]
    assert report.records == {"conversion application/pdf": 1}


def test_resources_of_text_are_documents_without_a_status(tmp_path: Path) -> None:
    data = record("resource", "page", HTML, Content_Type="text/html; charset=koi8-r")
    data += record("resource", "shot", b"\x89PNG", Content_Type="image/png")
    rows, report = read_bytes(tmp_path, data)
    assert [(row["html"], row["content_type"], row["http_status"]) for row in rows] == [
        (HTML, "text/html; charset=koi8-r", None)
    ]
    assert report.records == {"resource image/png": 1}


def test_a_body_without_a_type_is_a_document_when_it_looks_like_html(tmp_path: Path) -> None:
    data = response("a", b"\n<!DOCTYPE  html><p>x", None) + response("b", b"{}", None) + response("c", b"<HEAD>", "nonsense")
    rows, report = read_bytes(tmp_path, data)
    assert [(row["id"], row["content_type"]) for row in rows] == [("urn:a", None), ("urn:c", "nonsense")]
    assert report.records == {"response untyped": 1}


def test_other_records_are_counted_by_type(tmp_path: Path) -> None:
    data = record("metadata", "m", b"via: x") + record("revisit", "r", b"", StatusAndHeaders("200 OK", [], protocol="HTTP/1.1"))
    data += record("dns-like !", "d", b"x") + response("css", b"p {}", "Text/CSS; charset=x")
    data += (
        record("resource", "n", b"20240203040506", Content_Type="text/dns")
        .replace(b"resource", b"response")
        .replace(b"http://", b"dns:")
    )
    data += record("resource", "g", b"20 text/gemini").replace(b"resource", b"response").replace(b"http", b"gemini")
    rows, report = read_bytes(tmp_path, data)
    assert rows == []
    assert report.records == {
        "metadata": 1, "revisit": 1, "other": 1, "response text/css": 1, "dns": 1, "response gemini": 1,
    }  # fmt: skip


def test_an_arc_file_is_read_like_a_warc(tmp_path: Path) -> None:
    def arc(url: str, mime: str, body: bytes, date: str = "20240203040506") -> bytes:
        return f"{url} 192.0.2.1 {date} {mime} {len(body)}\n".encode() + body + b"\n"

    page = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + HTML
    records = [
        arc("filedesc://x.arc", "text/plain", b"1 0 By-Hand\nURL IP-address Archive-date Content-type Archive-length\n"),
        arc("dns:a.example", "text/dns", b"20240203040506\na.example. A 192.0.2.1\n"),
        arc("http://a.example/with space", "text/html", page),
        arc("http://a.example/old", "text/html", page, "null"),
    ]
    for data in (b"".join(records), gzips(records)):
        rows, report = read_bytes(tmp_path, data)
        assert [(row["url"], row["html"], row["fetched_at"], row["http_status"]) for row in rows] == [
            ("http://a.example/with space", HTML, datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC), 200),
            ("http://a.example/old", HTML, None, 200),
        ]
        assert [row["id"] for row in rows] == [f"x.bin:{row['offset']}" for row in rows]
        assert report.records == {"warcinfo": 1, "dns": 1}


def test_missing_ids_and_malformed_dates_are_no_errors(tmp_path: Path) -> None:
    data = replaced(RECORDS[1], b"WARC-Record-ID: <urn:one>\r\n", b"")
    data = replaced(data, DATE.encode(), b"yesterday")
    data = replaced(data, b"http://a.example/one", b"<http://a.example/one>")
    rows, _ = read_bytes(tmp_path, RECORDS[0] + data)
    assert [(row["id"], row["fetched_at"], row["url"], row["drop"]) for row in rows] == [
        (f"x.bin:{len(RECORDS[0])}", None, "http://a.example/one", None)
    ]


def test_records_that_follow_upon_each_other_with_lines_ended_by_lf_alone_are_read(tmp_path: Path) -> None:
    head = b"WARC/1.1\nWARC-Type: resource\nWARC-Record-ID: <urn:%d>\nContent-Type: text/plain\nContent-Length: 2\n\nx\n"
    rows, _ = read_bytes(tmp_path, b"".join(head % number for number in range(3)))
    assert [(row["id"], row["html"]) for row in rows] == [(f"urn:{number}", b"x\n") for number in range(3)]


# -- bodies


def chunked(data: bytes, size: int = 7) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


RAW_DEFLATE = zlib.compressobj(wbits=-15)
BODIES = {
    "gzip": (gzip.compress(HTML), {"Content_Encoding": "gzip"}),
    "x-gzip, two members": (gzip.compress(HTML[:9]) + gzip.compress(HTML[9:]), {"Content_Encoding": "x-gzip"}),
    "deflate": (zlib.compress(HTML), {"Content_Encoding": "Deflate"}),
    "raw deflate": (RAW_DEFLATE.compress(HTML) + RAW_DEFLATE.flush(), {"Content_Encoding": "deflate"}),
    "brotli": (brotli.compress(HTML), {"Content_Encoding": "br"}),
    "zstd": (frames([HTML]), {"Content_Encoding": "zstd"}),
    "chunks": (chunked(HTML), {"Transfer_Encoding": "chunked"}),
    "chunks without the last": (chunked(HTML)[:-5], {"Transfer_Encoding": "chunked"}),
    "chunks of gzip": (chunked(gzip.compress(HTML)), {"Transfer_Encoding": "chunked", "Content_Encoding": "gzip"}),
    "gzip of gzip": (gzip.compress(gzip.compress(HTML)), {"Content_Encoding": "gzip, gzip"}),
    "chunks undone by the crawler": (HTML, {"Transfer_Encoding": "chunked"}),
    "gzip undone by the crawler": (HTML, {"Content_Encoding": "gzip"}),
    "brotli undone by the crawler": (HTML, {"Content_Encoding": "br"}),
    "deflate undone by the crawler": (HTML, {"Content_Encoding": "deflate"}),
    "an unknown coding": (HTML, {"Content_Encoding": "utf-8"}),
}


@pytest.mark.parametrize("kind", BODIES)
def test_codings_of_a_body_are_undone(tmp_path: Path, kind: str) -> None:
    body, headers = BODIES[kind]
    rows, _ = read_bytes(tmp_path, response("a", body, **headers))
    assert [(row["html"], row["drop"]) for row in rows] == [(HTML, None)]


@pytest.mark.parametrize(
    "body, headers",
    [
        (gzip.compress(HTML, mtime=0)[:-9], {"Content_Encoding": "gzip"}),
        (gzip.compress(HTML, mtime=0)[:-8] + bytes(8), {"Content_Encoding": "gzip"}),
        (brotli.compress(HTML * 9)[:-3], {"Content_Encoding": "br"}),
        (frames([HTML])[:-6], {"Content_Encoding": "zstd"}),
        (chunked(HTML)[:-9], {"Transfer_Encoding": "chunked"}),
        (chunked(HTML).replace(b"7;", b"6;", 1), {"Transfer_Encoding": "chunked"}),
        (HTML, {"Content_Encoding": "gzip, " * 5 + "gzip"}),
    ],
)
def test_a_body_that_cannot_be_decoded_drops_the_document(tmp_path: Path, body: bytes, headers: dict[str, str]) -> None:
    rows, _ = read_bytes(tmp_path, response("a", body, **headers) + RECORDS[1])
    assert outcomes(rows) == [("a", "unreadable_payload"), ("one", None)]
    assert (rows[0]["html"], rows[0]["http_status"], rows[0]["url"]) == (None, 200, "http://a.example/a")


def test_what_a_crawler_has_truncated_is_a_document(tmp_path: Path) -> None:
    data = response("a", gzip.compress(b"<p>" + random.Random(0).randbytes(900))[:500], Content_Encoding="gzip")
    data = replaced(data, b"WARC-Type", b"WARC-Truncated: length\r\nWARC-Type")
    rows, _ = read_bytes(tmp_path, data)
    assert [(row["html"][:3], len(row["html"]) > 400, row["drop"]) for row in rows] == [(b"<p>", True, None)]


# -- sizes


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_documents_that_are_too_large_are_dropped_and_the_next_one_is_read(tmp_path: Path, pack: Any) -> None:
    cases = [
        response("at", b"x" * 2000, "text/plain"),
        response("over", b"x" * 2001, "text/plain"),
        response("bomb", gzip.compress(bytes(10**6)), Content_Encoding="gzip"),
        response("bomb2", brotli.compress(bytes(10**6)), Content_Encoding="br"),
        response("chunks", chunked(b"x" * 2001), Transfer_Encoding="chunked"),
        response("untyped", b"x" * 2001, None),
        response("last"),
    ]
    rows, report = read_bytes(tmp_path, b"".join(map(pack, cases)), max_document_bytes=2000)
    large = "document_too_large"
    names = [("at", None), ("over", large), ("bomb", large), ("bomb2", large), ("chunks", large), ("last", None)]
    assert outcomes(rows) == names
    assert [(row["drop"]["value"], row["drop"]["limit"]) for row in rows[1:5]] == [(2001, 2000)] * 4
    assert report.records == {"response untyped": 1}


def test_memory_stays_small_whatever_a_file_unpacks_to(tmp_path: Path) -> None:
    size = 200 * 2**20
    head, _, tail = response("big", b"", "text/plain").partition(b"Content-Length: ")
    length = int(tail.split(b"\r\n")[0])
    header = head + b"Content-Length: %d" % (length + size) + tail[len(str(length)) :].removesuffix(b"\r\n\r\n")
    gzip_bomb, zstd_bomb = zlib.compressobj(wbits=31), zstandard.ZstdCompressor().compressobj()
    files = []
    for packer in (gzip_bomb, zstd_bomb):
        parts = [packer.compress(header), *(packer.compress(bytes(2**20)) for _ in range(200)), packer.flush()]
        files.append(b"".join(parts))
    files[0] += gzips(RECORDS)
    files[1] += frames(RECORDS)
    for data in files:
        tracemalloc.start()
        rows, _ = read_bytes(tmp_path, data, max_document_bytes=2**20)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert outcomes(rows) == [("big", "document_too_large"), ("one", None), ("two", None), ("three", None)]
        assert peak < 48 * 2**20


def test_more_records_than_bytes_in_a_member_are_one_drop_and_ordinals_stay_apart(tmp_path: Path) -> None:
    many = gzip.compress(b"WARC/1.0\r\nWARC-Type: x\r\nContent-Length: 0\r\n\r\n" * 100_000, mtime=0)
    rows, _ = read_bytes(tmp_path, many + gzips(RECORDS))
    assert outcomes(rows)[0][1] == "malformed_record"
    assert rows[0]["ordinal"] & 2**POSITION_BITS - 1 < len(many)
    assert outcomes(rows)[1:] == [("one", None), ("two", None), ("three", None)]


# -- broken files

# Long enough for the header to be read before the damage is met.
LONG = gzips([response("one", HTML + random.Random(0).randbytes(2000).hex().encode())])
FLIPPED = bytearray(LONG)
FLIPPED[-300] ^= 0xFF
NO_LENGTH = replaced(RECORDS[1], b"Content-Length: ", b"Content-Size: ")
LONG_BY = {
    extra: replaced(RECORDS[1], b"\r\nContent-Length: 74", b"\r\nContent-Length: %d" % (74 + extra))
    for extra in (-5, 30, 10**9)
}
BAD = "malformed_record"
Form = Callable[[list[bytes]], bytes]
BROKEN: dict[str, tuple[Form, bytes, list[tuple[str, str | None]]]] = {
    "plain: no length": (b"".join, NO_LENGTH, [("one", BAD)]),
    "plain: a length that is no number": (b"".join, replaced(RECORDS[1], b"Length: 74", b"Length: -5"), [("one", BAD)]),
    "plain: a length of a billion": (b"".join, LONG_BY[10**9], [("one", BAD)]),
    "plain: a length into the next record": (b"".join, LONG_BY[30], [("one", BAD)]),
    "plain: a length that is too small": (b"".join, LONG_BY[-5], [("one", None), ("[0-9]+", BAD)]),
    "plain: no type": (b"".join, replaced(RECORDS[1], b"WARC-Type", b"WARC-Tape"), [("one", BAD)]),
    "plain: no version line": (b"".join, replaced(RECORDS[1], b"WARC/1.0\r\n", b""), [("[0-9]+", BAD)]),
    "plain: no status line": (b"".join, replaced(RECORDS[1], b"HTTP/1.1 200 OK", b"HTCPCP/1.1 9 OK"), [("one", BAD)]),
    "plain: no status": (b"".join, replaced(RECORDS[1], b"HTTP/1.1 200 OK", b"HTTP/1.1 OK 200"), [("one", BAD)]),
    "plain: text between records": (b"".join, RECORDS[1] + b"lost\r\n", [("one", None), ("[0-9]+", BAD)]),
    "gzip: no length": (gzips, NO_LENGTH, [("one", BAD)]),
    "gzip: a length of a billion": (gzips, LONG_BY[10**9], [("one", "truncated_record")]),
    "gzip: a length that is too small": (gzips, LONG_BY[-5], [("one", None), ("[0-9]+", BAD)]),
    "gzip: no version line": (gzips, replaced(RECORDS[1], b"WARC/1.0\r\n", b""), [("[0-9]+", BAD)]),
    "gzip: a flipped bit": (b"".join, bytes(FLIPPED), [("one", BAD)]),
    "gzip: a wrong checksum": (b"".join, LONG[:-8] + bytes(8), [("one", BAD)]),
    "gzip: half a member": (b"".join, LONG[:-50], [("one", BAD)]),
    "gzip: bytes between members": (b"".join, gzips([RECORDS[1]]) + b"\0\0\0", [("one", None), ("[0-9]+", BAD)]),
    "gzip: a member of something else": (gzips, b"no archive", [("[0-9]+", BAD)]),
    "zstd: no length": (frames, NO_LENGTH, [("one", BAD)]),
    "zstd: a wrong checksum": (b"".join, frames([RECORDS[1]])[:-4] + bytes(4), [("[0-9]+", BAD)]),
    "zstd: bytes between frames": (b"".join, frames([RECORDS[1]]) + b"\0\0\0", [("one", None), ("[0-9]+", BAD)]),
}  # fmt: skip


def around(kind: str) -> bytes:
    """The broken record between good ones of the same form."""
    pack, broken, _ = BROKEN[kind]
    form: Form = gzips if kind.startswith("gzip") else frames if kind.startswith("zstd") else b"".join
    return form(RECORDS[:1] + RECORDS[3:4]) + pack([broken]) + form(RECORDS[4:])


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_is_one_dropped_row_and_reading_goes_on_after_it(tmp_path: Path, kind: str) -> None:
    rows, report = read_bytes(tmp_path, around(kind))
    expected = [("two", None), *BROKEN[kind][2], ("three", None)]
    assert [reason for _, reason in outcomes(rows)] == [reason for _, reason in expected]
    assert all(re.fullmatch(pattern, name) for (name, _), (pattern, _) in zip(outcomes(rows), expected, strict=True))
    assert report.records == {"warcinfo": 1, "response 404": 1, "response image/png": 1}
    assert all(row["html"] is None and row["drop"]["detail"] for row in rows if row["drop"])


def test_records_after_a_broken_one_in_the_same_member_are_found(tmp_path: Path) -> None:
    for damaged in (NO_LENGTH, replaced(RECORDS[1], b"WARC/1.0\r\n", b"")):
        rows, report = read_bytes(tmp_path, gzip.compress(RECORDS[0] + damaged + b"".join(RECORDS[2:])))
        assert [reason for _, reason in outcomes(rows)] == [BAD, None, None]
        assert report.records == COUNTS


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd", "one gzip member"])
def test_a_file_cut_anywhere_loses_only_its_last_record(tmp_path: Path, form: str, thin: Thin) -> None:
    data = FORMS[form]
    whole = outcomes(read_bytes(tmp_path, data)[0])
    for end in thin(range(len(data))):
        found = outcomes(read_bytes(tmp_path, data[:end])[0])
        documents = [outcome for outcome in found if outcome[1] is None]
        assert documents == whole[: len(documents)]
        assert [reason for _, reason in found[len(documents) :]] in ([], ["truncated_record"])


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    for data in (b"", b"\r\n\r\n", gzip.compress(b""), gzip.compress(b"\r\n"), skippable(b"x") + skippable(b"", 0x184D2A50)):
        assert read_bytes(tmp_path, data) == ([], ReadReport())


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(3000),
        gzip.compress(b"\x89PNG", mtime=0),
        b"WARC",
        b"plain: text\n" * 99,
        b"\x28\xb5\x2f\xfd" * 9,
        skippable(b"no dictionary") + frames(RECORDS, DICTIONARY),
        skippable(DICTIONARY.as_bytes()[:9]) + frames(RECORDS, DICTIONARY),
    ],
)
def test_a_file_that_is_no_archive_is_one_dropped_row(tmp_path: Path, data: bytes) -> None:
    rows, report = read_bytes(tmp_path, data)
    assert [row["drop"]["reason"] for row in rows] in ([BAD], ["truncated_record"])
    assert [(row["length"], report.next_position) for row in rows] == [(len(data) - rows[0]["offset"], None)]
    assert not report.records


def test_a_file_whose_first_bytes_are_damaged_is_read_from_its_first_good_member_on(tmp_path: Path) -> None:
    for form in ("plain", "gzip", "zstd"):
        rows, report = read_bytes(tmp_path, b"?" + FORMS[form][1:])
        assert outcomes(rows) == [("0", BAD), ("one", None), ("two", None), ("three", None)]
        assert report.records == COUNTS - Counter({"warcinfo": 1})


def test_empty_members_and_skippable_frames_are_passed_over(tmp_path: Path) -> None:
    packed = [gzip.compress(b""), gzips(RECORDS[:3]), gzip.compress(b"\r\n"), b"\r\n", gzips(RECORDS[3:]), gzip.compress(b"")]
    assert outcomes(read_bytes(tmp_path, b"".join(packed))[0]) == [("one", None), ("two", None), ("three", None)]
    data = frames(RECORDS[:3]) + skippable(b"seek table") + frames(RECORDS[3:])
    assert outcomes(read_bytes(tmp_path, data)[0]) == [("one", None), ("two", None), ("three", None)]


def test_a_file_that_cannot_be_opened_is_an_error_that_names_the_shard(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"s: cannot read .*none\.warc"):
        read(tmp_path / "none.warc")
    with pytest.raises(SpecError, match="cannot be read"):
        WarcSource(paths="x", split_bytes=2**10).pieces(InputFile(str(tmp_path / "none.warc"), "none.warc", 2**20, ""))


# -- hostile files


HOSTILE = {
    "a member with a file name that holds starts of members": lambda size: (
        b"\x1f\x8b\x08\x08" + b"\0\0\0\0\0\x03" + b"\x1f\x8b\x08\x08" * (size // 4) + b"\0"
    ),
    "a member with a file name without end": lambda size: b"\x1f\x8b\x08\x08\0\0\0\0\0\x03" + b"x" * size,
    "starts of records, one in the other": lambda size: b"WARC/1.0\r\nA: b\r\n" * (size // 16),
    "records that claim to be longer than the file": lambda size: (
        b"WARC/1.0\r\nWARC-Type: resource\r\nContent-Length: 999999999\r\n\r\n" * (size // 66)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "read_as"), [(b"page.warc", None), (b"n" * 4000, None), (b"n" * 4096, "malformed_record")])
def test_a_gzip_header_with_all_its_fields_is_read_up_to_four_kibibytes(
    tmp_path: Path, name: bytes, read_as: str | None
) -> None:
    plain = gzips([response("one")])
    header = b"\x1f\x8b\x08\x1c" + plain[4:10] + b"\x06\0" + b"sl\x02\0ab" + name + b"\0" + b"a comment\0"
    rows, _ = read_bytes(tmp_path, header + plain[10:] + gzips([response("two")]))
    assert [row["drop"] and row["drop"]["reason"] for row in rows] == [read_as, None]


@pytest.mark.parametrize("shape", HOSTILE)
def test_time_is_linear_in_hostile_files_and_the_records_beside_are_kept(tmp_path: Path, shape: str) -> None:
    def seconds(size: int) -> float:
        hostile = HOSTILE[shape](size)
        packed = [gzips([one]) if hostile.startswith(b"\x1f") else one for one in (response("one"), response("two"))]
        started = time.process_time()
        rows, _ = read_bytes(tmp_path, packed[0] + hostile + b"\r\n" + packed[1])
        spent = time.process_time() - started
        kept = [row["id"] for row in rows if row["drop"] is None]
        assert len(kept) == 2 and {row["drop"]["reason"] for row in rows if row["drop"]} == {"malformed_record"}
        return spent

    short, long = (min(seconds(size) for _ in range(3)) for size in (20_000, 80_000))
    assert long < 0.1 or long < 8 * short  # 4 times, where quadratic time would be 16


# -- splits


def read_split(path: Path, cuts: list[int]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The union of the shards between cuts, each of which must begin where the one before says."""
    rows: list[dict[str, Any]] = []
    records: Counter[str] = Counter()
    expected = None
    for start, stop in pairwise(cuts):
        found, report = read(path, start, stop)
        assert None in (expected, report.first_position) or report.first_position == expected
        assert all(start <= row["offset"] for row in found)
        rows, records, expected = rows + found, records + report.records, report.next_position or expected
    return rows, records


SOME_BROKEN = [RECORDS[0], NO_LENGTH, RECORDS[3], b"lost\r\n", RECORDS[4], LONG_BY[30], RECORDS[1]]
SPLIT = {form: FORMS[form] for form in ("plain", "gzip", "gzip stored", "zstd")} | {
    "broken plain": b"".join(SOME_BROKEN),
    "broken gzip": gzips(SOME_BROKEN[:-1]) + b"lost" + gzips(RECORDS[1:2])[:-8] + b"lost" + gzips(RECORDS[3:4]),
    "broken zstd": frames(SOME_BROKEN[:-1]) + b"lost" + frames(RECORDS[1:2])[:-8] + b"lost" + frames(RECORDS[3:4]),
}


@pytest.mark.parametrize("kind", SPLIT)
def test_a_split_at_any_byte_changes_nothing(tmp_path: Path, kind: str, thin: Thin) -> None:
    data, path = SPLIT[kind], tmp_path / "x.bin"
    whole, report = read_bytes(tmp_path, data)
    for cut in thin(range(1, len(data))):
        assert read_split(path, [0, cut, len(data)]) == (whole, report.records)
    assert read_split(path, [*range(0, len(data), 97), len(data)]) == (whole, report.records)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_split_in_or_beside_a_broken_stretch_changes_nothing(tmp_path: Path, kind: str) -> None:
    data, path = around(kind), tmp_path / "x.bin"
    whole, report = read_bytes(tmp_path, data)
    (broken,) = [row["offset"] for row in whole if row["drop"]]
    for cut in (broken - 1, broken, broken + 1, *range(broken + 5, len(data), 83)):
        assert read_split(path, [0, cut, len(data)]) == (whole, report.records)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_of_any_kind_is_read_the_same_however_it_is_split(tmp_path: Path, data: st.DataObject) -> None:
    file = bytearray(FORMS[data.draw(st.sampled_from(["plain", "gzip", "zstd"]))])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(file) - 1))
        file[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=3))
    whole, report = read_bytes(tmp_path, bytes(file))
    cuts = sorted({0, len(file), *data.draw(st.lists(st.integers(1, max(len(file) - 1, 1)), max_size=4))})
    assert read_split(tmp_path / "x.bin", cuts) == (whole, report.records)


def test_files_are_cut_where_they_can_be_entered(tmp_path: Path) -> None:
    whole = {"one gzip member", "one zstd frame", "zstd and a dictionary", "zstd and a packed dictionary"}
    for form, data in FORMS.items():
        path = tmp_path / "x.bin"
        path.write_bytes(data)
        source = WarcSource(paths=str(path), split_bytes=1024)
        (found,) = describe(source.files())
        pieces = source.pieces(found)
        assert (len(pieces) == 1) == (form in whole or len(data) <= 1024)
        assert [piece[0] for piece in pieces] == [1024 * number for number in range(len(pieces))]
        assert sum(piece[2] for piece in pieces) == len(data)
        assert WarcSource(paths=str(path)).pieces(found) == [(0, None, len(data), None)]


def test_a_file_of_huge_members_is_not_cut(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(11 * 10**6)
    path = tmp_path / "x.warc.gz"
    path.write_bytes(gzips([response("a", noise, "image/png"), *RECORDS], 1))
    (found,) = describe([str(path)])
    assert len(WarcSource(paths=str(path), split_bytes=2**20).pieces(found)) == 1


# -- real files


def test_real_and_malformed_files_of_others_are_read_to_their_ends(shared: Path) -> None:
    files = sorted(path for path in (shared / "warc").rglob("*") if ".json" not in path.name and path.is_file())
    documents = 0
    reasons: Counter[str] = Counter()
    records: Counter[str] = Counter()
    for path in files:
        rows, report = read(path)
        documents += sum(row["drop"] is None for row in rows)
        reasons += Counter(row["drop"]["reason"] for row in rows if row["drop"])
        records += report.records
    kinds = ("request", "warcinfo", "metadata", "revisit", "dns", "response 404", "response image/png")
    assert (len(files), documents, reasons, {kind: records[kind] for kind in kinds}) == (
        169,
        559,
        {"malformed_record": 33, "truncated_record": 25, "unreadable_payload": 1},
        dict(zip(kinds, (1250, 119, 332, 185, 86, 89, 158), strict=True)),
    )
