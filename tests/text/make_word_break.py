"""Writes curate/text/words/word_break.txt and tests/text/word_break_cases.jsonl from uniseg (`pip install uniseg==0.10.1`).

uniseg carries Unicode's own data and its own implementation of UAX 29, the one that DCLM uses. Run from the repository root
with a Python that has it; the package itself does not depend on it.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "curate" / "text" / "words" / "word_break.txt"
CASES = ROOT / "tests" / "text" / "word_break_cases.jsonl"

# Characters of every class and of several scripts, and white space of every class but U+202F, which is a case of its own.
CHARS = [
    *"aZéß中の한ไ",
    *"אש",
    *"07٣",
    *"カｱー",
    *"_‿",
    *":·",
    *",;",
    *".’",
    *"'\"",
    "\u0301",
    "\ufe0f",
    "\u00ad",
    "\u200b",
    "\u200d",
    "\U0001f3fd",
    *"🇩🇪",
    *"😀©Ⓜ",
    *"-€•।",
    *" \u3000\t\xa0\n\r\u2028",
]
PLAIN = [
    "The quick (“brown”) fox can't jump 32.3 feet, right?",
    "state-of-the-art e-mail: a.b@example.org, http://example.org/a_b?c=d&e=1,000.5",
    "don't don’t 'tis rock'n'roll l'été aujourd'hui U.S. e.g. 3.14.15 1,000,000 1'000 v2.0beta a:b 12:30",
    "snake_case __init__ _ ___ 1_000 カタカナ_カタ ー",
    'צה"ל ג\'ירפה ש"ס "שלום" א\'. ה\'',
    "東京都に行きました。カタカナとひらがな、漢字。ﾊﾝｶｸ",
    "한국어 단어 나누기. 안녕하세요!",
    "ภาษาไทย ພາສາລາວ ភាសាខ្មែរ မြန်မာ",
    "हिन्दी में शब्द। বাংলা தமிழ்",
    "العربية، كلمات؛ ١٢٣٫٤٥ می‌خواهم",
    "Привет, мир! Это — тест. Δοκιμή, ναι· όχι;",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷🇮 ❤️ ©️ ™ ✈️✈ 1️⃣ #️⃣ *️⃣",
    "Ⓜ️ ℹ️ 🅰️🅱️ ㊗️ 〰️",
    "co\u00adoperate zero\u200bwidth word\u2060joiner \ufeffbom",
    "e\u0301te\u0301 \u0301 \u0301a a \u0301b",
    "tab\tseparated\r\nlines\x85next\u2028para\u2029graph\x0bvt\x0cff\x1cfs",
    "10\u202f000\u202f€ «\u00a0oui\u00a0»\u202f!",
    "",
    " ",
    "...",
    "a..b a.b.c a.1 1.a 1.1 1..1 a,b 1,1 a;b 1;1",
]


def main() -> None:
    word_breaks, units = import_module("uniseg.wordbreak"), import_module("uniseg")
    pictographic = import_module("uniseg.emoji").extended_pictographic
    source = f"uniseg {version('uniseg')}, Unicode {units.unidata_version}"
    TABLE.write_text("\n".join(table(word_breaks.word_break, pictographic, source)) + "\n")
    with CASES.open("w") as file:
        file.write(json.dumps({"source": source}) + "\n")
        for text in cases():
            ends = list(word_breaks.word_boundaries(text))
            file.write(json.dumps({"text": text, "ends": [end for end in ends if end]}) + "\n")


def table(word_break: Callable[[str], Any], pictographic: Callable[[str], bool], source: str) -> Iterator[str]:
    yield "# Word_Break of every code point that has one, and Extended_Pictographic (UAX 29, UTS 51), in hexadecimal."
    yield f"# Written by tests/text/make_word_break.py from {source}."
    yield "# Data: copyright Unicode, Inc., under the Unicode License v3, https://www.unicode.org/license.txt"
    yield from ranges(lambda char: word_break(char).value, "Other")
    yield from ranges(lambda char: "Extended_Pictographic" if pictographic(char) else "", "")


def ranges(value_of: Callable[[str], str], absent: str) -> Iterator[str]:
    codes = range(sys.maxunicode + 1)
    for value, group in itertools.groupby(codes, lambda code: value_of(chr(code))):
        members = list(group)
        if value != absent:
            yield f"{members[0]:04X} {members[-1]:04X} {value}"


def cases() -> Iterator[str]:
    yield from PLAIN
    rng = random.Random(29)
    for _ in range(280):
        yield "".join(rng.choices(CHARS, k=rng.randint(2, 9)))


if __name__ == "__main__":
    main()
