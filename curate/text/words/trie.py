"""A set of words as a table of steps from letter to letter, so that a kernel finds a word while it reads it.

Words are found in any case and with any ASCII punctuation before and after them, if wanted: the table has steps for that too.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.text.unicode.chars import CODE_POINTS, lower_chars

START = 1
"""The state before the first letter. In state 0 no word can be reached any more."""


@dataclass(frozen=True)
class WordTable:
    """From a state and a code point to steps[state, letters[code point]]."""

    letters: npt.NDArray[np.int16]
    """Shape (0x110000,): a number for every code point that matters, 0 for all others; capitals have that of their small
    letter (`lower_chars`)."""
    steps: npt.NDArray[np.int32]
    """Shape (states, letters)."""
    words: npt.NDArray[np.int32]
    """Shape (states,): the word found where the text ends in this state, -1 for none."""


def word_table(words: Sequence[str], *, any_case: bool = True, trim: bool = True) -> WordTable:
    """The table of `words`. A word is its place in `words`.

    `any_case`: the words are in lower case. `trim`: none of them begins or ends in ASCII punctuation, which is skipped.
    """
    alphabet = {char: number for number, char in enumerate(sorted({*string.punctuation, *"".join(words)}), 1)}
    steps = np.zeros((2 + len(words) + sum(map(len, words)), 1 + len(alphabet)), np.int32)
    found = np.full(len(steps), -1, np.int32)
    used = START
    for index, word in enumerate(words):
        state = START
        for char in word:
            if not steps[state, alphabet[char]]:
                used += 1
                steps[state, alphabet[char]] = used
            state = int(steps[state, alphabet[char]])
        found[state] = index
    if trim:
        _skip_punctuation(steps, found, used, [alphabet[char] for char in string.punctuation])
    return WordTable(_letters(alphabet, any_case), steps, found)


def _skip_punctuation(steps: npt.NDArray[np.int32], found: npt.NDArray[np.int32], used: int, signs: list[int]) -> None:
    """Add the steps over punctuation. A sign after a word may belong to a longer one ("don" and "don't")."""
    steps[START, signs] = START
    ended: dict[int, int] = {}
    for state in range(START + 1, used + 1):
        word = int(found[state])
        if word < 0:
            continue
        after = ended.setdefault(word, used + 1 + len(ended))
        found[after] = word
        steps[after, signs] = after
        for sign in signs:
            longer = steps[state, sign]
            if not longer:
                steps[state, sign] = after
            elif found[longer] < 0:
                found[longer] = word


def _letters(alphabet: dict[str, int], any_case: bool) -> npt.NDArray[np.int16]:
    letters = np.zeros(CODE_POINTS, np.int16)
    for char, number in alphabet.items():
        letters[ord(char)] = number
    for char, lower in lower_chars().items() if any_case else ():
        if lower in alphabet:
            letters[ord(char)] = alphabet[lower]
    return letters
