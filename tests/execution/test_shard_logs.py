"""Workers log every attempt at a shard; logs are read by `curate logs` and are no part of a result."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

import curate
from curate.api.source import Shard
from curate.errors import DataError, RunError, SpecError
from curate.execution.segment import SegmentTask
from curate.execution.shard_log import MAX_CHARS, MAX_WARNINGS, logged
from curate.report.shard_logs import ShardState, describe_logs, describe_shard, shard_states
from curate.storage.store import Store
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
    assert {len(line["message"]) for line in log[1:-1]} == {MAX_CHARS}


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
