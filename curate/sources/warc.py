"""WARC and ARC files: a document is a 2xx response, a resource or a conversion of a text type; the rest is counted.

A file is split by bytes where it can be entered in the middle. A record belongs to the shard in which its member begins;
a broken stretch belongs to the shard of the last record before it. Nothing inside a file ends its reading: a broken
stretch becomes one dropped row, and reading goes on at the next member that begins with a record.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pyarrow as pa

from curate.api.source import TOO_LARGE, PathSource, ReadReport, Shard, batched, drop_reason
from curate.errors import DataError, SpecError
from curate.schema import HTML, ordinal
from curate.sources.members import (
    GZIP_STEP,
    ZSTD_STEP,
    Archive,
    Body,
    Broken,
    Decompressor,
    Frame,
    MemberStream,
    PlainStream,
    Record,
    State,
    Stream,
    Tape,
    as_word,
    read_record_header,
)
from curate.storage import store
from curate.storage.store import InputFile

MALFORMED, TRUNCATED, UNREADABLE = "malformed_record", "truncated_record", "unreadable_payload"

_TEXT_TYPES = ("text/html", "application/xhtml+xml", "text/plain")
_MEDIA_TYPE = re.compile(r"\s*([\w!#$&^.+-]{1,64}/[\w!#$&^.+-]{1,64})", re.ASCII)
_MARKUP = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]{0,4096})?\r?\n")
_MAX_CODINGS = 4
# Where the first member is larger, a member holds many records.
_MAX_MEMBER_BYTES = 10 * 10**6


class _Rejected(Exception):
    """Raised for a document that is dropped, with its drop reason."""

    def __init__(self, drop: dict[str, Any]) -> None:
        super().__init__(drop["reason"])
        self.drop = drop


@dataclass(frozen=True)
class _Entry:
    """One record as read: the columns of its row, or a label to count it under."""

    columns: dict[str, Any]
    label: str | None = None
    error: Broken | None = None
    """Why the end of the record is unknown."""
    length: int | None = None
    """Length of the record in bytes of the file, where known."""
    after: int | None = None
    """Offset of the next member."""

    def failed(self, error: Broken) -> _Entry:
        """The same entry as broken: without its document and without its label."""
        known = {name: value for name, value in self.columns.items() if name not in (HTML, "drop")}
        return self if self.error else _Entry(known, error=error)

    def settled(self, start: int, after: int | None, size: int) -> _Entry:
        """With its extent in the file. What is cut short though a record follows has a wrong length, not a missing end."""
        error = Broken(str(self.error)) if self.error and after is not None else self.error
        return replace(self, error=error, length=(size if after is None else after) - start, after=after)


@dataclass(frozen=True, kw_only=True)
class WarcSource(PathSource):
    """Reads WARC, WET and ARC files, plain or compressed by gzip or zstandard."""

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        return {HTML: pa.large_binary(), "content_type": pa.string()}

    @property
    def reasons(self) -> tuple[str, ...]:
        return (TOO_LARGE, MALFORMED, TRUNCATED, UNREADABLE)

    def pieces(self, found: InputFile) -> list[tuple[int, int | None, int, int | None]]:
        if found.size <= self.split_bytes or not _can_be_entered(found.url):
            return super().pieces(found)
        cuts = [*range(0, found.size, self.split_bytes), found.size]
        return [(start, stop, stop - start, None) for start, stop in pairwise(cuts)]

    def read(self, shard: Shard, report: ReadReport) -> Iterator[pa.RecordBatch]:
        try:
            with store.passing_faults(shard.url), store.open_file(shard.url) as file:
                yield from batched(self._rows(Archive(file), shard, report), self.columns)
        except OSError as error:
            raise DataError(f"{shard.name}: cannot read {shard.url!r}: {error}") from error

    def _rows(self, archive: Archive, shard: Shard, report: ReadReport) -> Iterator[tuple[dict[str, Any], int]]:
        offset = archive.find(shard.start, shard.stop) if shard.start else 0
        while offset is not None and (offset := archive.skip_filler(offset)) < archive.size:
            stream, state = archive.enter(offset)
            if state == "end" and isinstance(stream, MemberStream):  # nothing in it
                offset = stream.end
                continue
            if state == "record" and shard.stop is not None and offset >= shard.stop:
                report.next_position = offset
                return
            report.first_position = offset if report.first_position is None else report.first_position
            after = None
            for number, entry in enumerate(self._entries(archive, stream, state, offset)):
                after = entry.after
                if entry.label:
                    report.records[entry.label] += 1
                else:
                    yield _row(entry, shard, offset, number)
            offset = after

    def _entries(self, archive: Archive, stream: Stream, state: State, offset: int) -> Iterator[_Entry]:
        """All that is in the member at `offset`, or the broken stretch there."""
        if state == "other":
            after = archive.find(offset + 1)
            error = Broken(f"no record begins here: {archive.head(offset)!r}", cut=archive.is_cut(offset, stream))
            yield _Entry({}, error=error).settled(offset, after, archive.size)
        elif isinstance(stream, MemberStream):
            yield from self._member(archive, stream, offset)
        elif isinstance(stream, PlainStream):
            yield self._plain(archive, stream, offset)

    def _plain(self, archive: Archive, stream: PlainStream, offset: int) -> _Entry:
        entry = self._entry(stream)
        if entry.error:
            return entry.settled(offset, archive.find(offset + 1), archive.size)
        end, after = stream.position, archive.skip_filler(stream.position)
        if after < archive.size and archive.enter(after)[1] == "other":
            # Its length may be wrong: the records within it are records, as they are for a reading that begins there.
            inside = archive.find(offset + 1, end)
            if inside is not None:
                error = Broken("its Content-Length reaches into the next record")
                return entry.failed(error).settled(offset, inside, archive.size)
        return replace(entry, length=end - offset, after=after)

    def _member(self, archive: Archive, stream: MemberStream, offset: int) -> Iterator[_Entry]:
        state: State = "record"
        number = 0
        while state == "record":
            entry, stray = self._entry(stream), list[_Entry]()
            try:
                state = stream.resync() if entry.error else stream.advance()
                if state == "other":  # a stretch of its own, unless the member turns out to be damaged
                    state = stream.resync()
                    stray = [_Entry({}, error=Broken("text between records"))]
            except Broken as error:
                entry, state = entry.failed(error), "other"
            number += 1 + len(stray)
            if state == "record" and number + 1 >= stream.consumed:  # the next member's ordinals begin at its offset
                entry, stray, state = entry.failed(Broken("more records than compressed bytes")), [], "other"
            if state == "other":
                yield entry.settled(offset, archive.find(offset + 1), archive.size)
            else:
                length = None if stream.end is None else stream.end - offset
                yield from (replace(item, length=length, after=stream.end) for item in (entry, *stray))

    def _entry(self, stream: Stream) -> _Entry:
        """Read one record, to the end of its block."""
        columns: dict[str, Any] = {}
        try:
            record = read_record_header(stream)
            columns = {"id": record.id, "url": record.url, "fetched_at": _time(record.date)}
            if record.length is None:
                raise Broken("Content-Length is missing or no number")
            body = Body(stream, record.length)
            entry = self._content(record, body)
            body.skip()
        except Broken as error:
            return _Entry(columns, error=error)
        return replace(entry, columns={**columns, **entry.columns})

    def _content(self, record: Record, body: Body) -> _Entry:
        if not record.kind:
            return _malformed("no WARC-Type")
        if record.kind == "response":
            return self._response(record, body)
        if record.kind == "resource":
            return self._document(record, {"content_type": record.content_type}, [], body)
        if record.kind == "conversion":
            mime = _mime(record.content_type)
            if mime == "text/plain":
                return self._document(record, {"content_type": "text/plain; charset=utf-8"}, [], body)
            return _Entry({}, f"conversion {mime or 'untyped'}")
        return _Entry({}, record.kind)

    def _response(self, record: Record, body: Body) -> _Entry:
        if body.peek(5).upper() != b"HTTP/":
            scheme = as_word((record.url or "").partition(":")[0])
            if scheme == "dns":
                return _Entry({}, "dns")
            if record.url is None or ":" not in record.url or scheme in ("http", "https"):
                return _malformed("no HTTP status line")
            return _Entry({}, f"response {scheme}")
        http = body.read_http_header()
        if not re.match(r"\d{3}\b", http.statusline, re.ASCII):
            return _malformed(f"HTTP status {http.statusline[:100]!r}")
        status = int(http.statusline[:3])
        if not 200 <= status <= 299:
            return _Entry({}, f"response {status}")
        codings = f"{http.get_header('content-encoding', '')},{http.get_header('transfer-encoding', '')}"
        known = [coding for coding in re.split(r"[,\s]+", codings.lower()) if coding == "chunked" or coding in _DECOMPRESSORS]
        columns = {"http_status": status, "content_type": http.get_header("content-type")}
        return self._document(record, columns, known, body)

    def _document(self, record: Record, columns: dict[str, Any], codings: list[str], body: Body) -> _Entry:
        mime = _mime(columns["content_type"])
        if mime and mime not in _TEXT_TYPES:
            return _Entry({}, f"{record.kind} {mime}")
        head = body.peek(1024)
        try:
            html = self._payload(body, codings, lenient=record.truncated)
            head, columns = html[:1024], {**columns, HTML: html}
        except _Rejected as rejected:
            columns = {**columns, "drop": rejected.drop}
        if not mime and not _MARKUP.search(head):
            return _Entry({}, f"{record.kind} untyped")
        return _Entry(columns)

    def _payload(self, body: Body, codings: list[str], *, lenient: bool) -> bytes:
        """The body with its codings undone; one that is too large is not read to its end. Raises _Rejected."""
        limit = self.max_document_bytes
        # The sizes of chunks stand between the bytes of the document.
        if body.left > (2 * limit + 2**16 if "chunked" in codings else limit):
            raise _Rejected(drop_reason(TOO_LARGE, body.left, limit))
        data = body.take(body.left)
        if len(codings) > _MAX_CODINGS:
            raise _Rejected(drop_reason(UNREADABLE, detail=f"{len(codings)} codings"))
        for coding in reversed(codings):
            try:
                data = _undo(coding, data, limit, lenient)
            except Broken as error:
                # Crawlers store what they have decoded and leave the header as it was.
                if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                    raise _Rejected(drop_reason(UNREADABLE, detail=f"{coding}: {error}"[:200])) from error
        if len(data) > limit:
            raise _Rejected(drop_reason(TOO_LARGE, len(data), limit))
        return data


def _can_be_entered(url: str) -> bool:
    try:
        with store.passing_faults(url), store.open_file(url) as file:
            return Archive(file).has_small_members(_MAX_MEMBER_BYTES)
    except OSError as error:
        raise SpecError(f"paths: {url!r} cannot be read: {error}. Remove or repair it.") from error


def _row(entry: _Entry, shard: Shard, offset: int, number: int) -> tuple[dict[str, Any], int]:
    """A row and its bytes."""
    position = offset + number
    provenance = {"ordinal": ordinal(shard.file_index, position), "file": shard.url, "offset": offset, "length": entry.length}
    row = {**entry.columns, **provenance}
    row["id"] = row.get("id") or f"{os.path.basename(shard.url)}:{position}"
    if entry.error:
        row["drop"] = drop_reason(TRUNCATED if entry.error.cut else MALFORMED, detail=str(entry.error)[:200])
    return row, len(row.get(HTML) or b"") + len(row.get("url") or "")


def _malformed(detail: str) -> _Entry:
    return _Entry({"drop": drop_reason(MALFORMED, detail=detail)})


def _mime(content_type: str | None) -> str | None:
    """Type and subtype; None where they are missing or no such thing."""
    match = _MEDIA_TYPE.match(content_type or "")
    return match[1].lower() if match else None


def _time(value: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        return None


def _undo(coding: str, data: bytes, limit: int, lenient: bool) -> bytes:
    """Undo a coding of HTTP. Raises Broken, or _Rejected beyond `limit`; `lenient` takes what ends too early as it is."""
    if coding == "chunked":
        return _dechunked(data, lenient)
    gzip = coding.endswith("gzip")
    if not data or (gzip and not data.startswith(b"\x1f\x8b")):
        return data
    tape, parts, size, at = Tape(io.BytesIO(data)), list[bytes](), 0, 0
    while not parts or (gzip and data.startswith(b"\x1f\x8b", at)):  # gzip may have several members
        stream = MemberStream(tape, at, _DECOMPRESSORS[coding](data), ZSTD_STEP if coding == "zstd" else GZIP_STEP)
        parts.append(stream.peek(limit + 1 - size))
        size += len(parts[-1])
        if size > limit:
            raise _Rejected(drop_reason(TOO_LARGE, size, limit))
        if stream.problem and not (lenient and stream.problem.cut):
            raise stream.problem
        at = stream.end or len(data)
    return b"".join(parts)


def _dechunked(data: bytes, lenient: bool) -> bytes:
    """Chunks put together; the data as they are where a crawler has done so and left the header."""
    parts, at = list[bytes](), 0
    while match := _CHUNK_SIZE.match(data, at):
        size, start = int(match[1], 16), match.end()
        if not size:
            return b"".join(parts)
        parts.append(data[start : start + size])
        if len(parts[-1]) < size and not lenient:
            raise Broken(f"ends inside a chunk of {size} bytes")
        at = start + size
        at += 2 if data.startswith(b"\r\n", at) else data.startswith(b"\n", at)
    if parts and at < len(data) and not lenient:
        raise Broken(f"no size of a chunk at byte {at}")
    return b"".join(parts) if parts else data


class _Brotli:
    """A brotli stream behind zlib's interface."""

    unused_data = b""

    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]

        self._engine = brotli.Decompressor()
        self._error = brotli.error
        self.unconsumed_tail = b""

    @property
    def eof(self) -> bool:
        return bool(self._engine.is_finished())

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        ready = self._engine.can_accept_more_data()
        self.unconsumed_tail = b"" if ready else bytes(data)
        try:
            return bytes(self._engine.process(data if ready else b"", output_buffer_limit=max_length))
        except self._error as error:
            raise zlib.error("damaged data") from error


def _inflator(data: bytes) -> Decompressor:
    """Servers send deflate both with and without the header of zlib."""
    wrapped = data[0] & 15 == 8 and not int.from_bytes(data[:2]) % 31
    return zlib.decompressobj(15 if wrapped else -15)


_DECOMPRESSORS: dict[str, Callable[[bytes], Decompressor]] = {
    "br": lambda data: _Brotli(),
    "deflate": _inflator,
    "gzip": lambda data: zlib.decompressobj(31),
    "x-gzip": lambda data: zlib.decompressobj(31),
    "zstd": lambda data: Frame(),
}
