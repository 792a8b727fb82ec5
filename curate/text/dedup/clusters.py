"""Which documents belong together: union-find over numbered nodes, and leaders among the documents of a cluster.

Memory of `roots`: 8 bytes a node besides the edges. A union hangs the larger root below the smaller one, so that a root is
the smallest node of its component, whatever the order of edges; paths are halved on the way (Tarjan and van Leeuwen 1984).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.dedup.minhash import jaccard

Ints = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


def roots(count: int, left: Ints, right: Ints) -> Ints:
    """The smallest node that is connected with each of 0 .. count - 1 by edges left[i] - right[i]. Shape (count,)."""
    parent = np.arange(count)
    _unite(parent, left, right)
    return parent


@njit(nogil=True, cache=True)
def _unite(parent, left, right):  # type: ignore[no-untyped-def]
    for i in range(len(left)):
        one, two = left[i], right[i]
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        while parent[two] != two:
            parent[two] = parent[parent[two]]
            two = parent[two]
        if one < two:
            parent[two] = one
        else:
            parent[one] = two
    for node in range(len(parent)):  # parents come first, so theirs are roots already
        parent[node] = parent[parent[node]]


def leaders(
    keys: U64, signatures: npt.NDArray[np.uint8], bounds: Ints, sets: npt.NDArray[np.uint32], fixed: int, least: float
) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Go through documents in order: one that is like a leader before it follows the first such leader, others lead. The first
    `fixed` ones lead in any case.

    Like means that they share a band key, and that their similarity is `least` or more: the Jaccard similarity of their
    `sets` (sorted, row r is sets[bounds[r]:bounds[r + 1]]), or where `sets` is empty, the estimate by signatures.
    Returns whom each follows (itself if it leads), and how similar they are. Time grows with the leaders that share a key.
    """
    _, groups = np.unique(keys, return_inverse=True)
    groups = groups.reshape(keys.shape)
    leader, similarity = np.empty(len(keys), np.int64), np.ones(len(keys))
    heads, nexts = np.full(int(groups.max(initial=-1)) + 1, -1), np.empty(keys.shape, np.int64)
    _lead(groups, heads, nexts, signatures, bounds, sets, fixed, least, leader, similarity)
    return leader, similarity


@njit(nogil=True, cache=True)
def _lead(groups, heads, nexts, signatures, bounds, sets, fixed, least, leader, similarity):  # type: ignore[no-untyped-def]
    """`heads` and `nexts` are the lists of leaders that have a key: the last one, and for every leader the one before it."""
    asked = np.full(len(groups), -1)
    for row in range(len(groups)):
        best = row
        for band in range(groups.shape[1] if row >= fixed else 0):
            other = heads[groups[row, band]]
            while other >= 0:
                if other < best and asked[other] != row:
                    asked[other] = row
                    if len(sets):
                        like = jaccard(sets[bounds[row] : bounds[row + 1]], sets[bounds[other] : bounds[other + 1]])
                    else:
                        agree = 0
                        for k in range(signatures.shape[1]):
                            agree += signatures[row, k] == signatures[other, k]
                        like = max(0.0, (agree / signatures.shape[1] - 1 / 256) / (1 - 1 / 256))
                    if like >= least:
                        best, similarity[row] = other, like
                other = nexts[other, _place(groups, other, groups[row, band])]
        leader[row] = best
        if best == row:
            for band in range(groups.shape[1]):
                group = groups[row, band]
                if heads[group] != row:
                    nexts[row, band] = heads[group]
                    heads[group] = row


@njit(inline="always")
def _place(groups, row, group):  # type: ignore[no-untyped-def]
    """The first band of a row in which it has a key."""
    band = 0
    while groups[row, band] != group:
        band += 1
    return band


@njit(nogil=True, cache=True)
def distinct(bounds, hashes, sets, ends):  # type: ignore[no-untyped-def]
    """Write the upper halves of each row's hashes into `sets`, sorted and once each; `ends` says where rows end."""
    used = 0
    for row in range(len(bounds) - 1):
        some = np.sort((hashes[bounds[row] : bounds[row + 1]] >> np.uint64(32)).astype(np.uint32))
        for i in range(len(some)):
            if i == 0 or some[i] != some[i - 1]:
                sets[used] = some[i]
                used += 1
        ends[row] = used
