"""Connected components of a graph in a table of edges: with union-find in one task, or contracted in rounds of many tasks.

A node is a document: its ordinal, and a rank, the smaller the better; ties go to the smaller ordinal. A row is an edge as one
of its nodes sees it, so every edge has two rows. The result (`labelled`) is the best node of every component.

Source: Kiveris et al. 2014, "Connected components in MapReduce and beyond": alternating large-star and small-star rounds turn
every component into a star.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.api.global_stage import KEY, Columns, PhaseResult
from curate.schema import ORDINAL, mix

U64 = npt.NDArray[np.uint64]

NODE_KEY = 0xC0FFEE
EDGES: Columns = {KEY: pa.uint64(), ORDINAL: pa.uint64(), "rank": pa.uint64(), "other": pa.uint64(), "other_rank": pa.uint64()}
LABELS: Columns = {ORDINAL: pa.uint64(), "label": pa.uint64()}
CROOKED = "_crooked"


def in_bands(rows: pa.Table) -> pa.Table:
    """Edges that chain the documents with an equal key, one per neighbouring pair."""
    keys = rows[KEY].to_numpy()
    order = np.argsort(keys)
    same = keys[order[1:]] == keys[order[:-1]]
    one, two = order[:-1][same], order[1:][same]
    ordinals, ranks = rows[ORDINAL].to_numpy(), rows["rank"].to_numpy()
    return edges_of(ordinals[one], ranks[one], ordinals[two], ranks[two])


def edges_of(one: U64, one_rank: U64, two: U64, two_rank: U64) -> pa.Table:
    """Rows for both directions of edges. The key is a hash of the node that a row starts from."""
    start, end = np.concatenate([one, two]), np.concatenate([two, one])
    start_rank, end_rank = np.concatenate([one_rank, two_rank]), np.concatenate([two_rank, one_rank])
    columns = [mix(start, NODE_KEY), start, start_rank, end, end_rank]
    return pa.table(dict(zip(EDGES, columns, strict=True)))


def connected(rows: pa.Table) -> pa.Table:
    """Edges from every node to the best one of its component, as far as these rows connect it."""
    from curate.text.dedup.clusters import roots

    left, left_rank, right, right_rank = (rows[name].to_numpy() for name in list(EDGES)[1:])
    forward = (left_rank < right_rank) | ((left_rank == right_rank) & (left < right))
    nodes, inverse = np.unique(np.concatenate([left[forward], right[forward]]), return_inverse=True)
    ranks = np.empty(len(nodes), np.uint64)
    ranks[inverse] = np.concatenate([left_rank[forward], right_rank[forward]])
    order = np.lexsort((nodes, ranks))
    number = np.empty(len(nodes), np.int64)
    number[order] = np.arange(len(nodes))
    ends = number[inverse].reshape(2, -1)
    best = order[roots(len(nodes), ends[0], ends[1])[number]]
    below = best != np.arange(len(nodes))
    return edges_of(nodes[below], ranks[below], nodes[best[below]], ranks[best[below]])


def labelled(rows: pa.Table) -> pa.Table:
    """The best of every node's neighbours and itself. In a star, that is the centre."""
    node, rank, other, other_rank = (rows[name].to_numpy() for name in list(EDGES)[1:])
    order = np.lexsort((other, other_rank, node))
    order = order[np.concatenate([[True], node[order][1:] != node[order][:-1]])] if len(order) else order
    node, rank, other, other_rank = node[order], rank[order], other[order], other_rank[order]
    better = (other_rank < rank) | ((other_rank == rank) & (other < node))
    return pa.table({ORDINAL: node, "label": np.where(better, other, node)})


def _stars(rows: pa.Table) -> tuple[U64, U64, U64, U64, npt.NDArray[np.bool_], U64, U64]:
    """Distinct edges, whether each leads to a worse node, and the best of its node's neighbours and itself."""
    node, rank, other, other_rank = (rows[name].to_numpy() for name in list(EDGES)[1:])
    order = np.lexsort((other, other_rank, node))
    node, rank, other, other_rank = node[order], rank[order], other[order], other_rank[order]
    fresh = np.ones(len(node), np.bool_)
    fresh[1:] = (node[1:] != node[:-1]) | (other[1:] != other[:-1])
    node, rank, other, other_rank = node[fresh], rank[fresh], other[fresh], other_rank[fresh]
    worse = (rank < other_rank) | ((rank == other_rank) & (node < other))
    starts = np.concatenate([[True], node[1:] != node[:-1]]) if len(node) else np.zeros(0, np.bool_)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(node)), 0))
    best, best_rank = np.where(worse[first], node, other[first]), np.where(worse[first], rank, other_rank[first])
    return node, rank, other, other_rank, worse, best, best_rank


def large_star(rows: pa.Table) -> PhaseResult:
    """Connect every worse neighbour of a node to the best of its neighbours and itself.

    Counts nodes that are neither centre nor leaf of a star. When there are none, all edges form stars.
    """
    node, _, other, other_rank, worse, best, best_rank = _stars(rows)
    edges = edges_of(other[worse], other_rank[worse], best[worse], best_rank[worse])
    nodes, inverse = np.unique(node, return_inverse=True)
    up = np.bincount(inverse, ~worse, len(nodes))
    down = np.bincount(inverse, worse, len(nodes))
    return PhaseResult(edges, {CROOKED: int(((up > 1) | ((up > 0) & (down > 0))).sum())})


def small_star(rows: pa.Table) -> pa.Table:
    """Connect every better neighbour of a node, and the node itself, to the best of them."""
    node, rank, other, other_rank, worse, best, best_rank = _stars(rows)
    inner = ~worse & (other != best)
    own = ~worse & (other == best)
    return edges_of(
        np.concatenate([other[inner], node[own]]), np.concatenate([other_rank[inner], rank[own]]),
        np.concatenate([best[inner], best[own]]), np.concatenate([best_rank[inner], best_rank[own]]),
    )  # fmt: skip
