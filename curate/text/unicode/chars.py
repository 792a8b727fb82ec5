"""What kind of character every code point is: tables that agree with Python's own `str` methods on all of them.

Kernels look code points up here in place of calling `str`. The tables are filled by those very methods, on first use, once
per process (0.13 s and 0.09 s), and so follow the Unicode version of the interpreter (`unicodedata.unidata_version`).
"""

from __future__ import annotations

import string
import sys
from functools import cache

import numpy as np
import numpy.typing as npt

CODE_POINTS = sys.maxunicode + 1

SPACE = 1
"""`str.isspace`: where `str.split` and `str.strip` cut."""
BREAK = 2
"""Where `str.splitlines` cuts. Every line break is a space."""
ALPHA = 4
"""`str.isalpha`."""
ALNUM = 8
"""`str.isalnum`."""
PUNCT = 16
"""ASCII punctuation, `string.punctuation`."""
FREE = 32
"""This bit and those above it are never set here; a kernel marks its own characters with them, in a copy."""


@cache
def char_kinds() -> npt.NDArray[np.uint8]:
    """The bits above for every code point. Shape (0x110000,), read-only."""
    text = every_code_point()
    kinds = np.zeros(CODE_POINTS, np.uint8)
    for bit, method in ((SPACE, str.isspace), (ALPHA, str.isalpha), (ALNUM, str.isalnum)):
        kinds |= np.fromiter(map(method, text), np.uint8, CODE_POINTS) * np.uint8(bit)
    for line in text.splitlines(keepends=True)[:-1]:
        kinds[ord(line[-1])] |= BREAK
    for char in string.punctuation:
        kinds[ord(char)] |= PUNCT
    kinds.flags.writeable = False
    return kinds


@cache
def lower_chars() -> dict[str, str]:
    """Every code point that `str.lower` turns into another one: 'A' -> 'a'.

    U+0130 is left out, whose lower case is two code points. `str.lower` makes U+03A3 a final sigma at the end of a word;
    here, where there are no words, it is always U+03C3.
    """
    pairs = ((char, char.lower()) for char in every_code_point())
    return {char: lower for char, lower in pairs if lower != char and len(lower) == 1}


def every_code_point() -> str:
    """A string of all of them in order, surrogates among them."""
    return np.arange(CODE_POINTS, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
