"""A run held against the index of an earlier one; and what is refused as an index."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import curate
from curate.cli.main import main
from curate.errors import SpecError
from curate.events import Silent
from tests.conftest import WritePipeline, contents, rows
from tests.dedup.corpora import deal_finely, write_families

PIPELINE = "source: {{parquet: {{paths: {corpus}/*.parquet}}}}\nstages: [{stage}]\n"
STAGES = {
    "minhash": "{{minhash: {{ngram: 3{0}}}}}",
    "verified minhash": "{{minhash: {{ngram: 3, verify: true{0}}}}}",
    "exact_dedup": "{{exact_dedup: {{by: normalized{0}}}}}",
    "line_dedup_global": "{{line_dedup_global: {{min_chars: 5{0}}}}}",
}


def stage(name: str, options: str = "") -> str:
    return STAGES[name].format(options)


def index(tmp_path: Path, run: str, name: str) -> str:
    done = CliRunner().invoke(main, ["index", str(tmp_path / run), name.split()[-1], "--out", str(tmp_path / "idx")])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def two_crawls(tmp_path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The second crawl has the files of the first, and as many of its own."""
    old = write_families(tmp_path / "old")
    new = write_families(tmp_path / "new", seed=1)
    for path in (tmp_path / "old").iterdir():
        shutil.copy(path, tmp_path / "new" / f"old-{path.name}")
    return old, new


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.usefixtures("two_crawls")
def test_what_an_earlier_run_kept_goes(
    write_pipeline: WritePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of an old crawl nothing comes again; of new documents what would have come without it."""
    curate.run(
        str(write_pipeline(PIPELINE.format(corpus="old", stage=stage(name)), "a.yaml")), out=str(tmp_path / "a"), inline=True
    )
    before, wordless = rows(tmp_path / "a"), {None, "", "..."}
    summarized = before if name == "line_dedup_global" else [row for row in before if row["text"] not in wordless]
    assert f"{len(summarized):,} documents of {tmp_path / 'a'}" in index(tmp_path, "a", name)
    path = write_pipeline(PIPELINE.format(corpus="new", stage=stage(name, ", against: [idx]")), "b.yaml")
    curate.run(str(path), out=str(tmp_path / "b"), inline=True)
    shutil.rmtree(tmp_path / "a")
    new_only = PIPELINE.format(corpus="new", stage=stage(name)).replace("new/*", "new/part*")
    curate.run(str(write_pipeline(new_only, "c.yaml")), out=str(tmp_path / "c"), inline=True)
    assert {row["text"] for row in rows(tmp_path / "b") if row["id"].startswith("0.")} == wordless
    alone = [row["text"] for row in rows(tmp_path / "c")]
    together = [row["text"] for row in rows(tmp_path / "b") if row["id"].startswith("1.")]
    # Both crawls have the same few short texts, so those of the new one go too.
    assert set(together) == {text for text in alone if text in wordless or len(text) > 20}
    deal_finely(monkeypatch, 20_000 if "verified" in name else 4_000)
    curate.run(str(path), out=str(tmp_path / "finely"), inline=True)
    assert len(list((tmp_path / "finely").glob("steps/*/barrier/settled-*"))) > 2
    assert contents(tmp_path / "b") == contents(tmp_path / "finely")


@pytest.mark.usefixtures("two_crawls")
def test_what_is_no_index_for_a_stage_is_refused(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    text = PIPELINE.format(corpus="old", stage="{minhash: {ngram: 3}}, {sample: {share: 1}}")
    curate.run(str(write_pipeline(text, "a.yaml")), out=str(tmp_path / "a"), inline=True)
    index(tmp_path, "a", "minhash")
    for options, message in {
        "minhash: {ngram: 4, against: [idx]}": "was made with ngram 3, here it is 4",
        "minhash: {ngram: 3, verify: true, against: [idx]}": "has no 'shingles', which this stage needs",
        "exact_dedup: {against: [idx]}": "is an index of stage 'minhash', this is 'exact_dedup'",
        "minhash: {ngram: 3, against: [a]}": "is no index",
        "minhash: {ngram: 3, against: [nowhere]}": "does not exist",
    }.items():
        path = write_pipeline(PIPELINE.format(corpus="new", stage=f"{{{options}}}"), "b.yaml")
        with pytest.raises(SpecError, match=message):
            curate.run(str(path), out=str(tmp_path / "b"), inline=True)


@pytest.mark.usefixtures("two_crawls")
def test_an_index_is_made_of_a_finished_run_that_kept_its_summaries(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    text = PIPELINE.format(corpus="old", stage="{minhash: {ngram: 3}}") + "keep_steps: none\n"
    curate.run(str(write_pipeline(text, "a.yaml")), out=str(tmp_path / "a"), inline=True)
    runner = CliRunner()
    for arguments, message in {
        ("a", "minhash"): "did not keep step '00-read'",
        ("a", "minhsh"): "has no stage 'minhsh'",
        ("b", "minhash"): "holds no run",
    }.items():
        done = runner.invoke(main, ["index", str(tmp_path / arguments[0]), arguments[1], "--out", str(tmp_path / "idx")])
        assert done.exit_code == 1 and message in done.output


@pytest.mark.usefixtures("two_crawls")
def test_two_indexes_take_all_that_they_know(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    """Both know near-duplicates of each other's documents: those stay in the indexes and count for what is new."""
    for name, files in (("a", "old/*"), ("b", "new/part*")):
        text = PIPELINE.format(corpus="x", stage=stage("verified minhash")).replace("x/*", files)
        curate.run(str(write_pipeline(text, f"{name}.yaml")), out=str(tmp_path / name), inline=True)
        done = CliRunner().invoke(main, ["index", str(tmp_path / name), "minhash", "--out", str(tmp_path / f"idx-{name}")])
        assert done.exit_code == 0, done.output
    text = PIPELINE.format(corpus="new", stage=stage("verified minhash", ", against: [idx-a, idx-b, idx-a/../idx-a]"))
    curate.run(str(write_pipeline(text, "c.yaml")), out=str(tmp_path / "c"), inline=True)
    assert {row["text"] for row in rows(tmp_path / "c")} == {None, "", "..."}


@pytest.mark.usefixtures("two_crawls")
def test_an_index_that_is_added_needs_no_summary_anew(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    """Nor does another limit on clusters: the step before the global stage is taken over, decided is anew."""
    notes: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    path = write_pipeline(PIPELINE.format(corpus="old", stage=stage("minhash")), "a.yaml")
    curate.run(str(path), out=str(tmp_path / "a"), inline=True)
    index(tmp_path, "a", "minhash")
    path = write_pipeline(PIPELINE.format(corpus="old", stage=stage("minhash", ", against: [idx], max_cluster: 2")), "b.yaml")
    curate.run(str(path), out=str(tmp_path / "b"), inline=True, reuse=str(tmp_path / "a"), listener=Notes())
    assert notes[0].startswith("00-read: taken over") and notes[1].startswith("01-minhash: not reused")
    assert len(rows(tmp_path / "b")) < len(rows(tmp_path / "a"))
    curate.run(str(path), out=str(tmp_path / "c"), inline=True, reuse=str(tmp_path / "b"), listener=Notes())
    assert notes[-1].startswith("01-minhash: taken over") and not list((tmp_path / "c").glob("steps/*/barrier"))
    assert contents(tmp_path / "b") == contents(tmp_path / "c")
