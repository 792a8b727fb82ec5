"""Finds personal data and secrets in texts: e-mail and IP addresses, phone, card and account numbers, keys.

A kernel (`rules/pii_candidates.py`) notes where something may stand: an `@`, a run of digits, of hexadecimal groups, the
beginning of a key or of an account number. Only there do these rules look, each at a window of bounded size, so that time is
linear in the text whatever it holds.

Kinds are looked for in the order of `KINDS`, and what one has taken is closed to the next: an account number within a URL is
no phone number. Within a kind the place that begins first wins.

Sources of the formats: RFC 5321 (lengths of addresses); ISO/IEC 7812 with the issuers' prefixes and ISO/IEC 7064 for check
digits; SWIFT's IBAN registry (lengths); RFC 7519 (JWT), RFC 7468 (PEM), and what AWS, GitHub, Slack, Google, Stripe, OpenAI
and Anthropic document about their tokens.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from curate.text.rules.pii_candidates import ACCOUNT, AT, GROUPS, NUMBER, TOKEN
from curate.text.rules.pii_chars import LETTER, PLAIN, Found
from curate.text.rules.pii_phones import find_phones

KINDS = ("key", "iban", "credit_card", "email", "ip", "phone")
"""In the order in which they are looked for: those that become tags first, since a tag changes what stands next to others."""

TAKEN = "<"
"""Stands for every character that a kind has taken; joins nothing, as the end of a tag does."""


class Match(NamedTuple):
    """A value in a text, in code points."""

    start: int
    end: int
    kind: str
    value: str
    """The same however it is written."""
    reserved: bool
    """Set aside for examples, or nobody's: it stays."""


class Finder:
    """Finds the values of the wanted kinds at the places of one text."""

    def __init__(self, kinds: Iterable[str] = KINDS, private_ips: bool = False) -> None:
        rules: dict[str, Rule] = {
            "key": _keys,
            "email": _emails,
            "iban": _ibans,
            "credit_card": _cards,
            "ip": lambda text, what, start, end: _ips(text, what, start, end, private_ips),
            "phone": find_phones,
        }
        wanted = set(kinds)
        self._rules = [(kind, _WHERE[kind], rules[kind]) for kind in KINDS if kind in wanted]

    def __call__(self, text: str, places: Sequence[Sequence[int]]) -> list[Match]:
        """The values, ascending and without overlap. A place is (row, what, start, end)."""
        matches: list[Match] = []
        for kind, where, rule in self._rules:
            found: list[Match] = []
            free = 0
            for _, what, start, end in places:
                if what in where:
                    for first, last, value, reserved in rule(text, what, start, end):
                        if first >= free:
                            found.append(Match(first, last, kind, value, reserved))
                            free = last
            if found:
                text = _without(text, found)
                matches += found
        return sorted(matches)


Rule = Callable[[str, int, int, int], Found]
_WHERE = {
    "key": {TOKEN}, "email": {AT}, "iban": {ACCOUNT}, "credit_card": {NUMBER}, "ip": {NUMBER, GROUPS}, "phone": {NUMBER},
}  # fmt: skip


def _without(text: str, matches: Iterable[Match]) -> str:
    parts, at = [], 0
    for match in matches:
        parts += [text[at : match.start], TAKEN * (match.end - match.start)]
        at = match.end
    return "".join([*parts, text[at:]])


# --- keys

