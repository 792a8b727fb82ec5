"""Cleanup programs executed: what they do to a text, what becomes of it, and that no program raises or takes long."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.prox import ExecutionResult, execute
from curate.prox.execute import MAX_NORMALIZES, Chunk, Edit, Limits, execute_chunks
from curate.prox.program import Call, KeepChunk, KeepDoc, Normalize, Program, RemoveLines, parse, write
from curate.prox.published_executor import run_published
from tests.prox.test_prox_published import FORTY, LINES, TEXT, TOP, URL, joined, marked, words

OPEN = Limits(drop_removed_frac=None, min_words=0)
"""Drops nothing but texts without a word."""


def applied(text: str, edits: tuple[Edit, ...]) -> str:
    for _, start, end, replacement in reversed(edits):
        text = text[:start] + replacement + text[end:]
    return text


def edited(text: str, edits: tuple[Edit, ...], num_errors: int = 0, missed: int = 0) -> ExecutionResult:
    left = applied(text, edits)
    return ExecutionResult(left, left, num_errors, edits, "edited" if edits else "kept", missed)


def cut(text: str, *spans: tuple[int, int]) -> tuple[Edit, ...]:
    return tuple(("remove_lines", start, end, "") for start, end in spans)


# --- against the record of the published code, by its rows ---


@pytest.mark.parametrize(
    ("row", "text", "program", "left", "num_errors", "status"),
    [
        (3, TEXT, "remove_lines(0, 2)", joined(*LINES[3:]), 0, "edited"),
        (4, TEXT, f"keep_chunk()\n {TOP}", joined(*LINES[3:]), 0, "edited"),
        (5, TEXT, f"{TOP}\nremove_lines(line_start=5, line_en", joined(*LINES[3:]), 0, "truncated"),
        (6, TEXT, "remove_lines(line_start=0, line_end=2", TEXT, 0, "truncated"),
        (7, joined(*FORTY), "remove_lines(line_start=0, line_end=25", joined(*FORTY), 0, "truncated"),
        (10, TEXT, "remove_lines(line_start=8, line_end=60)", joined(*LINES[:8]), 0, "edited"),
        (11, TEXT, "remove_lines(line_start=5, line_end=2)", TEXT, 1, "kept"),
        (12, TEXT, "remove_lines(line_start=-3, line_end=2)", TEXT, 1, "kept"),
        (16, marked("a,b"), 'normalize(source_str=" a,b", target_str="")', TEXT, 0, "edited"),
        (17, marked("a=b"), 'normalize(source_str=" a=b", target_str="")', TEXT, 0, "edited"),
        (18, marked(URL), f'normalize(source_str=" {URL}", target_str="")', TEXT, 0, "edited"),
        (19, marked("(x)"), 'normalize(source_str="words (x)", target_str="words")', TEXT, 0, "edited"),
        (20, TEXT, "normalize(source_str='has ', target_str='')", TEXT.replace("has ", ""), 0, "edited"),
        (21, TEXT, 'normalize(source_str=" ")', TEXT, 1, "kept"),
        (23, TEXT, "I would remove lines 0 to 2.", TEXT, 1, "kept"),
        (24, "five words and no more", "keep_chunk()", "five words and no more", 0, "kept"),
        (25, "five words and no more", "remove_lines(0)\nremove_lines(1)", "five words and no more", 2, "program_error"),
        (26, TEXT, f"remove_lines(0)\n{TOP}\nnormalize(has)", TEXT, 2, "program_error"),
        (27, TEXT, "remove_lines(start=50, end=60)\nremove_lines(start=51, end=61)", TEXT, 2, "program_error"),
        (29, TEXT, "remove_lines_foo(line_start=0, line_end=2)", TEXT, 1, "kept"),
        (31, " \n\t\n", "keep_chunk()", " \n\t\n", 0, "kept"),
        (31, "", "remove_lines(all=True)", "", 0, "kept"),
    ],
)
def test_what_differs_from_the_published_code(
    row: int, text: str, program: str, left: str, num_errors: int, status: str
) -> None:
    outcome = execute(text, program)
    assert (outcome.text, outcome.final, outcome.num_errors, outcome.status) == (left, left, num_errors, status)


def test_only_the_literal_source_is_deleted() -> None:
    """The published code deletes every `a`."""
    text = f"{TEXT} banana a=b"
    start = len(text) - 3
    assert execute(text, 'normalize(source_str="a=b", target_str="")') == edited(text, (("normalize", start, start + 3, ""),))


# --- against the definition, character by character ---


def plain(text: str, chunks: list[Chunk], max_errors: int) -> tuple[str, int, int]:
    """The text edited, the errors and the missed sources."""
    lines = text.split("\n")
    left: dict[int, str] = dict(enumerate(lines))
    num_errors = missed = 0
    for chunk in chunks:
        program = parse(chunk.program) if isinstance(chunk.program, str) else chunk.program
        own = range(chunk.first, chunk.stop)
        errors, gone, missing = len(program.faults), set(), 0
        cells: dict[int, list[tuple[str, bool]]] = {number: [(char, False) for char in lines[number]] for number in own}
        for call in program.calls:
            if isinstance(call, RemoveLines):
                named = {n for n in own if call.first <= n - chunk.offset <= call.last}
                gone |= named
                errors += not named
            errors += isinstance(call, KeepDoc)
        for call in program.calls:
            if isinstance(call, Normalize):
                missing += not any(call.source in lines[number] for number in own)
                for number in set(own) - gone:
                    cells[number] = replaced(cells[number], call)
        num_errors += errors
        if errors <= max_errors:
            missed += missing
            left |= {number: "".join(part for part, _ in cells[number]) for number in own}
            for number in gone:
                del left[number]
    return joined(*(left[number] for number in sorted(left))), num_errors, missed


def replaced(cells: list[tuple[str, bool]], call: Normalize) -> list[tuple[str, bool]]:
    wanted = [(char, False) for char in call.source]
    at = 0
    while at < len(cells):
        if cells[at : at + len(wanted)] == wanted:
            cells = [*cells[:at], (call.target, True), *cells[at + len(wanted) :]]
        at += 1
    return cells


SOURCES = st.text("ab►- ", min_size=1, max_size=4).filter(lambda s: bool(s.strip()) and (len(s) > 2 or not {*s} & {*"ab"}))
CALLS: st.SearchStrategy[Call] = (
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: RemoveLines(min(pair), max(pair)))
    | st.builds(Normalize, SOURCES, st.text("ab►", max_size=3))
    | st.sampled_from([KeepChunk(), KeepDoc()])
)
ENDS = st.sampled_from(["", "\n?", "\nkeep_chunk(1)\n", "\nremove_l"])


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[Chunk]]:
    lines = draw(st.lists(st.text("ab►- ", max_size=10), min_size=1, max_size=9))
    cuts = sorted({0, len(lines), *draw(st.lists(st.integers(0, len(lines)), max_size=3))})
    chunks = [
        Chunk(first, stop, write(draw(st.lists(CALLS, max_size=5))) + draw(ENDS), draw(st.sampled_from([0, 0, first, -1, 2])))
        for first, stop in pairwise(cuts)
        if draw(st.integers(0, 4))
    ]
    return joined(*lines), chunks


@settings(max_examples=250)
@given(documents(), st.integers(0, 2))
def test_a_document_is_edited_as_character_by_character(document: tuple[str, list[Chunk]], max_errors: int) -> None:
    text, chunks = document
    outcome = execute_chunks(text, chunks, limits=replace(OPEN, max_errors=max_errors))
    assert (outcome.text, outcome.num_errors, outcome.missed) == plain(text, chunks, max_errors)


@settings(max_examples=200)
@given(documents())
def test_edits_ascend_and_make_the_text(document: tuple[str, list[Chunk]]) -> None:
    text, chunks = document
    outcome = execute_chunks(text, chunks)
    assert applied(text, outcome.edits) == outcome.text
    places = [place for _, start, end, _ in outcome.edits for place in (start, end)]
    assert places == sorted(places)
    assert all(start < end <= len(text) for _, start, end, _ in outcome.edits)
    assert outcome.final == {"dropped": "", "program_error": text}.get(outcome.status, outcome.text)
    assert (outcome.reason is None) == (outcome.status not in ("dropped", "program_error"))
    assert outcome.status != "kept" or outcome.edits == ()


@given(st.text("ab\n"), st.lists(st.integers(0, 8), max_size=6))
def test_lines_go_as_if_the_text_was_split_and_joined(text: str, numbers: list[int]) -> None:
    lines = text.split("\n")
    inside = [number for number in numbers if number < len(lines)]
    outcome = execute(text, write(RemoveLines(number, number) for number in inside), limits=OPEN)
    assert outcome.text == joined(*(line for number, line in enumerate(lines) if number not in inside))


# --- edits ---


@pytest.mark.parametrize(
    ("why", "text", "calls", "edits"),
    [
        ("the line break before goes", "a\nbc\nd", [RemoveLines(1, 1)], cut("", (1, 4))),
        ("the last line too", "a\nbc\nd", [RemoveLines(2, 2)], cut("", (4, 6))),
        ("at the beginning the one behind", "a\nbc\nd", [RemoveLines(0, 0)], cut("", (0, 2))),
        ("everything", "a\nbc\nd", [RemoveLines(0, 2)], cut("", (0, 6))),
        ("lines that meet are one edit", "a\nb\nc\nd", [RemoveLines(2, 2), RemoveLines(1, 1)], cut("", (1, 5))),
        ("lines that do not are two", "a\nb\nc\nd", [RemoveLines(0, 0), RemoveLines(2, 2)], cut("", (0, 2), (3, 5))),
        ("an empty line", "a\n\nd", [RemoveLines(1, 1)], cut("", (1, 2))),
        ("an empty line at the beginning", "\na", [RemoveLines(0, 0)], cut("", (0, 1))),
        ("an empty line at the end", "a\n", [RemoveLines(1, 1)], cut("", (1, 2))),
        ("the only line, which is empty", "", [RemoveLines(0, 0)], ()),
        ("everywhere in the chunk", "--\na--", [Normalize("--", "x")], (("normalize", 0, 2, "x"), ("normalize", 4, 6, "x"))),
        ("leftmost first", "---", [Normalize("--")], (("normalize", 0, 2, ""),)),
        ("code points, not bytes", "é😀►", [Normalize("►")], (("normalize", 2, 3, ""),)),
        ("the earlier call claims its place", "-+-", [Normalize("-+"), Normalize("+-")], (("normalize", 0, 2, ""),)),
        ("what is put in is not looked at", "-", [Normalize("-", "+"), Normalize("+")], (("normalize", 0, 1, "+"),)),
        ("what comes together is not looked at", "+--+", [Normalize("--"), Normalize("++")], (("normalize", 1, 3, ""),)),
        ("a removed line is not looked at", "--\n--", [Normalize("--"), RemoveLines(0, 0)],
         (("remove_lines", 0, 3, ""), ("normalize", 3, 5, ""))),
        ("neither is what lines leave side by side", "+\n-\n+", [RemoveLines(1, 1), Normalize("++")], cut("", (1, 3))),
        ("itself is no change", "--", [Normalize("--", "--")], ()),
        ("but a claim", "--", [Normalize("--", "--"), Normalize("-")], ()),
    ],
)  # fmt: skip
def test_edits(why: str, text: str, calls: list[Call], edits: tuple[Edit, ...]) -> None:
    outcome = execute(text, write(calls), limits=OPEN)
    assert (outcome.edits, outcome.text) == (edits, applied(text, edits))


def test_edits_that_undo_each_other_are_none() -> None:
    program = write([Normalize("ab-", "ab-cd-"), Normalize("cd-")])
    assert execute("ab-cd-", program, limits=OPEN) == ExecutionResult("ab-cd-", "ab-cd-", 0, (), "kept")


def test_sources_that_do_not_occur_are_counted() -> None:
    """One that stands where a call before has been is not missing."""
    program = write([Normalize("has some"), Normalize("some words"), Normalize("zzz"), Normalize("has  some")])
    assert (execute(TEXT, program).missed, execute(TEXT, program).text) == (2, TEXT.replace("has some", ""))


# --- chunks ---


def test_a_program_touches_nothing_but_its_chunk() -> None:
    program = write([Normalize("has "), RemoveLines(0, 99)])
    chunks = [Chunk(2, 4, write([Normalize("has ")])), Chunk(4, 5, program), Chunk(7, 9, write([RemoveLines(3, 7)]))]
    left = [*LINES[:2], *(line.replace("has ", "") for line in LINES[2:4]), *LINES[5:7], *LINES[8:]]
    assert execute_chunks(TEXT, chunks).text == joined(*left)


@pytest.mark.parametrize("numbers", [(0, 2), (5, 99)])
def test_lines_outside_the_chunk_are_a_fault(numbers: tuple[int, int]) -> None:
    outcome = execute_chunks(TEXT, [Chunk(3, 5, write([RemoveLines(*numbers)]))])
    assert outcome == ExecutionResult(TEXT, TEXT, 1, (), "kept")


def test_numbers_that_count_from_elsewhere_are_moved() -> None:
    chunks = [Chunk(0, 4, "remove_lines(1, 1)"), Chunk(4, 10, "remove_lines(1, 1)", offset=4)]
    assert execute_chunks(TEXT, chunks).text == joined(*LINES[:1], *LINES[2:5], *LINES[6:])


def test_removed_lines_on_both_sides_of_a_border_are_one_edit() -> None:
    size = len(LINES[0]) + 1
    chunks = [Chunk(0, 4, "remove_lines(2, 3)"), Chunk(4, 10, "remove_lines(4, 4)")]
    assert execute_chunks(TEXT, chunks).edits == cut("", (2 * size - 1, 5 * size - 1))


def test_a_wrong_program_leaves_its_own_chunk_alone() -> None:
    wrong = f"{TOP}\nprose\nprose"
    outcome = execute_chunks(TEXT, [Chunk(0, 4, wrong), Chunk(4, 10, "remove_lines(4, 4)\nprose")])
    size = len(LINES[0]) + 1
    assert outcome == edited(TEXT, cut("", (4 * size - 1, 5 * size - 1)), num_errors=3)


def test_a_document_is_given_up_if_every_program_is_wrong() -> None:
    wrong = "prose\nprose\nremove_lines(3, 4)"
    given_up = ExecutionResult(TEXT, TEXT, 4, (), "program_error", reason="too_many_errors")
    assert execute_chunks(TEXT, [Chunk(0, 4, wrong), Chunk(4, 10, wrong)]) == given_up
    kept = ExecutionResult(TEXT, TEXT, 2, (), "kept")
    assert execute_chunks(TEXT, [Chunk(0, 4, wrong), Chunk(4, 10, "keep_chunk()")]) == kept


def test_a_document_without_chunks_is_kept() -> None:
    assert execute_chunks(TEXT, []) == ExecutionResult(TEXT, TEXT, 0, (), "kept")


def test_a_program_that_was_read_before_is_the_same() -> None:
    program = f"{TOP}\nprose\nremove_l"
    assert execute_chunks(TEXT, [Chunk(0, 10, parse(program))]) == execute(TEXT, program)
    assert execute(TEXT, program).status == "truncated"


def test_a_program_cut_off_is_said_of_the_document() -> None:
    chunks = [Chunk(0, 4, "remove_l"), Chunk(4, 10, "keep_chunk()")]
    assert execute_chunks(TEXT, chunks) == ExecutionResult(TEXT, TEXT, 0, (), "truncated")
    assert execute(words(190, 10), "remove_lines(0, 0)\nremove_l").status == "dropped"
    assert execute(TEXT, "prose\nprose\nremove_l").status == "program_error"


def test_what_is_said_of_documents_is_a_fault_in_a_chunk() -> None:
    assert execute(TEXT, f"keep_doc()\n{TOP}").num_errors == 1
    assert execute(TEXT, f"drop_doc()\nkeep_doc()\n{TOP}").status == "program_error"


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([(0, 11)], "chunk 0 is lines 0 to 11, without the last. Give lines from 0 on, at least one, of the 10"),
        ([(0, 5), (4, 6)], "chunk 1 is lines 4 to 6, without the last. Give lines from 5 on"),
        ([(3, 3)], "chunk 0 is lines 3 to 3"),
        ([(-1, 3)], "chunk 0 is lines -1 to 3"),
    ],
)
def test_chunks_that_are_not_of_the_document_are_refused(bounds: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        execute_chunks(TEXT, [Chunk(first, stop, "keep_chunk()") for first, stop in bounds])


# --- what becomes of the text ---


@pytest.mark.parametrize(
    ("why", "before", "after", "limits", "reason"),
    [
        ("ten words are too few", 200, 10, Limits(drop_removed_frac=None), "too_few_words"),
        ("eleven are not", 200, 11, Limits(), None),
        ("exactly one twentieth left", 400, 20, Limits(), "too_many_words_removed"),
        ("a word more than that", 400, 21, Limits(), None),
        ("exactly one tenth left", 200, 20, Limits(drop_removed_frac=0.9), "too_many_words_removed"),
        ("exactly 0.93 left", 300, 279, Limits(drop_removed_frac=0.07), "too_many_words_removed"),
        ("a word more than that", 300, 280, Limits(drop_removed_frac=0.07), None),
        ("no share is too much", 400, 20, Limits(drop_removed_frac=None), None),
        ("eleven words where twelve are wanted", 20, 11, Limits(min_words=11), "too_few_words"),
    ],
)
def test_words_that_are_left(why: str, before: int, after: int, limits: Limits, reason: str | None) -> None:
    outcome = execute(words(before - after, after), "remove_lines(0, 0)", limits=limits)
    left = words(after)
    status = "dropped" if reason else "edited"
    assert (outcome.text, outcome.final, outcome.status, outcome.reason) == (left, "" if reason else left, status, reason)


def test_a_short_document_is_dropped_only_if_it_was_edited() -> None:
    assert execute("a short text", 'normalize("zzz")').status == "kept"
    assert execute("a short text►", 'normalize("►")').reason == "too_few_words"
    assert execute(" \n ", "remove_lines(0, 0)").reason == "too_few_words"


def test_more_errors_than_allowed_give_a_program_up() -> None:
    text = words(189, 11)
    assert execute(text, "remove_lines(0, 0)\nprose").final == words(11)
    assert execute(text, "remove_lines(0, 0)\nprose\nprose").final == text
    assert execute(text, "remove_lines(0, 0)\nprose", limits=Limits(max_errors=0)).final == text


def test_programs_that_remove_too_much_are_not_trusted() -> None:
    """Not even to drop the document. Half of the characters is not more than half."""
    text = "word " * 20 + "\n" + "word " * 20  # 100 and 101 characters
    by = [execute(text, "remove_lines(0, 0)", limits=Limits(max_removed_frac=frac)) for frac in (0.5, 0.51, None)]
    assert [(one.status, one.reason, one.final == text) for one in by] == [
        ("program_error", "too_many_chars_removed", True),
        ("edited", None, False),
        ("edited", None, False),
    ]
    half = execute("►" * 10 + "word word ", 'normalize("►")', limits=Limits(max_removed_frac=0.5, min_words=1))
    assert half.status == "edited"
    assert execute(TEXT, "remove_lines(all=True)", limits=Limits(max_removed_frac=0.9)).final == TEXT


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_errors", -1, r"max_errors \(-1\) is less than 0"),
        ("min_words", -1, r"min_words \(-1\) is less than 0"),
        ("drop_removed_frac", 95, r"drop_removed_frac \(95\) is no share"),
        ("max_removed_frac", -0.5, r"max_removed_frac \(-0.5\) is no share"),
        ("max_removed_frac", float("nan"), r"max_removed_frac \(nan\) is no share"),
    ],
)
def test_limits_that_mean_nothing_are_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Limits(), **{name: value})  # type: ignore[arg-type]


# --- nothing raises or takes long ---


def seconds(text: str, program: str, limit_s: float) -> float:
    """Of the processor. Measured again if they are too many: the garbage of other tests may be collected meanwhile."""
    for _ in range(3):
        started = time.process_time()
        execute(text, program)
        spent = time.process_time() - started
        if spent < limit_s:
            break
    return spent


def test_random_bytes_change_nothing_and_take_no_time() -> None:
    rng = random.Random(0)
    programs = [rng.randbytes(rng.randrange(300)).decode("latin-1") for _ in range(10_000)]
    assert sum(execute(TEXT, program).final != TEXT for program in programs) <= 10
    assert max(seconds(TEXT, program, 0.05) for program in programs) < 0.05


PIECES = ["remove_lines", "normalize", "keep_chunk", "drop_doc", "start", "line_end", "source_str", "all", "True", "0", "3",
          "some", "has ", "\\n", "\\ud800", "\ud800", *"()[],=#- \n\"'\\"]  # fmt: skip


@settings(max_examples=200)
@given(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.booleans())
def test_no_program_raises(text: str, program: str, compat: bool) -> None:
    outcome = execute(text, program, compat=compat)
    assert outcome.final in ("", text, outcome.text)
    assert applied(text, outcome.edits) == outcome.text


def calls(count: int, source: str, target: str = "") -> str:
    return write([Normalize(source, target)] * count)


PAGE = "some words of a text that goes on and on\n" * 25_000


@pytest.mark.parametrize(
    ("why", "text", "program"),
    [
        ("more calls than are made", PAGE, calls(2_000, "that goes")),
        ("as many calls as are made", PAGE, calls(MAX_NORMALIZES, "that grows")),
        ("what nearly occurs everywhere", "a" * 500_000, calls(MAX_NORMALIZES, "a" * 500 + "b")),
        ("what occurs everywhere", "." * 300_000, calls(2, ".")),
        ("overlapping ranges", "\n" * 300_000, "remove_lines(0, 290000)\n" * 2_000),
        ("a range of a billion lines", TEXT, "remove_lines(5, 999999999)"),
        ("ranges that are not there", TEXT, "remove_lines(5000000, 9000000)\n" * 2_000),
        ("a text that would be long", "." * 10**6, calls(1, ".", "x" * 60_000)),
    ],
)
def test_no_program_takes_long(why: str, text: str, program: str) -> None:
    assert seconds(text, program, 2) < 2


@pytest.mark.parametrize(
    ("program", "left", "num_errors"),
    [("remove_lines(3, 3000000)", joined(*LINES[:3]), 0), ("remove_lines(3000000, 9000000)", TEXT, 1)],
)
def test_a_range_of_a_million_lines_takes_no_time(program: str, left: str, num_errors: int) -> None:
    outcome = execute(TEXT, program)
    assert (outcome.text, outcome.num_errors) == (left, num_errors)
    assert seconds(TEXT, program, 0.01) < 0.01


def test_more_replacements_than_are_made_are_faults() -> None:
    program = Program((Normalize("zzz"),) * (MAX_NORMALIZES + 1) + (Normalize("has "),))
    outcome = execute_chunks(TEXT, [Chunk(0, 10, program)], limits=Limits(max_errors=2))
    assert outcome == ExecutionResult(TEXT, TEXT, 2, (), "kept", missed=MAX_NORMALIZES)
    fewer = Program((Normalize("zzz"),) * (MAX_NORMALIZES - 1) + (Normalize("has "),))
    assert execute_chunks(TEXT, [Chunk(0, 10, fewer)]).text == TEXT.replace("has ", "")


def test_a_replacement_that_makes_a_chunk_far_longer_is_a_fault() -> None:
    text = "." * 1_000
    longest = execute(text, calls(1, ".", "..."), limits=OPEN)
    assert (len(longest.text), longest.num_errors) == (3_000, 0)
    refused = execute(
        text + "-", write([Normalize("-", "xyz"), Normalize(".", "...."), Normalize("." * 500, "x")]), limits=OPEN
    )
    assert (refused.text, refused.num_errors) == ("xx" + "xyz", 1)
    # What calls before have put in counts.
    assert execute(text + "-", write([Normalize("-", "x" * 9), Normalize(".", "...")]), limits=OPEN).num_errors == 1


# --- programs that only delete ---


def deletion(rng: random.Random, num_lines: int) -> Call:
    if rng.random() < 0.6:
        first = rng.randrange(num_lines)
        return RemoveLines(first, first + min(rng.randrange(1 + num_lines), rng.randrange(1 + num_lines)))
    return Normalize(f"w{rng.randrange(60):02d} ")


def test_programs_that_only_delete_add_no_word() -> None:
    rng = random.Random(1)
    statuses: Counter[str] = Counter()
    for _ in range(200):
        lines = [" ".join(f"w{rng.randrange(60):02d}" for _ in range(rng.randrange(9))) for _ in range(rng.randrange(1, 25))]
        text = joined(*lines)
        outcome = execute(text, write(deletion(rng, len(lines)) for _ in range(rng.randrange(5))))
        assert Counter(outcome.text.split()) <= Counter(text.split())
        behind = iter(text)
        assert all(char in behind for char in outcome.text)
        statuses[outcome.status] += 1
    assert statuses.total() == 200
    assert {status for status, count in statuses.items() if count > 9} == {"kept", "edited", "dropped"}


# --- compat ---


PUBLISHED = [f"remove_lines(start={line}, end={line})" for line in range(4)]
PUBLISHED += [
    'normalize(source_str="a", target_str="b")',
    'normalize(source_str="ab")',
    "normalize(",
    "remove_lines(start=9, end=9)",
]


@settings(max_examples=200)
@given(st.text("ab\n", min_size=1), st.lists(st.sampled_from(PUBLISHED), max_size=3).map("\n".join))
def test_compat_is_the_published_executor_with_its_change_in_one_edit(text: str, program: str) -> None:
    text = f"{text}word"
    outcome = execute(text, program, compat=True)
    assert (outcome.text, outcome.final, outcome.num_errors) == run_published(text, program)
    assert applied(text, outcome.edits) == outcome.text
    for rule, start, end, replacement in outcome.edits:
        gone = text[start:end]
        assert (rule, gone[:1] == replacement[:1], gone[-1:] == replacement[-1:]) == ("program", False, False)


@pytest.mark.parametrize(
    ("program", "status", "reason"),
    [
        (TOP, "edited", None),
        ("keep_chunk()", "kept", None),
        (f"{TOP}\nremove_li", "edited", None),
        ("remove_lines(all=True)", "dropped", "too_many_words_removed"),
        ("remove_lines(start=0, end=8)", "dropped", "too_few_words"),
        (f"{TOP}\nremove_lines(0", "program_error", "too_many_errors"),
    ],
)
def test_compat_says_what_became_of_the_text(program: str, status: str, reason: str | None) -> None:
    outcome = execute(TEXT, program, compat=True)
    assert (outcome.status, outcome.reason) == (status, reason)


def test_compat_says_the_change_in_one_edit() -> None:
    program = 'normalize(source_str="line 3", target_str="lin3")\nnormalize(source_str="line 4", target_str="lin4")'
    start, end = TEXT.index("e 3"), TEXT.index(" has some words of text here\nline 5")
    middle = TEXT[start + 3 : end - 6]
    assert execute(TEXT, program, compat=True).edits == (("program", start, end - 1, f"3{middle}lin"),)
    assert execute("word " * 20 + "aa", 'normalize(source_str="aa", target_str="aaa")', compat=True).edits == (
        ("program", 102, 102, "a"),
    )


@pytest.mark.parametrize("text", ["", " \n "])
def test_compat_keeps_a_text_without_words(text: str) -> None:
    """The published code fails."""
    assert execute(text, "remove_lines(all=True)", compat=True) == ExecutionResult(text, text, 0, (), "kept")


def test_compat_edits_by_the_stripped_program_from_which_the_final_text_comes() -> None:
    assert execute(TEXT, f" {TOP}", compat=True) == execute(TEXT, TOP, compat=True)


def test_compat_has_no_other_limits() -> None:
    with pytest.raises(ValueError, match="compat=True has the limits of the published code"):
        execute(TEXT, TOP, compat=True, limits=OPEN)
