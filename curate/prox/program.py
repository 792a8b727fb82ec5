"""Cleanup programs as text: their calls, a parser, and a writer whose output parses to the same calls.

A program has one call per line, with blanks, empty lines and comments as in Python. Every spelling that models are known to
write is accepted. `parse` takes any text and never raises: a line that is not a call is a fault, and an incomplete last line
means that the program was truncated. Nothing is evaluated; each line is read once from left to right.

>>> parse("remove_lines(line_start=0, line_end=2)").calls
(RemoveLines(first=0, last=2),)

ProX: Zhou et al. 2024, arXiv:2409.17115, table 1 and appendix A.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

MAX_CHARS = 65_536
"""Longer programs are truncated at the last line break before."""
MAX_CALLS = 4_096
"""Calls after these are not read."""
MAX_DIGITS = 9
LAST_LINE = 10**MAX_DIGITS - 1
"""More lines than any document has: `remove_lines(all=True)` removes up to here."""
MIN_SOURCE_CHARS = 3
"""Shorter sources with a letter or a digit occur inside unrelated words."""


class BadCall(ValueError):
    """An invalid call. Its text is the type of fault."""


@dataclass(frozen=True)
class RemoveLines:
    """Remove lines `first` to `last`, both included, counted from 0."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not (0 <= self.first <= LAST_LINE and 0 <= self.last <= LAST_LINE):
            raise BadCall("bad_number")
        if self.last < self.first:
            raise BadCall("empty_range")


@dataclass(frozen=True)
class Normalize:
    """Replace a string within a line by another one."""

    source: str
    target: str = ""

    def __post_init__(self) -> None:
        for text in (self.source, self.target):
            if "\n" in text:
                raise BadCall("newline_in_string")
            if _SURROGATE.search(text):
                raise BadCall("lone_surrogate")
        short = len(self.source) < MIN_SOURCE_CHARS and any(char.isalnum() for char in self.source)
        if short or not self.source.strip():
            raise BadCall("source_too_short")


@dataclass(frozen=True)
class KeepChunk:
    """No edit. Also written `untouch_doc()`."""


@dataclass(frozen=True)
class KeepDoc:
    pass


@dataclass(frozen=True)
class DropDoc:
    pass


Call = RemoveLines | Normalize | KeepChunk | KeepDoc | DropDoc
ALL_LINES = RemoveLines(0, LAST_LINE)


@dataclass(frozen=True)
class Fault:
    """A line of a program that is not a valid call."""

    line: int
    """Line of the program, counted from 1."""
    what: str


@dataclass(frozen=True)
class Program:
    """A parsed program."""

    calls: tuple[Call, ...]
    faults: tuple[Fault, ...] = ()
    truncated: bool = False
    """The program was truncated; `calls` are the complete ones before that."""


