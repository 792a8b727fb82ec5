"""What the C4 rules see in a character: kinds of characters, and the automaton that finds the phrases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, reduce
from itertools import product
from operator import or_

import numpy as np
import numpy.typing as npt

from curate.text.unicode.chars import BREAK as CHAR_BREAK
from curate.text.unicode.chars import CODE_POINTS, char_kinds, lower_chars
from curate.text.unicode.chars import SPACE as CHAR_SPACE
from curate.text.words.trie import build_automaton, flatten

LOREM_IPSUM = "lorem ipsum"
JAVASCRIPT = "javascript"
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")

SPACE, BREAK, LINE_END, SENTENCE_END, FREE_END, CLOSER, OPEN, CURLY, DIGIT = (1 << bit for bit in range(9))
"""Kinds of characters. FREE_END: ends a sentence wherever it stands. OPEN, CURLY: '[' and '{'."""
MARK = LINE_END | SENTENCE_END | CLOSER | OPEN | CURLY
LETTER = 9
"""From this bit on stands the letter of the automaton."""
LETTERS = 64
STOP = 1 << 15
"""Kind of a byte: it is not a character of its own, or one that the kernel has to look at."""
LOREM_FOUND, JAVASCRIPT_FOUND, POLICY_FOUND, CURLY_FOUND, JAVASCRIPT_WORD = (1 << bit for bit in range(5))
"""What a line holds. The automaton finds the first three."""
NEWLINE = np.uint32(ord("\n"))


@dataclass(frozen=True)
class Phrases:
    """An automaton: after a character the state is steps[state | letter], and below `first_hit` nothing was found."""

    letters: dict[str, int]
    """The number of every character in a phrase; 0 stands for all others. They are told apart in lower case."""
    steps: npt.NDArray[np.int32]
    first_hit: int
    hits: npt.NDArray[np.uint8]
    """What was found, for states from `first_hit` on; shape ((states - first_hit) / LETTERS,)."""


def build_phrases(any_case: bool) -> Phrases:
    """The automaton of all phrases. `any_case`: they are matched as `re.IGNORECASE` does."""
    found = {LOREM_IPSUM: LOREM_FOUND}
    for phrases, bit in (((JAVASCRIPT,), JAVASCRIPT_FOUND), (POLICY, POLICY_FOUND)):
        for phrase in phrases:
            found |= dict.fromkeys(_spellings(phrase) if any_case else [phrase], bit)
    letters = {char: number for number, char in enumerate(sorted(set("".join(found))), 1)}
    spellings = [[letters[char] for char in phrase] for phrase in found]
    automaton = flatten(build_automaton(spellings, len(letters) + 1), LETTERS)
    bits = list(found.values())
    hits = [reduce(or_, (bits[phrase] for phrase in ended)) for ended in automaton.endings]
    return Phrases(letters, automaton.steps, automaton.first_hit, np.array(hits, np.uint8))


def _spellings(phrase: str) -> list[str]:
    """All that `re.IGNORECASE` takes for the phrase, in lower case where that is one character."""
    return ["".join(chars) for chars in product(*({"s": "sſ", "i": "iİı"}.get(char, char) for char in phrase))]


def character_table(
    letters: dict[str, int], *, every_break: bool, line_ends: str, sentence_ends: str, closers: str
) -> npt.NDArray[np.uint16]:
    """Kinds and letter of every code point, shape (0x110000,), read-only. `every_break`: lines end as for `str.splitlines`."""
    chars = char_kinds()
    table = np.zeros(CODE_POINTS, np.uint16)
    table[chars & CHAR_SPACE != 0] |= SPACE
    if every_break:
        table[chars & CHAR_BREAK != 0] |= BREAK
    table[NEWLINE] |= BREAK
    for bit, members in ((LINE_END, line_ends), (SENTENCE_END, sentence_ends), (CLOSER, closers)):
        table[_codes(members)] |= np.uint16(bit)
    table[_codes(char for char in sentence_ends if not char.isascii() and char != "…")] |= np.uint16(FREE_END)
    table[_codes("[")] |= np.uint16(OPEN)
    table[_codes("{")] |= np.uint16(CURLY)
    table[_decimals()] |= np.uint16(DIGIT)
    for char, number in letters.items():
        table[ord(char)] |= np.uint16(number << LETTER)
    for char, lower in lower_chars().items():
        if lower in letters and char not in letters:
            table[ord(char)] |= np.uint16(letters[lower] << LETTER)
    table.flags.writeable = False
    return table


def byte_table(table: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """The entries of ASCII, with STOP where there is more to do than to follow the automaton. Shape (256,)."""
    kinds = np.where(np.arange(256) < 0x80, table[:256], STOP).astype(np.uint16)
    kinds[table[:256] & (SPACE | MARK) != 0] |= STOP
    return kinds


@cache
def _decimals() -> list[int]:
    return [code for code in range(CODE_POINTS) if chr(code).isdecimal()]


def _codes(chars: Iterable[str]) -> list[int]:
    return [ord(char) for char in chars]
