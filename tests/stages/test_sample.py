"""Samples: shares, ranges, and independence of what else is drawn with the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

import curate
from curate.pipeline.cache_key import identity_of
from curate.schema import keyed_hash
from curate.stages.score.sample import Sample

IDS = [f"document {number}" for number in range(20_000)]


def sampled(**options: Any) -> set[str]:
    table = curate.apply("sample", pa.table({"id": IDS}), **options)
    return {one for one, drop in zip(IDS, table["drop"].to_pylist(), strict=True) if drop is None}


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    assert sampled(share=0.01) < sampled(share=0.1)


def test_ranges_that_do_not_overlap_share_no_document() -> None:
    assert not sampled(share=0.5) & sampled(start=0.5, share=0.5)


def test_a_sample_leaves_every_range_of_another_purpose_its_share() -> None:
    """What `rounds` draws from the documents that a `sample` of the pipeline kept, with one seed for both."""
    first = sampled(share=0.06)
    for start in (0.0, 0.3, 0.94):
        second = sampled(start=start, share=0.06, purpose="rounds")
        assert 0.03 < len(first & second) / len(first) < 0.09
        assert not (start and first & sampled(start=start, share=0.06)), "one purpose has one order"


def test_keyed_hashes_of_two_purposes_are_independent() -> None:
    numbers = np.arange(20_000, dtype=np.uint64)
    low = {purpose: keyed_hash(numbers, purpose) < np.uint64(2**63) for purpose in ("ties of select", "c4_badwords")}
    agree = float((low["ties of select"] == low["c4_badwords"]).mean())
    assert 0.48 < agree < 0.52


def test_an_option_that_was_added_later_leaves_old_runs_their_identity() -> None:
    assert "purpose" not in identity_of("sample", Sample(share=0.5))["options"]
    assert identity_of("sample", Sample(share=0.5, purpose="a"))["options"]["purpose"] == "a"
