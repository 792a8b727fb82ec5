"""Phone numbers, in the forms of ITU-T E.164 and E.123, of the North American Numbering Plan and of national plans."""

from __future__ import annotations

import re

from curate.text.rules.pii_candidates import MIN_DIGITS
from curate.text.rules.pii_chars import LETTER, PLAIN, Found

_BEFORE = rf"(?<!{LETTER})(?<![$€£#%+/])(?<!{LETTER}[-=&])(?<!\d[.,:])"
_AFTER = rf"(?:(?=\s?x\d)|(?!{LETTER}|[%°$€£])(?![-.,:]\d))"
_AREA = r"[2-9](?!11)\d\d"
_END = re.compile(_AFTER)
_GROUPS = r"(?:[ .()/-]{1,4}\d{1,12}){0,8}"
_NUMBER = re.compile(
    rf"{_BEFORE}(?:"
    # North America
    rf"(?P<nanp>(?:\+?1[ .-]{{0,2}})?\({_AREA}\)[ .-]{{0,2}}{_AREA}(?:[ .-]| [.-] )\d{{4}}"
    rf"|(?:\+?1[-.])?{_AREA}[-./]{_AREA}[-.]\d{{4}}|(?:\+?1[ -])?{_AREA} {_AREA}-\d{{4}}"
    rf"|\+1[ .-]?{_AREA}[ .-]?{_AREA}[ .-]?\d{{4}}|1 {_AREA} {_AREA} \d{{4}})"
    # +44 20 ..., 0049 30 ...
    rf"|(?P<international>\(?(?:\+{{1,2}} ?\(?|(?<!\d )00(?=[1-9]\d{{0,3}}[ ./-]))[2-9]\d{{0,14}}{_GROUPS})"
    # 01 23 45 67 89
    r"|(?P<pairs>0[1-9]([ .-])\d\d(?:\4\d\d){3})"
    # 020 7946 0018, (030) 123456, 03-1234-5678
    r"|(?P<trunk>(?<!\d )(?:\(0[1-9]\d{0,4}\) ?[-/]? ?|0[1-9]\d{0,4}(?: ?[-/] ?| ))\d{2,9}(?:[ -]\d{2,5}){0,3})"
    # (11) 91234-5678
    r"|(?P<area>\([1-9]\d\)[ -]?\d{4,5}[ -]\d{4})"
    # 8 (495) 123-45-67
    r"|(?P<eight>8[ -]?\(?[3489]\d\d\)?[ -]\d{3}[ -]\d\d[ -]\d\d)"
    rf"){_AFTER}"
)
_CHAIN = re.compile(rf"(?<!{LETTER})(?<![$€£%])\(?\+?\(?\d{{1,15}}{_GROUPS}{_AFTER}")
_CUE = re.compile(
    r"(?:\b(?:tel|tele?(?:ph|f)on[eo]?|t[ée]l[ée]phone|t[ée]l|telefoon|telefax|phone|ph|fax|mobile?|cell(?: ?phone|ular)?|"
    r"handy|voice|whatsapp|sms|gsm|hotline|call(?: us| me)?(?: at| on)?|puhelin|telefonnummer|rufnummer|тел|телефон|факс)|"
    r"电话|電話|手机|手機|传真|傳真|携帯|전화|☎|📞)"
    r"[\s.:]{0,3}(?:(?:number|num|no|nr|is|at|numéro|nummer)\b[\s.:]{0,3}){0,2}(?:[\s:：#=(\[-]{0,3}| {4,16})\Z",
    re.IGNORECASE,
)
_NOT_PHONE = re.compile(
    r"\b(?:is[bs]n|doi|order|invoice|ticket|case|ref|reference|sku|part|item|serial|model|patent|article|bug|id|account|acct|"
    r"version|lot|tracking|code|docket|grant|permit|license|licence|registration|vat|ein|ssn|zip|oclc|pmid)"
    r"\b[\s.:#(]{0,3}(?:(?:number|num|no|nr|id|code)\b[\s.:#]{0,3})?\Z",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\D*(?:\d{1,2}([-/. ])\d{1,2}\1(?:19|20)\d\d|(?:19|20)\d\d([-/. ])[01]?\d\2[0-3]?\d"
    r"|(?:19|20)\d\d ?[-/ ] ?(?:19|20)\d\d)(?!\d)"
)
# A social security number, a ZIP code of nine digits.
_NOT_TRUNK = re.compile(r"\d{3}([- ])\d\d\1\d{4}|\d{5}-\d{4}")
# Assigned by ITU-T E.164: two digits, or the zone in which three are.
_COUNTRY = re.compile(
    r"7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-69]|3[578]|42|5[09]|6[789]|8[0578]|9[679])\d"
)
_FICTION = re.compile(
    r"1?(?:[2-9]\d\d)?55501\d\d"  # North America
    # Ofcom's numbers for drama
    r"|(?:44|0|440)(?:11[3-8]4960|1[2-6]14960|1914980|2079460|2896496|2920180|1632960|7700900|8081570|9098790|3069990)\d{3}"
)
MIN_PHONE_DIGITS, MAX_PHONE_DIGITS = 8, 15


def find_phones(text: str, what: int, start: int, end: int) -> Found:
    offset = max(0, start - 3)
    window = text[offset : end + 3].translate(PLAIN)
    cued = _CUE.search(text[max(0, start - 40) : start])
    found, free = [], start - offset
    while match := _NUMBER.search(window, free):
        first, size = match.start(), _phone_chars(match)
        if not size or not _END.match(window, first + size):
            free = first + next(re.finditer(r"\d+", match[0])).end()  # a number may begin with the next group
        elif cued or not _NOT_PHONE.search(text[max(0, first + offset - 40) : first + offset]):
            found.append((first, first + size))
            free = first + size
        else:
            free = match.end()
    # After a word that announces a number, what stands before the first that needs no such word is one in any form.
    limit = found[0][0] if found else len(window)
    if cued and (match := _CHAIN.match(window, start - offset, limit)) and not _DATE.match(match[0]):
        groups = [*re.finditer(r"\d+", match[0])]
        while sum(len(group[0]) for group in groups) > MAX_PHONE_DIGITS:
            groups.pop()
        last = match.start() + groups[-1].end() if groups else 0
        if sum(len(group[0]) for group in groups) >= MIN_DIGITS and _END.match(window, last):
            found.insert(0, (match.start(), last))
    for first, last in found:
        yield _phone(window, first, last, offset)


def _phone(window: str, start: int, end: int, offset: int) -> tuple[int, int, str, bool]:
    written = window[start:end]
    if written.startswith("(") and written.count("(") > written.count(")"):
        start += 1
    digits = re.sub(r"\D", "", written)
    if len(digits) == 10 and digits[0] not in "01" and re.fullmatch(rf"{_AREA}{_AREA}\d{{4}}", digits):
        digits = "1" + digits
    return start + offset, end + offset, digits, bool(_FICTION.fullmatch(digits))


def _phone_chars(match: re.Match[str]) -> int:
    """How many characters of a match are a phone number; 0 where it is none."""
    written, form = match[0], match.lastgroup
    if form in ("nanp", "pairs", "area", "eight"):
        return len(written)
    groups = [*re.finditer(r"\d+", written)]
    most = MAX_PHONE_DIGITS + 2 if written.startswith("00") else MAX_PHONE_DIGITS if form == "international" else 12
    while groups and sum(len(group[0]) for group in groups) > most:
        groups.pop()
    digits = "".join(group[0] for group in groups)
    if not groups or _DATE.match(written) or _NOT_TRUNK.fullmatch(written):
        return 0
    if form == "international":
        digits = digits.removeprefix("00")
        country = _COUNTRY.match(digits)
        lone = "." in written and (len(groups) < 3 or "-" in written)
        if not country or lone or len(digits) < MIN_PHONE_DIGITS or digits.startswith("00", country.end()):
            return 0
    elif len(digits) < 9 or (len(groups[0][0]) < 3 and (len(groups) < 2 or len(groups[1][0]) < 3)):
        return 0
    return groups[-1].end()
