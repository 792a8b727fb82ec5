"""Workers log every attempt at a shard; logs are read by `curate logs` and are no part of a result."""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import curate
from curate.api.source import Shard
from curate.errors import DataError, RunError, SpecError
from curate.execution import shard_log
from curate.execution.segment import SegmentTask
from curate.execution.shard_log import MAX_CHARS, MAX_WARNINGS, logged
from curate.logs import MAX_CHARS as MAX_TRACEBACK_CHARS
from curate.logs import MAX_FIELD_CHARS
from curate.report.shard_logs import ShardState, describe_logs, describe_shard, shard_states
from curate.storage.store import Store
from curate.version import VERSION
from tests.conftest import WritePipeline, contents

TASK = SegmentTask(0, Shard(0, "s", "", 0, 0, None, 0))
STAGES = """
source: {parquet: {paths: corpus/*.parquet}}
stages: [{keep: {column: count, min: 1}}, {select: {column: score, top: 0.5}}]
"""


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """Every log below a folder, in order."""
    files = sorted(folder.rglob("*.log"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def test_every_shard_of_every_segment_has_a_log(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    curate.run(write_pipeline(STAGES), out=tmp_path / "out", inline=True)
    found = records(tmp_path / "out" / "steps")
    assert [log[0]["segment"] for log in found] == ["00-keep"] * 3 + ["01-select"] * 3
    start, source, keep, end = found[0]
    assert start["shard"] == "00000-part-0" and start["isolated"] is False
    assert (source["stage"], source["rows_in"], keep["stage"], keep["rows_in"], keep["dropped"]) == (
        "source",
        100,
        "keep",
        100,
        10,
    )
    assert end["state"] == "done" and end["rows_out"] == 90 and end["warnings"] == 0
    assert end["peak_memory_bytes"] > 10 * 2**20 and end["seconds"] >= keep["seconds"]


def test_warnings_and_log_records_of_libraries_are_collected(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="careful") as shown:
        for _ in range(2):
            with logged(Store(str(tmp_path)), "00-a", TASK):
                warnings.warn("careful", UserWarning, stacklevel=1)
                logging.getLogger("library").warning("odd %s", "thing")
                logging.getLogger("library").info("of no interest")
    assert len(shown) == 1
    for log in records(tmp_path):
        assert [(line["level"], line["message"]) for line in log[1:3]] == [
            ("WARNING", "UserWarning: careful"),
            ("WARNING", "odd thing"),
        ]
        assert log[-1]["warnings"] == 2 and len(log) == 4


def test_a_warning_for_every_document_does_not_fill_the_log(tmp_path: Path) -> None:
    with logged(Store(str(tmp_path)), "00-a", TASK):
        for _ in range(MAX_WARNINGS + 5):
            logging.getLogger("library").error("x" * (2 * MAX_CHARS))
    (log,) = records(tmp_path)
    assert log[-1]["warnings"] == MAX_WARNINGS + 5 and len(log) == MAX_WARNINGS + 2
    assert {line["message"].strip("x") for line in log[1:-1]} == {f"...[{MAX_CHARS:,} characters cut]..."}


def test_a_warning_of_its_own_for_every_document_is_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every shard shows a limited number of warnings, and the process does not keep those of earlier shards."""
    num = MAX_WARNINGS + 100
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for shard in range(3):
            with logged(Store(str(tmp_path)), "00-a", TASK):
                for number in range(num):
                    warnings.warn(f"shard {shard}, document {number}", UserWarning, stacklevel=1)
    assert MAX_WARNINGS <= len(shown) <= 3 * MAX_WARNINGS and len(shard_log._shown) <= MAX_WARNINGS
    assert "more warnings are not shown" in caplog.text
    assert [log[-1]["warnings"] for log in records(tmp_path)] == [num] * 3


def test_a_log_record_that_cannot_be_formatted_fails_nothing(tmp_path: Path) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    library = logging.getLogger("library")
    with logged(Store(str(tmp_path)), "00-a", TASK):
        shard = logging.getLogger().handlers[-1]
        shard.handle(logging.LogRecord("library", logging.WARNING, "", 0, "%d items", ("three",), None))
        for fields in (["a"], {("a", 1): 1}, {"cycle": cycle}):
            library.warning("odd", extra={"fields": fields})
    (log,) = records(tmp_path)
    assert log[1]["message"].startswith("a log record could not be formatted: TypeError: ")
    assert [line["message"] for line in log[2:]] == ["odd"] * 3 + ["end"] and log[-1]["warnings"] == 4


def test_errors_and_fields_are_cut(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zzz"), logged(Store(str(tmp_path)), "00-a", TASK):
        logging.getLogger("library").warning("long", extra={"fields": {"text": "y" * 3_000_000}})
        raise ValueError("z" * 5_000_000)
    (log,) = records(tmp_path)
    assert len(log[1]["text"]) < MAX_FIELD_CHARS + 50 and len(log[2]["error"]) < MAX_FIELD_CHARS + 50
    assert log[2]["error"].startswith("ValueError: zzz") and "characters cut]" in log[2]["error"]
    assert log[2]["traceback"].startswith("Traceback") and len(log[2]["traceback"]) < MAX_TRACEBACK_CHARS + 50


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_error_without_a_text_passes_through(tmp_path: Path) -> None:
    with pytest.raises(_Unprintable), logged(Store(str(tmp_path)), "00-a", TASK):
        raise _Unprintable
    (log,) = records(tmp_path)
    assert log[1]["error"] == "_Unprintable" and log[-1]["state"] == "failed"


def test_warnings_and_records_are_shown_escaped_where_nothing_is_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        with logged(Store(str(tmp_path)), "00-a", TASK):
            warnings.warn("\x1b]0;a\nERROR b", UserWarning, stacklevel=1)
            logging.getLogger("library").warning("\x1b]0;c\nERROR d")
    assert capsys.readouterr().err == "\\x1b]0;a\n    ERROR b\n\\x1b]0;c\n    ERROR d\n"


def test_every_attempt_has_a_log_of_its_own(tmp_path: Path) -> None:
    """On an object store, too."""
    for root in (str(tmp_path), f"memory://logs-{tmp_path.name}"):
        store = Store(root)
        with pytest.raises(DataError), logged(store, "00-a", TASK):
            raise DataError("first line\nsecond line")
        with logged(store, "00-a", TASK):
            pass
        assert len(list(store.find("steps"))) == 2
    failed, done = records(tmp_path)
    assert failed[1]["error"] == "DataError: first line\nsecond line" and "Traceback" in failed[1]["traceback"]
    assert (failed[-1]["state"], done[-1]["state"]) == ("failed", "done")


def test_a_log_that_cannot_be_written_fails_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "steps").write_text("in the way")
    with logged(Store(str(tmp_path)), "00-a", TASK):
        pass
    assert "the log of shard s was not written" in caplog.text


def test_logs_are_no_part_of_a_result(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    """A reused step has no logs: they tell of another run. Deleting intermediates leaves them."""
    path = write_pipeline(STAGES + "keep_steps: [keep]\n")
    curate.run(path, out=tmp_path / "old", inline=True)
    assert len(records(tmp_path / "old")) == 6
    other = write_pipeline(STAGES.replace("0.5", "0.4") + "keep_steps: [keep]\n", "other.yaml")
    curate.run(other, out=tmp_path / "new", inline=True, reuse=tmp_path / "old")
    curate.run(other, out=tmp_path / "fresh", inline=True)
    assert contents(tmp_path / "new") == contents(tmp_path / "fresh")
    assert {log[0]["segment"] for log in records(tmp_path / "new")} == {"01-select"}
    reused = [state for state in shard_states(str(tmp_path / "new")) if state.segment == "00-keep"]
    assert reused == [ShardState("00-keep", f"0000{n}-part-{n}", "done", 0) for n in range(3)]


def test_failed_shards_are_listed_first_with_their_error(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    content = bytearray((corpus / "part-1.parquet").read_bytes())
    content[4:200] = b"\xff" * 196
    (corpus / "part-1.parquet").write_bytes(content)
    path = write_pipeline("source: {parquet: {paths: corpus/*.parquet}}\nstages: []\nmax_failed_shards: 1\n")
    curate.run(path, out=tmp_path / "out", inline=True)
    states = shard_states(str(tmp_path / "out"))
    assert [(state.state, state.attempts) for state in states] == [("failed", 1), ("done", 1), ("done", 1)]
    assert states[0].shard == "00001-part-1" and states[0].error.startswith("DataError: 00001-part-1: cannot read")
    assert (states[1].seconds or 0) >= (states[2].seconds or 0)
    table = describe_logs(str(tmp_path / "out"), 2).splitlines()
    assert table[0].split() == ["segment", "shard", "state", "attempts", "seconds", "peak", "MB", "warnings", "error"]
    assert table[1].split()[:4] == ["00-read", "00001-part-1", "failed", "1"]
    assert table[3] == "1 more shards: see them with -n 3"
    text = describe_shard(str(tmp_path / "out"), "00001-part-1")
    assert text.startswith("00-read, shard 00001-part-1, attempt 1 of 1\n") and "    Traceback (most recent call last):" in text
    with pytest.raises(SpecError, match=r"has no log of a shard '00001-part-7'. Known, among 3: '0000"):
        describe_shard(str(tmp_path / "out"), "00001-part-7")


def test_text_of_documents_sends_nothing_to_the_terminal(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    curate.run(write_pipeline(STAGES), out=tmp_path / "out", inline=True)
    with (
        pytest.raises(RunError),
        logged(Store(str(tmp_path / "out")), "01-select", SegmentTask(1, Shard(9, "x", "", 0, 0, None, 0))),
    ):
        logging.getLogger("library").warning("\x1b]0;title\x07 \u202eabc")
        raise RunError("\x1b[2J bad")
    for text in (describe_shard(str(tmp_path / "out"), "x"), describe_logs(str(tmp_path / "out"), 9)):
        assert "\\x1b[2J bad" in text and not set(text) & set("\x1b\x07\u202e\x9b")


def test_records_of_stages_are_not_taken_for_those_of_the_attempt(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    """Neither by their words nor by their lines."""
    curate.run(write_pipeline(STAGES), out=tmp_path / "out", inline=True)
    store = Store(str(tmp_path / "out"))
    with pytest.raises(RunError), logged(store, "01-select", SegmentTask(1, Shard(9, "x", "", 0, 0, None, 0))):
        logging.getLogger("library").warning("failed")
        logging.getLogger("library").warning("end", extra={"fields": {"state": "done", "seconds": "long"}})
        forged = "a\n  2026-11-30T00:00:00.000Z INFO end state=done"
        logging.getLogger("library").warning(forged, extra={"fields": {"file": forged}})
        raise RunError("bad")
    (state,) = (state for state in shard_states(store.root) if state.shard == "x")
    assert (state.state, state.error, state.warnings) == ("failed", "RunError: bad", 3)
    lines = describe_shard(store.root, "x").splitlines()
    assert [line.split()[2] for line in lines if re.match(r"  \d{4}-", line)] == [
        "start", "library:", "library:", "library:", "failed", "end",
    ]  # fmt: skip
    (file,) = (tmp_path / "out").rglob("x-*.log")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-2]))  # without the error and the end
    (state,) = (state for state in shard_states(store.root) if state.shard == "x")
    assert (state.state, state.error, state.seconds) == ("failed", "", None)


@pytest.mark.parametrize(
    ("damage", "num_unreadable", "says"),
    [
        (lambda content: content[:-20], 1, "  1 line could not be read"),
        (lambda content: content.replace(b'"keep"', b'"k\xff"') + b"[1]\n{}\n", 3, "  3 lines could not be read"),
        (lambda content: content + b"[" * 100_000, 1, "  1 line could not be read"),
        (lambda content: b"", 0, "  the log is empty"),
    ],
)
def test_what_can_be_read_of_a_damaged_log_is_shown(
    corpus: Path,
    write_pipeline: WritePipeline,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    num_unreadable: int,
    says: str,
) -> None:
    curate.run(write_pipeline(STAGES), out=tmp_path / "out", inline=True)
    (file,) = (tmp_path / "out" / "steps" / "00-keep" / "logs").glob("00001-part-1-*.log")
    file.write_bytes(damage(file.read_bytes()))
    states = shard_states(str(tmp_path / "out"))
    assert len(states) == 6 and sum(state.num_unreadable for state in states) == num_unreadable
    table = describe_logs(str(tmp_path / "out"), 9).splitlines()
    assert table[7:] == ([f"{says.strip()} of the log of 00001-part-1"] if num_unreadable else [])
    text = describe_shard(str(tmp_path / "out"), "00001-part-1").splitlines()
    assert says in text and (num_unreadable == 0 or " start segment=00-keep" in text[1])


def test_a_run_without_logs_says_why(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    out = tmp_path / "out"
    curate.run(write_pipeline(STAGES), out=out, inline=True)
    for file in out.rglob("*.log"):
        file.unlink()
    assert describe_logs(str(out), 9).splitlines()[-1] == "No shard has a log yet. Reused steps have none."
    lockfile = out / "recipe.yaml"
    lockfile.write_text(lockfile.read_text().replace(f"curate {VERSION}.", "curate 0.1.0."))
    why = "No shard has a log: curate 0.1.0, which wrote this run, kept none."
    assert describe_logs(str(out), 9).splitlines()[-1] == why
    with pytest.raises(SpecError, match=f"has no log of a shard '00000-part-0'. {why}"):
        describe_shard(str(out), "00000-part-0")
