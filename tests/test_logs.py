"""What the command line writes to stderr: text, JSON or only errors, with the flags before the command or after it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from curate.cli.main import main
from curate.logs import JsonFormatter, LogOptions, TextFormatter, configure
from tests.conftest import WritePipeline

PIPELINE = "source: {parquet: {paths: corpus/*.parquet}}\nstages: [{keep: {column: count, min: 1}}]\n"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    configure(LogOptions())
    logging.getLogger().handlers = [one for one in logging.getLogger().handlers if one.get_name() != "curate"]
    logging.getLogger("curate").setLevel(logging.NOTSET)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("place", ["before", "after"])
def test_flags_stand_before_the_command_or_after_it(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path, place: str
) -> None:
    def run(flag: str) -> Result:
        command = ["run", write_pipeline(PIPELINE), "--out", tmp_path / f"out{flag}", "--inline"]
        return call(flag, *command) if place == "before" else call(*command, flag)

    verbose = run("--verbose").stderr
    assert "00-keep: 3 to do" in verbose and "DEBUG curate.execution.scheduler: shard done" in verbose
    quiet = run("--quiet")
    assert quiet.stderr == "" and "300 documents in, 270 out" in quiet.stdout
    lines = [json.loads(line) for line in run("--log-json").stderr.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert next((line["done"], line["total"]) for line in lines if line.get("phase") == "00-keep") == (0, 3)


def test_errors_are_one_line_of_json(tmp_path: Path) -> None:
    result = call("--log-json", "status", tmp_path)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 1 and json.loads(line)["level"] == "ERROR" and "holds no run" in json.loads(line)["message"]
    assert call("--quiet", "status", tmp_path).stderr.startswith("error: ")
    assert "exclude each other" in call("--quiet", "--verbose", "status", tmp_path).stderr


def test_control_sequences_are_escaped_in_every_format() -> None:
    record = logging.LogRecord("curate.x", logging.WARNING, "", 0, "a\x1b[31m%s\u202e", ("\x9b",), None)
    record.__dict__["fields"] = {"shard": "\x1b", "level": "no"}
    text, line = TextFormatter().format(record), JsonFormatter().format(record)
    assert text == "a\\x1b[31m\\x9b\\u202e"
    assert line.isascii() and line.isprintable()
    assert json.loads(line) | {"time": ""} == {
        "time": "", "level": "WARNING", "logger": "curate.x", "message": "a\x1b[31m\x9b\u202e", "shard": "\x1b",
    }  # fmt: skip
