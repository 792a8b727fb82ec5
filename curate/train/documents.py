"""Documents to learn from: what a recipe takes of a source, and the group each belongs to.

A list of documents in a recipe has one item per source:

    positives:
      - source: {parquet: {paths: out/wiki/data/*.parquet}}
        where: {licence: [CC-BY-SA-4.0]}     # columns that must have one of these values
        part: [0.0, 0.4]                     # this share of the groups, by a hash of the group
        max_documents: 20_000                # drawn by a hash of the id
        about: Wikipedia, CC-BY-SA-4.0

A group is what must not be torn apart: the pages of a host, the posts of a thread, the chapters of an author. Splits go by
groups, and so does `part`: two items with disjoint parts share no group. Texts are held in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.source import ReadReport, Source
from curate.config.options import relative_paths, values_of
from curate.config.yaml_file import YamlFile, check_keys, mapping_at, options_at
from curate.errors import DataError, SpecError, known_values
from curate.pipeline.spec import read_source
from curate.schema import DROP, ID, TEXT, URL
from curate.storage.store import describe

HOST = "host"
"""Stands for the host of a document's URL in a list of grouping columns."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """The selection from a source."""

    where: dict[str, tuple[str | int | float | bool, ...]] | None = None
    """Column -> values of which a document must have one."""
    part: tuple[float, float] = (0.0, 1.0)
    """The groups whose hash, as a number from 0 to 1, lies in from <= x < to."""
    max_documents: int | None = None
    """At most so many, those whose hash of the id is smallest."""
    about: str = ""
    """For the card: what this is, and under which licence."""

    def __post_init__(self) -> None:
        if not 0 <= self.part[0] < self.part[1] <= 1:
            raise ValueError(f"part: {list(self.part)} must be two numbers, 0 <= from < to <= 1")
        if self.max_documents is not None and self.max_documents < 1:
            raise ValueError(f"max_documents: {self.max_documents} must be 1 or more")


@dataclass(frozen=True)
class Documents:
    """One item of a list: a source and what is taken of it."""

    kind: str
    source: Source
    take: Take
    place: str
    """File and line, for errors."""

    def as_options(self, folder: str) -> dict[str, Any]:
        """As a recipe in `folder` would have it, defaults left out."""
        source, take = (
            {k: v for k, v in values_of(x).items() if v != _defaults(x).get(k, ...)} for x in (self.source, self.take)
        )
        return {"source": {self.kind: relative_paths(type(self.source), source, folder)}, **take}


