"""What the command line writes to stderr: text, JSON or only errors, with the flags before the command or after it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from curate.cli.main import main
from curate.logs import (
    MAX_CHARS,
    MAX_FIELD_CHARS,
    MAX_FIELDS,
    JsonFormatter,
    LogOptions,
    TextFormatter,
    configure,
    escape_controls,
)
from tests.conftest import WritePipeline

PIPELINE = "source: {parquet: {paths: corpus/*.parquet}}\nstages: [{keep: {column: count, min: 1}}]\n"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    configure(LogOptions())
    logging.captureWarnings(False)
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


def record(message: str, *arguments: object, fields: Any = None) -> logging.LogRecord:
    made = logging.LogRecord("curate.x", logging.WARNING, "stage.py", 7, message, arguments, None)
    if fields is not None:
        made.__dict__["fields"] = fields
    return made


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(JsonFormatter().format(made))
    return line


def test_a_record_that_cannot_be_formatted_says_so() -> None:
    bad = record("%d items", "three")
    message = as_json(bad)["message"]
    assert message.startswith("a log record could not be formatted: TypeError: %d format") and message.endswith(" (stage.py:7)")
    assert TextFormatter().format(bad) == f"WARNING curate.x: {message}"


class _Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")


def test_fields_that_json_cannot_hold_raise_nothing() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert as_json(record("m", fields=["a"]))["fields"] == ["a"]
    fields = {("a", 1): 1, "b": {("c",): 1}, "cycle": cycle, "deep": deep, "x": _Unprintable(), "y": 2}
    line = as_json(record("m", fields=fields))
    assert (line["message"], line["('a', 1)"], line["y"]) == ("m", 1, 2)
    assert line["b"].startswith("could not be formatted: TypeError: keys must be")
    assert line["cycle"].startswith("could not be formatted: ValueError: Circular")
    assert line["deep"].startswith("could not be formatted: RecursionError")
    assert line["x"] == "could not be formatted: ValueError: no text"
    assert as_json(record("m", fields={_Unprintable(): 1}))["fields"] == "could not be formatted: ValueError: no text"


def test_long_records_are_cut() -> None:
    fields = {"text": "x" * 3_000_000, "list": ["y"] * 1_000_000} | {f"field-{number}": number for number in range(MAX_FIELDS)}
    line = as_json(record("m" * 3_000_000, fields=fields))
    assert "...[2,980,000 characters cut]..." in line["message"] and len(line["message"]) < MAX_CHARS + 50
    assert "...[2,998,000 characters cut]..." in line["text"] and len(line["list"]) < MAX_FIELD_CHARS + 50
    assert line["fields_left_out"] == 2 and f"field-{MAX_FIELDS - 2}" not in line
    assert len(TextFormatter().format(record("m" * 3_000_000))) < MAX_CHARS + 50


def test_lone_surrogates_and_c1_controls_are_escaped() -> None:
    assert escape_controls("a\udc80\ud800\x85\x9b\t\n") == "a\\udc80\\ud800\\x85\\x9b\t\n"


def test_further_lines_of_a_message_cannot_look_like_a_record() -> None:
    formatter = TextFormatter("%(levelname)s %(name)s: %(message)s")
    assert formatter.format(record("a\nERROR curate: b\r\n")) == "WARNING curate.x: a\n    ERROR curate: b\\r"


@pytest.mark.parametrize("options", [LogOptions(), LogOptions(verbose=True), LogOptions(log_json=True), LogOptions(quiet=True)])
def test_warnings_reach_stderr_escaped(options: LogOptions, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for _ in range(2):  # the second call finds what another block of catch_warnings restored
            with warnings.catch_warnings():
                configure(options)
                warnings.warn("\x1b]0;title\x07 careful", UserWarning, stacklevel=1)
    shown = capsys.readouterr().err
    assert not set(shown) & set("\x1b\x07")
    assert shown.count("UserWarning: ") == (0 if options.quiet else 2)
