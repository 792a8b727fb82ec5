"""Bytes of a page to text: find the encoding, decode, remove control characters. Never raises.

Order of belief: byte order mark, UTF-8 that is valid, the charset of the HTTP header, the one in the markup, detection.
A declared charset has to fit: one that leaves holes in the text, or a Western one over letters no Western text has, is
passed over. Labels mean what browsers take them for (https://encoding.spec.whatwg.org/#names-and-labels): `latin-1` is
windows-1252, `gb2312` is gb18030.

Decisions:
- Valid UTF-8 beats every declaration: in another encoding it happens by accident only in a handful of characters, while
  servers that add `charset=iso-8859-1` to UTF-8 pages are common (83 of 2,347 such pages in the gold set).
- uchardet detects. On 1,701 texts in legacy encodings it was wrong 31 times, charset_normalizer 506 times, which takes nine
  times as long.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

import ftfy.bad_codecs  # noqa: F401  (registers sloppy-windows-1252)
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Supersets with the vendors' extensions, which is what pages under these labels are written in.
_SUPERSETS = {
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gbk": "gb18030",
    "iso8859-11": "cp874",
    "shift_jis": "cp932",
}
# Guesses of uchardet that are Western pages: these encodings are next to unknown on the web.
_NOT_ON_THE_WEB = {"iso8859-3", "iso8859-10", "iso8859-14", "iso8859-16"}
_WESTERN = "cp1252"
# Five bytes mean nothing in cp1252. Browsers keep them as they are, and mojibake that has them can be repaired.
_EVERY_BYTE = {_WESTERN: "sloppy-windows-1252"}

_HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
_MARKUP_CHARSET = re.compile(
    rb"<meta\s[^>]{0,999}?charset\s*=\s*[\"']?\s*([^\s\"'/>;]+)|<\?xml\s[^>]{0,999}?encoding\s*=\s*[\"']([^\"']+)",
    re.IGNORECASE,
)
# Browsers look at 1,024 bytes; 7% of the declarations in the gold set come later, 1% after 8 KiB.
_MARKUP_CHARSET_WITHIN = 8192
_COMMENTS = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)

# Share of characters outside ASCII that may be broken before another encoding is tried: the share is near 0 in the right
# encoding (a comment pasted in another one) and near 1 for UTF-8 read as anything else.
_MAX_BROKEN_FRAC = 0.1
_HIGH_RUNS = re.compile(rb"[\x80-\x9f\xa1-\xff]{4,}")
_HIGH_BYTES = bytes(range(0xA1, 0x100))
_BROKEN = re.compile("[\ufffd\x80-\x84\x86-\x9f]")
# English pages with a few accents or signs: from fewer bytes than this, detection takes every third for Central European.
_MIN_HIGH_BYTES = 12
_ONE_BYTE = ("cp125", "iso8859")

_SPACES = "\x0b\x0c"
_CONTROLS = "".join(map(chr, [*range(9), *range(14, 32)]))
# In every encoding here but these, a byte below 0x20 is that control character and never a part of another one.
_NOT_BYTEWISE = {"utf-16-le", "utf-16-be", "iso2022_jp"}
_BLANKED = bytes(0x20 if chr(byte) in _SPACES else byte for byte in range(256))
_UNWANTED = re.compile(f"[{_CONTROLS}\ufffe\uffff]")


@dataclass(frozen=True)
class Decoded:
    """Text without control characters, and where it came from."""

    text: str
    encoding: str
    unreadable_frac: float
    """Share of control and replacement characters: near 0 for text, 0.05 and more for images and archives."""


def decode(data: bytes, content_type: str | None = None) -> Decoded:
    """The text of a page or plain text; `content_type` is the HTTP header."""
    encoding = _encoding(data, content_type)
    # Control characters go as bytes where that is safe: it takes a sixth of the time.
    clean = data if encoding in _NOT_BYTEWISE else data.translate(_BLANKED, _CONTROLS.encode())
    decoded = clean.decode(_EVERY_BYTE.get(encoding, encoding), "replace")
    rest = encoding in _NOT_BYTEWISE or "\ufffe" in decoded or "\uffff" in decoded
    text = without_controls(decoded) if rest else decoded
    unreadable = len(data) - len(clean) + len(decoded) - len(text) + text.count("\ufffd")
    return Decoded(text.removeprefix("\ufeff"), encoding, unreadable / max(len(data) - len(clean) + len(decoded), 1))


def without_controls(text: str) -> str:
    """Without control characters other than tab and line ends, and without what XML forbids; form feeds become blanks."""
    for space in _SPACES:
        text = text.replace(space, " ")
    return _UNWANTED.sub("", text)


def _encoding(data: bytes, content_type: str | None) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding
    if b"\0" in data[:1024] and (wide := _wide(data[:1024])):
        return wide
    declared = [label for label in (_of_header(content_type), _of_markup(data)) if label]
    if data.isascii():
        return "iso2022_jp" if b"\x1b" in data and "iso2022_jp" in declared else "utf-8"
    if _is_utf8(data):
        return "utf-8"
    for encoding in declared:
        if _broken_frac(data, encoding) <= _MAX_BROKEN_FRAC and not (encoding == _WESTERN and _foreign(data)):
            return encoding
    detected = _detected(data)
    if _broken_frac(data, detected) <= _MAX_BROKEN_FRAC:
        return detected
    return min([*declared, detected, "utf-8", _WESTERN], key=lambda encoding: _broken_frac(data, encoding))


def _wide(sample: bytes) -> str | None:
    """UTF-16 without a mark: markup in it has a zero in every other byte."""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < len(sample) / 8 or min(even, odd) > max(even, odd) / 4:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _of_header(content_type: str | None) -> str | None:
    found = _HEADER_CHARSET.search(content_type or "")
    return _python_name(found[1]) if found else None


def _of_markup(data: bytes) -> str | None:
    start = data[:_MARKUP_CHARSET_WITHIN]
    found = _MARKUP_CHARSET.search(_COMMENTS.sub(b"", start) if b"<!--" in start else start)
    return _python_name((found[1] or found[2]).decode("latin-1")) if found else None


def _python_name(label: str) -> str | None:
    """Python's codec for a label of the web; None for an unknown one, and for UTF-16, which `_wide` knows better."""
    name = map_encoding_to_html5(label, fallback_utf8=False)
    return None if name is None or name.startswith("utf-16") else _SUPERSETS.get(name, name)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _detected(data: bytes) -> str:
    guess = detect_encoding(data, html5_compatible=False)
    if guess is None or guess in _NOT_ON_THE_WEB:
        return _WESTERN
    if guess == "cp949":  # Korean, and missing from the web's table of labels
        return guess
    name = _python_name(guess) or _WESTERN
    unsure = _num_high(data) < _MIN_HIGH_BYTES and not _foreign(data)
    return _WESTERN if unsure and name.startswith(_ONE_BYTE) else name


def _broken_frac(data: bytes, encoding: str) -> float:
    """Share of characters outside ASCII that `encoding` cannot read, or reads as control characters."""
    text = data.decode(encoding, "replace")
    broken = len(_BROKEN.findall(text))
    return broken / max(1, len(text) - len(text.encode("ascii", "ignore")))


def _foreign(data: bytes) -> bool:
    """Whether bytes said to be Western are in runs no Western text has: Cyrillic or Japanese in disguise.

    A Western word has an accent or two; runs of four such bytes are ornaments, of one or two kinds.
    """
    runs = [run for run in _HIGH_RUNS.findall(data) if len(set(run)) > 2]
    return sum(map(len, runs)) > _num_high(data) / 10


def _num_high(data: bytes) -> int:
    return len(data) - len(data.translate(None, _HIGH_BYTES))
