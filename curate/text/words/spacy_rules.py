"""The rules of spaCy's English tokenizer as tables for a kernel, and spaCy itself for what the kernel leaves to it.

The only module that imports spacy. The tables are read off the installed package; a kernel that applies them knows the
shape of the rules of spaCy 3.8: where those of the installed version differ, the kernel is not used and spaCy cuts every
chunk itself, slowly.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import SpecError, install_hint
from curate.text.unicode.chars import CODE_POINTS, every_code_point

KNOWN_RULES = {"c2c355f53a9d900d": "3.8"}
"""Digests of the rules the kernel was written for, with the version of spaCy that has them."""

PREFIX, SUFFIX, INFIX, LETTER, LOWER, UPPER, QUOTE, DIGIT, BEFORE_DOT, CURRENCY, UNIT_END, HYPHEN = (1 << i for i in range(12))
"""What a character can be to the rules. PREFIX, SUFFIX, INFIX: split off on its own, whatever stands beside it.
BEFORE_DOT: a full stop after it is split off at the end of a word. UNIT_END: some unit of measurement ends in it."""


@dataclass(frozen=True)
class SpacyRules:
    """Tables of the English rules."""

    classes: npt.NDArray[np.uint16]
    """Shape (0x110000,): the bits above."""
    units: tuple[str, ...]
    """Units of measurement, split off after a digit."""
    specials: tuple[tuple[str, tuple[str, ...]], ...]
    """Words with a cut of their own: ("don't", ("do", "n't"))."""
    pairs: tuple[tuple[str, str], ...]
    """Neighbours as the affix rules cut them in a special word that is cut otherwise: the search for special words, which
    comes last, may find one where these stand."""
    edges: tuple[tuple[str, str], ...]
    """Neighbours in any special word: where these meet across white space, that search may find something that is none."""
    found: tuple[tuple[str, int], ...]
    """What that search looks for, and of how many words as the affix rules cut them: (":)", 2)."""
    joined: tuple[tuple[str, ...], ...]
    """The cuts of special words that the affix rules alone would cut otherwise."""
    known: bool
    """Whether the rules are those the kernel was written for."""


@cache
def english() -> Any:
    """spaCy's blank English pipeline; its tokenizer is the reference."""
    try:
        import spacy
    except ImportError as error:
        raise SpecError(
            "the word unit 'spacy' needs spaCy, which is not installed. "
            f"{install_hint('spacy')}, or take the unit 'uax29' or 'whitespace'."
        ) from error
    return spacy.blank("en")


@cache
def spacy_rules() -> SpacyRules:
    """The rules of the installed spaCy."""
    from spacy.lang import char_classes as known

    tokenizer, defaults = english().tokenizer, english().Defaults
    specials = tuple(sorted((word, tuple(part[65] for part in parts)) for word, parts in tokenizer.rules.items()))
    lists = [list(defaults.prefixes), list(defaults.suffixes), list(defaults.infixes)]
    plain = _cut_by_affixes(tokenizer, [word for word, _ in specials])
    pattern = tokenizer.url_match.__self__.pattern
    digest = hashlib.sha256(json.dumps([lists, pattern, specials, known.UNITS, known.CURRENCY]).encode()).hexdigest()[:16]
    return SpacyRules(
        classes=_classes(known, lists[0], lists[1]),
        units=tuple(known.UNITS.split("|")),
        specials=tuple((word, parts) for word, parts in specials if not word.isspace() and " " not in word),
        pairs=_neighbours(plain[word] for word, parts in specials if plain[word] != parts),
        edges=_neighbours(plain.values()),
        found=tuple(sorted((word, len(parts)) for word, parts in plain.items() if len(parts) > 1)),
        joined=tuple(sorted({parts for word, parts in specials if plain[word] != parts})),
        known=digest in KNOWN_RULES,
    )


def _classes(known: Any, prefixes: Sequence[str], suffixes: Sequence[str]) -> npt.NDArray[np.uint16]:
    classes = np.zeros(CODE_POINTS, np.uint16)
    before_dot = r"0-9%²\-\+(?:)" + known.ALPHA_LOWER + known.PUNCT + known.CONCAT_QUOTES
    for bit, inside in (
        (LETTER, known.ALPHA),
        (LOWER, known.ALPHA_LOWER),
        (UPPER, known.ALPHA_UPPER),
        (QUOTE, known.CONCAT_QUOTES),
        (DIGIT, "0-9"),
        (BEFORE_DOT, before_dot),
        (PREFIX | SUFFIX | INFIX, known.LIST_ICONS[0][1:-1]),
    ):
        for match in re.finditer(f"[{inside}]+", every_code_point()):
            classes[match.start() : match.end()] |= bit
    for bit, chars in (
        (PREFIX, _single(prefixes)),
        (SUFFIX, _single(suffixes)),
        (INFIX, ["…"]),
        (HYPHEN, _single(known.LIST_HYPHENS)),
        (CURRENCY, _single(known.LIST_CURRENCY)),
        (UNIT_END, {unit[-1] for unit in known.UNITS.split("|")}),
    ):
        classes[[ord(char) for char in chars]] |= bit
    return classes


def _single(pieces: Iterable[str]) -> list[str]:
    """The patterns of a list that are one character and look at nothing beside it."""
    plain = (re.sub(r"\\(.)", r"\1", piece) for piece in pieces)
    return [piece for piece in plain if len(piece) == 1]


def _neighbours(words: Iterable[tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({pair for parts in words for pair in itertools.pairwise(parts)}))


def _cut_by_affixes(tokenizer: Any, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """How the affix rules cut words, were there no special ones."""
    from spacy.tokenizer import Tokenizer

    plain = Tokenizer(
        tokenizer.vocab,
        rules={},
        prefix_search=tokenizer.prefix_search,
        suffix_search=tokenizer.suffix_search,
        infix_finditer=tokenizer.infix_finditer,
        url_match=tokenizer.url_match,
    )
    return {word: tuple(token.text for token in plain(word)) for word in words}
