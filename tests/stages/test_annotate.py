"""annotate: what an annotating model is asked, how its answers are read, and what becomes of documents.

The model is a server whose answers follow from the prompt: it knows menus, addresses and copyright lines when it sees them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import SpecError, TransientError
from curate.prox import execute
from curate.prox.annotation import (
    EDUCATIONAL,
    EXTRACTION,
    FOOTER,
    INTERFACE,
    NAVIGATION,
    NOISES,
    LineQuestion,
    Noise,
    keeps,
    line_questions,
    merge,
    program_in,
    score_of,
)
from curate.prox.execute import MAX_NORMALIZES, Chunk, execute_chunks
from curate.prox.program import Normalize, parse
from curate.prox.windows import Window
from tests.conftest import rows as rows_of

MENU = ("Home", "Blog", "Log in")
PAGE = (
    "Home\nBlog\nHow leeks grow\nSow them in March [share]\nhttp://seeds.example/leeks\n"
    "Plant them out in June, as deep as a hand\n© 2011 all rights reserved"
)
PROGRAM = (
    "remove_lines(line_start=0, line_end=1)\nremove_lines(line_start=4, line_end=4)\nremove_lines(line_start=6, line_end=6)\n"
    'normalize(source_str=" [share]", target_str="")'
)
CLEAN = "How leeks grow\nSow them in March\nPlant them out in June, as deep as a hand"


def reply(prompt: str) -> tuple[str, str]:
    """What the model says, and why it stopped. A page can say what it wants to get: `edu=3`, `faulty footers`."""
    for rubric, mark in ((EDUCATIONAL, "edu"), (EXTRACTION, "format")):
        if prompt.startswith(rubric.question):
            given = re.search(rf"{mark}=(\S+)", prompt)
            return f"It says little.\n\n{rubric.score}: {given[1] if given else 0}", "stop"
    shown = prompt.split("The lines:\n\n")[1]
    (noise,) = (noise for noise in NOISES if noise.task in prompt)
    lines = re.findall(r"^\[(\d+)\](.*)$", shown, re.MULTILINE)
    if "faulty everything" in shown or ("faulty footers" in shown and noise is FOOTER):
        return "```python\nremove_lines(line_start=0)\n```", "stop"
    program = "\n".join(call for number, line in lines if (call := _call(noise, int(number), line))) or "keep_chunk()"
    if noise is NAVIGATION:
        return program, "stop"
    prose = "For example:\n```\nkeep_chunk()\n```\nbut here there is noise.\n\n" if noise is INTERFACE else ""
    return f"{prose}```python\n# what I found\n{program}\n```", "length" if "endless" in shown else "stop"


def _call(noise: Noise, number: int, line: str) -> str | None:
    found = {NAVIGATION: line in MENU, INTERFACE: line.startswith("http"), FOOTER: line.startswith("©")}
    if noise is INTERFACE and "[share]" in line:
        return 'normalize(source_str=" [share]", target_str="")'
    return f"remove_lines(line_start={number}, line_end={number})" if found[noise] else None


class Served(BaseHTTPRequestHandler):
    """Answers chats, counts them, and fails from a number on with a status."""

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        with server.lock:
            server.asked.append(body["messages"][0]["content"])
            server.bodies.append({**body, "path": self.path, "key": self.headers["Authorization"]})
            fails = len(server.asked) > server.failing_from
            server.answered += [] if fails else [body["messages"][0]["content"]]
        text, why = reply(body["messages"][0]["content"])
        value = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": why}]}
        data = json.dumps(value).encode() if server.says is None else server.says
        self.send_response(server.status if fails else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Listening(ThreadingHTTPServer):
    """Has room for all connections that are opened at once."""

    request_queue_size = 64


@pytest.fixture
def server() -> Iterator[Any]:
    httpd: Any = Listening(("127.0.0.1", 0), Served)
    httpd.lock, httpd.asked, httpd.answered, httpd.bodies = threading.Lock(), [], [], []
    httpd.failing_from, httpd.status, httpd.says = 10**9, 503, None
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def url(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def applied(server: Any, texts: Sequence[str | None], **options: Any) -> list[dict[str, Any]]:
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    given = {"endpoint": url(server), "served_as": "annotator", **options}
    found: list[dict[str, Any]] = curate.apply("annotate", table, **given).to_pylist()
    return found


def verdict(row: dict[str, Any]) -> tuple[str, float | None, float | None] | None:
    return (row["drop"]["reason"], row["drop"]["value"], row["drop"]["limit"]) if row["drop"] else None


# --- documents


@pytest.mark.parametrize(
    ("edu", "form", "keep"),
    [
        (5, 0, True), (3, 0, True), (3, None, True), (2, 5, True), (2, 4, True), (2, 3, False), (2, None, None),
        (1, 5, False), (0, None, False), (None, 5, None), (None, None, None),
    ],
)  # fmt: skip
def test_a_document_stays_by_the_published_rule(edu: int | None, form: int | None, keep: bool | None) -> None:
    assert keeps(edu, form) is keep


@pytest.mark.parametrize(
    ("why", "said", "score"),
    [
        ("the closing line", "Fine.\n\nEducational score: 4", 4),
        ("zero is a score", "Educational score: 0", 0),
        ("set in bold, of five", "Fine.\n\n**Educational score:** 4/5", 4),
        ("a full stop and Windows' line break", "educational Score: 3.\r\n", 3),
        ("the last one counts", "Educational score: 1\nNo, on reflection:\nEducational score: 2\n", 2),
        ("six points of five", "Educational score: 6", None),
        ("no whole number", "Educational score: 3.5", None),
        ("the letter of the prompt", "Educational score: N", None),
        ("the last one counts, even if it is none", "Educational score: 1\nEducational score: unclear", None),
        ("a score inside a sentence", "I would say the Educational score: 3", None),
        ("another score", "Extraction quality score: 3", None),
        ("nothing", "", None),
    ],
)
def test_scores_are_read_from_the_closing_line(why: str, said: str, score: int | None) -> None:
    assert score_of(said, EDUCATIONAL) == score


def test_documents_get_scores_and_a_decision(server: Any) -> None:
    texts = ["edu=3 format=1", "edu=2 format=4", "edu=2 format=3", "edu=2 format=none", "edu=many format=5", " ", None]
    found = applied(server, texts, annotate_lines=False)
    assert [(row["edu_score"], row["format_score"], row["keep"]) for row in found] == [
        (3, 1, True), (2, 4, True), (2, 3, False), (2, None, None), (None, 5, None), (None, None, None), (None, None, None),
    ]  # fmt: skip
    assert [verdict(row) for row in found] == [None] * 5 + [("no_annotation", None, None)] * 2
    assert len(server.asked) == 10
    assert set(found[0]) == {"text", "edu_score", "format_score", "keep", "drop"}


# --- lines


def test_three_programs_become_one(server: Any) -> None:
    (row,) = applied(server, [PAGE], annotate_document=False)
    assert (row["program"], row["program_faults"], row["drop"]) == (PROGRAM, 0, None)
    assert execute(PAGE, row["program"]).text == CLEAN
    assert set(row) == {"text", "program", "program_faults", "drop"}
    assert len(server.asked) == 3


def test_windows_have_the_numbers_of_the_document(server: Any) -> None:
    """Each line of 16 words fills a window, so that every page has windows of its own; one of 17 words is not shown."""
    full, long = "word " * 15 + "word", "word " * 16 + "word"
    text = f"{full}\n{PAGE}\n{full}\n{long}\n{PAGE}\n{full}"
    (row,) = applied(server, [text], annotate_document=False, window_words=16)
    first = [call for call in PROGRAM.split("\n") if call.startswith("remove")]
    shifted = [re.sub(r"\d+", lambda n: str(int(n[0]) + 1), call) for call in first]
    again = [re.sub(r"\d+", lambda n: str(int(n[0]) + 10), call) for call in first]
    assert row["program"].split("\n") == [*shifted, *again, PROGRAM.split("\n")[-1]]
    assert row["program_faults"] == 0
    assert execute(text, row["program"]).text == f"{full}\n{CLEAN}\n{full}\n{long}\n{CLEAN}\n{full}"
    assert not any(long in prompt for prompt in server.asked)


def test_a_page_without_noise_has_a_program_too(server: Any) -> None:
    (row,) = applied(server, ["How leeks grow\nSow them in March."], annotate_document=False)
    assert (row["program"], row["program_faults"]) == ("keep_chunk()", 0)


def test_programs_with_faults_are_left_out_and_counted(server: Any) -> None:
    faulty, endless, all_faulty = (f"{PAGE}\n{mark}" for mark in ("faulty footers", "endless", "faulty everything"))
    found = applied(server, [faulty, endless, all_faulty], annotate_document=False)
    calls = PROGRAM.split("\n")
    assert [(row["program"], row["program_faults"]) for row in found] == [
        ("\n".join([*calls[:2], calls[3]]), 1),
        (calls[0], 2),
        (None, 3),
    ]
    assert [verdict(row) for row in found] == [None, None, ("no_annotation", None, None)]


def test_what_is_blank_or_too_long_is_not_asked_about(server: Any) -> None:
    texts = [None, " \n ", "one two\n\nthree", "one two\n\nthree four", "x" * 60]
    found = applied(server, texts, max_document_words=4)
    nothing = ("no_annotation", None, None)
    assert [verdict(row) for row in found] == [
        nothing, nothing, None, ("too_long_to_annotate", 5.0, 4.0), ("too_long_to_annotate", 6.0, 4.0),
    ]  # fmt: skip
    assert [row["program"] for row in found] == [None, None, "keep_chunk()", None, None]
    assert len(server.asked) == 5


def test_a_program_that_removes_too_much_drops_its_document(server: Any) -> None:
    texts = ["Home\nleeks", "Home\nleek", "Home\nBlog"]
    found = applied(server, texts, annotate_document=False)
    assert [verdict(row) for row in found] == [
        None,
        ("too_many_chars_removed", pytest.approx(5 / 9), 0.5),
        ("too_many_chars_removed", 1.0, 0.5),
    ]
    assert [row["program"] for row in found][1:] == [
        "remove_lines(line_start=0, line_end=0)",
        "remove_lines(line_start=0, line_end=1)",
    ]
    assert [verdict(row) for row in applied(server, texts, annotate_document=False, max_removed_frac=1.0)] == [None] * 3


TEN = "\n".join(f"line {number} of ten" for number in range(10))


def asked(noise: Noise, first: int, stop: int) -> LineQuestion:
    return LineQuestion(noise, Window(first, stop), "")


@pytest.mark.parametrize(
    ("why", "noise", "said", "program"),
    [
        ("the last line of the window", INTERFACE, "remove_lines(line_start=2, line_end=5)", "same"),
        ("a line after the window", INTERFACE, "remove_lines(line_start=2, line_end=6)", None),
        ("a line before the window", INTERFACE, "remove_lines(line_start=1, line_end=2)", None),
        ("all lines", INTERFACE, "remove_lines(all=True)", None),
        ("one fault spoils the program", INTERFACE, "remove_lines(line_start=2, line_end=2)\nremove(3)", None),
        ("a call about the document", INTERFACE, "drop_doc()", None),
        ("only comments", INTERFACE, "# nothing to be done", None),
        ("nothing", INTERFACE, "", None),
        ("cut off in a call", INTERFACE, "remove_lines(line_start=2, line_end=2)\nremove_lines(line_", None),
        ("keep_chunk by its other name", INTERFACE, "untouch_doc()", "keep_chunk()"),
        ("runs that meet are one", FOOTER, "remove_lines(line_start=4, line_end=4)\nremove_lines(start=3, end=3)",
         "remove_lines(line_start=3, line_end=4)"),
        ("a string of the window", FOOTER, 'normalize(source_str="3 of ten")',
         'normalize(source_str="3 of ten", target_str="")'),
        ("a call that was not offered", NAVIGATION, 'normalize(source_str="3 of ten")', None),
        ("a string that is not there", FOOTER, 'normalize(source_str="eleven")', "keep_chunk()"),
        ("a string of a line that goes", FOOTER,
         'normalize(source_str="3 of ten")\nremove_lines(line_start=3, line_end=3)', "remove_lines(line_start=3, line_end=3)"),
        ("a string that stands outside the window too", FOOTER, 'normalize(source_str=" of ten")', "keep_chunk()"),
        ("a string replaced by itself", FOOTER, 'normalize(source_str="3 of", target_str="3 of")', "keep_chunk()"),
        ("a string that another call has taken", FOOTER,
         'normalize(source_str="line 3")\nnormalize(source_str="ine 3", target_str="x")',
         'normalize(source_str="line 3", target_str="")'),
        ("more strings than a program may have", FOOTER,
         "\n".join(f'normalize(source_str="string {n}")' for n in range(MAX_NORMALIZES + 1)), None),
    ],
)  # fmt: skip
def test_programs_are_used_as_a_whole_or_not_at_all(why: str, noise: Noise, said: str, program: str | None) -> None:
    found = merge(TEN, [(asked(noise, 2, 6), said)])
    assert (found.program, found.num_faults) == (said if program == "same" else program, int(program is None))
    assert found.text == (TEN if program is None else execute(TEN, str(found.program)).text)


def test_a_string_that_every_window_names_is_replaced_everywhere() -> None:
    said = 'normalize(source_str=" of ten")'
    both = [(asked(FOOTER, 0, 5), said), (asked(INTERFACE, 5, 10), said)]
    assert merge(TEN, both).program == 'normalize(source_str=" of ten", target_str="")'
    assert merge(TEN, both[:1]).program == "keep_chunk()"


def test_a_merged_program_is_no_longer_than_a_program_may_be() -> None:
    lines = [f"<{number:03d}> words" for number in range(2 * MAX_NORMALIZES)]
    answers = [
        (asked(FOOTER, first, first + 60), "\n".join(f'normalize(source_str="<{n:03d}>")' for n in range(first, first + 60)))
        for first in (0, 60)
    ]
    found = merge("\n".join(lines), answers)
    assert parse(str(found.program)).calls == tuple(Normalize(f"<{n:03d}>") for n in range(MAX_NORMALIZES))
    assert found.text == execute("\n".join(lines), str(found.program)).text != "\n".join(lines)


@pytest.mark.parametrize(
    ("why", "said", "program"),
    [
        ("one fence", "So:\n```python\nkeep_chunk()\n```\nDone.", "keep_chunk()"),
        ("the last of two", "```\na\n```\nor rather\n```\nb\nc\n```", "b\nc"),
        ("not closed", "```\na\n```\n```python\nb", "b"),
        ("indented", "  ```\nb\n  ```", "b"),
        ("empty", "```\n```", ""),
        ("none", "keep_chunk()", "keep_chunk()"),
    ],
)
def test_the_program_stands_in_the_last_fence(why: str, said: str, program: str) -> None:
    assert program_in(said) == program


# --- prompts


@pytest.mark.parametrize(
    ("noise", "left"),
    [
        (NAVIGATION, NAVIGATION.lines[5:]),
        (INTERFACE, ("The ferry leaves at six and takes four hours.", INTERFACE.lines[2])),
        (FOOTER, ("Let the varnish dry for two days before you walk on it.",)),
    ],
    ids=["navigation", "interface", "footer"],
)
def test_worked_examples_do_what_is_asked(noise: Noise, left: tuple[str, ...]) -> None:
    text = "\n" * noise.first + "\n".join(noise.lines)
    chunk = Chunk(noise.first, noise.first + len(noise.lines), noise.program)
    done = execute_chunks(text, [chunk])
    assert (done.num_errors, done.missed) == (0, 0)
    assert done.text == "\n" * noise.first + "\n".join(left)


def test_prompts_show_the_lines_and_the_calls_that_may_be_used() -> None:
    questions = line_questions("Home\nHow leeks grow\n\nSow them", 16)
    assert [(question.noise, question.window) for question in questions] == [(noise, Window(0, 4)) for noise in NOISES]
    for question in questions:
        assert "\n\nThe lines:\n\n[000]Home\n[001]How leeks grow\n[002]\n[003]Sow them\n\n" in question.prompt
        assert question.prompt.count("keep_chunk()\n") == 1
        assert ("normalize" in question.prompt) == question.noise.may_normalize
    for rubric in (EDUCATIONAL, EXTRACTION):
        prompt = rubric.prompt("How leeks grow")
        assert "\n\n<text>\nHow leeks grow\n</text>\n\n" in prompt
        assert prompt.endswith(f"\n\n{rubric.score}: N")
        assert len(rubric.points) == 5


# --- the endpoint


def test_the_model_is_asked_as_the_options_say(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNOTATOR_KEY", "s3cret")
    applied(server, ["leeks"], api_key_env="ANNOTATOR_KEY", temperature=0.5, max_tokens=200, annotate_lines=False)
    message = [{"role": "user", "content": EXTRACTION.prompt("leeks")}]
    assert {
        "path": "/v1/chat/completions", "key": "Bearer s3cret", "model": "annotator", "temperature": 0.5, "max_tokens": 200,
        "messages": message,
    } in server.bodies  # fmt: skip
    server.bodies.clear()
    applied(server, ["leeks"])
    assert {body["key"] for body in server.bodies} == {None}


def test_equal_prompts_are_asked_once(server: Any) -> None:
    assert len({str(row) for row in applied(server, [PAGE] * 5)}) == 1
    assert len(server.asked) == 5


def test_errors_that_may_pass_are_told_from_others(server: Any) -> None:
    server.failing_from = 0
    for status in (408, 425, 429, 500, 503):
        server.status = status
        with pytest.raises(TransientError, match=f"endpoint: {url(server)}/v1/chat/completions answers {status}"):
            applied(server, [PAGE])
    for status in (302, 400, 401, 404):
        server.status = status
        with pytest.raises(SpecError, match=rf"endpoint: .* refuses \({status}\)"):
            applied(server, [PAGE])
    with pytest.raises(TransientError, match=r"endpoint: http://127.0.0.1:9/v1/chat/completions does not answer"):
        applied(server, [PAGE], endpoint="http://127.0.0.1:9/")


def test_nothing_more_is_asked_once_a_request_has_failed(server: Any) -> None:
    server.failing_from = 2
    with pytest.raises(TransientError, match="answers 503"):
        applied(server, [f"page {number}" for number in range(30)], annotate_lines=False, requests_at_once=1)
    assert 3 <= len(server.asked) < 30


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (b"<html>", "something that is not JSON: <html>"),
        (b'{"choices": []}', "this is no answer to a chat"),
        (b'["text"]', "this is no answer to a chat"),
    ],
)
def test_an_endpoint_of_another_kind_is_refused(server: Any, says: bytes, message: str) -> None:
    server.says = says
    with pytest.raises(SpecError, match=message):
        applied(server, [PAGE])


def test_a_model_that_says_nothing_gives_nothing(server: Any) -> None:
    server.says = b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'
    (row,) = applied(server, [PAGE])
    assert (row["edu_score"], row["program"], row["program_faults"], verdict(row)) == (
        None, None, 3, ("no_annotation", None, None),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint": "localhost:8000"}, "must be the address of a server, http://host:port"),
        ({"annotate_document": False, "annotate_lines": False}, "without either there is nothing to ask"),
        ({"api_key_env": "NO_SUCH_KEY_HERE"}, "the environment has no 'NO_SUCH_KEY_HERE'"),
    ],
)
def test_options_that_do_not_fit_are_refused(server: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        applied(server, ["text"], **options)


# --- runs


def pipeline(folder: Path, server: Any, more: str = "") -> Path:
    texts = [f"{PAGE}\nedu={number % 4} format=none, page {number}" for number in range(12)]
    table = pa.table({"id": [str(number) for number in range(len(texts))], "text": texts})
    pq.write_table(table, folder / "pages.parquet", row_group_size=6)
    path = folder / "pairs.yaml"
    path.write_text(
        "name: pairs\nsource: {parquet: {paths: pages.parquet}}\nstages:\n"
        f"  - annotate: {{endpoint: '{url(server)}', served_as: annotator{more}}}\n"
    )
    return path


def test_a_run_that_failed_asks_for_nothing_that_was_answered(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.models.chat._BATCH", 8)
    monkeypatch.setattr("curate.execution.engine.MAX_TRANSIENT_RETRIES", 0)
    path = pipeline(tmp_path, server, ", requests_at_once: 4")
    curate.run(str(path), out=str(tmp_path / "whole"), inline=True)
    assert len(server.asked) == len(set(server.asked)) == 60
    server.answered.clear()
    server.failing_from = 79
    with pytest.raises(TransientError, match="answers 503"):
        curate.run(str(path), out=str(tmp_path / "out"), inline=True)
    logs = list((tmp_path / "out").glob("steps/*/answers/*/*.jsonl"))
    assert sum(len(log.read_text().splitlines()) for log in logs) == len(server.answered) == 19
    assert len(logs) == 3  # in groups: 8 and 4 about documents, 7 of the next 8 about lines
    server.failing_from = 10**9
    curate.run(str(path), out=str(tmp_path / "out"), inline=True)
    assert len(server.answered) == len(set(server.answered)) == 60
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")
    assert [row["program"] for row in rows_of(tmp_path / "out")] == [PROGRAM] * 12


def test_runs_share_a_cache(tmp_path: Path, server: Any) -> None:
    path = pipeline(tmp_path, server, f", cache: {tmp_path / 'cache'}")
    curate.run(str(path), out=str(tmp_path / "one"), inline=True)
    assert len(server.asked) == 60
    path.write_text(path.read_text().replace("served_as", "max_removed_frac: 0.1, served_as"))
    curate.run(str(path), out=str(tmp_path / "two"), inline=True)
    assert len(server.asked) == 60
    assert (len(rows_of(tmp_path / "one")), len(rows_of(tmp_path / "two"))) == (12, 0)


def test_another_way_to_ask_is_another_question(tmp_path: Path, server: Any) -> None:
    for options in ({}, {"max_tokens": 100}, {"temperature": 0.5}, {"served_as": "another"}, {"window_words": 500}):
        applied(server, [PAGE], cache=str(tmp_path), **options)
    assert len(server.asked) == 20  # only other windows are not


def test_the_books_count_answers_that_could_not_be_used(tmp_path: Path, server: Any) -> None:
    path = pipeline(tmp_path, server)
    table = pq.read_table(tmp_path / "pages.parquet")
    texts = [" ", *(text.replace("page 3", "faulty footers") for text in table["text"].to_pylist()[1:])]
    pq.write_table(table.set_column(1, "text", pa.array(texts)), tmp_path / "pages.parquet")
    curate.run(str(path), out=str(tmp_path / "out"), inline=True)
    ledgers = [json.loads(file.read_text()) for file in (tmp_path / "out").glob("steps/*/ledger/*.json")]
    counts = [ledger["stages"]["annotate"]["counts"] for ledger in ledgers]
    assert {name: sum(c.get(name, 0) for c in counts) for c in counts for name in c} == {
        "scores not given": 11,
        "programs left out": 1,
    }
