"""Components by union-find and by stars against breadth first; leaders against plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from curate.api.global_stage import key_ranges
from curate.stages.dedup.connected_components import CROOKED, edges_of, labelled, large_star, small_star
from curate.stages.dedup.connected_components import connected as united_edges
from curate.text.dedup.clusters import leaders, roots
from tests.dedup.corpora import connected

EDGES = st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)).filter(lambda pair: pair[0] != pair[1]), max_size=40)
CHAIN = [(n, n + 1) for n in range(24)]


@given(EDGES)
def test_a_root_is_the_smallest_node_of_its_component(pairs: list[tuple[int, int]]) -> None:
    found = roots(25, *(np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1)))
    expected = list(range(25))
    for component in connected(pairs, 25):
        for node in component:
            expected[node] = min(component)
    assert found.tolist() == expected


def by_stars(edges: pa.Table, groups: int) -> dict[int, int]:
    """Labels, with the nodes dealt out to groups; also that it ends."""

    def over_groups(rows: pa.Table, work: Any) -> list[Any]:
        numbers = key_ranges(rows, groups)
        return [work(rows.filter(pa.array(numbers == group))) for group in range(groups)]

    for _ in range(20):
        large = over_groups(edges, large_star)
        edges = pa.concat_tables([worked.rows for worked in large])
        if not sum(worked.counts[CROOKED] for worked in large):
            labels = pa.concat_tables(over_groups(edges, labelled))
            return dict(zip(labels["ordinal"].to_pylist(), labels["label"].to_pylist(), strict=True))
        edges = pa.concat_tables(over_groups(edges, small_star))
    raise AssertionError("no stars after 20 rounds")


@given(EDGES | st.just(CHAIN), st.lists(st.integers(1, 3), min_size=25, max_size=25), st.integers(1, 4))
def test_stars_and_unions_give_every_node_the_best_of_its_component(
    pairs: list[tuple[int, int]], ranks: list[int], groups: int
) -> None:
    one, two = (np.array([pair[side] for pair in pairs], np.uint64) for side in (0, 1))
    rank = np.array(ranks, np.uint64)
    edges = edges_of(one, rank[one.astype(np.int64)], two, rank[two.astype(np.int64)])
    expected: dict[int, int] = {}
    for component in connected(pairs, 25):
        best = min(component, key=lambda node: (ranks[node], node))
        expected |= dict.fromkeys(component, best)
    united = labelled(united_edges(edges))
    assert dict(zip(united["ordinal"].to_pylist(), united["label"].to_pylist(), strict=True)) == expected
    assert by_stars(edges, groups) == expected


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 5), min_size=3, max_size=3), st.sets(st.integers(0, 9))), min_size=1, max_size=12
    ),
    st.integers(0, 3),
    st.sampled_from([0.01, 0.3, 0.5, 0.9, 1.0]),
)
def test_a_document_follows_the_first_leader_it_is_like(
    documents: list[tuple[list[int], set[int]]], fixed: int, least: float
) -> None:
    keys = np.array([[8 * band + key for band, key in enumerate(row)] for row, _ in documents], np.uint64)
    sets = np.array([item for _, items in documents for item in sorted(items)], np.uint32)
    bounds = np.cumsum([0, *(len(items) for _, items in documents)])
    nothing = np.zeros((len(documents), 1), np.uint8)
    # Without a single item the estimate by signatures would be taken; all are equal here.
    found, like = leaders(keys, nothing, bounds, sets, fixed, least)
    leading: list[int] = []
    for number, (row, items) in enumerate(documents):
        expected, similarity = number, 1.0
        for other in leading if number >= fixed else []:
            union = items | documents[other][1]
            jaccard = len(items & documents[other][1]) / len(union) if union else 0.0
            if not len(sets):
                jaccard = 1.0
            if any(one == two for one, two in zip(row, documents[other][0], strict=True)) and jaccard >= least:
                expected, similarity = other, jaccard
                break
        if expected == number:
            leading.append(number)
        assert (found[number], round(like[number], 9)) == (expected, round(similarity, 9))
