"""Tables for the kernels that cut as spaCy does, made of the rules of the installed spaCy (`spacy_rules.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from curate.text.unicode.chars import char_kinds
from curate.text.unicode.hashing import hash_of, hash_table
from curate.text.words.punctuation import sign_kinds
from curate.text.words.spacy_cut import DOT, MAX_PAIRED, MAX_SPECIAL, MAX_UNIT, PAIRED, ChunkRules
from curate.text.words.spacy_fill import ALONE, MARKED, ORS, Tables
from curate.text.words.spacy_rules import SUFFIX, SpacyRules
from curate.text.words.types import FIRST_ALNUM, PERIOD, PUNCT

TANGLED = 1 << 15
LOW_64 = (1 << 64) - 1


def spacy_tables(rules: SpacyRules) -> Tables:
    """All that the kernels look up."""
    specials, special_parts = _special_table(rules)
    units = hash_table([unit.encode() for unit in rules.units])
    return Tables(
        chunk=ChunkRules(rules.classes, specials, special_parts, units, _pair_table(rules.pairs)),
        chars=char_kinds(),
        signs=sign_kinds(),
        edges=_edge_table(rules.edges),
        marks=_mark_table(rules),
        tangled=_tangled_table(rules),
        native=rules.known,
    )


def _special_table(rules: SpacyRules) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Special words, each with a place in the second array, where the lengths of its parts stand up to a zero."""
    lengths: list[int] = []
    places = []
    for _, parts in rules.specials:
        places.append(len(lengths))
        lengths += [*(len(part.encode()) for part in parts), 0]
    words = [word.encode() for word, _ in rules.specials]
    assert max(map(len, words)) <= MAX_SPECIAL and max(map(len, rules.units)) <= MAX_UNIT
    return hash_table(words, places), np.array(lengths, np.int64)


def _pair_table(pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.uint64]:
    """Hashes of pairs of neighbours, open addressing."""
    table = np.zeros(1 << (4 * len(pairs)).bit_length(), np.uint64)
    for left, right in pairs:
        assert max(len(left.encode()), len(right.encode())) <= MAX_PAIRED
        product = (hash_of(left.encode()) ^ int(PAIRED)) * hash_of(right.encode())  # as `fold_product`
        key = product >> 64 ^ product & LOW_64
        at = key & (len(table) - 1)
        while table[at]:
            at = (at + 1) & (len(table) - 1)
        table[at] = key
    return table


def _edge_table(edges: Sequence[tuple[str, str]]) -> npt.NDArray[np.uint64]:
    """Per pair of neighbours: last and first character in one number, and the hashes of both. Shape (pairs, 3)."""
    hashes = [(hash_of(left.encode()), hash_of(right.encode())) for left, right in edges]
    meeting = [ord(left[-1]) << 32 | ord(right[0]) for left, right in edges]
    return np.column_stack([np.array(meeting, np.uint64), np.array(hashes, np.uint64)])


def _mark_table(rules: SpacyRules) -> npt.NDArray[np.uint64]:
    """Hash and kinds of every ASCII character that is cut off behind any letter, as a full stop is behind a small one."""
    table = np.zeros((128, 2), np.uint64)
    if rules.known:
        for code in (*np.flatnonzero(rules.classes[:128] & SUFFIX), DOT):
            sign = sign_kinds()[code]
            table[code] = hash_of(bytes([code])), sign & (ORS | np.uint8(FIRST_ALNUM | PUNCT | PERIOD))
    return table


def _tangled_table(rules: SpacyRules) -> npt.NDArray[np.uint8]:
    """By the last bits of its hash, whether a word may be special (ALONE), or together with a mark behind it (MARKED)."""
    alone = {word for word, parts in rules.specials if len(parts) > 1}
    marked = (
        alone
        | {word[:-1] for word, _ in rules.specials if not word[-1].isalpha()}
        | {left for left, right in rules.pairs if len(right) == 1}
    )
    table = np.full(TANGLED, 0 if rules.known else ALONE | MARKED, np.uint8)
    for bit, words in ((ALONE, alone), (MARKED, marked)):
        for word in words:
            if word.isascii() and word.isalpha():
                table[hash_of(word.encode()) & (TANGLED - 1)] |= bit
    return table
