"""What two runs decide differently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

import curate
from curate.cli.main import main
from curate.errors import SpecError
from curate.report.diff import diff_runs, side_by_side

TIDE = "The tide goes out and the crabs wait under the weed with us until it comes back. "


def run(folder: Path, name: str, *stages: Any, table: str = "in.parquet", columns: list[str] | None = None) -> str:
    pipeline: dict[str, Any] = {"source": {"parquet": {"paths": table}}, "stages": list(stages)}
    if columns:
        pipeline["output"] = {"columns": columns}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(str(folder / f"{name}.yaml"), out=str(folder / name), inline=True)
    return str(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred documents of 10 to 109 words, two of which share an id; every tenth has a line that C4 cuts."""
    folder = tmp_path_factory.mktemp("diff")
    texts = [" ".join((TIDE * 9).split()[: 10 + n]) + "." + ("\nShare <script>" if n % 10 == 0 else "") for n in range(100)]
    ids = [f"{n:02}" for n in range(100)]
    ids[1] = "00"
    urls = [f"https://a.example/{n}" for n in range(100)]
    pq.write_table(pa.table({"id": ids, "url": urls, "text": texts}), folder / "in.parquet")
    pq.write_table(pa.table({"id": ids[:90], "url": urls[:90], "text": texts[:90]}), folder / "fewer.parquet")
    return folder


def test_flips_are_counted_by_how_documents_fared_in_both(folder: Path) -> None:
    strict = run(folder, "strict", {"gopher_quality": {"min_words": 60}})
    loose = run(folder, "loose", {"gopher_quality": {"min_words": 40, "max_words": 100}})
    found = diff_runs(strict, loose)
    flips = {(flip.first, flip.second): flip.documents for flip in found.flips}
    few, many = "gopher_quality: too_few_words", "gopher_quality: too_many_words"
    words = [len(text.split()) for text in pq.read_table(folder / "in.parquet")["text"].to_pylist()]
    assert flips == {
        (few, "kept"): sum(40 <= n < 60 for n in words),
        ("kept", many): sum(n > 100 for n in words),
    }
    assert found.same + sum(flips.values()) == 100
    assert [flip.documents for flip in found.flips] == sorted(flips.values(), reverse=True)
    assert all(len(flip.examples) == 5 for flip in found.flips)
    assert diff_runs(strict, strict).flips == ()


def test_texts_that_differ_are_shown_beside_each_other(folder: Path) -> None:
    plain = run(folder, "plain", "whitespace")
    cut = run(folder, "cut", {"c4_quality": {"min_sentences": None}})
    (flip,) = diff_runs(plain, cut, num=100).flips
    assert (flip.first, flip.second, flip.documents) == ("kept", "kept", 10)
    assert len(flip.examples) == 10
    for one in flip.examples:
        assert one.first and one.second and one.first.removesuffix("\nShare <script>") == one.second
    told = CliRunner().invoke(main, ["diff", plain, cut, "--html", str(folder / "diff.html")])
    assert told.exit_code == 0 and "-Share <script>" in told.output
    page = (folder / "diff.html").read_text()
    assert "<td>Share &lt;script&gt;</td><td></td>" in page and "<script" not in page


def test_documents_of_one_run_alone_are_said_to_be_so(folder: Path) -> None:
    whole, part = run(folder, "whole", "whitespace"), run(folder, "part", "whitespace", table="fewer.parquet")
    told = json.loads(CliRunner().invoke(main, ["diff", whole, part, "--json"]).output)
    assert [(flip["first"], flip["second"], flip["documents"]) for flip in told["flips"]] == [("kept", "not there", 10)]
    assert told["same"] == 90
    none_at_all = run(folder, "nothing", {"gopher_quality": {"min_words": 5000}})
    (flip,) = diff_runs(whole, none_at_all, num=0).flips
    assert (flip.second, flip.documents, flip.examples) == ("gopher_quality: too_few_words", 100, ())


def test_documents_that_share_an_id_are_not_made_out_to_have_flipped(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["x", "x"], "text": [TIDE * 9, "short"]}), tmp_path / "in.parquet")
    one = run(tmp_path, "one", {"gopher_quality": {"as": "dd"}})
    other = run(tmp_path, "other", {"gopher_quality": {"as": "zz"}})
    found = diff_runs(one, other)
    assert found.same == 1
    assert [(flip.first, flip.second) for flip in found.flips] == [("dd: too_few_words", "zz: too_few_words")]
    assert [(one.first, one.second) for one in found.flips[0].examples] == [("short", "short")]


def test_runs_without_texts_agree_on_what_is_kept(folder: Path) -> None:
    bare = run(folder, "bare", "whitespace", columns=["id"])
    found = diff_runs(bare, run(folder, "clothed", "whitespace"))
    assert (found.same, found.flips) == (100, ())


def test_what_cannot_be_compared_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = run(folder, "with_ids", "whitespace")
    nameless = run(folder, "nameless", "whitespace", columns=["text"])
    with pytest.raises(SpecError, match="data/ has no column 'id' to tell documents by"):
        diff_runs(whole, nameless)
    with pytest.raises(SpecError, match="holds no run"):
        diff_runs(whole, str(tmp_path))
    (folder / "nameless" / "manifest.json").unlink()
    with pytest.raises(SpecError, match="is not complete"):
        diff_runs(str(folder / "nameless"), whole)


def test_lines_stand_beside_those_they_became() -> None:
    assert list(side_by_side("a\nb\nc", "a\nx\ny\nc")) == [
        ("a", "a", False), ("b", "x", True), ("", "y", True), ("c", "c", False),
    ]  # fmt: skip
    assert list(side_by_side("a", None)) == [("a", "", False)]
    assert list(side_by_side(None, None)) == []
