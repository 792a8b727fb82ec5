"""The executor of cleanup programs: the edits that programs make to a text, and whether the edited text is kept.

A chunk's program was written by a model that saw only the lines of this chunk, so it can edit only these. A chunk whose
program has too many errors stays as it is, while the other chunks are edited. Line numbers count from the beginning of the
document. Work is bounded by the sizes of text and program, whatever the program is, and no program raises.

Decisions. Every `normalize` acts on the text that the model saw, not on the output of earlier calls. A span that one call has
edited is closed to all others, so edits are spans of the input. Lines are removed with the line break before them, as in
`curate.stages.filters.remove_spans`. The guards are those of ProX (Zhou et al. 2024, arXiv:2409.17115) with one exception: a
short document that no program changes is not dropped. `compat=True` runs the published executor.
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
"""Limit of `normalize` calls in a program, since each of them reads the whole chunk. Further calls are errors."""
ROOM_CHARS = 1_000
"""A `normalize` call that makes a chunk longer than twice its characters plus these is an error."""

Edit = tuple[str, int, int, str]
"""Rule, start, end, replacement. Start and end are code points of the input."""
Status = Literal["kept", "edited", "dropped", "program_error", "truncated"]
LineRange = tuple[int, int]
"""First line, and the line after the last."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The guards of an execution."""

    max_errors: int = MAX_ERRORS
    """A program with more errors is not applied."""
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
    """Lines first..stop-1 of a document, and the program that edits them."""

    first: int
    stop: int
    program: str | Program
    offset: int = 0
    """Added to the line numbers of the program, where its prompt did not number lines from the beginning of the document."""


@dataclass(frozen=True)
class ExecutionResult:
    """The outcome of one document."""

    text: str
    """The edited text, before the guards."""
    final: str
    """The text after the guards: `text`, the empty string if the document is dropped, the input if the edits are discarded."""
    num_errors: int
    edits: tuple[Edit, ...]
    """Ascending and without overlap; applied to the input they give `text`."""
    status: Status
    missed: int = 0
    """Calls of `normalize` whose string the chunk does not contain."""
    reason: str | None = None
    """Why the status is `dropped` or `program_error`; otherwise None."""


DEFAULTS = Limits()


def execute(text: str, program: str, *, compat: bool = False, limits: Limits = DEFAULTS) -> ExecutionResult:
    """Execute the program of a whole document.

    `compat=True` runs the published executor, which has limits of its own: ValueError if others are given.

    >>> execute("Menu\\nA text.", "remove_lines(line_start=0, line_end=0)", limits=Limits(min_words=0)).final
    'A text.'
    """
    if not compat:
        return execute_chunks(text, [Chunk(0, text.count("\n") + 1, program)], limits=limits)
    if limits != DEFAULTS:
        raise ValueError("compat=True has the limits of the published code: leave out either")
    return _execute_published(text, program)


def execute_chunks(text: str, chunks: Sequence[Chunk], *, limits: Limits = DEFAULTS) -> ExecutionResult:
    """Execute the programs of a document's chunks. Lines in no chunk stay as they are.

    Raises ValueError for chunks that are out of order, overlap, or lie outside the document.
    """
    starts = [0, *(line_break.end() for line_break in re.finditer("\n", text)), len(text) + 1]
    _check_order(chunks, len(starts) - 1)
    per_chunk = [_chunk_edits(text, starts, chunk, limits.max_errors) for chunk in chunks]
    removed = _merge(line_range for edited_chunk in per_chunk for line_range in edited_chunk.removed)
    edits = [*_removals(text, starts, removed), *(edit for edited_chunk in per_chunk for edit in edited_chunk.replaced)]
    edits.sort(key=lambda edit: edit[1])
    edited = _apply_edits(text, edits)
    if edited == text:  # one call may insert the text that another removes
        edits = []
    status, reason = _status_of(text, edited, per_chunk, limits)
    final = {"dropped": "", "program_error": text}.get(status, edited)
    num_errors, missed = sum(chunk.num_errors for chunk in per_chunk), sum(chunk.missed for chunk in per_chunk)
    return ExecutionResult(edited, final, num_errors, tuple(edits), status, missed, reason)


def _check_order(chunks: Sequence[Chunk], num_lines: int) -> None:
    line = 0
    for number, chunk in enumerate(chunks):
        if not line <= chunk.first < chunk.stop <= num_lines:
            raise ValueError(
                f"chunk {number} is lines {chunk.first} to {chunk.stop}, without the last. "
                f"Give lines from {line} on, at least one, of the {num_lines} that there are"
            )
        line = chunk.stop


@dataclass(frozen=True)
class _ChunkEdits:
    """The edits of one chunk's program."""

    num_errors: int
    truncated: bool
    applied: bool
    removed: Sequence[LineRange] = ()
    replaced: Sequence[Edit] = ()
    missed: int = 0


