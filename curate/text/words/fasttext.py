"""Texts as fastText reads them: tokens, the features they stand for, and the sums of what features weigh.

fastText (Joulin et al. 2016, arXiv:1607.01759) cuts a text at blanks, tabs, line ends and NULs, and ends it at a token
`</s>`. Its features are the words of a vocabulary, and every run of 2 to `word_ngrams` tokens, hashed into `bucket` rows
behind those of the words: h = h * 116049371 + hash of the next token, modulo 2^64, where the hash of a token is FNV-1a of
32 bits over *signed* bytes, taken as a signed number (`Dictionary::hash`, `addWordNgrams`, fastText 0.9.3). A token that
begins with `__label__` is no feature.

At the end of a line fastText appends `</s>`, a word like any other. `end_of_line` of a kernel says whether it does here.

Decisions. A token is known by a hash of 64 bits, not by its bytes: of two that differ, one in 2^64 passes for the other.
Scoring is a sum of a number or two per feature, not of rows of a hundred: what a row adds to the logits is worked out
when a model is loaded (`models/fasttext_file.py`), since a softmax over the mean of rows is linear up to its logits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.hashing import hash_bytes, load_byte

EOS = "</s>"
LABEL = "__label__"
FNV_BASIS, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
NGRAM_STEP = np.uint64(116049371)


@dataclass(frozen=True)
class Tokens:
    """Tokens firsts[r] .. lasts[r] (exclusive) belong to row r; labels and what follows `</s>` are left out."""

    firsts: npt.NDArray[np.int64]
    lasts: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.int32]
    """Shape (tokens,): fastText's own, for n-grams."""
    keys: npt.NDArray[np.uint64]
    """Shape (tokens,): by which a word is known; never 0."""
    starts: npt.NDArray[np.int64]
    """Shape (tokens,): where the token begins in the column's bytes."""
    null: npt.NDArray[np.bool_]
    """Shape (rows,): where there is no text."""

    def __getitem__(self, rows: Any) -> Tokens:
        """The same tokens for some of the rows."""
        return replace(self, firsts=self.firsts[rows], lasts=self.lasts[rows], null=self.null[rows])

    def __len__(self) -> int:
        return len(self.firsts)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Tokens per row."""
        return self.lasts - self.firsts


@dataclass(frozen=True)
class Vocabulary:
    """From keys of words to their rows: open addressing, a power of two of slots (key, row), key 0 is free."""

    slots: npt.NDArray[np.uint64]
    num_words: int

    @staticmethod
    def of(words: TextBuffers) -> Vocabulary:
        """The table of words, row by row. Raises ValueError where two words share a key."""
        keys = _keys_of(words.data.ctypes.data, words.starts, words.ends, len(words.data))
        slots = np.zeros((1 << max(4, (2 * len(keys)).bit_length()), 2), np.uint64)
        clash = _fill(slots, keys)
        if clash >= 0:
            raise ValueError(f"word {clash} of the vocabulary has the key of an earlier one")
        return Vocabulary(slots, len(keys))


@dataclass(frozen=True)
class Features:
    """How a model makes features of tokens."""

    vocabulary: Vocabulary
    word_ngrams: int
    bucket: int
    end_of_line: bool
    """Append `</s>` to every text, as fastText does at the end of a line."""
    pruned: npt.NDArray[np.int32] | None = None
    """Shape (bucket,): the row of a bucket among those that pruning left, or -1; None where nothing was pruned."""


def cut_tokens(texts: TextBuffers, null: npt.NDArray[np.bool_]) -> Tokens:
    """The tokens of every text."""
    base, size = texts.data.ctypes.data, len(texts.data)
    firsts, lasts = np.empty(len(texts.starts), np.int64), np.empty(len(texts.starts), np.int64)
    room = _count(base, texts.starts, texts.ends)
    hashes, keys, starts = np.empty(room, np.int32), np.empty(room, np.uint64), np.empty(room, np.int64)
    used = _cut(base, size, texts.starts, texts.ends, firsts, lasts, hashes, keys, starts)
    return Tokens(firsts, lasts, hashes[:used], keys[:used], starts[:used], null)


def mean_weights(tokens: Tokens, features: Features, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The mean of `weights` over the features of every text; NaN for a text without any. Shape (rows, columns).

    `weights` has a row per feature: those of the words, then those of the buckets that are left.
    """
    means = np.empty((len(tokens), weights.shape[1]), np.float64)
    _mean(*_arguments(tokens, features), weights, means)
    return means


