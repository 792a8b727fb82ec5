"""The stage `minhash` over small corpora, against clusters by plain Python: however the work is dealt out."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import SpecError
from curate.stages.dedup import minhash
from curate.text.dedup.minhash import MinHash
from curate.text.dedup.shingles import word_shingles
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words
from tests.conftest import WritePipeline, contents, rows
from tests.dedup.corpora import connected, deal_finely, write_families

PIPELINE = """
source: {{parquet: {{paths: corpus/*.parquet, split_bytes: 40_000}}}}
stages: [{{minhash: {{ngram: 3{options}}}}}]
output: {{rows_per_file: 50}}
"""


def shingles_of(text: str | None) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", (text or "").lower())
    size = min(3, len(words))
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)} if words else set()


def jaccard(one: set[Any], two: set[Any]) -> float:
    return len(one & two) / len(one | two) if one or two else 0.0


def band_keys(texts: list[str | None]) -> list[set[int]]:
    signed = word_shingles(cut_words(text_buffers(pa.array(texts, pa.large_string())), "uax29"), 3)
    maker = MinHash()
    keys = maker.band_keys(maker(signed))
    return [set(row.tolist()) if shingles_of(text) else set() for row, text in zip(keys, texts, strict=True)]


def wanted(documents: list[dict[str, Any]], prefer: Any) -> dict[str, str]:
    """Id of every document that goes -> id of the winner of its cluster."""
    keys = band_keys([document["text"] for document in documents])
    pairs = [(a, b) for a, b in combinations(range(len(keys)), 2) if keys[a] & keys[b]]
    lost: dict[str, str] = {}
    for cluster in connected(pairs, len(keys)):
        winner = min(cluster, key=lambda number: (prefer(documents[number]), number))
        lost |= {documents[number]["id"]: documents[winner]["id"] for number in cluster if number != winner}
    return lost


PREFER: dict[str, Any] = {
    "": lambda document: 0,
    ", keep: longest": lambda document: -len(document["text"] or ""),
    ", keep: highest, column: score": lambda document: 1.0 if document["score"] is None else -document["score"],
}


@pytest.fixture
def families(tmp_path: Path) -> list[dict[str, Any]]:
    return write_families(tmp_path / "corpus")


@pytest.mark.parametrize("options", PREFER)
def test_all_of_a_cluster_goes_but_its_winner(
    families: list[dict[str, Any]], write_pipeline: WritePipeline, tmp_path: Path, options: str
) -> None:
    summary = curate.run(str(write_pipeline(PIPELINE.format(options=options))), out=str(tmp_path / "out"), inline=True)
    dropped = rows(tmp_path / "out", "dropped")
    lost = wanted(families, PREFER[options])
    assert {row["id"]: row["detail"] for row in dropped} == lost and len(lost) > 20
    assert {row["reason"] for row in dropped} == {"near_duplicate"}
    assert summary.documents_out == len(families) - len(lost)
    texts = {document["id"]: shingles_of(document["text"]) for document in families}
    errors = [row["value"] - jaccard(texts[row["id"]], texts[row["detail"]]) for row in dropped]
    assert abs(np.mean(errors)) < 0.03 and np.max(np.abs(errors)) < 0.2  # four standard errors of one estimate
    assert summary.decision_counts["minhash"]["documents in clusters"] == len({*lost, *lost.values()})


@pytest.fixture
def dealt_finely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle per shard, many groups, and no task that sees all edges."""
    deal_finely(monkeypatch, 2_000)
    monkeypatch.setattr(minhash, "UNION_ROWS", 0)


@pytest.mark.parametrize("options", [*PREFER, ", verify: true", ", max_cluster: 2"])
@pytest.mark.usefixtures("families")
def test_the_same_comes_out_however_the_work_is_dealt(
    write_pipeline: WritePipeline, tmp_path: Path, options: str, request: pytest.FixtureRequest
) -> None:
    path = write_pipeline(PIPELINE.format(options=options))
    curate.run(str(path), out=str(tmp_path / "one"), inline=True)
    request.getfixturevalue("dealt_finely")
    path.write_text(path.read_text().replace("split_bytes: 40_000", "split_bytes: 10_000"))
    curate.run(str(path), out=str(tmp_path / "many"), inline=True)
    assert len(list((tmp_path / "many").glob("steps/*/barrier/settled-*"))) > 5
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_verified_documents_are_like_one_that_stays(
    families: list[dict[str, Any]], write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    options = ", verify: true, min_jaccard: 0.8"
    curate.run(str(write_pipeline(PIPELINE.format(options=options))), out=str(tmp_path / "out"), inline=True)
    texts = {document["id"]: shingles_of(document["text"]) for document in families}
    keys = dict(zip(texts, band_keys([document["text"] for document in families]), strict=True))
    lost: dict[str, tuple[str, float]] = {}
    for here in texts:
        for leader in texts:
            if leader == here:
                break
            like = jaccard(texts[here], texts[leader])
            if leader not in lost and keys[here] & keys[leader] and like >= 0.8:
                lost[here] = leader, like
                break
    dropped = {row["id"]: (row["detail"], row["value"]) for row in rows(tmp_path / "out", "dropped")}
    assert {name: winner for name, (winner, _) in lost.items()} == {name: winner for name, (winner, _) in dropped.items()}
    assert [like for _, like in dropped.values()] == pytest.approx([lost[name][1] for name in dropped]) and len(lost) > 20


def test_a_chain_of_neighbours_does_not_take_all_of_it_along(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    """Each text is like the next and the last is nothing like the first: by default all but one go, in large clusters not."""
    words = [f"word{number}" for number in range(800)]
    chain = [" ".join(words[start : start + 300]) for start in range(0, 400, 20)]
    (tmp_path / "corpus").mkdir()
    table = pa.table({"id": [str(number) for number in range(len(chain))], "text": chain})
    pq.write_table(table, tmp_path / "corpus" / "a.parquet")
    left: dict[str, list[int]] = {}
    for options in ("", ", max_cluster: 5", ", verify: true", ", max_cluster: 20"):
        out = tmp_path / f"out{len(left)}"
        curate.run(str(write_pipeline(PIPELINE.format(options=options))), out=str(out), inline=True)
        left[options] = [int(row["id"]) for row in rows(out)]
        for row in rows(out, "dropped"):
            like = jaccard(shingles_of(chain[int(row["id"])]), shingles_of(chain[int(row["detail"])]))
            assert like >= (0.6 if options == ", max_cluster: 5" else 0.75) or options in ("", ", max_cluster: 20")
    assert left[""] == left[", max_cluster: 20"] == [0]
    # 20 words further the similarity is 0.87, 40 words further 0.76 and a band in common likely, 60 words further 0.66.
    assert set(np.diff(left[", verify: true"]).tolist()) == {2, 3} and 5 <= len(left[", max_cluster: 5"]) <= 10


def test_documents_below_the_ngram_go_only_for_the_same_words(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    write_families(tmp_path / "corpus", families=0)
    curate.run(str(write_pipeline(PIPELINE.format(options=""))), out=str(tmp_path / "out"), inline=True)
    texts = {row["text"] for row in rows(tmp_path / "out")}
    assert len({"one two", "One, two!"} & texts) == 1 and texts > {"", "...", "two one", "one two three", None}


def test_options_that_contradict_each_other_are_refused(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    write_families(tmp_path / "corpus", families=0)
    for options, message in {
        ", keep: highest": "keep: highest needs a column",
        ", column: score": "keep: highest needs a column",
        ", family: datatrove-0.10, unit: chars": "n-grams of words only",
        ", keep: highest, column: scor": r"reads \['scor'\]",
    }.items():
        with pytest.raises(SpecError, match=message):
            curate.run(str(write_pipeline(PIPELINE.format(options=options))), out=str(tmp_path / "out"), inline=True)
