"""Cleanup programs executed: the edits they make to a text, and whether what is left of it is kept.

A chunk's program was written by a model that saw these lines and no others, so it touches no others, and a chunk whose
program is mostly wrong stays as it is while the others are edited. Line numbers count from the beginning of the document.
Whatever a program says, work is bounded by the sizes of text and program, and nothing raises.

Decisions. Every `normalize` acts on the text as the model saw it, not on what calls before have made of it; what one call
has claimed no other touches, so that the edits are spans of the input. Lines are removed as in
`curate.stages.filters.remove_spans`, with the line
break before them. Guards are those of ProX (Zhou et al. 2024, arXiv:2409.17115) with one exception: a short document that
no program changes is not dropped. `compat=True` is the published code itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from curate.prox.program import DropDoc, KeepDoc, Normalize, Program, RemoveLines, parse
from curate.prox.published_executor import DROP_REMOVED_FRAC, MAX_ERRORS, MIN_WORDS, guard, run_published

MAX_NORMALIZES = 64
"""Calls of `normalize` in a program; every one reads the whole chunk. More of them are faults."""
ROOM_CHARS = 1_000
"""A `normalize` after which a chunk had more than twice its characters and this many is a fault."""

Edit = tuple[str, int, int, str]
"""Rule, start and end in code points of the input, replacement."""
Status = Literal["kept", "edited", "dropped", "program_error", "truncated"]
Run = tuple[int, int]
"""Lines from the first up to, and without, the second."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    max_errors: int = MAX_ERRORS
    """A program with more faults is not applied."""
    drop_removed_frac: float | None = DROP_REMOVED_FRAC
    """A document that loses at least this share of its words is dropped."""
    min_words: int = MIN_WORDS
    """An edited document that is left with this many words, or fewer, is dropped."""
    max_removed_frac: float | None = None
    """Programs that together remove a larger share of a document's characters are not applied."""

    def __post_init__(self) -> None:
        for name in ("max_errors", "min_words"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) is less than 0")
        for name in ("drop_removed_frac", "max_removed_frac"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise ValueError(f"{name} ({getattr(self, name)}) is no share: give 0 to 1")


@dataclass(frozen=True)
class Chunk:
    """Lines first..stop-1 of a document, and what is to be done to them."""

    first: int
    stop: int
    program: str | Program
    offset: int = 0
    """Added to the numbers in the program, where the numbers of its prompt did not count from the first line."""


@dataclass(frozen=True)
class ExecutionResult:
    text: str
    """With the edits made, whatever comes of it."""
    final: str
    """What is left: the text, nothing if it is dropped, the input if programs were given up."""
    num_errors: int
    edits: tuple[Edit, ...]
    """Ascending and without overlap; applied to the input they give `text`."""
    status: Status
    missed: int = 0
    """Calls of `normalize` for strings that the chunk does not have."""
    reason: str | None = None
    """Of `dropped` and `program_error`."""


DEFAULTS = Limits()


def execute(text: str, program: str, *, compat: bool = False, limits: Limits = DEFAULTS) -> ExecutionResult:
    """Execute the program of a whole document. `compat` knows only the published limits."""
    if not compat:
        return execute_chunks(text, [Chunk(0, text.count("\n") + 1, program)], limits=limits)
    if limits != DEFAULTS:
        raise ValueError("compat=True has the limits of the published code: leave out either")
    return _execute_published(text, program)


def execute_chunks(text: str, chunks: Sequence[Chunk], *, limits: Limits = DEFAULTS) -> ExecutionResult:
    """Execute the programs of a document's chunks, which ascend and do not overlap; lines in no chunk stay as they are."""
    starts = [0, *(found.end() for found in re.finditer("\n", text)), len(text) + 1]
    _check(chunks, len(starts) - 1)
    done = [_chunk_edits(text, starts, chunk, limits.max_errors) for chunk in chunks]
    removed = _merged(run for one in done for run in one.removed)
    edits = [*_removals(text, starts, removed), *(edit for one in done for edit in one.replaced)]
    edits.sort(key=lambda edit: edit[1])
    edited = _applied(text, edits)
    if edited == text:  # what one call adds another may remove
        edits = []
    status, reason = _verdict(text, edited, done, limits)
    final = {"dropped": "", "program_error": text}.get(status, edited)
    num_errors, missed = sum(one.num_errors for one in done), sum(one.missed for one in done)
    return ExecutionResult(edited, final, num_errors, tuple(edits), status, missed, reason)


def _check(chunks: Sequence[Chunk], num_lines: int) -> None:
    line = 0
    for number, chunk in enumerate(chunks):
        if not line <= chunk.first < chunk.stop <= num_lines:
            raise ValueError(
                f"chunk {number} is lines {chunk.first} to {chunk.stop}, without the last. "
                f"Give lines from {line} on, at least one, of the {num_lines} that there are"
            )
        line = chunk.stop


@dataclass(frozen=True)
class _Done:
    """What the program of one chunk does."""

    num_errors: int
    truncated: bool
    applied: bool
    removed: Sequence[Run] = ()
    replaced: Sequence[Edit] = ()
    missed: int = 0


def _chunk_edits(text: str, starts: Sequence[int], chunk: Chunk, max_errors: int) -> _Done:
    program = parse(chunk.program) if isinstance(chunk.program, str) else chunk.program
    runs: list[Run] = []
    normalizes: list[Normalize] = []
    num_errors = len(program.faults)
    for call in program.calls:
        if isinstance(call, RemoveLines):
            run = max(call.first + chunk.offset, chunk.first), min(call.last + chunk.offset + 1, chunk.stop)
            if run[0] < run[1]:
                runs.append(run)
            else:
                num_errors += 1
        elif isinstance(call, Normalize) and len(normalizes) < MAX_NORMALIZES:
            normalizes.append(call)
        # What is said of a whole document does not belong here.
        elif isinstance(call, Normalize | KeepDoc | DropDoc):
            num_errors += 1
    if num_errors > max_errors:
        return _Done(num_errors, program.truncated, applied=False)
    removed = _merged(runs)
    replaced, missed, refused = _replacements(text, starts, chunk, removed, normalizes)
    num_errors += refused
    if num_errors > max_errors:
        return _Done(num_errors, program.truncated, applied=False)
    return _Done(num_errors, program.truncated, True, removed, replaced, missed)


def _merged(runs: Iterable[Run]) -> list[Run]:
    """Ascending, and runs that meet made one."""
    merged: list[Run] = []
    for first, stop in sorted(runs):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((first, stop))
    return merged


def _replacements(
    text: str, starts: Sequence[int], chunk: Chunk, removed: Sequence[Run], calls: Sequence[Normalize]
) -> tuple[list[Edit], int, int]:
    """The edits of a chunk's calls of `normalize`; how many of them are for strings it has not, and how many too greedy."""
    begin, end = starts[chunk.first], starts[chunk.stop] - 1
    whole = text[begin:end]
    # No source has a line break, so line breaks hide what is taken, and every place stays where it is.
    spans = [(starts[first] - begin, starts[stop] - 1 - begin) for first, stop in removed]
    free = _applied(whole, [("remove_lines", start, stop, "\n" * (stop - start)) for start, stop in spans])
    edits: list[Edit] = []
    missed = refused = grown = 0
    for call in calls:
        size = len(call.source)
        places = list(_places(free, call.source))
        more = grown + len(places) * (len(call.target) - size)
        if more > len(whole) + ROOM_CHARS:
            refused += 1
            continue
        grown = more
        missed += not places and call.source not in whole
        free = free.replace(call.source, "\n" * size)
        if call.target != call.source:
            edits += [("normalize", begin + at, begin + at + size, call.target) for at in places]
    return edits, missed, refused


def _places(text: str, source: str) -> Iterator[int]:
    at = text.find(source)
    while at >= 0:
        yield at
        at = text.find(source, at + len(source))


def _removals(text: str, starts: Sequence[int], removed: Sequence[Run]) -> Iterator[Edit]:
    """Lines go with the line break before them, at the beginning of the text with the one behind."""
    for first, stop in removed:
        start, end = (starts[first] - 1, starts[stop] - 1) if first else (0, min(starts[stop], len(text)))
        if start < end:
            yield "remove_lines", start, end, ""


def _applied(text: str, edits: Iterable[Edit]) -> str:
    parts, at = [], 0
    for _, start, end, replacement in edits:
        parts += [text[at:start], replacement]
        at = end
    return "".join([*parts, text[at:]])


def _verdict(text: str, edited: str, done: Sequence[_Done], limits: Limits) -> tuple[Status, str | None]:
    if done and not any(one.applied for one in done):
        return "program_error", "too_many_errors"
    if edited != text:
        share = limits.max_removed_frac
        if share is not None and _removed(len(text), len(edited)) > _exact(share):
            return "program_error", "too_many_chars_removed"
        before, after = len(text.split()), len(edited.split())
        share = limits.drop_removed_frac
        if share is not None and before and _removed(before, after) >= _exact(share):
            return "dropped", "too_many_words_removed"
        if after <= limits.min_words:
            return "dropped", "too_few_words"
    if any(one.truncated for one in done):
        return "truncated", None
    return "kept" if edited == text else "edited", None


def _removed(before: int, after: int) -> Fraction:
    return Fraction(before - after, before)


def _exact(share: float) -> Fraction:
    """The share as it is written: 1 - 0.9 is a little less than one tenth, and one word of ten would be too much of it."""
    return Fraction(str(share))


def _execute_published(text: str, program: str) -> ExecutionResult:
    """A text without words, on which the published code fails, stays as it is."""
    if not text.split():
        return ExecutionResult(text, text, 0, (), "kept")
    edited, final, num_errors = run_published(text, program)
    reason = guard(text, edited, num_errors)
    status: Status = "kept" if edited == text else "edited"
    if reason is not None:
        status = "program_error" if reason == "too_many_errors" else "dropped"
    return ExecutionResult(edited, final, num_errors, _difference(text, edited), status, reason=reason)


def _difference(text: str, edited: str) -> tuple[Edit, ...]:
    """The shortest edit that makes one text of the other."""
    if edited == text:
        return ()
    start = _common(text, edited)
    end = _common(text[start:][::-1], edited[start:][::-1])
    return (("program", start, len(text) - end, edited[start : len(edited) - end]),)


def _common(one: str, other: str) -> int:
    """Length of the longest common prefix, by halving, as texts are compared much faster than characters."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
