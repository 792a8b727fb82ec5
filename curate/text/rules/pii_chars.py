"""What the rules for personal data share: letters, and how blanks and dashes are read."""

from __future__ import annotations

from collections.abc import Iterator

from curate.text.rules.pii_candidates import BLANKS, DASHES

PLAIN = str.maketrans({**dict.fromkeys(BLANKS, " "), **dict.fromkeys(DASHES, "-")})

# Scripts that put no blanks between words: a number or an address stands next to them as next to a blank.
_SOLID = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
LETTER = rf"[^\W{_SOLID}]"
"""A pattern for a character that continues a word before or after a value."""

Found = Iterator[tuple[int, int, str, bool]]
"""Values at one place: start, end, the value however it is written, and whether it is reserved (`Match`)."""
