"""fastText's model files, read and written without the library: `.bin`, and `.ftz` as `quantize` leaves it.

A file is a magic number and a version, arguments, a dictionary (words, labels, the buckets that pruning left), the input
matrix and the output matrix, each dense or quantised; all little-endian (fastText 0.9.3: `FastText::saveModel`,
`Dictionary::save`, `DenseMatrix::save`, `QMatrix::save`, `ProductQuantizer::save`; version 12). A product quantiser has 256
centroids per run of `dsub` columns, the last run may be shorter; a row is one code per run, times a norm that may be
quantised too.

What a model file is wanted for here is a sum: the logits of a text are the mean, over its features, of what a feature's row
gives to each (`FoldedModel`). A dense input matrix is read and folded a few megabytes at a time, so a model of 2.7 GB takes
the memory of its words and of one number per row and label but one.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any, BinaryIO, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from curate.errors import SpecError
from curate.text.unicode.buffers import TextBuffers
from curate.text.words.fasttext import Features, Vocabulary, fold, parse_entries

MAGIC, VERSION = 793712314, 12
SUPERVISED, SOFTMAX = 3, 3
WORD, LABEL_KIND = 0, 1
CENTROIDS = 256
MAX_FOLDED_LABELS = 32
"""Models with more labels are not folded: with many numbers per row, folding gains little."""
CHUNK_ROWS = 1 << 14

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The training arguments in a model file, in the file's order."""

    dim: int
    ws: int = 5
    epoch: int
    min_count: int = 1
    neg: int = 5
    word_ngrams: int
    loss: int = SOFTMAX
    model: int = SUPERVISED
    bucket: int
    minn: int = 0
    maxn: int = 0
    lr_update_rate: int = 100
    t: float = 1e-4

    FORMAT: ClassVar[str] = "<12id"


@dataclass(frozen=True)
class FoldedModel:
    """A supervised softmax model of words and word n-grams, its two matrices multiplied."""

    features: Features
    labels: tuple[str, ...]
    weights: Floats
    """Shape (rows, labels - 1): what a feature adds to the logit of a label, less what it adds to that of the first."""

    def probabilities(self, means: npt.NDArray[np.float64]) -> Floats:
        """Probabilities from means of weights; NaN stays NaN. Shapes (texts, labels - 1), (texts, labels).

        As the library gives them, which is p + 1e-5: its score is log(p + 1e-5). What exceeds 1 by that is 1.
        """
        logits = np.concatenate([np.zeros((len(means), 1)), means], axis=1)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return np.asarray(np.minimum(1.0, shares + 1e-5), np.float32)


