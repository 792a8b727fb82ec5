"""Tables that find words while a text is read: one look-up per character takes a kernel from state to state.

`word_table` recognises whole words, `build_automaton` finds words anywhere in a text. Both are made of the same trie.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.text.unicode.chars import CODE_POINTS, lower_chars

START = 1
"""The state of a `WordTable` before the first letter. In state 0 no word can be reached any more."""


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


@dataclass(frozen=True)
class Automaton:
    """From a state and a letter to steps[state, letter]. State 0 is the first."""

    steps: npt.NDArray[np.int32]
    """Shape (states, letters)."""
    endings: tuple[tuple[int, ...], ...]
    """Per state, the words that end there, the longest first."""


@dataclass(frozen=True)
class FlatAutomaton:
    """An automaton in one dimension: from a state and a letter to steps[state + letter]."""

    steps: npt.NDArray[np.int32]
    first_hit: int
    """In states from this one on, and only in these, a word ends."""
    endings: tuple[tuple[int, ...], ...]
    """The words that end in the states from `first_hit` on."""


def build_automaton(spellings: Iterable[Sequence[int]], letters: int) -> Automaton:
    """The automaton of Aho and Corasick (1975), which finds every word wherever it stands in a text.

    A word is its index among `spellings`, its letters numbers below `letters`. A letter in no word leads to state 0.
    """
    branches, words = _grow(spellings)
    steps = np.zeros((len(branches), letters), np.int32)
    endings: list[tuple[int, ...]] = [tuple(reversed(ended)) for ended in words]
    steps[0, list(branches[0])] = list(branches[0].values())
    # Breadth first: the longest proper suffix of a state that is a state itself comes before it, and lends its other steps.
    queue = [(state, 0) for state in branches[0].values()]
    for state, suffix in queue:
        endings[state] += endings[suffix]
        steps[state] = steps[suffix]
        queue += [(child, int(steps[suffix, letter])) for letter, child in branches[state].items()]
        steps[state, list(branches[state])] = list(branches[state].values())
    return Automaton(steps, tuple(endings))


def flatten(automaton: Automaton, width: int) -> FlatAutomaton:
    """The states numbered by multiples of `width`, at least the number of letters, those in which a word ends last."""
    states, letters = automaton.steps.shape
    order = sorted(range(states), key=lambda state: (bool(automaton.endings[state]), state))
    steps = np.zeros((states, width), np.int32)
    steps[:, :letters] = np.argsort(order)[automaton.steps[order]] * width
    first_hit = sum(not ended for ended in automaton.endings)
    return FlatAutomaton(steps.ravel(), first_hit * width, tuple(automaton.endings[state] for state in order[first_hit:]))


def _grow(spellings: Iterable[Sequence[int]]) -> tuple[list[dict[int, int]], list[list[int]]]:
    """The trie of some words: per state, the steps onward by letter and the words that are spelled out there. State 0 is the
    root."""
    branches: list[dict[int, int]] = [{}]
    words: list[list[int]] = [[]]
    for word, spelling in enumerate(spellings):
        state = 0
        for letter in spelling:
            if letter not in branches[state]:
                branches[state][letter] = len(branches)
                branches.append({})
                words.append([])
            state = branches[state][letter]
        words[state].append(word)
    return branches, words


def word_table(words: Sequence[str], *, any_case: bool = True, trim: bool = True) -> WordTable:
    """The table of `words`, which a kernel asks about one word of a text at a time. A word is its index in `words`.

    `any_case`: capitals count as small letters; the words are in lower case. `trim`: ASCII punctuation before and after a
    word of the text is skipped; none of the words begins or ends in it.
    """
    alphabet = {char: number for number, char in enumerate(sorted({*string.punctuation, *"".join(words)}), 1)}
    branches, spelled = _grow([alphabet[char] for char in word] for word in words)
    used = START + len(branches)
    steps = np.zeros((used + len(words), 1 + len(alphabet)), np.int32)  # with room for a state after every word
    found = np.full(len(steps), -1, np.int32)
    for state, (onward, ended) in enumerate(zip(branches, spelled, strict=True), START):
        steps[state, list(onward)] = [START + child for child in onward.values()]
        found[state] = ended[-1] if ended else -1
    if trim:
        _skip_punctuation(steps, found, used, [alphabet[char] for char in string.punctuation])
    return WordTable(_letters(alphabet, any_case), steps, found)


def _skip_punctuation(steps: npt.NDArray[np.int32], found: npt.NDArray[np.int32], used: int, signs: list[int]) -> None:
    """Add the steps over punctuation to `used` states. A sign after a word may belong to a longer one ("don" and "don't")."""
    steps[START, signs] = START
    ended: dict[int, int] = {}
    for state in range(START + 1, used):
        word = int(found[state])
        if word < 0:
            continue
        after = ended.setdefault(word, used + len(ended))
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
