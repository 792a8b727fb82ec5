"""The published executor of ProX, reproduced bug for bug, so that published results can be reproduced.

The behaviour was established by running the published code (ProX, Zhou et al. 2024, arXiv:2409.17115). Calls are parsed by
slicing strings, so a `=`, `,` or `)` inside an argument breaks the call. `normalize` replaces strings in the whole document.
Two errors anywhere discard every edit. A document of ten words or fewer is dropped even if its program changes nothing.
`curate.prox.execute` is the executor without these bugs.

One difference remains: a replacement that would make the text longer than ten times its length plus a million characters
is an error here. A few lines of program can ask for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

MIN_WORDS = 10
MAX_ERRORS = 1
DROP_REMOVED_FRAC = 0.95
MAX_GROWTH = 10
ROOM_CHARS = 1_000_000

Reason = Literal["too_many_words_removed", "too_few_words", "too_many_errors"]
LineRange = tuple[int, int]
"""First and last line, both included. Empty where the last is before the first."""


def run_published(text: str, program: str) -> tuple[str, str, int]:
    """Edited text, final text and number of errors, as the published functions return them.

    The edited text and the errors are those of the program as it is. The final text is what the guards leave of the program
    without blanks at its beginning and end: the published code strips the program for the final text alone, and a call behind
    a blank is no call.

    Raises ZeroDivisionError for a text without words.
    """
    edited, num_errors = apply_program(text, program)
    stripped = program.strip(" ")
    return edited, guarded(text, *(apply_program(text, stripped) if stripped != program else (edited, num_errors))), num_errors


def apply_program(text: str, program: str) -> tuple[str, int]:
    """The edited text and the number of errors of a program, one call a line, before the guards."""
    num_lines, max_chars = text.count("\n") + 1, MAX_GROWTH * len(text) + ROOM_CHARS
    edited, num_errors = text, 0
    ranges: list[LineRange] = []
    remove_all = False
    for call in program.split("\n"):
        if call.startswith("remove_lines") and "all=True" in call:
            remove_all = True
        elif call.startswith("remove_lines"):
            line_range, errors = _parse_range(call)
            ranges += [line_range] if line_range else []
            num_errors += errors
        elif call.startswith("normalize"):
            edited, errors = _normalize(edited, call, max_chars)
            num_errors += errors
    merged = _merge(ranges)
    num_errors += sum(first >= num_lines or last >= num_lines for first, last in merged)
    return "" if remove_all else _remove(edited, merged), num_errors


def guarded(text: str, edited: str, num_errors: int) -> str:
    """The final text: the edited text, nothing where it is dropped, or the input where the edits are discarded."""
    reason = guard(text, edited, num_errors)
    return edited if reason is None else text if reason == "too_many_errors" else ""


def guard(text: str, edited: str, num_errors: int) -> Reason | None:
    """Why the edited text is dropped or its edits are discarded; None where it stays. The order of the rules matters."""
    before, after = len(text.split()), len(edited.split())
    if after / before <= 1 - DROP_REMOVED_FRAC and num_errors <= MAX_ERRORS:
        return "too_many_words_removed"
    if after <= MIN_WORDS:
        return "too_few_words"
    return None if num_errors <= MAX_ERRORS else "too_many_errors"


def published_decision(output: str) -> bool:
    """Whether a model's output for a whole document keeps it: any output without `drop` in it does."""
    return "drop" not in output


def _split_arguments(call: str) -> tuple[list[str] | None, int]:
    """The arguments between the first `(` and the first `)`, split at commas. Without a `)` the last character is lost."""
    start, end = call.find("("), call.find(")")
    if start < 0:
        return None, 1
    return call[start + 1 : end].split(","), int(end < 0)


def _value(argument: str) -> str | None:
    """The characters between the first `=` and the second."""
    return argument.split("=")[1] if "=" in argument else None


def _parse_range(call: str) -> tuple[LineRange | None, int]:
    """The lines that a call removes, and the number of its errors."""
    arguments, errors = _split_arguments(call)
    values = [_value(argument) for argument in (arguments or [])[:2]]
    try:
        first, last = (int(value) for value in values if value is not None)
    except ValueError:  # not a number, or fewer than two
        return None, errors + (arguments is not None)
    return (first, last), errors


def _merge(ranges: Sequence[LineRange]) -> list[LineRange]:
    """Ranges that overlap or touch, merged in the order of their first lines. Errors are counted per merged range."""
    merged: list[LineRange] = []
    for first, last in sorted(ranges, key=lambda line_range: line_range[0]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


def _remove(text: str, ranges: Sequence[LineRange]) -> str:
    """The text without the lines of ascending ranges, as far as the text has them."""
    lines = text.split("\n")
    for first, last in reversed(ranges):
        del lines[max(first, 0) : max(last + 1, 0)]
    return "\n".join(lines)


def _normalize(text: str, call: str, max_chars: int) -> tuple[str, int]:
    """The text with every occurrence of a string replaced, and the number of errors of the call."""
    arguments, errors = _split_arguments(call)
    if arguments is None or len(arguments) > 2:
        return text, errors
    values = [_value(argument) for argument in arguments]
    source, target = (values[0], values[1]) if len(values) == 2 else (values[0], "")
    if source is None or target is None:
        return text, errors + 1
    source, target = source.strip('"'), target.strip('"')
    if not source or (source == " " and len(arguments) == 2):
        return text, errors
    if len(text) + text.count(source) * (len(target) - len(source)) > max_chars:
        return text, errors + 1
    return text.replace(source, target), errors
