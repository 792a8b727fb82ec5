"""The automaton finds the words that plain Python finds, in both of its forms."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from curate.text.words.trie import build_automaton, flatten

LETTERS = 4
spellings = st.lists(st.lists(st.integers(1, LETTERS - 1), min_size=1, max_size=4), max_size=6)
texts = st.lists(st.integers(0, LETTERS - 1), max_size=12)


def plain_endings(words: list[list[int]], text: list[int], end: int) -> list[int]:
    """The words that end there, the longest first, of two that are the same the later one."""
    ended = [number for number, word in enumerate(words) if text[max(0, end - len(word)) : end] == word]
    return sorted(ended, key=lambda number: (len(words[number]), number), reverse=True)


@given(spellings, texts)
def test_in_every_state_stand_the_words_that_end_there(words: list[list[int]], text: list[int]) -> None:
    automaton = build_automaton(words, LETTERS)
    state = 0
    for end, letter in enumerate(text, 1):
        state = int(automaton.steps[state, letter])
        assert list(automaton.endings[state]) == plain_endings(words, text, end)


@given(spellings, texts, st.sampled_from([LETTERS, 8]))
def test_flat_states_from_the_first_hit_on_are_those_in_which_words_end(
    words: list[list[int]], text: list[int], width: int
) -> None:
    flat = flatten(build_automaton(words, LETTERS), width)
    state = 0
    for end, letter in enumerate(text, 1):
        state = int(flat.steps[state + letter])
        found = flat.endings[(state - flat.first_hit) // width] if state >= flat.first_hit else ()
        assert list(found) == plain_endings(words, text, end)
