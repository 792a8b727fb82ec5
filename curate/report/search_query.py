"""What a search asks for: words that all stand in a document, "these words" one after another, and -words that do not.

Letters of either case are the same, and a word is found within longer ones. The report's own script does likewise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TERM = re.compile(r'(-?)(?:"([^"]+)"|(\S+))')


@dataclass(frozen=True)
class Search:
    """Words as they were typed."""

    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: str) -> Search:
        terms = [(minus, quoted or word) for minus, quoted, word in _TERM.findall(asked)]
        return cls(tuple(term for minus, term in terms if not minus), tuple(term for minus, term in terms if minus))

    def finds(self, text: str) -> bool:
        lower = text.lower()
        return all(term.lower() in lower for term in self.wanted) and not any(term.lower() in lower for term in self.unwanted)

    def pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """The text in pieces, and whether each is one of the wanted words."""
        if not self.wanted:
            yield text, False
            return
        longest_first = sorted(self.wanted, key=len, reverse=True)
        for number, piece in enumerate(re.split(f"({'|'.join(map(re.escape, longest_first))})", text, flags=re.IGNORECASE)):
            if piece:
                yield piece, number % 2 == 1
