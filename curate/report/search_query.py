"""Search queries: words that must all occur in a document, "quoted phrases", and -words that must not.

Case is ignored, and a word matches within longer words. The script of the report page follows the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TERM = re.compile(r'(-?)(?:"([^"]+)"|(\S+))')


@dataclass(frozen=True)
class Search:
    """A parsed query."""

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
        """Split the text into pieces, each with whether it matches a wanted word."""
        if not self.wanted:
            yield text, False
            return
        longest_first = sorted(self.wanted, key=len, reverse=True)
        for number, piece in enumerate(re.split(f"({'|'.join(map(re.escape, longest_first))})", text, flags=re.IGNORECASE)):
            if piece:
                yield piece, number % 2 == 1
