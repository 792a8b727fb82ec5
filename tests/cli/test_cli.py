"""The commands as a person types them: what they print, and the exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result

import curate
from curate.cli.main import SECTIONS, main
from curate.errors import SpecError
from curate.pipeline import lockfile
from curate.pipeline.explain import stage_notes
from curate.pipeline.spec import load
from curate.stages import STAGES
from tests.conftest import WritePipeline, document

PIPELINE = """
name: small
source: {parquet: {paths: corpus/*.parquet}}
stages:
  - example_dashes
  - keep: {column: score, min: 0.2}
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def out(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> Path:
    result = call("run", write_pipeline(PIPELINE), "--out", tmp_path / "out", "--inline")
    assert result.exit_code == 0, result.output
    return tmp_path / "out"


def test_run_prints_the_funnel(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    path = write_pipeline(PIPELINE)
    first, second = (call("run", path, "--out", tmp_path / "out", "--inline") for _ in range(2))
    scores = [document(number)["score"] for number in range(300)]
    none, low = scores.count(None), sum(score is not None and score < 0.2 for score in scores)
    left = 300 - none - low
    lines = [line.split() for line in first.stdout.splitlines()]
    assert ["keep", "300", str(none + low), str(left), f"{left / 300:.1%}"] in [line[:5] for line in lines]
    assert ["too_low", str(low)] in lines and ["no_score", str(none)] in lines
    assert f"300 documents in, {left} out ({left / 300:.1%})" in first.stdout
    assert second.stdout.startswith(f"{tmp_path / 'out'} is complete; nothing to do.")


def test_check_says_what_it_looked_at(corpus: Path, write_pipeline: WritePipeline) -> None:
    path = write_pipeline(PIPELINE)
    assert "2 stages, 3 files, 3 shards" in call("check", path).stdout
    (corpus / "part-0.parquet").unlink()
    assert call("check", path, "--offline").exit_code == 0


def test_plan_shows_steps_options_and_needs(corpus: Path, write_pipeline: WritePipeline) -> None:
    text = call("plan", write_pipeline(PIPELINE + "  - select: {column: score, top: 0.5}\n")).stdout
    for part in (
        "300 documents",
        "step 00-keep",
        "summary for the global stage select",
        'keep: column: "score", min: 0.2, max: null',
    ):
        assert part in text
    assert "after the global stage select" in text and "memory: about" in text and "output: id, url" in text


def test_stages_lists_all_and_describes_one() -> None:
    listing = call("stages").stdout
    assert "example_dashes" in listing and "gopher_quality" in listing and "(global stage)" not in listing
    one = call("stages", "select").stdout
    assert one.startswith("select  (global stage)\n\n  - select: {column: preselect, top: 0.1}\n\noptions:\n")
    assert "top: number 0..1, required" in one and 'by: one of docs, chars, tokens, default "docs"' in one
    assert "drop reasons: no_score, below_top\nreads: preselect (number)\nwrites: nothing\n" in one
    unknown = call("stages", "selct")
    assert unknown.exit_code == 1 and "Did you mean 'select'?" in unknown.stderr


def test_explain_follows_a_kept_an_edited_and_a_dropped_document(out: Path) -> None:
    kept = call("explain", out, "doc-5").stdout
    assert "edited by 'example_dashes': 1 edits" in kept and "kept. Passed example_dashes, keep" in kept
    gone = call("explain", out, "https://site-0.example/3").stdout
    assert "doc-3" in gone and "dropped by 'keep': no_score" in gone and "passed before: example_dashes" in gone
    low = call("explain", out, "doc-0").stdout
    assert "too_low, measured 0, limit 0.2" in low and "part-0.parquet at 0" in low
    nobody = call("explain", out, "doc-9999")
    assert nobody.exit_code == 1 and "no document with id or URL 'doc-9999'" in nobody.stderr


def test_sample_draws_the_same_documents_every_time(out: Path) -> None:
    dropped = [json.loads(line) for line in call("sample", out, "--stage", "keep", "-n", "5", "--json").stdout.splitlines()]
    again = [json.loads(line) for line in call("sample", out, "--stage", "keep", "-n", "5", "--json").stdout.splitlines()]
    other = [
        json.loads(line)
        for line in call("sample", out, "--stage", "keep", "-n", "5", "--json", "--seed", "1").stdout.splitlines()
    ]
    assert dropped == again != other and len(dropped) == 5 and {row["stage"] for row in dropped} == {"keep"}
    only = call("sample", out, "--stage", "keep", "--reason", "no_score", "--json").stdout.splitlines()
    edited = call("sample", out, "--stage", "example_dashes", "--reason", "no_score", "--json")
    assert edited.stdout == "" and "no such documents" in edited.stderr
    assert len(only) == 10 and {json.loads(line)["reason"] for line in only} == {"no_score"}
    assert "+after the rule" not in call("sample", out, "--stage", "example_dashes").stdout
    assert "--- edited by example_dashes" in call("sample", out, "--stage", "example_dashes").stdout
    assert len(call("sample", out, "-n", "3", "--json").stdout.splitlines()) == 3
    assert "no stage 'kep'" in call("sample", out, "--stage", "kep").stderr


def test_status_of_a_finished_a_stopped_and_a_missing_run(out: Path, tmp_path: Path) -> None:
    assert "done at" in call("status", out).stdout and "300 documents in, 203 out" in call("status", out).stdout
    (out / "manifest.json").unlink()
    stopped = call("status", out).stdout
    assert "not running; the same curate run command continues it" in stopped and "00-keep: 3 shards done" in stopped
    missing = call("status", tmp_path)
    assert missing.exit_code == 1 and "holds no run" in missing.stderr


def test_what_a_run_dropped_that_expect_stopped_can_be_read(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    path = write_pipeline(PIPELINE.replace("min: 0.2", "min: 0.2, expect: {drop: 0%..1%}"))
    stopped = call("run", path, "--out", tmp_path / "o", "--inline")
    assert stopped.exit_code == 2 and f"curate sample {tmp_path / 'o'} --stage keep" in stopped.stderr
    rows = [json.loads(line) for line in call("sample", tmp_path / "o", "--stage", "keep", "--json").stdout.splitlines()]
    assert len(rows) == 10 and {row["stage"] for row in rows} == {"keep"}
    # Final files that are there already are not read as well.
    (tmp_path / "o" / "dropped").mkdir()
    shutil.copy(next((tmp_path / "o").glob("steps/*/dropped/*.parquet")), tmp_path / "o" / "dropped" / "00-keep-00000.parquet")
    drawn = call("sample", tmp_path / "o", "--stage", "keep", "-n", "500", "--json").stdout.splitlines()
    assert len(drawn) == len({json.loads(line)["id"] for line in drawn}) > 50
    assert "ended with:" in (status := call("status", tmp_path / "o").stdout) and "expected 0.0%..1.0%" in status


def test_documents_whose_text_is_on_record_are_drawn_first(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    path = write_pipeline(f"{PIPELINE}output: {{sample_per_reason: 2}}\n")
    call("run", path, "--out", tmp_path / "o", "--inline")
    drawn = call("sample", tmp_path / "o", "--stage", "keep", "--reason", "no_score", "-n", "5", "--json").stdout
    assert [json.loads(line)["text"] is None for line in drawn.splitlines()] == [False, False, True, True, True]


def test_nothing_to_show_is_told(out: Path) -> None:
    wrong = call("sample", out, "--stage", "keep", "--reason", "no_scor")
    assert wrong.exit_code == 1 and "no document was dropped for 'no_scor'. Did you mean 'no_score'?" in wrong.stderr
    nothing = call("sample", out, "--stage", "source")
    assert nothing.exit_code == 0 and nothing.stderr == "no such documents\n" and nothing.stdout == ""


def test_inline_and_ray_exclude_each_other(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    result = call("run", write_pipeline(PIPELINE), "--out", tmp_path / "o", "--inline", "--workers", "2")
    assert result.exit_code == 2 and "--inline runs without Ray" in result.stderr


def test_a_failed_run_has_exit_code_2(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    path = write_pipeline("source: {parquet: {paths: corpus/*.parquet}}\nstages: [{example_broken: {how: raises}}]\n")
    result = call("run", path, "--out", tmp_path / "o", "--inline")
    assert result.exit_code == 2 and result.stderr.splitlines()[-1].startswith("error: ") and "doc-7" in result.stderr


# The commands and their options, so that none is added in passing: settings belong into the pipeline file.
LOG_FLAGS = ("verbose", "quiet", "log_json")
COMMANDS = {
    "check": {"pipeline", "source", "offline"},
    "diff": {"first", "second", "num", "html", "as_json"},
    "explain": {"directory", "document"},
    "fit": {"recipe", "out", "work", "ray", "inline", "workers", "device"},
    "watch": {"checkpoints", "recipe", "every", "settled", "ray", "inline", "workers", "device"},
    "rounds": {"pipeline", "out", "source", "ray", "inline", "workers", "device"},
    "probe": {"recipe", "out", "work", "ray", "inline", "workers", "device"},
    "init": {"directory"},
    "index": {"directory", "stage", "out"},
    "logs": {"directory", "shard", "num"},
    "plan": {"pipeline", "source"},
    "push": {"directory", "repo", "public", "verdicts"},
    "report": {"directory", "beside"},
    "run": {"pipeline", "out", "ray", "inline", "workers", "source", "limit", "reuse", *LOG_FLAGS},
    "sample": {"directory", "stage", "dropped", "reason", "num", "seed", "as_json"},
    "serve": {"directory", "port"},
    "stages": {"name"},
    "status": {"directory"},
    "whatif": {"directory", "changes", "num", "as_json"},
}


def test_limits_are_shown_as_the_default_profile_has_them() -> None:
    text = call("stages", "gopher_quality").stdout
    assert "min_words: whole number 0.. or null, default 50\n" in text
    assert "max_symbol_ratio: number 0.. or null, default null\n" in text


@pytest.mark.parametrize("name", sorted(STAGES))
def test_the_line_of_yaml_that_is_shown_is_a_stage(name: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"source: {{parquet: {{paths: '*.parquet'}}}}\nstages:\n  {stage_notes(name).example}\n")
    try:
        assert [spec.type for spec in load(str(path)).stages] == [name]
    except SpecError as error:  # the model of an example need not be there
        assert "is not there" in str(error) and "scorer:" in stage_notes(name).example


def test_help_lists_every_command_in_one_section() -> None:
    """On one screen, in lines of 80 columns, none cut short."""
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(main.commands)
    lines = call("--help").stdout.splitlines()[1:]
    assert len(lines) <= 45 and max(map(len, lines)) <= 80 and not any(line.endswith("...") for line in lines)


def test_a_shell_completes_commands_and_names_of_stages(out: Path) -> None:
    def completed(*before: str, begun: str) -> list[str]:
        found = BashComplete(main, {}, "curate", "_CURATE_COMPLETE").get_completions([*before], begun)
        return [item.value for item in found]

    assert completed(begun="ru") == ["run"]
    assert completed("stages", begun="gopher_") == ["gopher_quality", "gopher_repetition"]
    assert completed("sample", str(out), "--stage", begun="") == ["source", *lockfile.opened(str(out))[1]["identities"]]
    assert completed("sample", str(out / "nothing"), "--stage", begun="") == []


def test_no_option_is_added_in_passing() -> None:
    commands = main.commands
    assert {name: {param.name for param in command.params} for name, command in commands.items()} == COMMANDS
    assert all(command.help for command in commands.values())


def test_logs_lists_shards_and_prints_the_logs_of_one(out: Path) -> None:
    lines = call("logs", out).stdout.splitlines()
    assert lines[0].startswith("segment") and len(lines) == 4
    text = call("logs", out, "00001-part-1").stdout
    assert text.startswith("00-keep, shard 00001-part-1, attempt 1 of 1") and "stage=keep rows_in=100" in text
    assert call("logs", out, "no-shard").exit_code == 1


def test_what_a_document_holds_does_not_command_the_terminal(tmp_path: Path) -> None:
    text = "red \x1b[31m, title \x1b]0;owned\x07, back \x9b2J, reversed \u202e, end\n-----\nkept"
    pq.write_table(
        pa.table({"id": ["a\x1b[2J"], "url": ["http://x\x9b.example/\x1b[5m"], "text": [text]}), tmp_path / "in.parquet"
    )
    pipeline = "source: {parquet: {paths: in.parquet}}\nstages: [{STAGE}]\n"
    for stage in ("sample: {share: 1.0}", "gopher_quality"):
        (tmp_path / "p.yaml").write_text(pipeline.replace("STAGE", stage))
        out = str(tmp_path / stage[:6])
        assert CliRunner().invoke(main, ["run", str(tmp_path / "p.yaml"), "--out", out, "--inline"]).exit_code == 0
        dropped = ["--dropped"] if stage == "gopher_quality" else []
        for command in (["explain", out, "a\x1b[2J"], ["sample", out, *dropped], ["sample", out, *dropped, "--json"]):
            shown = CliRunner().invoke(main, command)
            assert shown.exit_code == 0, shown.output
            assert not set(shown.output) & set("\x1b\x07\x9b\u202e"), command
        printed = json.loads(shown.output)
        assert (printed["id"], printed["text"]) == ("a\x1b[2J", text)
        run = curate.inspect(out)
        for page in map(repr, (run.funnel, run.hosts, run.documents("dropped"), run.documents("kept"))):
            assert not set(page) & set("\x1b\x07\x9b\u202e")
