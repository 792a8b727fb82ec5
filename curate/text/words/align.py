"""Two sequences of words aligned in order, so that words matched side by side count more than words scattered."""

from __future__ import annotations

import numba
import numpy as np

_MATCH, _BESIDE = 2, 3
"""What a matched word counts, and one that follows a matched word in both sequences."""


@numba.njit(cache=True)
def match_words(left, right):  # type: ignore[no-untyped-def]
    """For every word of `left` the word of `right` it is matched with, or -1."""
    n, m = len(left), len(right)
    # Bits 0 and 1: where the best score of a cell comes from (0 up, 1 left, 2 a match); bit 2: the match goes on from one.
    back = np.zeros((n + 1, m + 1), np.uint8)
    best = np.zeros(m + 1, np.int32)
    run = np.full(m + 1, -1, np.int32)
    for i in range(1, n + 1):
        diagonal, diagonal_run = best[0], run[0]
        run[0] = -1
        for j in range(1, m + 1):
            up, up_run = best[j], run[j]
            score, how = up, 0
            if best[j - 1] > score:
                score, how = best[j - 1], 1
            here = -1
            if left[i - 1] == right[j - 1]:
                here = diagonal + _MATCH
                if diagonal_run >= 0 and diagonal_run + _BESIDE > here:
                    here = diagonal_run + _BESIDE
                    how |= 4
                if here >= score:
                    score, how = here, (how & 4) | 2
            run[j] = here
            back[i, j] = how
            best[j] = score
            diagonal, diagonal_run = up, up_run
    found = np.full(n, -1, np.int32)
    i, j, forced = n, m, False
    while i > 0 and j > 0:
        how = back[i, j]
        if forced or how & 3 == 2:
            found[i - 1] = j - 1
            forced = how & 4 != 0
            i, j = i - 1, j - 1
        elif how & 3 == 1:
            j -= 1
        else:
            i -= 1
    return found
