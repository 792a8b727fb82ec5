"""Boolean masks over lines as programs, and back. Adjacent removed lines are one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from curate.prox.execute import Chunk
from curate.prox.program import ALL_LINES, LAST_LINE, Call, KeepChunk, RemoveLines, parse, write


def runs(mask: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last index of every run of true values."""
    start = None
    for number, value in enumerate([*mask, False]):
        if value and start is None:
            start = number
        elif not value and start is not None:
            yield start, number - 1
            start = None


def removal(remove: Sequence[bool], offset: int = 0) -> str:
    """The program that removes the lines where `remove` is true, the first of which is number `offset` of its document."""
    calls = [RemoveLines(offset + first, offset + last) for first, last in runs(remove)]
    return write(calls or [KeepChunk()])


def removed_lines(program: str, num_lines: int) -> list[bool]:
    """The mask of the lines that a program removes, the inverse of `removal`. Raises ValueError for a program with faults."""
    parsed = parse(program)
    if parsed.faults or parsed.truncated:
        raise ValueError(f"{parsed.faults[0].what if parsed.faults else 'cut off'}: {program[:200]!r}")
    mask = [False] * num_lines
    for call in parsed.calls:
        if isinstance(call, RemoveLines):
            stop = num_lines if call == ALL_LINES else min(call.last + 1, num_lines)
            mask[call.first : stop] = [True] * max(0, stop - call.first)
    return mask


def shifted(chunks: Sequence[Chunk]) -> str:
    """The programs of a document's chunks as one, with line numbers of the document. Faults are left out."""
    calls: list[Call] = []
    for chunk in chunks:
        parsed = parse(chunk.program) if isinstance(chunk.program, str) else chunk.program
        calls += [_moved(call, chunk.offset) for call in parsed.calls if not isinstance(call, KeepChunk)]
    return write(calls or [KeepChunk()])


def _moved(call: Call, offset: int) -> Call:
    if not isinstance(call, RemoveLines) or call == ALL_LINES:
        return call
    return RemoveLines(min(call.first + offset, LAST_LINE), min(call.last + offset, LAST_LINE))
