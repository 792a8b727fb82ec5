"""The words of spaCy's `blank("en")`, token for token, at hundreds of times its speed.

spaCy cuts every run of non-space characters, a chunk, on its own. So a chunk is cut once and then looked up:

- Nine of ten chunks of web text are plain: ASCII letters, perhaps with a mark behind them that is cut off
  (`spacy_fill.py`).
- Most others are cut by the kernel that applies spaCy's rules for prefixes, suffixes, infixes, units and special words
  (`spacy_cut.py`).
- What may be a URL and would otherwise be cut inside is held against spaCy's own pattern for URLs.
- spaCy itself cuts chunks with neighbours of which a special word may be made after all (":" and ")").

The tables of chunks and URLs are bounded. Once the table of chunks is full, what the kernel can cut is cut anew each time.

One thing crosses chunks: spaCy's search for special words runs over the whole text, and a longer find that spans white space,
which comes to nothing, still blocks the find inside a chunk (":)" in "x:) )"). Where that can be, spaCy cuts the whole text.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.hashing import hash_of
from curate.text.words.punctuation import sign_kinds
from curate.text.words.spacy_cut import MAX_SPECIAL, ChunkScratch, remember_urls
from curate.text.words.spacy_fill import (
    ASK,
    ASKED,
    BYTE,
    CHAR,
    COUNTERS,
    CUT_ANEW,
    JOINED,
    POOLED,
    USED,
    WORD,
    Memory,
    Out,
    Scratch,
    Texts,
    describe,
    fill,
    learn,
    widen_slots,
)
from curate.text.words.spacy_rules import SpacyRules, english, spacy_rules
from curate.text.words.spacy_tables import spacy_tables
from curate.text.words.stream import stream_size
from curate.text.words.types import GAP, Words

SLOTS = 1 << 21
"""Table: 64 MB, 32 more for words. What the kernel cuts is stored up to three eighths, what spaCy cuts up to half."""
WINDOW, LONGEST_SPECIAL = 1000, 12
"""Bytes and chunks to each side of where two chunks meet, within which a find that spans both must lie."""
FLAT = ("stream", "starts", "chars", "hashes", "kinds")


class SpacyCutter:
    """Cuts text columns into spaCy's words; keeps a table of the chunks it has met. One per process."""

    def __init__(self, rules: SpacyRules, slots: int = SLOTS) -> None:
        self._tables, self._size = spacy_tables(rules), slots
        self._found = dict(rules.found)
        self._longest = max(map(len, self._found))
        self._joined: dict[bytes, list[list[bytes]]] = {}
        for parts in rules.joined:
            self._joined.setdefault(parts[0].encode(), []).append([part.encode() for part in parts])
        self._scratch(1 << 12)
        self._asked, self._joints = np.zeros((1 << 16, 3), np.int64), np.zeros((1 << 12, 5), np.int64)
        self.asked = self.matched = self.met = 0
        """Chunks that went to spaCy, those held against its pattern for URLs, and all that were not in the table when met."""
        self._forget()

    def _forget(self) -> None:
        self._slots = np.zeros((self._size, 4), np.uint64)
        self._pool = np.zeros((self._size, 2), np.uint64)
        self._counters = np.zeros(len(COUNTERS), np.int64)
        self._forget_urls()

    def _forget_urls(self) -> None:
        self._urls, self._answers = np.zeros(1 << 12, np.uint64), 0

    def _scratch(self, size: int) -> None:
        self._chunk = ChunkScratch(np.zeros(size, np.uint32), np.zeros(size + 1, np.int64), np.zeros(size + 1, np.int32))

    def __call__(self, texts: TextBuffers) -> Words:
        if self._counters[USED] > len(self._slots) // 2 or len(self._slots) > self._size:
            self._forget()
        if self._answers > self._size // 2:
            self._forget_urls()
        rows = len(texts.starts)
        size = stream_size(texts)
        words = Words(
            firsts=np.zeros(rows, np.int64),
            lasts=np.zeros(rows, np.int64),
            stream=np.empty(size + 8, np.uint8),
            starts=np.empty(size + 1, np.int32),
            chars=np.empty(size + 1, np.int32),
            hashes=np.empty(size, np.uint64),
            kinds=np.empty(size, np.uint8),
        )
        words.starts[0] = words.chars[0] = 0
        self._counters[[WORD, BYTE, CHAR]] = 0
        left, became = np.arange(rows), np.zeros(rows, np.uint8)
        blocked: set[int] = set()
        while len(left):
            self._counters[[ASKED, JOINED, CUT_ANEW]] = 0
            done = self._run(texts, left, became, words)
            self.met += int(self._counters[CUT_ANEW])
            blocked |= self._blocked(texts)
            if self._counters[ASKED]:
                self._ask(texts)
            elif done < len(left) and not self._counters[JOINED]:
                self._make_room(int((texts.ends - texts.starts)[left[done]]))
            left = np.concatenate([left[:done][became[left[:done]] == ASK], left[done:]])
        if blocked:
            words = _widen(words, sum(int(texts.ends[row] - texts.starts[row]) for row in blocked))
            for row in sorted(blocked):
                self._cut_whole(texts, row, words)
        count, byte = int(self._counters[WORD]), int(self._counters[BYTE])
        return Words(
            words.firsts, words.lasts, words.stream[:byte], words.starts[: count + 1], words.chars[: count + 1],
            words.hashes[:count], words.kinds[:count],
        )  # fmt: skip

    def _run(self, texts: TextBuffers, rows: npt.NDArray[np.int64], became: npt.NDArray[np.uint8], words: Words) -> int:
        given = Texts(texts.data, rows, texts.starts, texts.ends)
        memory = Memory(self._slots, self._pool, self._urls)
        scratch = Scratch(self._chunk, self._asked, self._joints, became)
        out = Out(words.firsts, words.lasts, words.stream, words.starts, words.chars, words.hashes, words.kinds)
        return int(fill(given, self._tables, memory, scratch, self._counters, out))

    def _make_room(self, size: int) -> None:
        """Room for a chunk of as many bytes."""
        if len(self._chunk.codes) <= size:
            self._scratch(size + size // 8)
        self._grow(size + size // 8)

    def _grow(self, size: int) -> None:
        """Room in the pool for as many words more."""
        if len(self._pool) <= self._counters[POOLED] + size:
            self._pool = np.concatenate([self._pool, np.zeros((len(self._pool) + size, 2), np.uint64)])

    def _ask(self, texts: TextBuffers) -> None:
        """Have spaCy cut the chunks that were asked for, or say whether they are URLs, and remember it."""
        spans = self._asked[: self._counters[ASKED]].tolist()
        parts = dict.fromkeys((texts.data[start:end].tobytes(), about_url) for start, end, about_url in spans)
        self._match([part for part, about_url in parts if about_url])
        chunks = [part for part, about_url in parts if not about_url]
        self.asked += len(chunks)
        if not chunks:
            return
        words = _cut_by_spacy(chunks)
        cuts = [list(itertools.accumulate(map(len, parts))) for parts in words]
        while self._counters[USED] + len(chunks) > len(self._slots) * 3 // 4:
            self._slots = widen_slots(self._slots)
        self._grow(sum(map(len, cuts)) + 1)
        data, ends = np.frombuffer(b"".join(chunks), np.uint8), np.array([*itertools.chain.from_iterable(cuts)], np.int32)
        touchy = np.array([self._touchy(parts) for parts in words])
        tables = (self._slots, self._pool, self._counters, sign_kinds())
        learn(data, _bounds(chunks), ends, _bounds(cuts), touchy, *tables)

    def _match(self, parts: list[bytes]) -> None:
        """Remember which of some texts are URLs."""
        while self._answers + len(parts) > len(self._urls) // 2:
            known, self._urls = self._urls[self._urls > 0], np.zeros(4 * len(self._urls), np.uint64)
            remember_urls(known, self._urls)
        match = english().tokenizer.url_match
        found = [hash_of(part) & ~1 | bool(match(part.decode(errors="replace"))) for part in parts]
        remember_urls(np.array(found, np.uint64), self._urls)
        self._answers += len(parts)
        self.matched += len(parts)

    def _touchy(self, words: list[bytes]) -> bool:
        """Whether some special word was, or may have been, put together from the words of a chunk."""
        return any(words[k : k + len(parts)] == parts for k, word in enumerate(words) for parts in self._joined.get(word, ()))

    def _blocked(self, texts: TextBuffers) -> set[int]:
        """Rows in which a find across white space does block one inside a chunk, by spaCy's own word."""
        rows, windows = [], []
        for row, begin, middle, end, mark in self._joints[: self._counters[JOINED]].tolist():
            start, stop = int(texts.starts[row]), int(texts.ends[row])
            if not self._crossed(texts.data[start:middle], texts.data[middle:stop], 2 if mark else 3):
                continue
            before = texts.data[max(start, begin - WINDOW) : begin].tobytes().decode(errors="ignore").split()
            after = texts.data[end : min(stop, end + WINDOW)].tobytes().decode(errors="ignore").split()
            here = texts.data[begin:end].tobytes().decode(errors="replace").split()
            rows.append(row)
            windows.append([*before[-LONGEST_SPECIAL:], *here, *after[:LONGEST_SPECIAL]])
        if not rows:
            return set()
        together, apart = (_tokens("\n".join(join.join(chunks) for chunks in windows)) for join in (" ", "\t"))
        lines = [" ".join(token for token in tokens if token != "\t").split("\n") for tokens in (together, apart)]
        return {row for row, one, two in zip(rows, *lines, strict=True) if one != two}

    def _crossed(self, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], least: int) -> bool:
        """Whether a special word of `least` words or more may be found across the white space where two texts meet.

        A find in the first text wins over one as long that spans both, since it begins before it: there three words are
        the least that does harm.
        """
        left = "".join(before[-WINDOW:].tobytes().decode(errors="ignore").split())[-MAX_SPECIAL:]
        right = "".join(after[:WINDOW].tobytes().decode(errors="ignore").split())[:MAX_SPECIAL]
        return any(
            self._found.get(left[-i:] + right[:j], 0) >= least
            for i in range(1, min(len(left), self._longest - 1) + 1)
            for j in range(1, min(len(right), self._longest - i) + 1)
        )

    def _cut_whole(self, texts: TextBuffers, row: int, words: Words) -> None:
        """Have spaCy cut a whole text."""
        text = texts.data[texts.starts[row] : texts.ends[row]].tobytes().decode(errors="replace")
        tokens = _tokens(text)
        solid = [token for token in tokens if not token.isspace()]
        data = np.frombuffer("".join(solid).encode(), np.uint8)
        ends = np.cumsum([len(token.encode()) for token in solid], dtype=np.int32)
        described = np.zeros((len(solid), 2), np.uint64)
        describe(data.ctypes.data, 0, len(data), ends, len(solid), described, 0, sign_kinds())
        after_blank = [before.isspace() for before, after in itertools.pairwise(["x", *tokens]) if not after.isspace()]
        gaps = np.where(after_blank, np.uint8(GAP), np.uint8(0))
        gaps[:1] = 0
        word, byte, char = (int(self._counters[name]) for name in (WORD, BYTE, CHAR))
        chars = np.cumsum((described[:, 1] >> np.uint64(24)) & np.uint64(0xFFFFFF))
        last = word + len(solid)
        words.firsts[row], words.lasts[row] = word, last
        words.stream[byte : byte + len(data)] = data
        words.starts[word], words.chars[word] = byte, char
        words.starts[word + 1 : last + 1], words.chars[word + 1 : last + 1] = byte + ends, char + chars.astype(np.int32)
        words.hashes[word:last] = described[:, 0]
        words.kinds[word:last] = (described[:, 1] >> np.uint64(48)).astype(np.uint8) | gaps
        self._counters[[WORD, BYTE, CHAR]] = last, byte + len(data), words.chars[last]


def _widen(words: Words, size: int) -> Words:
    """The same words, with room behind them for as many bytes of text more."""
    wider = {name: np.concatenate([array, np.empty(size, array.dtype)]) for name, array in vars(words).items() if name in FLAT}
    return replace(words, **wider)


def _tokens(text: str) -> list[str]:
    """spaCy's tokens, those of white space among them. Nothing it learns from the text stays."""
    with english().memory_zone():
        return [token.text for token in english().tokenizer(text)]


def _cut_by_spacy(chunks: Sequence[bytes]) -> list[list[bytes]]:
    """spaCy's words in each chunk. Line breaks keep the chunks apart: no special word has one."""
    words: list[list[bytes]] = [[]]
    for token in _tokens("\n".join(chunk.decode(errors="replace") for chunk in chunks)):
        if token == "\n":
            words.append([])
        else:
            words[-1].append(token.encode())
    return [parts if b"".join(parts) == chunk else [chunk] for parts, chunk in zip(words, chunks, strict=True)]


def _bounds(parts: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)]).astype(np.int64)


@cache
def _cutter() -> SpacyCutter:
    return SpacyCutter(spacy_rules())


def cut_spacy(texts: TextBuffers) -> Words:
    """Cut every text into the words of spaCy's blank English pipeline."""
    return _cutter()(texts)