def feature_rows(tokens: Tokens, features: Features) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The features of every text as rows of a model, one text after the other, and where each text begins.

    Shapes (features,), (rows + 1,). Words come first, then n-grams, as in fastText.
    """
    room = int(tokens.counts.sum() + len(tokens)) * features.word_ngrams
    flat, offsets = np.empty(room, np.int32), np.zeros(len(tokens) + 1, np.int64)
    _rows(*_arguments(tokens, features), flat, offsets)
    return flat[: offsets[-1]].copy(), offsets


def _arguments(tokens: Tokens, features: Features) -> tuple[Any, ...]:
    pruned = features.pruned if features.pruned is not None else np.empty(0, np.int32)
    return (
        tokens.firsts, tokens.lasts, tokens.hashes, tokens.keys,
        features.vocabulary.slots, features.vocabulary.num_words,
        features.word_ngrams, features.bucket, features.end_of_line, pruned,
    )  # fmt: skip


@njit(inline="always")
def _blank(byte):  # type: ignore[no-untyped-def]
    return byte <= 32 and (byte == 32 or 9 <= byte <= 13 or byte == 0)


@njit(inline="always")
def _fnv(value, byte):  # type: ignore[no-untyped-def]
    """One step of FNV-1a, the byte taken as a signed one."""
    return np.uint32(np.uint32(value ^ np.uint32(np.int32(np.int8(byte)))) * FNV_PRIME)


@njit(inline="always")
def _key(base, start, end, size):  # type: ignore[no-untyped-def]
    key = hash_bytes(base, start, end, size)
    return key if key else np.uint64(1)


@njit(inline="always")
def _is(base, start, end, what):  # type: ignore[no-untyped-def]
    """Whether the bytes begin with `what`, a tuple."""
    if end - start < len(what):
        return False
    for i in range(len(what)):  # noqa: SIM110
        if load_byte(base + start + i) != what[i]:
            return False
    return True


_EOS_BYTES, _LABEL_BYTES = tuple(EOS.encode()), tuple(LABEL.encode())


@njit(cache=True)
def _keys_of(base, starts, ends, size):  # type: ignore[no-untyped-def]
    keys = np.empty(len(starts), np.uint64)
    for word in range(len(starts)):
        keys[word] = _key(base, starts[word], ends[word], size)
    return keys


@njit(cache=True)
def _fill(slots, keys):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    for row in range(len(keys)):
        place = keys[row] & mask
        while slots[place, 0]:
            if slots[place, 0] == keys[row]:
                return row
            place = (place + np.uint64(1)) & mask
        slots[place, 0] = keys[row]
        slots[place, 1] = np.uint64(row)
    return -1


@njit(inline="always")
def _find(slots, key):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    place = key & mask
    while slots[place, 0]:
        if slots[place, 0] == key:
            return np.int64(slots[place, 1])
        place = (place + np.uint64(1)) & mask
    return np.int64(-1)


@njit(nogil=True, cache=True)
def _count(base, starts, ends):  # type: ignore[no-untyped-def]
    """How many runs of bytes that are not blank the texts have."""
    found = 0
    for row in range(len(starts)):
        before = True
        for i in range(starts[row], ends[row]):
            blank = _blank(load_byte(base + i))
            found += before and not blank
            before = blank
    return found


@njit(nogil=True, cache=True)
def _cut(base, size, rows, ends, firsts, lasts, hashes, keys, starts):  # type: ignore[no-untyped-def]
    used = 0
    for row in range(len(rows)):
        firsts[row] = used
        i, end = rows[row], ends[row]
        while True:
            while i < end and _blank(load_byte(base + i)):
                i += 1
            if i == end:
                break
            start, hashed = i, FNV_BASIS
            while i < end:
                byte = load_byte(base + i)
                if _blank(byte):
                    break
                hashed = _fnv(hashed, byte)
                i += 1
            if i - start == 4 and _is(base, start, i, _EOS_BYTES):
                break
            if _is(base, start, i, _LABEL_BYTES):
                continue
            hashes[used] = np.int32(hashed)
            keys[used] = _key(base, start, i, size)
            starts[used] = start
            used += 1
        lasts[row] = used
    return used


@njit(cache=True)
def _hash_and_key(base, size):  # type: ignore[no-untyped-def]
    hashed = FNV_BASIS
    for i in range(size):
        hashed = _fnv(hashed, load_byte(base + i))
    return np.int32(hashed), _key(base, 0, size, size)


_EOS_ARRAY = np.frombuffer(EOS.encode(), np.uint8)
_EOS_BOTH = _hash_and_key(_EOS_ARRAY.ctypes.data, len(_EOS_ARRAY))
EOS_HASH, EOS_KEY = np.int32(_EOS_BOTH[0]), np.uint64(_EOS_BOTH[1])


@njit(inline="always")
def _bucket_row(hashed, bucket, num_words, pruned):  # type: ignore[no-untyped-def]
    place = np.int64(hashed % np.uint64(bucket))
    if len(pruned):
        place = np.int64(pruned[place])
        if place < 0:
            return np.int64(-1)
    return num_words + place


@njit(nogil=True, cache=True)
def _mean(firsts, lasts, hashes, keys, slots, num_words, ngrams, bucket, eos, pruned, weights, means):  # type: ignore[no-untyped-def]
    columns = weights.shape[1]
    for row in range(len(firsts)):
        found = 0
        for c in range(columns):
            means[row, c] = 0.0
        end = lasts[row] + eos
        for i in range(firsts[row], end):
            last = i == lasts[row]
            place = _find(slots, EOS_KEY if last else keys[i])
            if place >= 0:
                found += 1
                for c in range(columns):
                    means[row, c] += weights[place, c]
            value = np.uint64(np.int64(EOS_HASH if last else hashes[i]))
            for j in range(i + 1, min(i + ngrams, end)):
                following = EOS_HASH if j == lasts[row] else hashes[j]
                value = value * NGRAM_STEP + np.uint64(np.int64(following))
                place = _bucket_row(value, bucket, num_words, pruned)
                if place >= 0:
                    found += 1
                    for c in range(columns):
                        means[row, c] += weights[place, c]
        for c in range(columns):
            means[row, c] = means[row, c] / found if found else np.nan


@njit(nogil=True, cache=True)
def _rows(firsts, lasts, hashes, keys, slots, num_words, ngrams, bucket, eos, pruned, flat, offsets):  # type: ignore[no-untyped-def]
    used = 0
    for row in range(len(firsts)):
        end = lasts[row] + eos
        for i in range(firsts[row], end):
            place = _find(slots, EOS_KEY if i == lasts[row] else keys[i])
            if place >= 0:
                flat[used] = place
                used += 1
        for i in range(firsts[row], end):
            value = np.uint64(np.int64(EOS_HASH if i == lasts[row] else hashes[i]))
            for j in range(i + 1, min(i + ngrams, end)):
                following = EOS_HASH if j == lasts[row] else hashes[j]
                value = value * NGRAM_STEP + np.uint64(np.int64(following))
                place = _bucket_row(value, bucket, num_words, pruned)
                if place >= 0:
                    flat[used] = place
                    used += 1
        offsets[row + 1] = used


@njit(nogil=True, cache=True)
def _count_words(keys, documents, groups, first, slots, counts, used):  # type: ignore[no-untyped-def]
    """Count from token `first` on; (tokens done, slots used). It ends early where half of the slots are used."""
    mask = np.uint64(len(slots) - 1)
    for token in range(first, len(keys)):
        place = keys[token] & mask
        while slots[place, 0] and slots[place, 0] != keys[token]:
            place = (place + np.uint64(1)) & mask
        if not slots[place, 0]:
            if 2 * used >= len(slots):
                return token, used
            slots[place, 0] = keys[token]
            slots[place, 1] = np.uint64(token)
            counts[place, 3] = counts[place, 4] = -1
            used += 1
        counts[place, 0] += 1
        if counts[place, 3] != documents[token]:
            counts[place, 3] = documents[token]
            counts[place, 1] += 1
        if counts[place, 4] != groups[token]:
            counts[place, 4] = groups[token]
            counts[place, 2] += 1
    return len(keys), used


@njit(nogil=True, cache=True)
def _grown(slots, counts):  # type: ignore[no-untyped-def]
    """The same entries in twice as many slots."""
    more, their = np.zeros((2 * len(slots), 2), np.uint64), np.zeros((2 * len(slots), counts.shape[1]), np.int64)
    mask = np.uint64(len(more) - 1)
    for slot in range(len(slots)):
        if slots[slot, 0]:
            place = slots[slot, 0] & mask
            while more[place, 0]:
                place = (place + np.uint64(1)) & mask
            more[place] = slots[slot]
            their[place] = counts[slot]
    return more, their


def count_words(
    keys: npt.NDArray[np.uint64], documents: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], slots: int = 1 << 16
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Different tokens by key: where each occurs first, and how many tokens, documents and groups it has.

    Tokens come in the order of their documents, and documents of one group next to each other: one is known again as the
    one a word was last seen in. Shapes (words,), (words, 3); 56 bytes for up to four times as many words as there are.
    """
    table, counts = np.zeros((slots, 2), np.uint64), np.zeros((slots, 5), np.int64)
    done = used = 0
    while True:
        done, used = _count_words(keys, documents, groups, done, table, counts, used)
        if done == len(keys):
            taken = table[:, 0] > 0
            return table[taken, 1].astype(np.int64), counts[taken, :3]
        table, counts = _grown(table, counts)


@njit(nogil=True, cache=True)
def parse_entries(base, at, count, size, starts, ends):  # type: ignore[no-untyped-def]
    """The entries of a dictionary in a model file: word, NUL, int64 count, int8 kind. Where they end, or -1 if cut short."""
    for entry in range(count):
        starts[entry] = at
        while at < size and load_byte(base + at):
            at += 1
        ends[entry] = at
        at += 10
        if at > size:
            return -1
    return at


@njit(nogil=True, cache=True)
def fold(rows, output, folded):  # type: ignore[no-untyped-def]
    """folded[r, k] = rows[r] . output[k], summed in float64 from left to right. Shapes (n, dim), (labels, dim), (n, labels)."""
    for r in range(rows.shape[0]):
        for k in range(output.shape[0]):
            total = 0.0
            for d in range(rows.shape[1]):
                total += np.float64(rows[r, d]) * output[k, d]
            folded[r, k] = total