_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"[ \t\r\f\v]*")
_WORD = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*)?")
_NUMBER = re.compile(r"(\[)?([0-9]+)(?(1)\])")
_OPEN_MARK = re.compile(rf"\[[0-9]{{0,{MAX_DIGITS}}}\Z")
_BODIES = {quote: re.compile(rf"[^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+") for quote in "\"'"}
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|([\\\"'ntr]))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_TO_ESCAPE = str.maketrans({"\\": "\\\\", '"': '\\"', "\t": "\\t", "\r": "\\r"})


class _Ended(Exception):
    """The line ends inside a call."""


class _Line:
    """A line of a program and the position that it is read up to."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def take(self, token: re.Pattern[str]) -> re.Match[str] | None:
        found = token.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found

    def word(self) -> str:
        found = self.take(_WORD)
        return found[0] if found else ""

    def ended(self) -> bool:
        return self.at == len(self.text)

    def sign(self, signs: str) -> str:
        """The next character after blanks if it is one of these; otherwise the empty string."""
        self.take(_BLANKS)
        if self.ended() or self.text[self.at] not in signs:
            return ""
        self.at += 1
        return self.text[self.at - 1]

    def expect(self, signs: str, otherwise: str) -> str:
        found = self.sign(signs)
        if not found:
            raise _Ended if self.ended() else BadCall(otherwise)
        return found


def parse(program: str) -> Program:
    """The calls and faults of a program."""
    truncated = len(program) > MAX_CHARS
    if truncated:
        program = program[: program.rfind("\n", 0, MAX_CHARS + 1) + 1]
    lines = program.split("\n")
    calls: list[Call] = []
    faults: list[Fault] = []
    for number, text in enumerate(lines, 1):
        try:
            call = _read(_Line(text))
        except BadCall as wrong:
            faults.append(Fault(number, str(wrong)))
        except _Ended:
            if number < len(lines):
                faults.append(Fault(number, "unfinished_call"))
            else:
                truncated = True
        else:
            if call and len(calls) == MAX_CALLS:
                truncated = True
                break
            calls += [call] if call else []
    return Program(tuple(calls), tuple(faults), truncated)


def _read(line: _Line) -> Call | None:
    """The call of a line; None for a blank line or a comment. Raises BadCall, or _Ended where only the end is missing."""
    if line.sign("#") or line.ended():
        return None
    name = line.word()
    if name not in _KEYWORDS:
        if line.ended() and any(known.startswith(name) for known in _KEYWORDS):
            raise _Ended
        raise BadCall("unknown_call" if name and line.sign("(") else "not_a_call")
    line.expect("(", "not_a_call")
    call = _call(name, _arguments(line, _KEYWORDS[name]))
    if not line.sign("#") and not line.ended():
        raise BadCall("text_after_call")
    return call


def _arguments(line: _Line, keywords: dict[str, str]) -> dict[str, Any]:
    """The arguments of a call by parameter: positional ones first, then those with a keyword."""
    given: dict[str, Any] = {}
    if line.sign(")"):
        return given
    if line.ended():
        raise _Ended
    named, sign = False, ","
    while sign == ",":
        free = {keyword: parameter for keyword, parameter in keywords.items() if parameter not in given}
        line.take(_BLANKS)
        keyword = line.word()
        if line.ended() and any(known.startswith(keyword) for known in free):
            raise _Ended
        if keyword in free:
            named = True
            parameter = free[keyword]
            line.expect("=", "bad_arguments")
        elif keyword or named or not free:
            raise BadCall("bad_arguments")
        else:
            parameter = next(iter(free.values()))
        line.take(_BLANKS)
        given[parameter] = _VALUES[parameter](line)
        sign = line.expect(",)", "bad_arguments")
    return given


def _call(name: str, given: dict[str, Any]) -> Call:
    if name == "normalize" and "source" in given:
        return Normalize(**given)
    if name == "remove_lines" and "all" in given:
        return ALL_LINES
    if name == "remove_lines" and len(given) == 2:
        return RemoveLines(**given)
    if name in _PLAIN:
        return _PLAIN[name]
    raise BadCall("bad_arguments")


def _number(line: _Line) -> int:
    """An integer, or a line's mark from the prompt, such as `[012]`."""
    if line.ended() or line.take(_OPEN_MARK):
        raise _Ended
    found = line.take(_NUMBER)
    if not found or len(found[2]) > MAX_DIGITS:
        raise BadCall("bad_number")
    return int(found[2])


def _string(line: _Line) -> str:
    quote = line.expect("\"'", "bad_string")
    body = line.take(_BODIES[quote])
    if not body or not line.sign(quote):
        raise _Ended
    text = _ESCAPE.sub(_unescaped, body[0])
    # Two escapes of four digits each are how JSON writes a character beyond U+FFFF.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if _SURROGATE.search(text) else text


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code else _ESCAPED.get(escape[3], escape[3])


def _true(line: _Line) -> bool:
    word = line.word()
    if word != "True":
        raise _Ended if line.ended() and "True".startswith(word) else BadCall("bad_arguments")
    return True


_KEYWORDS: dict[str, dict[str, str]] = {
    "remove_lines": {"line_start": "first", "start": "first", "line_end": "last", "end": "last", "all": "all"},
    "normalize": {"source_str": "source", "target_str": "target"},
    "keep_chunk": {},
    "untouch_doc": {},
    "keep_doc": {},
    "drop_doc": {},
}
"""Call -> keyword -> parameter, in the order of positional arguments."""
_VALUES = {"first": _number, "last": _number, "all": _true, "source": _string, "target": _string}
_PLAIN: dict[str, Call] = {
    "keep_chunk": KeepChunk(),
    "untouch_doc": KeepChunk(),
    "keep_doc": KeepDoc(),
    "drop_doc": DropDoc(),
}


def write(calls: Iterable[Call]) -> str:
    """The program of these calls, which `parse` reads back unless it exceeds MAX_CHARS or MAX_CALLS."""
    return "\n".join(map(_written, calls))


def _written(call: Call) -> str:
    match call:
        case RemoveLines():
            return f"remove_lines(line_start={call.first}, line_end={call.last})"
        case Normalize():
            source, target = (text.translate(_TO_ESCAPE) for text in (call.source, call.target))
            return f'normalize(source_str="{source}", target_str="{target}")'
        case KeepChunk():
            return "keep_chunk()"
        case KeepDoc():
            return "keep_doc()"
        case DropDoc():
            return "drop_doc()"


def decide_document(output: str) -> Literal["keep", "drop", "unknown"]:
    """The decision in a model's output for a whole document; `unknown` if the output is anything else."""
    match output.strip():
        case "keep_doc()":
            return "keep"
        case "drop_doc()":
            return "drop"
    return "unknown"
