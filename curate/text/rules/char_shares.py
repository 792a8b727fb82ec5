"""Counts what shares of characters and of paragraphs are made of, for five stages that read a text once between them.

The definitions are those of the stages `digits`, `urls`, `whitespace`, `brackets` and `boilerplate`. Malformed UTF-8 gives
some counts and reads nothing outside its row.

Decisions. Every byte is looked up twice: in a table whose entries add up four counts in one 64-bit number, and together with
the byte before it in a table of pairs that nearly never stand in plain prose (two line breaks, ':/', and one rare pair out of
each phrase), where the loop stops to look closer. So a phrase costs nothing until its pair is met, and there is no second
pass with a regular expression, not even for URLs, whose expression has no ambiguity and no character beyond ASCII.
700 MB of web text a second on one core of an Intel Xeon (Sapphire Rapids) that others used too.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers

COUNTS = ("chars", "digits", "spaces", "brackets", "url_chars", "paragraphs", "policy_paragraphs", "lorem_ipsums")
"""What is counted; the columns of the array that `count_shares` returns."""
CHARS, DIGITS, SPACES, BRACKETS, URL_CHARS, PARAGRAPHS, POLICY_PARAGRAPHS, LOREM_IPSUMS = range(8)

DIGIT_CHARS = "0123456789"
SPACE_CHARS = "\t\n\r\b "
ASCII_BRACKETS = "{}[]()"
ANGLE_BRACKETS = "⟨⟩"
URL_BODY = "!$&()*+,-.@_" + DIGIT_CHARS + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HEX = DIGIT_CHARS + "ABCDEFabcdef"

LOREM_IPSUM = "lorem ipsum"
# NeMo Curator's list, all but the entries that hold another one, with the pair of letters by which each is found.
POLICIES = {
    "terms of use": "rm",
    "privacy policy": "va",
    "privacy overview": "va",
    "privacy & cookies policy": "va",
    "privacy and cookies policy": "va",
    "cookie policy": "ki",
    "uses cookies": "ki",
    "use of cookies": "ki",
    "use cookies": "ki",
    "necessary cookies are absolutely essential for the website to function properly. this category only includes cookies "
    "that ensures basic functionalities and security features of the website. these cookies do not store any personal "
    "information.": "ki",
    "any cookies that may not be particularly necessary for the website to function and is used specifically to collect user "
    "personal data via analytics, ads, other embedded contents are termed as non-necessary cookies. it is mandatory to "
    "procure user consent prior to running these cookies on your website.": "ki",
    "if you continue to browse this site without changing your cookie settings, you agree to this use. acceptread more": "ki",
}
PHRASES = {LOREM_IPSUM: "ip", **POLICIES}

# What a pair of bytes may be the sign of; pairs of phrases have the numbers from FIRST_PAIR on.
BLANK_LINE, URL_COLON, ANGLE, KELVIN, FIRST_PAIR = 1, 2, 3, 4, 5
KELVIN_SIGN = "\u212a"
"""The one character beyond ASCII that `str.lower` turns into a letter of a phrase. Rows with it go through `str`."""

IN_URL, IS_HEX = 1, 2
FIELD_BITS = 16
FIELD_MAX = 2**FIELD_BITS - 1
SLASH, PERCENT, H, T, P, S = (ord(char) for char in "/%htps")


def count_shares(texts: TextBuffers) -> npt.NDArray[np.int64]:
    """Shape (rows, len(COUNTS))."""
    counts = np.zeros((len(texts.starts), len(COUNTS)), np.int64)
    kelvins = np.zeros(len(texts.starts), np.bool_)
    _count(texts.data, texts.starts, texts.ends, *_byte_tables(), *_phrase_tables(), counts, kelvins)
    for row in np.flatnonzero(kelvins):
        text = texts.data[texts.starts[row] : texts.ends[row]].tobytes().decode("utf-8", "replace")
        counts[row, POLICY_PARAGRAPHS:] = _boilerplate(text)
    return counts


def share(counts: npt.NDArray[np.int64], name: str) -> npt.NDArray[np.float64]:
    """The share of the characters of a text; 1 for an empty one, as in NeMo Curator."""
    chars = counts[:, CHARS]
    return np.where(chars > 0, counts[:, COUNTS.index(name)] / np.maximum(chars, 1), 1.0)


def boilerplate_share(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The share of policy paragraphs; 1 with "lorem ipsum" anywhere."""
    return np.where(counts[:, LOREM_IPSUMS] > 0, 1.0, counts[:, POLICY_PARAGRAPHS] / counts[:, PARAGRAPHS])


def _boilerplate(text: str) -> tuple[int, int]:
    """The last two counts in plain Python."""
    paragraphs = [paragraph.lower() for paragraph in text.split("\n\n")]
    policies = sum(any(phrase in paragraph for phrase in POLICIES) for paragraph in paragraphs)
    return policies, sum(paragraph.count(LOREM_IPSUM) for paragraph in paragraphs)