def _chunk_edits(text: str, starts: Sequence[int], chunk: Chunk, max_errors: int) -> _ChunkEdits:
    program = parse(chunk.program) if isinstance(chunk.program, str) else chunk.program
    ranges: list[LineRange] = []
    normalizes: list[Normalize] = []
    num_errors = len(program.faults)
    for call in program.calls:
        if isinstance(call, RemoveLines):
            first, stop = max(call.first + chunk.offset, chunk.first), min(call.last + chunk.offset + 1, chunk.stop)
            if first < stop:
                ranges.append((first, stop))
            else:
                num_errors += 1
        elif isinstance(call, Normalize) and len(normalizes) < MAX_NORMALIZES:
            normalizes.append(call)
        # A decision on the whole document is no call of a chunk's program.
        elif isinstance(call, Normalize | KeepDoc | DropDoc):
            num_errors += 1
    if num_errors > max_errors:
        return _ChunkEdits(num_errors, program.truncated, applied=False)
    removed = _merge(ranges)
    replaced, missed, refused = _replacements(text, starts, chunk, removed, normalizes)
    num_errors += refused
    if num_errors > max_errors:
        return _ChunkEdits(num_errors, program.truncated, applied=False)
    return _ChunkEdits(num_errors, program.truncated, True, removed, replaced, missed)


def _merge(ranges: Iterable[LineRange]) -> list[LineRange]:
    """Ranges in ascending order; ranges that overlap or touch are merged."""
    merged: list[LineRange] = []
    for first, stop in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((first, stop))
    return merged


def _replacements(
    text: str, starts: Sequence[int], chunk: Chunk, removed: Sequence[LineRange], calls: Sequence[Normalize]
) -> tuple[list[Edit], int, int]:
    """The edits of a chunk's `normalize` calls, how many calls have a string that the chunk lacks, and how many are refused
    because the chunk would grow too much."""
    begin, end = starts[chunk.first], starts[chunk.stop] - 1
    chunk_text = text[begin:end]
    # Spans that are edited already are masked by line breaks: no source contains one, and offsets stay valid.
    spans = [(starts[first] - begin, starts[stop] - 1 - begin) for first, stop in removed]
    free = _apply_edits(chunk_text, [("remove_lines", start, stop, "\n" * (stop - start)) for start, stop in spans])
    edits: list[Edit] = []
    missed = refused = growth = 0
    for call in calls:
        size = len(call.source)
        offsets = list(_occurrences(free, call.source))
        growth_after = growth + len(offsets) * (len(call.target) - size)
        if growth_after > len(chunk_text) + ROOM_CHARS:
            refused += 1
            continue
        growth = growth_after
        missed += not offsets and call.source not in chunk_text
        free = free.replace(call.source, "\n" * size)
        if call.target != call.source:
            edits += [("normalize", begin + offset, begin + offset + size, call.target) for offset in offsets]
    return edits, missed, refused


def _occurrences(text: str, source: str) -> Iterator[int]:
    """Offsets of a string in a text, without overlap."""
    offset = text.find(source)
    while offset >= 0:
        yield offset
        offset = text.find(source, offset + len(source))


def _removals(text: str, starts: Sequence[int], removed: Sequence[LineRange]) -> Iterator[Edit]:
    """Lines are removed with the line break before them; at the beginning of the text, with the one after them."""
    for first, stop in removed:
        start, end = (starts[first] - 1, starts[stop] - 1) if first else (0, min(starts[stop], len(text)))
        if start < end:
            yield "remove_lines", start, end, ""


def _apply_edits(text: str, edits: Iterable[Edit]) -> str:
    parts, position = [], 0
    for _, start, end, replacement in edits:
        parts += [text[position:start], replacement]
        position = end
    return "".join([*parts, text[position:]])


def _status_of(text: str, edited: str, per_chunk: Sequence[_ChunkEdits], limits: Limits) -> tuple[Status, str | None]:
    """What becomes of the document, and the reason if it is dropped or its edits are discarded."""
    if per_chunk and not any(chunk.applied for chunk in per_chunk):
        return "program_error", "too_many_errors"
    if edited != text:
        share = limits.max_removed_frac
        if share is not None and _removed_frac(len(text), len(edited)) > _exact(share):
            return "program_error", "too_many_chars_removed"
        before, after = len(text.split()), len(edited.split())
        share = limits.drop_removed_frac
        if share is not None and before and _removed_frac(before, after) >= _exact(share):
            return "dropped", "too_many_words_removed"
        if after <= limits.min_words:
            return "dropped", "too_few_words"
    if any(chunk.truncated for chunk in per_chunk):
        return "truncated", None
    return "kept" if edited == text else "edited", None


def _removed_frac(before: int, after: int) -> Fraction:
    return Fraction(before - after, before)


def _exact(share: float) -> Fraction:
    """The fraction as it is written in decimals: in floating point 1 - 0.9 is less than 0.1, and one word of ten exceeds it."""
    return Fraction(str(share))


def _execute_published(text: str, program: str) -> ExecutionResult:
    """The published executor on the stripped program, from which its final text comes, so that all fields agree.

    A text without words, on which the published code fails, stays as it is.
    """
    if not text.split():
        return ExecutionResult(text, text, 0, (), "kept")
    edited, final, num_errors = run_published(text, program.strip(" "))
    reason = guard(text, edited, num_errors)
    status: Status = "kept" if edited == text else "edited"
    if reason is not None:
        status = "program_error" if reason == "too_many_errors" else "dropped"
    return ExecutionResult(edited, final, num_errors, _difference(text, edited), status, reason=reason)


def _difference(text: str, edited: str) -> tuple[Edit, ...]:
    """The shortest single edit that turns the text into the edited text."""
    if edited == text:
        return ()
    start = _common_prefix(text, edited)
    end = _common_prefix(text[start:][::-1], edited[start:][::-1])
    return (("program", start, len(text) - end, edited[start : len(edited) - end]),)


def _common_prefix(one: str, other: str) -> int:
    """Length of the longest common prefix, by bisection: comparing slices is much faster than comparing characters."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