class _Matrix(Protocol):
    """One of the two matrices of a file, read by rows."""

    @property
    def rows(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def end(self) -> int: ...
    def chunks(self, file: BinaryIO) -> Iterator[Floats]: ...


class ModelFile:
    """A model file: header and dictionary are read at once, the matrices when they are wanted.

    Raises SpecError for what is no model of fastText, and for one that is cut short.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                at = self._read_header(mapped)
            with open(path, "rb") as file:
                self.input = _matrix(file, at, _flag(file, at))
                quantised = isinstance(self.input, _Quantised) and _flag(file, self.input.end)
                self.output = _matrix(file, self.input.end, quantised)
        except (struct.error, ValueError) as error:
            raise SpecError(f"{path!r} is no model file of fastText, or is cut short: {error}. Copy it again.") from error
        if self.output.end > os.path.getsize(path):
            raise SpecError(f"{path!r} is cut short: {self.output.end:,} bytes are needed. Copy it again.")
        if wrong := self._disagreement():
            raise SpecError(f"{path!r} is no sound model file: {wrong}. Train or copy it again.")

    def _disagreement(self) -> str | None:
        """The first contradiction between header and matrices, which are read by the header's sizes; None if there is none."""
        given, words = self.arguments, len(self.words.starts)
        buckets = given.bucket if given.word_ngrams > 1 or given.maxn > 0 else 0
        kept = 0 if self.pruned is None else int((self.pruned >= 0).sum())
        if given.bucket < 0 or (buckets == 0 and (given.word_ngrams > 1 or given.maxn > 0)):
            return f"n-grams without buckets ({given.bucket})"
        if not self.input.dim == self.output.dim == given.dim:
            return f"rows of {self.input.dim} and {self.output.dim} numbers, where its header says {given.dim}"
        if self.input.rows < words + (buckets if self.pruned is None else kept):
            return f"{self.input.rows:,} rows for {words:,} words and {buckets if self.pruned is None else kept:,} buckets"
        if kept and int(self.pruned.max()) >= self.input.rows - words:  # type: ignore[union-attr]
            return "a bucket in a row that is not there"
        if given.model == SUPERVISED and self.output.rows != len(self.labels):
            return f"{self.output.rows:,} rows of output for {len(self.labels):,} labels"
        return None

    def _read_header(self, mapped: mmap.mmap) -> int:
        magic, version = struct.unpack_from("<2i", mapped)
        if magic != MAGIC or version not in (VERSION - 1, VERSION):
            raise ValueError(f"it does not begin as files of versions {VERSION - 1} and {VERSION} do")
        names = [field.name for field in fields(Arguments)]
        values = struct.unpack_from(Arguments.FORMAT, mapped, 8)
        self.arguments = Arguments(**dict(zip(names, values, strict=True)))
        if version < VERSION and self.arguments.model == SUPERVISED:  # such files name letter n-grams and have none
            self.arguments = replace(self.arguments, maxn=0)
        at = 8 + struct.calcsize(Arguments.FORMAT)
        size, num_words, num_labels, _, num_pruned = struct.unpack_from("<3i2q", mapped, at)
        if num_words + num_labels != size:
            raise ValueError(f"{num_words} words and {num_labels} labels are not {size} entries")
        at = self._read_dictionary(mapped, at + 28, size, num_words)
        self.pruned = None
        if num_pruned >= 0:
            pairs = np.frombuffer(mapped[at : at + 8 * num_pruned], "<i4").reshape(num_pruned, 2)
            if num_pruned and not 0 <= pairs.min() <= pairs[:, 0].max() < self.arguments.bucket:
                raise ValueError("it names buckets that are not there")
            self.pruned = np.full(self.arguments.bucket, -1, np.int32)
            self.pruned[pairs[:, 0]] = pairs[:, 1]
        return at + 8 * int(max(0, num_pruned))

    def _read_dictionary(self, mapped: mmap.mmap, at: int, size: int, num_words: int) -> int:
        data = np.frombuffer(mapped, np.uint8)
        starts, ends = np.empty(size, np.int64), np.empty(size, np.int64)
        end = int(parse_entries(data.ctypes.data, at, size, len(data), starts, ends))
        entries = data[at : max(at, end)].copy()
        del data  # or the file could not be closed
        if end < 0:
            raise ValueError("it ends inside the dictionary")
        self.words = TextBuffers(entries, starts[:num_words] - at, ends[:num_words] - at)
        places = zip(starts[num_words:] - at, ends[num_words:] - at, strict=True)
        self.labels = tuple(entries[a:b].tobytes().decode("utf-8", "replace") for a, b in places)
        return end

    @property
    def folds(self) -> bool:
        """Whether `fold` knows this kind: supervised, softmax, words and word n-grams only, not many labels."""
        given = self.arguments
        plain = given.model == SUPERVISED and given.loss == SOFTMAX and given.maxn == 0
        return plain and 2 <= len(self.labels) <= MAX_FOLDED_LABELS

    def fold(self, *, end_of_line: bool) -> FoldedModel:
        """The model as sums: of each feature, what it adds to the logits."""
        with open(self.path, "rb") as file:
            output = np.concatenate(list(self.output.chunks(file))).astype(np.float64)
            weights = np.empty((self.input.rows, len(self.labels) - 1), np.float32)
            done = 0
            for chunk in self.input.chunks(file):
                logits = np.empty((len(chunk), len(self.labels)), np.float64)
                fold(chunk, output, logits)
                weights[done : done + len(chunk)] = logits[:, 1:] - logits[:, :1]
                done += len(chunk)
        try:
            words = Vocabulary.of(self.words)
        except ValueError as error:
            raise SpecError(f"{self.path!r} is no sound model file: {error}. Train or copy it again.") from error
        given = self.arguments
        return FoldedModel(Features(words, given.word_ngrams, given.bucket, end_of_line, self.pruned), self.labels, weights)


def _flag(file: BinaryIO, at: int) -> bool:
    file.seek(at)
    return file.read(1) == b"\1"


def _matrix(file: BinaryIO, at: int, quantised: bool) -> _Matrix:
    """The matrix whose flag stands at `at`."""
    file.seek(at + 1)
    if quantised:
        return _Quantised(file)
    rows, dim = _unpack(file, "<2q")
    return _Dense(rows, dim, file.tell(), file.tell() + 4 * rows * dim)


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _read(file: BinaryIO, kind: str, count: int) -> npt.NDArray[Any]:
    found = np.frombuffer(file.read(count * np.dtype(kind).itemsize), kind)
    if len(found) != count:
        raise ValueError("it ends inside a matrix")
    return found


@dataclass(frozen=True)
class _Dense:
    rows: int
    dim: int
    at: int
    end: int

    def chunks(self, file: BinaryIO) -> Iterator[Floats]:
        file.seek(self.at)
        for first in range(0, self.rows, CHUNK_ROWS):
            count = min(CHUNK_ROWS, self.rows - first)
            yield _read(file, "<f4", count * self.dim).reshape(count, self.dim)


class _Quantised:
    def __init__(self, file: BinaryIO) -> None:
        normed, self.rows, self.dim, size = _unpack(file, "<?2qi")
        codes = _read(file, "u1", size)
        self._quantiser = _Quantiser(file)
        self._codes = codes.reshape(self.rows, -1)
        self._norms = np.ones(self.rows, np.float32)
        if normed:
            norm_codes = _read(file, "u1", self.rows).reshape(self.rows, 1)
            self._norms = _Quantiser(file).rows(norm_codes)[:, 0]
        self.end = file.tell()

    def chunks(self, file: BinaryIO) -> Iterator[Floats]:
        for first in range(0, self.rows, CHUNK_ROWS):
            part = slice(first, first + CHUNK_ROWS)
            yield self._quantiser.rows(self._codes[part]) * self._norms[part, None]


class _Quantiser:
    def __init__(self, file: BinaryIO) -> None:
        dim, runs, run, last = _unpack(file, "<4i")
        centroids = _read(file, "<f4", dim * CENTROIDS)
        cut = (runs - 1) * CENTROIDS * run
        self._tables = [*centroids[:cut].reshape(runs - 1, CENTROIDS, run), centroids[cut:].reshape(CENTROIDS, last)]

    def rows(self, codes: npt.NDArray[np.uint8]) -> Floats:
        """The rows that codes stand for. Shapes (n, runs), (n, dim)."""
        return np.concatenate([table[codes[:, n]] for n, table in enumerate(self._tables)], axis=1)


def write_model(
    path: str,
    arguments: Arguments,
    words: Sequence[tuple[bytes, int]],
    labels: Sequence[tuple[str, int]],
    input: Floats,
    output: Floats,
) -> None:
    """Write a dense model that fastText loads. `words` and `labels` come with their counts, in the order of their rows.

    Shapes: `input` (words + buckets, dim), `output` (labels, dim). Equal arguments give equal bytes.
    """
    tokens = sum(count for _, count in [*words, *labels])
    with open(path, "wb") as file:
        file.write(struct.pack("<2i", MAGIC, VERSION))
        file.write(struct.pack(Arguments.FORMAT, *astuple(arguments)))
        file.write(struct.pack("<3i2q", len(words) + len(labels), len(words), len(labels), tokens, -1))
        entries = [(word, count, WORD) for word, count in words]
        entries += [(label.encode(), count, LABEL_KIND) for label, count in labels]
        for name, count, kind in entries:
            file.write(name + b"\0" + struct.pack("<qb", count, kind))
        for matrix in (input, output):
            file.write(struct.pack("<?2q", False, *matrix.shape))
            file.write(np.ascontiguousarray(matrix, "<f4").tobytes())