@dataclass(frozen=True)
class Corpus:
    """Texts in memory, with ids and groups, in the order of their sources."""

    texts: pa.LargeStringArray
    ids: list[str]
    groups: list[str]
    domains: list[str]
    """The domain of each text where a recipe samples by domain; else its group."""
    left_out: int = 0
    """Records of the sources that could not be read as documents, or have no text."""
    columns: Mapping[str, list[Any]] = field(default_factory=dict)
    """Other columns of the sources, where a recipe asks for them."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[Any]) -> Corpus:
        """Some of the documents, by number."""
        chosen = rows.tolist()
        ids, groups, domains = ([column[row] for row in chosen] for column in (self.ids, self.groups, self.domains))
        columns = {name: [values[row] for row in chosen] for name, values in self.columns.items()}
        return Corpus(self.texts.take(pa.array(rows, pa.int64())), ids, groups, domains, columns=columns)

    @property
    def chars(self) -> npt.NDArray[np.int64]:
        """Code points of every text."""
        return np.asarray(pc.utf8_length(self.texts).to_numpy(zero_copy_only=False), np.int64)

    @staticmethod
    def joined(parts: Sequence[Corpus]) -> Corpus:
        texts = pa.chunked_array([part.texts for part in parts], pa.large_string()).combine_chunks()
        ids, groups, domains = ([name for part in parts for name in column(part)] for column in _NAMES)
        columns = {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
        return Corpus(texts, ids, groups, domains, sum(part.left_out for part in parts), columns)

    def digest(self) -> str:
        """sha256 over the ids, sorted, one per line: which documents these are, whatever their order."""
        return hashlib.sha256("".join(f"{name}\n" for name in sorted(self.ids)).encode()).hexdigest()

    def content_digest(self) -> str:
        """sha256 over ids and texts in their order."""
        digest = hashlib.sha256()
        for name, text in zip(self.ids, self.texts, strict=True):
            digest.update(json.dumps([name, text.as_py()]).encode())
        return digest.hexdigest()


_NAMES = (attrgetter("ids"), attrgetter("groups"), attrgetter("domains"))


def _defaults(instance: Any) -> dict[str, Any]:
    """The options that an instance may leave out, as plain values."""
    given = {field.name: field.default for field in fields(instance) if field.default is not MISSING}
    plain: dict[str, Any] = json.loads(json.dumps(given))
    return plain


def listing_of(items: Iterable[Documents]) -> list[list[Any]]:
    """Name, size and tag of every input file: what changes when the files do."""
    return [[found.name, found.size, found.tag] for item in items for found in describe(item.source.files())]


def parse_documents(document: YamlFile, value: Any, path: tuple[Any, ...]) -> tuple[Documents, ...]:
    """The list of documents that stands at `path` of a recipe. Raises SpecError with the place of a mistake."""
    if not isinstance(value, list) or not value:
        raise document.error(path, f"{path[-1]}: {value!r} must be a list of items such as 'source: {{parquet: ...}}'")
    return tuple(_item(document, item, (*path, number)) for number, item in enumerate(value))


def _item(document: YamlFile, value: Any, path: tuple[Any, ...]) -> Documents:
    where = f"{path[-2]}, item {path[-1] + 1}"
    options = dict(mapping_at(document, value, path, where))
    check_keys(document, options, path, ("source", "where", "part", "max_documents", "about"), f"key of {where}")
    if "source" not in options:
        raise document.error(path, f"{where}: no 'source'. Add 'source: {{parquet: {{paths: ...}}}}'.")
    kind, source = read_source(document, options.pop("source"), (*path, "source"))
    return Documents(kind, source, options_at(document, Take, options, path, where), document.place(path))


def load_corpus(
    items: Iterable[Documents],
    group: Sequence[str],
    *,
    domain: Sequence[str] | None = None,
    seed: int = 0,
    columns: Sequence[str] = (),
) -> Corpus:
    """Read all items. Raises SpecError for columns that are not there, DataError where nothing is left of an item."""
    return Corpus.joined([_load(item, group, domain or group, seed, columns) for item in items])


def _load(item: Documents, group: Sequence[str], domain: Sequence[str], seed: int, columns: Sequence[str]) -> Corpus:
    _check_columns(item, [*group, *domain, *columns])
    corpus = Corpus.joined([_taken(batch, item, group, domain, columns) for batch in _batches(item.source)])
    if not len(corpus):
        raise DataError(f"{item.place}: nothing is left of this source. Look at 'where' and 'part', and at the input.")
    limit = item.take.max_documents
    if limit is not None and len(corpus) > limit:
        ranks = hashes(corpus.ids, f"draw {seed}")
        corpus = replace(corpus.take(np.sort(np.argsort(ranks, kind="stable")[:limit])), left_out=corpus.left_out)
    return corpus


def _batches(source: Source) -> Iterator[pa.RecordBatch]:
    """The records of a source, in canonical order."""
    for shard in source.shards(describe(source.files())):
        yield from source.read(shard, ReadReport())


def _check_columns(item: Documents, columns: Sequence[str]) -> None:
    there = [*item.source.columns, ID, URL]
    if TEXT not in there:
        raise SpecError(f"{item.place}: the source has no column 'text'. Extract first: 'curate run' with 'extract'.")
    for name in [*(item.take.where or {}), *(name for name in columns if name != HOST)]:
        if name not in there:
            raise SpecError(f"{item.place}: the source has no column {name!r}. {known_values(name, there)}")


def _taken(
    batch: pa.RecordBatch, item: Documents, group: Sequence[str], domain: Sequence[str], columns: Sequence[str]
) -> Corpus:
    size = batch.num_rows
    batch = batch.filter(pc.and_(pc.is_null(batch.column(DROP)), pc.is_valid(batch.column(TEXT))))
    left_out = size - batch.num_rows
    for name, values in (item.take.where or {}).items():
        column = batch.column(name)
        try:
            wanted = pa.array(values).cast(column.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise SpecError(
                f"{item.place}: where: {list(values)} are no values of {name!r}, a column of {column.type}. Give such."
            ) from error
        batch = batch.filter(pc.fill_null(pc.is_in(column, wanted), False))
    groups, ids = groups_of(batch, group), batch.column(ID).to_pylist()
    low, high = item.take.part
    shares = hashes(groups, "part") / 2**64
    rows = np.flatnonzero((low <= shares) & (shares < high))
    others = {name: batch.column(name).to_pylist() for name in columns}
    found = Corpus(batch.column(TEXT).cast(pa.large_string()), ids, groups, groups_of(batch, domain), columns=others)
    return replace(found.take(rows), left_out=left_out)


def groups_of(batch: pa.RecordBatch, group: Sequence[str]) -> list[str]:
    """The group of every document: the values of the columns, joined by '|'. One that lacks a value is its own group."""
    columns = [_hosts(batch.column(URL)) if name == HOST else batch.column(name).to_pylist() for name in group]
    rows = zip(*columns, strict=True) if columns else [(None,)] * batch.num_rows
    ids = batch.column(ID).to_pylist()
    return [f"id|{i}" if None in values else "|".join(map(str, values)) for values, i in zip(rows, ids, strict=True)]


def _hosts(urls: pa.Array) -> list[str | None]:
    found: list[str | None] = []
    for url in urls.to_pylist():
        try:
            found.append((urlsplit(url).hostname if url else None) or None)
        except ValueError:  # such as an IPv6 address without its closing bracket
            found.append(None)
    return found


def hashes(names: Sequence[str], salt: str) -> npt.NDArray[np.uint64]:
    """One uint64 per name, uniform; another salt draws anew. Shape (names,)."""
    known = {name: hashlib.sha256(f"{salt}\0{name}".encode()).digest()[:8] for name in set(names)}
    return np.frombuffer(b"".join(known[name] for name in names), "<u8").astype(np.uint64)


def counts_by(values: Iterable[str]) -> Mapping[str, int]:
    """How often each value occurs, the most frequent first, then by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
