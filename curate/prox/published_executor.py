"""Cleanup programs executed as the published code does, bug for bug, so that its results can be reproduced.

What it does was established by running it (ProX, Zhou et al. 2024, arXiv:2409.17115): strings are sliced by hand, so that a
`=`, `,` or `)` in them goes wrong; strings are replaced in the whole document; two errors anywhere give up every edit; a
document of ten words or fewer is dropped even if nothing was to be done. `curate.prox.execute` is the executor without that.

Results differ in one place: a replacement that would make the text more than ten times and a million characters long, which
a few lines can do, is an error here.
"""

from __future__ import annotations

from typing import Literal

MIN_WORDS = 10
MAX_ERRORS = 1
DROP_REMOVED_FRAC = 0.95
MAX_GROWTH = 10
ROOM_CHARS = 1_000_000

Verdict = Literal["too_many_words_removed", "too_few_words", "too_many_errors"]


def run_published(text: str, program: str) -> tuple[str, str, int]:
    """The text edited, the text that is left when the guards have looked at it, and the number of errors.

    Raises ZeroDivisionError for a text without words.
    """
    num_lines, limit = text.count("\n") + 1, MAX_GROWTH * len(text) + ROOM_CHARS
    edited, num_errors = text, 0
    ranges: list[tuple[int, int]] = []
    for call in program.split("\n"):
        if call.startswith("remove_lines"):
            found, errors = _range(call, num_lines)
            ranges += [found] if found else []
            num_errors += errors
        elif call.startswith("normalize"):
            edited, errors = _normalize(edited, call, limit)
            num_errors += errors
    removed, errors = _clipped(ranges, num_lines)
    edited = _without(edited, removed)
    num_errors += errors
    verdict = guard(text, edited, num_errors)
    final = edited if verdict is None else text if verdict == "too_many_errors" else ""
    return edited, final, num_errors


def guard(text: str, edited: str, num_errors: int) -> Verdict | None:
    """Why the edited text is not what is left: dropped for its words, or given up for its errors, in this order."""
    before, after = len(text.split()), len(edited.split())
    if after / before <= 1 - DROP_REMOVED_FRAC and num_errors <= MAX_ERRORS:
        return "too_many_words_removed"
    if after <= MIN_WORDS:
        return "too_few_words"
    return None if num_errors <= MAX_ERRORS else "too_many_errors"


def published_decision(output: str) -> bool:
    """Whether a document is kept by what a model said of the whole of it: by anything without `drop` in it."""
    return "drop" not in output


def _arguments(call: str) -> tuple[list[str] | None, int]:
    """What stands between the first `(` and the first `)`, cut at commas. Without a `)` the last character is lost."""
    start, end = call.find("("), call.find(")")
    if start < 0:
        return None, 1
    return call[start + 1 : end].split(","), int(end < 0)


def _value(argument: str) -> str | None:
    """What stands behind the first `=` and before the second."""
    return argument.split("=")[1] if "=" in argument else None


def _range(call: str, num_lines: int) -> tuple[tuple[int, int] | None, int]:
    """The lines that a call removes, both included, and its errors."""
    if "all=True" in call:
        return (0, num_lines - 1), 0
    arguments, errors = _arguments(call)
    values = [_value(argument) for argument in (arguments or [])[:2]]
    try:
        first, last = (int(value) for value in values if value is not None)
    except ValueError:  # a number that is none, or fewer than two of them
        return None, errors + (arguments is not None)
    return (first, last), errors


def _clipped(ranges: list[tuple[int, int]], num_lines: int) -> tuple[list[tuple[int, int]], int]:
    """Ranges that share a line made one, as far as there are lines; one that goes beyond the last line is an error."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    inside = [(max(first, 0), min(last, num_lines - 1)) for first, last in merged]
    return [(first, last) for first, last in inside if first <= last], sum(
        first >= num_lines or last >= num_lines for first, last in merged
    )


def _without(text: str, ranges: list[tuple[int, int]]) -> str:
    lines = text.split("\n")
    for first, last in reversed(ranges):
        del lines[first : last + 1]
    return "\n".join(lines)


def _normalize(text: str, call: str, limit: int) -> tuple[str, int]:
    """The text with a string replaced wherever it stands, and the errors of the call."""
    arguments, errors = _arguments(call)
    if arguments is None or len(arguments) > 2:
        return text, errors
    values = [_value(argument) for argument in arguments]
    source, target = (values[0], values[1]) if len(values) == 2 else (values[0], "")
    if source is None or target is None:
        return text, errors + 1
    source, target = source.strip('"'), target.strip('"')
    if not source or (source == " " and len(arguments) == 2):
        return text, errors
    if len(text) + text.count(source) * (len(target) - len(source)) > limit:
        return text, errors + 1
    return text.replace(source, target), errors