@cache
def _byte_tables() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Tables over bytes: what a byte adds to the packed counts, its class in a URL, its lower case."""
    adds, roles, lower = np.zeros(256, np.uint64), np.zeros(256, np.uint8), np.arange(256, dtype=np.uint8)
    begins = (np.arange(256) & 0xC0) != 0x80
    adds[begins] += np.uint64(1 << FIELD_BITS * CHARS)
    for field, chars in ((DIGITS, DIGIT_CHARS), (SPACES, SPACE_CHARS), (BRACKETS, ASCII_BRACKETS)):
        adds[[ord(char) for char in chars]] += np.uint64(1 << FIELD_BITS * field)
    roles[[ord(char) for char in URL_BODY]] |= IN_URL
    roles[[ord(char) for char in HEX]] |= IS_HEX
    lower[ord("A") : ord("Z") + 1] += ord("a") - ord("A")
    return adds, roles, lower


@cache
def _phrase_tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Tables of the phrases: what to look for at each pair of bytes; the bytes of all phrases; start, end and pair of each.
    Phrase 0 is "lorem ipsum"."""
    signs = np.zeros(2**16, np.uint8)
    looks = {"\n\n": BLANK_LINE, ":/": URL_COLON}
    for sign, char in ((ANGLE, ANGLE_BRACKETS[0]), (KELVIN, KELVIN_SIGN)):
        signs[int.from_bytes(char.encode()[:2], "big")] = sign
    groups = {pair: FIRST_PAIR + number for number, pair in enumerate(dict.fromkeys(PHRASES.values()))}
    for pair, sign in {**looks, **groups}.items():
        for cased in (pair, pair.upper(), pair.capitalize(), pair.capitalize().swapcase()):
            signs[int.from_bytes(cased.encode(), "big")] = sign
    letters, places = b"", []
    for phrase, pair in PHRASES.items():
        places.append((len(letters), len(letters) + len(phrase), phrase.index(pair), groups[pair]))
        letters += phrase.encode()
    return signs, np.frombuffer(letters, np.uint8), np.array(places, np.int64)


@njit(nogil=True, cache=True)
def _count(data, starts, ends, adds, roles, lower, signs, letters, phrases, counts, kelvins):  # type: ignore[no-untyped-def]
    """Fill one row of `counts` per text, and of `kelvins` whether the last two counts are still to be made."""
    for row in range(len(starts)):
        start, end, count = starts[row], ends[row], counts[row]
        pair, paragraphs, policies, lorems, url_chars, angles = np.uint32(0), 1, 0, 0, 0, 0
        policy, cut, url_end = False, start, start  # of the paragraph; where the last blank line and the last URL end
        block = start
        while block < end:
            stop, packed = min(end, block + FIELD_MAX), np.uint64(0)
            place, last, sign = np.uint64(block), np.uint64(stop), np.uint8(0)
            while place < last:
                while place < last:  # places are unsigned: numba tests signed ones for being negative
                    byte = np.uint32(data[place])
                    packed += adds[byte]
                    pair = np.uint32((pair << np.uint32(8) | byte) & np.uint32(0xFFFF))
                    sign = signs[pair]
                    place += np.uint64(1)
                    if sign:
                        break
                if not sign:
                    break
                i = np.int64(place) - 1
                if sign >= FIRST_PAIR:
                    for k in range(len(phrases)):
                        if phrases[k, 3] != sign:
                            continue
                        first = i - 1 - phrases[k, 2]
                        size = phrases[k, 1] - phrases[k, 0]
                        if first < start or first + size > end:
                            continue
                        n = 0
                        while n < size and lower[data[first + n]] == letters[phrases[k, 0] + n]:
                            n += 1
                        if n == size:
                            if k == 0:
                                lorems += 1
                            else:
                                policy = True
                elif sign == BLANK_LINE:
                    if i > cut:  # of three line breaks the last one begins the next paragraph
                        paragraphs += 1
                        policies += policy
                        policy, cut = False, i + 1
                elif sign == URL_COLON:
                    first = i - 5 - (i - 2 >= start and data[i - 2] == S)
                    if first < url_end or i + 1 >= end or data[i + 1] != SLASH:
                        continue
                    if data[first] != H or data[first + 1] != T or data[first + 2] != T or data[first + 3] != P:
                        continue
                    tail = i + 2
                    while tail < end:
                        if roles[data[tail]] & IN_URL:
                            tail += 1
                        elif (
                            data[tail] == PERCENT and tail + 2 < end and roles[data[tail + 1]] & roles[data[tail + 2]] & IS_HEX
                        ):
                            tail += 3
                        else:
                            break
                    if tail > i + 2:
                        url_chars += tail - first
                        url_end = tail
                elif i + 1 < end:
                    if sign == ANGLE:
                        angles += data[i + 1] == 0xA8 or data[i + 1] == 0xA9
                    elif data[i + 1] == 0xAA:
                        kelvins[row] = True
            for field in range(4):
                count[field] += np.int64(packed >> np.uint64(FIELD_BITS * field) & np.uint64(FIELD_MAX))
            block = stop
        count[BRACKETS] += angles
        count[URL_CHARS] = url_chars
        count[PARAGRAPHS] = paragraphs
        count[POLICY_PARAGRAPHS] = policies + policy
        count[LOREM_IPSUMS] = lorems