_KEYS = (
    re.compile(r"(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    re.compile(r"gh[pousr]_[A-Za-z0-9]{36,255}(?![A-Za-z0-9_])"),
    re.compile(r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}(?![A-Za-z0-9_])"),
    re.compile(r"(?:xox[aboprs]-|xoxe[-.]|xapp-)(?=[A-Za-z0-9.-]{0,8}\d)[A-Za-z0-9.-]{9,250}[A-Za-z0-9]"),
    re.compile(r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    re.compile(r"[sr]k_live_[A-Za-z0-9]{16,247}(?![A-Za-z0-9_])"),
    re.compile(r"sk-(?:proj|svcacct|admin|None|ant-(?:api|admin|sid)\d\d)-[A-Za-z0-9_-]{40,250}"),
    re.compile(r"sk-(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{32,64}(?![A-Za-z0-9_-])"),
)
_INSIDE = re.compile(rf"(?<={LETTER})")
_JWT = re.compile(r"(eyJ[A-Za-z0-9_-]{10,4096})\.eyJ[A-Za-z0-9_-]{4,16384}\.[A-Za-z0-9_-]{20,2048}")
_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/]{40}")
MAX_PEM_CHARS = 1 << 14


def _keys(text: str, what: int, start: int, end: int) -> Found:
    if _INSIDE.match(text, start):
        return
    if text.startswith("eyJ", start):
        match = _JWT.match(text, start)
        if match and _is_jose(match[1]):
            yield start, match.end(), match[0], False
    elif text.startswith("-----", start):
        match = _PEM.match(text, start)
        stop = match and _PEM_END.search(text, match.end(), match.end() + MAX_PEM_CHARS)
        if match and stop and _PEM_BODY.search(text, match.end(), stop.start()):
            yield start, stop.end(), text[start : stop.end()], False
    else:
        for pattern in _KEYS:
            if match := pattern.match(text, start):
                yield start, match.end(), match[0], False
                return


def _is_jose(header: str) -> bool:
    """Whether the first part of a token is a header of RFC 7515."""
    try:
        return "alg" in json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False


# --- e-mail addresses

_NAME = re.compile(rf"(?:{LETTER}|[.%+'’&-]){{1,65}}")  # backwards
_ALNUM = rf"(?:(?!_){LETTER})"
_LABEL = rf"(?:{_ALNUM}(?:(?:{_ALNUM}|[-_]){{0,61}}{_ALNUM})?|(?:(?!{LETTER})\w){{1,20}})"
_TOP = rf"(?:(?i:xn--[a-z0-9-]{{2,59}})|(?:(?!\d){_ALNUM}){{2,24}}|(?:(?!{LETTER})[^\W\d]){{2,10}})"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.){{1,8}}{_TOP}(?!{_ALNUM})(?!-\d)")
_FILES = frozenset((
    "png", "jpg", "jpeg", "gif", "webp", "svg", "bmp", "tif", "tiff", "ico", "css", "js", "mjs", "ts", "tsx", "jsx", "json",
    "html", "htm", "php", "asp", "aspx", "pdf", "txt", "xml", "mp4", "mp3", "wav", "tgz", "gz", "exe", "dll", "jar", "whl",
    "rar",
))  # fmt: skip
"""Endings of file names that are no top-level domains."""
_URL_USER = re.compile(r"(?<![A-Za-z0-9+.-])(?!mailto:)[A-Za-z][A-Za-z0-9+.-]{1,9}://[^\s/@]{0,64}\Z")
_EXAMPLE = re.compile(r"(?:.*\.)?(?:example(?:\.(?:com|org|net))?|test|invalid|localhost)", re.IGNORECASE)
MAX_EMAIL_CHARS = 254


def _emails(text: str, what: int, start: int, end: int) -> Found:
    window = text[max(0, start - 66) : start][::-1]
    match = _NAME.match(window)
    domain = _DOMAIN.match(text, end, end + 256)
    if not match or len(match[0]) > 64 or not domain:
        return
    name = match[0][::-1]
    name = name[name.rfind("..") + 2 if ".." in name else 0 :].lstrip(".%+'’&-")
    if name.startswith("_") and text.startswith("_", domain.end()):  # emphasis
        name = name.lstrip("_")
    if not name or name.endswith((".", "'", "’", "&")) or name.lower() == "git":
        return
    first, last = start - len(name), domain.end()
    host = domain[0].lower()
    if host.rpartition(".")[2] in _FILES or last - first > MAX_EMAIL_CHARS:
        return
    if _URL_USER.search(text[max(0, first - 80) : first]):
        return
    yield first, last, f"{name.lower()}@{host}", bool(_EXAMPLE.fullmatch(host))


# --- account numbers

IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Characters of an account number, by country (SWIFT's registry)."""
_IBANS = {
    length: re.compile(rf"[A-Z]{{2}}\d\d(?:[ \u00a0\u202f-]?[A-Z0-9]){{{length - 4}}}(?!{LETTER}|@)", re.ASCII)
    for length in set(IBAN_LENGTHS.values())
}


def _ibans(text: str, what: int, start: int, end: int) -> Found:
    length = IBAN_LENGTHS.get(text[start : start + 2])
    if length and not _INSIDE.match(text, start) and (match := _IBANS[length].match(text, start)):
        value = re.sub("[^A-Z0-9]", "", match[0])
        if int("".join(str(int(char, 36)) for char in value[4:] + value[:4])) % 97 == 1:
            yield start, match.end(), value, False


# --- payment cards

_CARD = re.compile(
    rf"(?<!{LETTER})(?<![$€£#%+])"
    r"(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5}|\d{4}([ -])\d{3}\3\d{3}\3\d{3})"
    rf"(?!{LETTER}|[%@])(?![-.]\d)"
)
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]\d|095|6\d\d|[89]\d\d)\d{10}"  # Diners Club
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:50(?:18|20|38)|5893|6304|6759|676[1-3])\d{9,15}"  # Maestro
    r"|220[0-4]\d{12,15}"  # Mir
)


