"""JSON lines, plain or compressed (.gz, .zst, ...): one object with a text per line.

Plain files are split by bytes at line ends. A line that is no object, or has no text, is a dropped row. Columns
besides text, id and url have to be named with their types: a schema guessed from the first lines fails hours later.
"""

from __future__ import annotations

import itertools
import json
import lzma
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import pyarrow as pa
from fsspec.utils import infer_compression

from curate.api.source import TOO_LARGE, PathSource, ReadReport, Shard, batched, drop_reason
from curate.errors import DataError
from curate.schema import HTML, IDENTITY, PROVENANCE, RESERVED, TEXT, ordinal
from curate.storage import store
from curate.storage.store import InputFile

Kind = Literal["string", "int64", "float64", "bool"]
_KINDS: dict[str, tuple[pa.DataType, tuple[type, ...]]] = {
    "string": (pa.string(), (str,)),
    "int64": (pa.int64(), (int,)),
    "float64": (pa.float64(), (int, float)),
    "bool": (pa.bool_(), (bool,)),
}
# A line may be longer than its text: escapes take up to six bytes a character, and other fields stand beside it.
_LINE_FACTOR = 8


@dataclass(frozen=True, kw_only=True)
class JsonlSource(PathSource):
    """Reads JSON lines."""

    text: str = TEXT
    """Field that holds the text, or the HTML with `html: true`."""
    html: bool = False
    id: str = "id"
    url: str = "url"
    fields: dict[str, Kind] = field(default_factory=dict)
    """Other fields to carry along, with their types."""

    def __post_init__(self) -> None:
        for name in self.fields:
            if name in (*IDENTITY, *PROVENANCE, *RESERVED, TEXT, HTML):
                raise ValueError(f"fields: {name!r} is a name with a meaning of its own. Rename the field in the input")

    @property
    def body(self) -> str:
        return HTML if self.html else TEXT

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        body = {HTML: pa.large_binary()} if self.html else {TEXT: pa.large_string()}
        return {**body, **{name: _KINDS[kind][0] for name, kind in self.fields.items()}}

    @property
    def reasons(self) -> tuple[str, ...]:
        return (TOO_LARGE, "malformed_line", "missing_text", "wrong_type")

    def pieces(self, found: InputFile) -> list[tuple[int, int | None, int, int | None]]:
        if infer_compression(found.url) or found.size <= self.split_bytes:
            return super().pieces(found)
        cuts = [*range(0, found.size, self.split_bytes), found.size]
        return [(start, stop, stop - start, None) for start, stop in itertools.pairwise(cuts)]

    def read(self, shard: Shard, report: ReadReport) -> Iterator[pa.RecordBatch]:
        try:
            with store.passing_faults(shard.url), store.open_decompressed(shard.url) as file:
                yield from batched(self._rows(file, shard), self.columns)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise DataError(f"{shard.name}: cannot read {shard.url!r}: {error}") from error

    def _rows(self, file: BinaryIO, shard: Shard) -> Iterator[tuple[dict[str, Any], int]]:
        name = os.path.basename(shard.url)
        for offset, length, line in _lines(file, shard.start, shard.stop, _LINE_FACTOR * self.max_document_bytes):
            if line is not None and not line.strip():
                continue
            provenance = {"ordinal": ordinal(shard.file_index, offset), "file": shard.url, "offset": offset, "length": length}
            row = {**provenance, **self._document(line, length)}
            row["id"] = f"{name}:{offset}" if row.get("id") is None else str(row["id"])
            yield row, length

    def _document(self, line: bytes | None, length: int) -> dict[str, Any]:
        """The columns of one line, or its drop reason."""
        if line is None:
            return {"drop": drop_reason(TOO_LARGE, length, self.max_document_bytes)}
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            return {"drop": drop_reason("malformed_line", detail=str(error)[:200])}
        if not isinstance(value, dict):
            return {"drop": drop_reason("malformed_line", detail=f"a {type(value).__name__}, not an object")}
        row: dict[str, Any] = {"id": _label(value.get(self.id)), "url": _label(value.get(self.url))}
        body = value.get(self.text)
        if not isinstance(body, str):
            return {**row, "drop": drop_reason("missing_text", detail=f"{self.text!r} is {type(body).__name__}")}
        for name, kind in self.fields.items():
            if not _fits(value.get(name), kind):
                return {
                    **row,
                    "drop": drop_reason("wrong_type", detail=f"{name!r} is {type(value[name]).__name__}, not {kind}"),
                }
            given = _clean(value.get(name))
            row[name] = float(given) if kind == "float64" and given is not None else given
        encoded = body.encode("utf-8", "replace")
        if len(encoded) > self.max_document_bytes:
            return {**row, "drop": drop_reason(TOO_LARGE, len(encoded), self.max_document_bytes)}
        return {**row, self.body: encoded if self.html else encoded.decode()}


def _lines(file: BinaryIO, start: int, stop: int | None, limit: int) -> Iterator[tuple[int, int, bytes | None]]:
    """(offset, length, line) of the lines that begin in start..stop; None for a line longer than `limit`."""
    offset = start
    if start:
        file.seek(start - 1)
        offset = start - 1 + _skip_line(file)
    while stop is None or offset < stop:
        line = file.readline(limit)
        if not line:
            return
        length = len(line)
        if length == limit and not line.endswith(b"\n"):
            length += _skip_line(file)
            yield offset, length, None
        else:
            yield offset, length, line
        offset += length


def _skip_line(file: BinaryIO) -> int:
    """Skip to the next line; the number of bytes skipped."""
    skipped = 0
    while chunk := file.readline(2**20):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def _fits(value: Any, kind: str) -> bool:
    if value is None:
        return True
    if not isinstance(value, _KINDS[kind][1]) or (isinstance(value, bool) and kind != "bool"):
        return False
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _clean(value: Any) -> Any:
    """Strings without lone surrogates, which JSON may hold and UTF-8 may not."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _label(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(_clean(str(value)))
