"""Windows of whole lines that fit into a prompt, and line numbers in prompts.

Lines are never split. A line that exceeds the window has a window of its own, which is skipped: the line stays as it is (ProX,
Zhou et al. 2024, arXiv:2409.17115, algorithm 1). In every window, line numbers count from the beginning of the document.
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
    """Whether the window is a single line that exceeds it."""


def pack(counts: Sequence[int], window: int) -> list[Window]:
    """Greedy packing of lines into windows. `counts` are the sizes of the lines, `window` is the largest sum of a window.

    >>> [(w.first, w.stop) for w in pack([500, 500, 500, 1], 1500)]
    [(0, 3), (3, 4)]
    """
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
    """The lines with their numbers in front, from number `first` on."""
    return "\n".join(f"[{number:03d}]{line}" for number, line in enumerate(lines, first))


def without_numbers(text: str) -> str:
    """The inverse of `numbered`: the text without line numbers."""
    return _MARK.sub("", text)