_GLUED = re.compile(rf"{LETTER}[-/.]")
_IDENTIFIER = re.compile(r"ids?\"?\s?[:=]\s?\[?\Z", re.IGNORECASE)  # in JSON and query strings


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def _is_ean(digits: str) -> bool:
    """Whether 13 digits are an article number (GS1)."""
    return len(digits) == 13 and sum(int(digit) * (1 + 2 * (place % 2)) for place, digit in enumerate(digits)) % 10 == 0


def _cards(text: str, what: int, start: int, end: int) -> Found:
    offset = max(0, start - 2)
    window, free = text[offset : end + 6].translate(PLAIN), start - offset
    taken = 0
    while match := _CARD.search(window, free):
        first, last = match.span()
        free = first + 1
        digits = re.sub(r"\D", "", match[0])
        named = _IDENTIFIER.search(text[max(0, first + offset - 12) : first + offset])
        # After a letter or digit and a sign it is part of something longer, unless that is a card of its own.
        glued = first - 2 >= taken and _GLUED.match(window, first - 2)
        if not named and not glued and _ISSUERS.fullmatch(digits) and luhn(digits) and not _is_ean(digits):
            yield first + offset, last + offset, digits, False
            free = taken = last


# --- IP addresses

_QUAD = re.compile(
    rf"(?<!{LETTER})(?<![.,+])(?<![A-Za-z0-9]/)(?<!{LETTER}-)\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?!{LETTER})(?!\.\d)(?!-\d{{1,3}}(?![.\d]))"
)
_NOT_ADDRESS = re.compile(
    r"\b(?:version|ver|v|vers|rev|revision|release|firmware|build|section|sec|sect|chapter|rfc|clause|appendix|figure|fig|table|"
    r"paragraph|para|rule|item|oid|openssl|kernel|java|jdk|phone|fax|tel)\b[\s.:#(]*\Z|§\s*\Z"
    r"|[+-]\d{4}\t\Z"  # a revision after the date of a diff
    r"|\+\d{1,3}[ -]\Z",  # a telephone number in pairs of digits
    re.IGNORECASE,
)
_COLONS = re.compile(rf"(?<!{LETTER})(?<![:.])[0-9A-Fa-f:]{{2,39}}(?:\.\d{{1,3}}){{0,3}}(?!{LETTER}|[:])")
_GLOBAL_V6, _DOCS_V6 = IPv6Network("2000::/3"), IPv6Network("2001:db8::/32")
_DOCS_V4 = ("192.0.2.", "198.51.100.", "203.0.113.")
_PRIVATE = re.compile(r"10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.")
_PRIVATE_V6 = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"))


def _ips(text: str, what: int, start: int, end: int, private: bool) -> Found:
    if what == GROUPS:
        match = _COLONS.match(text, start, end + 1)
        matches = [match] if match else []
    else:
        matches = [*_QUAD.finditer(text, start, end + 4)]
    for match in matches:
        written = match[0].rstrip(":") if match[0].endswith(":") and not match[0].endswith("::") else match[0]
        try:
            address = ip_address(written)
        except ValueError:
            continue
        if isinstance(address, IPv4Address):
            single = len(written) == 7
            if single or _NOT_ADDRESS.search(text[max(0, match.start() - 16) : match.start()]):
                continue
        reserved = _is_example(address)
        if reserved or _is_public(address) or (private and _is_private(address)):
            yield match.start(), match.start() + len(written), address.compressed, reserved


def _is_example(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return str(address).startswith(_DOCS_V4)
    return address in _DOCS_V6


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    mapped = address.ipv4_mapped
    return _is_public(mapped) if mapped else address in _GLOBAL_V6 and address.is_global


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return bool(_PRIVATE.match(str(address)))
    return any(address in network for network in _PRIVATE_V6)
