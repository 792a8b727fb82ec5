"""The stage `exact_dedup` against plain Python, and what makes two addresses the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import curate
from curate.stages.dedup.exact_dedup import address_of
from tests.conftest import WritePipeline, contents, rows
from tests.dedup.corpora import deal_finely, write_families

PIPELINE = "source: {{parquet: {{paths: corpus/*.parquet, split_bytes: 10_000}}}}\nstages: [{{exact_dedup: {{{options}}}}}]\n"

SAME: dict[str, Any] = {
    "by: text": lambda document: document["text"] or None,
    "by: normalized": lambda document: " ".join(re.findall(r"\w+", (document["text"] or "").lower())) or None,
    "by: url": lambda document: document["url"],
}
PREFER: dict[str, Any] = {
    "": lambda document: 0,
    ", keep: longest": lambda document: -len(document["text"] or ""),
    ", keep: highest, column: score": lambda document: 1.0 if document["score"] is None else -document["score"],
}


@pytest.mark.parametrize("prefer", PREFER)
@pytest.mark.parametrize("by", SAME)
def test_one_of_all_equal_documents_stays(
    write_pipeline: WritePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, prefer: str
) -> None:
    documents = write_families(tmp_path / "corpus")
    groups: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        if (key := SAME[by](document)) is not None:
            groups.setdefault(key, []).append(number)
    lost: dict[str, str] = {}
    for group in groups.values():
        winner = min(group, key=lambda number: (PREFER[prefer](documents[number]), number))
        lost |= {documents[number]["id"]: documents[winner]["id"] for number in group if number != winner}
    path = str(write_pipeline(PIPELINE.format(options=by + prefer)))
    curate.run(path, out=str(tmp_path / "out"), inline=True)
    dropped = rows(tmp_path / "out", "dropped")
    assert {row["id"]: row["detail"] for row in dropped} == lost and lost
    assert {(row["reason"], row["value"]) for row in dropped} == {("duplicate", None if by == "by: url" else 1.0)}
    deal_finely(monkeypatch, 500)
    curate.run(path, out=str(tmp_path / "finely"), inline=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "finely")


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("http://a.example/x", "https://A.example:443/x#top", True),
        ("https://a.example", "https://a.example/", True),
        ("https://a.example./x", "https://a.example/x", True),
        ("https://a.example/x?y=1", "https://a.example/x?y=2", False),
        ("https://a.example/x", "https://a.example/X", False),
        ("https://a.example:8443/x", "https://a.example/x", False),
        ("https://[broken/x", "https://[broken/x", True),
        ("https://a.example:port/x", "https://a.example/x", False),
    ],
)
def test_what_makes_two_addresses_the_same(one: str, two: str, same: bool) -> None:
    assert (address_of(one) == address_of(two)) is same
