"""What-if: recounting a run must say what running again says, and what it cannot know it must not claim."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

import curate
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage
from curate.cli.main import main
from curate.errors import AccountingError, SpecError
from curate.events import Silent
from curate.execution.engine import InlineEngine
from curate.execution.runner import Run, survey
from curate.execution.summary import Summary
from curate.pipeline.spec import load
from curate.report.replay import checks_of, thresholds_of
from curate.report.whatif import Count, WhatIf, parse_changes
from curate.storage.store import Store
from tests.conftest import WritePipeline, contents, document, rows

# One stage with several rules, one that takes its value from a column, and one that comes after and drops some more. The
# source drops the longest texts, before anything is measured.
PIPELINE = """
name: measured
source: {parquet: {paths: corpus/*.parquet, max_document_bytes: 70}}
stages:
  - example_dashes
  - example_lengths: {profile: strict, values: true}
  - keep: {column: score, min: 0.2, values: true}
  - sample: {share: 0.8}
  - keep: {column: count, min: 1, max: 8, values: true, as: last}
output: {columns: [text, score], rows_per_file: 40}
"""
KINDS = ("data", "dropped", "edited", "values")


def run(path: Path, out: Path, **options: Any) -> Summary:
    return curate.run(str(path), out=str(out), **{"inline": True, **options})


@pytest.fixture
def out(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> Path:
    run(write_pipeline(PIPELINE), tmp_path / "out")
    return tmp_path / "out"


def rerun(write_pipeline: WritePipeline, tmp_path: Path, changes: dict[str, Any]) -> Path:
    """The same pipeline, run with the changes; with ids in the corpus."""
    pipeline = yaml.safe_load(PIPELINE)
    pipeline["output"]["columns"] = ["id", "text"]
    for name, value in changes.items():
        stage, option = name.split(".")
        for entry in pipeline["stages"]:
            ((kind, options),) = entry.items() if isinstance(entry, dict) else [(entry, {})]
            if options.get("as", kind) == stage:
                options[option] = value
    run(write_pipeline(yaml.safe_dump(pipeline), "again.yaml"), tmp_path / "again")
    return tmp_path / "again"


def funnel(summary: dict[str, Any]) -> dict[str, tuple[int, dict[str, int], int]]:
    return {name: (a["rows_in"], a["dropped"], a["rows_out"]) for name, a in summary["stages"].items()}


def shown(count: Count) -> tuple[int, dict[str, int], int]:
    return (count.rows_in, dict(sorted(count.dropped.items())), count.rows_out)


def manifest(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return value


@pytest.mark.parametrize(
    "changes",
    [
        {"example_lengths.min_chars": 24},
        {"example_lengths.max_words": 3},
        {"example_lengths.max_mean_word_chars": 4.5},
        {"example_lengths.min_chars": 25, "keep.min": 0.5, "last.max": 6},
        {"keep.max": 0.6},
        {"keep.max": 1, "keep.min": 0.2},  # nothing changes
        {"last.min": 3},
        {"last.min": None},  # the last stage: what passes it is kept
        {"last.min": 0, "last.max": 5},
        {"keep.min": 0.9, "last.min": 0},
    ],
    ids=str,
)
def test_it_says_what_running_again_says(
    out: Path, write_pipeline: WritePipeline, tmp_path: Path, changes: dict[str, Any]
) -> None:
    again = rerun(write_pipeline, tmp_path, changes)
    result = curate.whatif(str(out), changes, num=1000)
    assert {name: shown(before) for name, (before, _) in result.stages.items()} == funnel(manifest(out))
    assert {name: shown(after) for name, (_, after) in result.stages.items()} == funnel(manifest(again))
    assert result.documents_out == (manifest(out)["documents_out"], manifest(again)["documents_out"])
    assert result.chars_out == tuple(sum(len(row["text"] or "") for row in rows(folder)) for folder in (out, again))
    assert result.unseen == 0 and result.notes == []
    before = {row["id"] for row in rows(out, "values")}
    after = {row["id"] for row in rows(again)}
    assert {flip.id for flip in result.lost} == before - after and result.num_lost == len(before - after)
    assert {flip.id for flip in result.gained} == after - before and result.num_gained == len(after - before)
    verdicts = {row["id"]: (row["stage"], row["reason"], row["value"], row["limit"]) for row in rows(again, "dropped")}
    for flip in result.lost:
        assert flip.before is None and flip.after is not None
        assert verdicts[str(flip.id)] == (flip.after.stage, flip.after.reason, flip.after.value, flip.after.limit)
    old = {row["id"]: (row["stage"], row["reason"]) for row in rows(out, "dropped")}
    new = {row["id"]: (row["stage"], row["reason"]) for row in rows(again, "dropped")}
    assert result.num_moved == sum(old[name] != new[name] for name in old.keys() & new.keys())


@pytest.mark.parametrize(
    "changes",
    [
        {"example_lengths.min_chars": 5},
        {"example_lengths.max_words": None},  # many of these fall to the rule after it
        {"keep.min": None, "keep.max": 0.9},
        {"example_lengths.max_words": None, "example_lengths.min_chars": 30, "last.min": 2},
    ],
    ids=str,
)
def test_what_later_stages_have_not_seen_is_counted_and_not_guessed(
    out: Path, write_pipeline: WritePipeline, tmp_path: Path, changes: dict[str, Any]
) -> None:
    again = manifest(rerun(write_pipeline, tmp_path, changes))
    result = curate.whatif(str(out), changes, num=1000)
    first = next(name for name in result.stages if name == next(iter(changes)).split(".")[0])
    count = result.stages[first][1]
    assert result.unseen >= count.unseen > 0
    account = again["stages"][first]
    assert (count.rows_in, dict(count.dropped)) == (account["rows_in"], account["dropped"])
    assert count.rows_out + count.unseen == account["rows_out"]
    assert result.documents_out[1] <= again["documents_out"] <= result.documents_out[1] + result.unseen
    assert result.notes == [
        f"{result.unseen} documents would go on to later stages, which have not seen them: at most as many more are kept"
    ]
    went_on = [flip for flip in result.gained if flip.before and flip.before.stage == first]
    assert len(went_on) == count.unseen and all(flip.after is None for flip in went_on)


def test_a_barrier_that_would_decide_anew_is_named(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    text = PIPELINE.replace("sample: {share: 0.8}", "select: {column: score, top: 0.5}") + "keep_steps: none\n"
    run(write_pipeline(text), tmp_path / "out")
    result = curate.whatif(str(tmp_path / "out"), {"keep.min": 0.5})
    assert result.notes == ["select would decide anew from the documents that arrive: shown are the drop reasons of the run"]
    assert curate.whatif(str(tmp_path / "out"), {"last.min": 5}).notes == []
    dropped = rows(tmp_path / "out", "dropped")
    measured = {row["stage"]: [name for name, value in row["values"].items() if value is not None] for row in dropped}
    lengths = ["length_words", "length_mean_word_chars", "length_chars"]
    assert measured["last"] == [*lengths, "score", "count"] and measured["source"] == []


def test_every_document_carries_what_was_measured_of_it(out: Path) -> None:
    kept = [{**left, **right} for left, right in zip(rows(out), rows(out, "values"), strict=True)]
    assert list(kept[0]) == [
        "text", "score", "ordinal", "id", "url", "length_words", "length_mean_word_chars", "length_chars", "count",
        "text_chars",
    ]  # fmt: skip
    for row in kept:
        number = int(row["id"][4:])
        assert row["ordinal"] == number // 100 << 40 | number % 100
        assert (row["length_chars"], row["length_words"]) == (len(row["text"]), len(row["text"].split()))
        assert (row["score"], row["count"]) == (document(number)["score"], document(number)["count"])
    order = ["source", "example_dashes", "example_lengths", "keep", "sample", "last"]
    for row in rows(out, "dropped"):
        come = order.index(row["stage"])
        given = document(int(row["id"][4:]))
        text = (given["text"] or "").replace("-----", "—")
        words = text.split()
        assert row["values"]["length_words"] == (len(words) if come >= 2 else None)
        assert come < 3 or row["values"]["score"] == given["score"]
        mean = row["values"]["length_mean_word_chars"]
        expected = None if come < 2 else sum(map(len, words)) / len(words) if words else math.nan  # no mean of nothing
        assert str(mean) == str(expected)


def test_a_run_without_recorded_values_has_nothing_of_them(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    run(write_pipeline(PIPELINE.replace("values: true", "values: false")), tmp_path / "out")
    assert not (tmp_path / "out" / "values").exists()
    columns = {name for row in rows(tmp_path / "out", "dropped") for name in row}
    assert not columns & {"values", "ordinal", "text_chars"}


def test_columns_that_the_corpus_has_are_not_written_twice(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    run(write_pipeline(PIPELINE.replace("columns: [text, score], ", "")), tmp_path / "out")
    assert {tuple(row) for row in rows(tmp_path / "out", "values")} == {("ordinal", "text_chars")}
    result = curate.whatif(str(tmp_path / "out"), {"keep.min": 0.5}, num=1)
    assert result.lost[0].id and result.lost[0].url


@pytest.mark.parametrize("after", ["  - example_dashes\n", "  - tokens: {tokenizer: TOKENIZER}\n"], ids=["edits", "counts"])
def test_lengths_of_texts_are_not_claimed_where_they_are_not_known(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path, after: str
) -> None:
    tokenizer = Path(__file__).parents[2] / "scorers" / "bpe-v1" / "tokenizer.json"
    stages = "  - keep: {column: count, min: 5, values: true}\n" + after.replace("TOKENIZER", str(tokenizer))
    text = f"source: {{parquet: {{paths: corpus/*.parquet}}}}\nstages:\n{stages}"
    run(write_pipeline(text), tmp_path / "out")
    chars = sum(len(row["text"] or "") for row in rows(tmp_path / "out"))
    result = curate.whatif(str(tmp_path / "out"), {"keep.min": 4})
    assert (result.documents_out, result.unseen) == ((150, 180), 0)
    more = sum(len(document(n)["text"] or "") for n in range(300) if n % 10 == 4)
    assert result.chars_out == (None if "dashes" in after else (chars, chars + more))
    fewer = sum(len(row["text"] or "") for row in rows(tmp_path / "out") if row["count"] > 5)
    assert curate.whatif(str(tmp_path / "out"), {"keep.min": 6}).chars_out == (chars, fewer)
    run(write_pipeline(text + "output: {columns: [id]}\n", "q.yaml"), tmp_path / "ids")
    assert curate.whatif(str(tmp_path / "ids"), {"keep.min": 6}).chars_out is None


def test_neither_the_split_nor_the_order_of_shards_nor_a_stop_moves_a_byte(
    out: Path, corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    path = write_pipeline(PIPELINE.replace("max_document_bytes", "split_bytes: 1024, max_document_bytes"), "split.yaml")
    plan, _, shards = survey(load(str(path)))
    assert len(shards) > 6

    class Backwards(InlineEngine):
        """Takes the last item first."""

        def map(self, function: Any, context: Any, items: Any, resources: Any) -> Any:
            return super().map(function, context, list(items)[::-1], resources)

    Run(plan, shards, Store(str(tmp_path / "split")), Silent()).execute(Backwards())
    assert contents(tmp_path / "split", KINDS) == contents(out, KINDS)
    files = manifest(tmp_path / "split")["files"]
    assert sorted(files) == sorted(contents(out, KINDS))
    # As if the run had been stopped between a file of values/ and the one of data/ that it belongs to.
    (tmp_path / "split" / "manifest.json").unlink()
    (tmp_path / "split" / "steps" / "output" / "data" / "part-00000.parquet.json").unlink()
    shutil.rmtree(tmp_path / "split" / "values")
    (tmp_path / "split" / "steps" / "output" / "data" / "part-00001.parquet.json").unlink()
    (tmp_path / "split" / "steps" / "output" / "data" / "part-00002.parquet.json").unlink(missing_ok=True)
    run(path, tmp_path / "split")
    assert contents(tmp_path / "split", KINDS) == contents(out, KINDS)


def test_recording_values_late_does_not_cost_the_steps_before(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    text = PIPELINE.replace("sample: {share: 0.8}", "select: {column: score, top: 0.5}").replace("values: true, as", "as")
    run(write_pipeline(text), tmp_path / "old")
    seen: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            seen.append(message)

    more = write_pipeline(text.replace("max: 8, as", "max: 8, values: true, as"), "q.yaml")
    run(more, tmp_path / "new", reuse=str(tmp_path / "old"), listener=Notes())
    run(more, tmp_path / "fresh")
    assert seen[0] == f"00-keep: taken over from {tmp_path / 'old'}"
    assert contents(tmp_path / "new", KINDS) == contents(tmp_path / "fresh", KINDS)
    assert len({str(pq.read_schema(path)) for path in (tmp_path / "new" / "dropped").iterdir()}) == 1


@pytest.mark.slow
@pytest.mark.ray
def test_a_document_that_kills_its_worker_stays_a_failed_one(tmp_path: Path, write_pipeline: WritePipeline) -> None:
    texts = [f"text {n}" for n in range(20)]
    texts[7] = "POISON"
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": [f"d{n}" for n in range(20)], "text": texts}), tmp_path / "in" / "a.parquet")
    stages = "[{example_lengths: {min_chars: 7, values: true}}, {example_kill: {}}]"
    for order in (stages, "[example_kill, {example_lengths: {min_chars: 5, values: true}}]"):
        out = tmp_path / f"out{order[2:9]}"
        run(write_pipeline(f"source: {{parquet: {{paths: in/*.parquet}}}}\nstages: {order}\n"), out, inline=False, workers=1)
        result = curate.whatif(str(out), {"example_lengths.min_chars": 6})
        assert result.stages["example_kill"][1].failed == (0 if order == stages else 1)
        assert result.documents_out[1] + result.unseen == (20 if order == stages else 19)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"no change is given. Give STAGE.OPTION=VALUE"),
        ({"lenghts.min_chars": 3}, r"no stage 'lenghts' in '.*'. Known: example_dashes, example_lengths, keep, last, sample"),
        ({"min_chars": 3}, r"'min_chars' names no stage: write STAGE.OPTION, such as gopher_quality.min_words"),
        ({"example_lengths.min_char": 3}, r"unknown option 'min_char'. Did you mean 'min_chars'"),
        ({"example_lengths.profile": "short"}, r"'profile' is no limit on a recorded value. Known: max_mean_word_chars, max_w"),
        ({"example_lengths.min_chars": -3}, r"stage 'example_lengths': min_chars: -3: must be greater than or equal to 0"),
        ({"keep.min": "much"}, r"stage 'keep': min: 'much': must be a valid number"),
        ({"last.min": 9}, r"stage 'last': min \(9.0\) is greater than max \(8.0\)"),
        ({"sample.share": 0.5}, r"stage 'sample' does not hold .* that do: example_lengths, keep, last. .* --reuse"),
        ({"source.min": 0.5}, r"no stage 'source'"),
    ],
    ids=str,
)
def test_what_cannot_be_recounted_is_refused(out: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        curate.whatif(str(out), changes)


def test_a_run_that_did_not_record_says_how_to(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    run(write_pipeline(PIPELINE.replace("values: true", "values: false")), tmp_path / "out")
    with pytest.raises(
        SpecError, match=r"has not recorded 'score' for stage 'keep'. Set 'values: true' there and run into anoth"
    ):
        curate.whatif(str(tmp_path / "out"), {"keep.min": 0.3})
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(SpecError, match=r"is not complete. The same curate run command continues it"):
        curate.whatif(str(tmp_path / "out"), {"keep.min": 0.3})
    with pytest.raises(SpecError, match="holds no run"):
        curate.whatif(str(tmp_path), {"keep.min": 0.3})


def test_a_column_must_be_recorded_where_it_is_judged(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    """A later stage may record the same column: documents dropped before it do not have it."""
    first, second = "keep: {column: score, min: 0.2", "keep: {column: score, max: 0.8, as: last"
    for recording, able in ((first, {"keep", "last"}), (second, {"last"})):
        stages = "".join(f"  - {stage}{', values: true' if stage == recording else ''}}}\n" for stage in (first, second))
        run(write_pipeline(f"source: {{parquet: {{paths: corpus/*.parquet}}}}\nstages:\n{stages}"), tmp_path / recording[-4:])
        for name in ("keep", "last"):
            if name in able:
                assert curate.whatif(str(tmp_path / recording[-4:]), {f"{name}.max": 0.5}).num_lost
            else:
                with pytest.raises(SpecError, match="has not recorded 'score' for stage 'keep'"):
                    curate.whatif(str(tmp_path / recording[-4:]), {f"{name}.max": 0.5})


@pytest.mark.parametrize("low", [-1, 2])
def test_a_run_that_keeps_or_drops_everything_can_be_recounted(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path, low: float
) -> None:
    stage = f"keep: {{column: score, min: {low}, values: true}}"
    run(write_pipeline(f"source: {{parquet: {{paths: corpus/*.parquet}}}}\nstages: [{stage}]\n"), tmp_path / "out")
    scores = [document(number)["score"] for number in range(300)]
    wanted = sum(score is not None and score >= 0.5 for score in scores)
    result = curate.whatif(str(tmp_path / "out"), {"keep.min": 0.5})
    assert result.documents_out == (sum(score is not None and score >= low for score in scores), wanted)
    stage = stage.replace("score", "count")
    run(write_pipeline(f"source: {{parquet: {{paths: corpus/*.parquet}}}}\nstages: [{stage}]\n", "q.yaml"), tmp_path / "counts")
    assert curate.whatif(str(tmp_path / "counts"), {"keep.min": 5}).documents_out == (300 if low < 0 else 240, 150)


def test_a_switch_is_no_limit() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Brackets(RuleStage):
        """Drops any document with a bracket, where that is wanted."""

        profile: str = "ours"
        bracket: bool | AsProfile | None = AS_PROFILE
        max_lines: int | AsProfile | None = AS_PROFILE
        values: bool = False
        profiles = {"ours": Profile("", (Rule("bracket", "brackets", "bracket", True), Rule("long", "lines", "max_lines", 9)))}

    assert thresholds_of(Brackets()) == ("max_lines",)
    assert [test.limit for test in checks_of(Brackets())] == [None, 9]


def test_values_that_do_not_give_the_verdicts_of_the_run_are_an_error(out: Path) -> None:
    victim = out / "values" / "part-00000.parquet"
    table = pq.read_table(victim)
    words = table.schema.get_field_index("length_words")
    pq.write_table(table.set_column(words, "length_words", pa.array([99.0] * len(table))), victim)
    with pytest.raises(
        AccountingError, match=r"data/part-00000.parquet, row 0: the recorded values do not give the drop reason of"
    ):
        curate.whatif(str(out), {"example_lengths.min_chars": 24})


def test_a_file_that_is_gone_is_noticed(out: Path) -> None:
    next((out / "dropped").iterdir()).unlink()
    with pytest.raises(AccountingError, match=r"dropped/ and manifest.json do not agree"):
        curate.whatif(str(out), {"keep.min": 0.3})


def test_one_column_cannot_be_recorded_for_two_stages(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    text = PIPELINE.replace("  - sample", "  - example_lengths: {values: true, as: twice}\n  - sample")
    with pytest.raises(
        SpecError, match=r"p.yaml:8: stage 'twice' writes 'length_chars', which is recorded for .*'example_lengths'"
    ):
        run(write_pipeline(text), tmp_path / "out")
    with pytest.raises(SpecError, match=r"stage 'example_lengths' writes 'length_words', which is recorded for stage 'early'"):
        run(
            write_pipeline(
                text.replace("- example_dashes", "- example_lengths: {as: early, values: true}").replace(
                    "true, as: tw", "false, as: tw"
                )
            ),
            tmp_path / "out",
        )


def test_the_length_of_the_text_has_its_name_to_itself(tmp_path: Path, write_pipeline: WritePipeline) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["one", "three"], "text_chars": [1.0, 2.0]}), tmp_path / "a.parquet")
    text = "source: {parquet: {paths: a.parquet}}\nstages: [{keep: {column: text_chars, min: 1, values: true}}]\n"
    with pytest.raises(SpecError, match=r"p.yaml:2: stage 'keep' records 'text_chars', a name with a meaning of its own"):
        run(write_pipeline(text), tmp_path / "out")
    # A column of that name may be in the corpus: then the length is not recorded.
    lengths = text.replace(
        "[{keep: {column: text_chars, min: 1, values: true}}]", "[{example_lengths: {min_chars: 4, values: true}}]"
    )
    run(write_pipeline(lengths, "q.yaml"), tmp_path / "out")
    result = curate.whatif(str(tmp_path / "out"), {"example_lengths.min_chars": 6})
    assert (result.documents_out, result.chars_out) == ((1, 0), None)


def test_values_are_read_as_in_a_pipeline_file() -> None:
    given = ["a.b=30", "a.c=null", "a-1.d=1e-3", "x.e=profile", "x.f=", "x.g=1_000"]
    assert parse_changes(given) == {"a.b": 30, "a.c": None, "a-1.d": 0.001, "x.e": "profile", "x.f": None, "x.g": 1000}
    for wrong, message in (
        (["a.b"], "must be STAGE.OPTION=VALUE"),
        (["a.b=1", "a.b=2"], "given twice"),
        (["a.b=[1]"], "one value is wanted"),
        (["a.b='"], "cannot be read"),
    ):
        with pytest.raises(SpecError, match=message):
            parse_changes(wrong)


def call(*arguments: object) -> list[str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_the_command_prints_both_funnels_and_flips(out: Path) -> None:
    lines = call("whatif", out, "example_lengths.min_chars=24", "keep.min=0.1", "-n", "2")
    result = curate.whatif(str(out), {"example_lengths.min_chars": 24, "keep.min": 0.1}, num=2)
    assert lines[:2] == ["example_lengths.min_chars: 18 -> 24", "keep.min: 0.2 -> 0.1"]
    before, after = result.stages["keep"]
    cells = [str(n) for c in (before, after) for n in (c.rows_in, sum(c.dropped.values()), c.rows_out)]
    assert [line.split() for line in lines if line.startswith("keep ")] == [
        ["keep", *cells[:3], f"{before.rows_out / 300:.1%}", *cells[3:], f"{after.rows_out / 300:.1%}", str(after.unseen)]
    ]
    (low,) = (
        line.split() for line in lines if line.split()[:1] == ["too_low"] and line.split()[1] == str(before.dropped["too_low"])
    )
    assert low == ["too_low", str(before.dropped["too_low"]), str(after.dropped["too_low"])]
    assert f"{result.num_lost} documents no longer kept, 2 of them:" in lines
    assert f"note: {result.notes[0]}" in lines
    flip = result.lost[0]
    assert (
        flip.after
        and f"  {flip.id}  {flip.url}  kept -> example_lengths: too_short (chars {flip.after.value:.6g}, limit 24)" in lines
    )
    assert call("whatif", out, "example_lengths.min_chars=24", "keep.min=0.1", "-n", "2") == lines


def test_the_same_as_json(out: Path) -> None:
    (line,) = call("whatif", out, "keep.min=0.3", "-n", "3", "--json")
    result: WhatIf = curate.whatif(str(out), {"keep.min": 0.3}, num=3)
    assert json.loads(line) == json.loads(json.dumps(result.as_json()))
    assert json.loads(line)["changes"] == {"keep.min": [0.2, 0.3]} and len(json.loads(line)["lost"]) == 3


def test_a_larger_draw_begins_with_the_smaller_one(out: Path) -> None:
    few, many = (curate.whatif(str(out), {"keep.min": 0.5}, num=num).lost for num in (4, 9))
    assert many[:4] == few and len(many) == 9 and curate.whatif(str(out), {"keep.min": 0.5}, num=0).lost == []


def test_explain_and_stages_tell_of_measures_and_profiles(out: Path) -> None:
    low = next(row for row in rows(out, "dropped") if row["reason"] == "too_low" and row["stage"] == "keep")
    assert any(line.strip().startswith("measured: length_words") for line in call("explain", out, low["id"]))
    lines = call("stages", "example_lengths")
    start = lines.index("  short (default)")
    assert lines[start : start + 10] == [
        "  short (default)",
        "    Our own.",
        "      too_short       chars < min_chars   20",
        "      too_many_words  words > max_words  off",
        "",
        "  strict",
        "    As published, with a limit that is itself too much.",
        "      too_many_words  words >= max_words                      12",
        "      long_words      mean_word_chars > max_mean_word_chars  5.5",
        "      too_short       chars < min_chars                       18",
    ]
    assert "drop reasons: too_short, too_many_words" in lines
