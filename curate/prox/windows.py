"""Windows of whole lines that fit into a prompt, and the numbers that lines have there.

Lines are never split: one that is longer than a window has a window of its own, which is skipped and stays as it is (ProX,
Zhou et al. 2024, arXiv:2409.17115, algorithm 1). Numbers count from the beginning of the document in every window.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MARK = re.compile(r"^\[[0-9]{3,}\]", re.MULTILINE)


@dataclass(frozen=True)
class Window:
    """Lines first..stop-1 of a document."""

    first: int
    stop: int
    skipped: bool = False
    """It is one line that is too long."""


def pack(counts: Sequence[int], window: int) -> list[Window]:
    """Windows of lines of these sizes: a line joins the one before it if both fit, and begins another one if not."""
    windows: list[Window] = []
    first = size = 0
    for line, count in enumerate(counts):
        if size + count > window:
            windows += [Window(first, line)] if line > first else []
            first, size = line, 0
        if count > window:
            windows.append(Window(line, line + 1, skipped=True))
            first = line + 1
        else:
            size += count
    return [*windows, Window(first, len(counts))] if first < len(counts) else windows


def numbered(lines: Sequence[str], first: int) -> str:
    """The lines as they stand in a prompt; `first` is the number of the first of them."""
    return "\n".join(f"[{number:03d}]{line}" for number, line in enumerate(lines, first))


def without_numbers(text: str) -> str:
    """The lines that `numbered` was given, joined."""
    return _MARK.sub("", text)
