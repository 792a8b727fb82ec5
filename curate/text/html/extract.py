"""One page to its text, title and date. Pure: the result depends on the page and the settings, on nothing else.

Neither the pages before this one nor the day of the run count: trafilatura's deduplication, which remembers segments of
earlier pages, stays off, and dates are held against the day of the fetch.

Markup is parsed once, by libxml2, for depth, title, date and trafilatura; resiliparse parses it again by itself.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache, partial
from typing import Any, Literal

from curate.text.html.decode import decode, without_controls

Engine = Literal["trafilatura", "resiliparse"]
Content = Literal["main", "all"]
Favor = Literal["balanced", "precision", "recall"]

TOO_MANY_NODES = "too_many_nodes"
TOO_DEEP = "too_deep"
UNREADABLE = "unreadable_html"
NO_TEXT = "no_text"
CRASH = "extraction_crash"

MAX_UNREADABLE_FRAC = 0.03
"""Images, fonts and archives served as pages begin at 0.05, compressed data has 0.1, the worst gold page 0.0008."""
_FAR_FUTURE = date(2100, 1, 1)
# References to control characters and U+FFFE, U+FFFF. With a single one trafilatura finds no text at all.
_UNWANTED_REFERENCES = re.compile(
    r"&#(?:0*(?:[1-8]|1[124-9]|2\d|3[01]|6553[45])|x0*(?:[1-8bcef]|1[\da-f]|fff[ef]))(?:;|(?![\da-f]))", re.IGNORECASE
)


@dataclass(frozen=True)
class Settings:
    """What an extractor is built from. The meaning of the fields is that of the stage's options."""

    engine: Engine = "trafilatura"
    content: Content = "main"
    favor: Favor = "balanced"
    repair: bool = True
    max_nodes: int = 200_000
    max_depth: int = 512


@dataclass(frozen=True)
class Page:
    """The body of a response, its Content-Type header, and the day it was fetched: no date on it is later."""

    body: bytes
    content_type: str | None = None
    fetched: date | None = None


@dataclass(frozen=True)
class Extracted:
    """Text that is not blank; `date` is yyyy-mm-dd."""

    text: str
    title: str | None = None
    date: str | None = None


@dataclass(frozen=True)
class Refused:
    """Why there is no text, and what was measured."""

    reason: str
    value: float | None = None
    limit: float | None = None
    detail: str | None = None


Extractor = Callable[[Page], Extracted | Refused]
TextOf = Callable[[str, Any], str | None]
DateOf = Callable[[Any, date], str | None]


def extractor(settings: Settings) -> Extractor:
    """The function from page to text. It may run long, eat memory and crash: call it in a process that may die."""
    text_of = _trafilatura(settings.favor) if _uses_trafilatura(settings) else _resiliparse(settings.content)
    date_of = _htmldate()

    def extract(page: Page) -> Extracted | Refused:
        decoded = decode(page.body, page.content_type)
        if decoded.unreadable_frac > MAX_UNREADABLE_FRAC:
            return Refused(UNREADABLE, decoded.unreadable_frac, MAX_UNREADABLE_FRAC)
        if (page.content_type or "").strip().lower().startswith("text/plain"):
            return _finished(decoded.text, None, None, settings.repair)
        return _from_markup(decoded.text, page.fetched or _FAR_FUTURE, settings, text_of, date_of)

    return extract


class EngineError(Exception):
    """The engine raised; the message is the name of the exception, which itself may not survive the way to the caller."""


def serve(settings: Settings) -> Callable[[bytes], bytes]:
    """`extractor` for a child process: pickled pages in, pickled results out. Raises EngineError."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    # trafilatura loads numpy without need, and OpenBLAS reserves address space for every core.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    extract = extractor(settings)

    def answer(payload: bytes) -> bytes:
        try:
            return pickle.dumps(extract(pickle.loads(payload)))
        except Exception as error:
            raise EngineError(type(error).__name__) from None

    return answer


def _uses_trafilatura(settings: Settings) -> bool:
    """All visible text is resiliparse's with either engine: trafilatura's has no line breaks, and drops some blocks."""
    return settings.engine == "trafilatura" and settings.content == "main"


def _trafilatura(favor: Favor) -> TextOf:
    from trafilatura import extract

    def text_of(markup: str, tree: Any) -> str | None:
        text: str | None = extract(
            tree,
            include_comments=False,
            include_tables=True,
            deduplicate=False,
            favor_precision=favor == "precision",
            favor_recall=favor == "recall",
        )
        return text

    return text_of


def _resiliparse(content: Content) -> TextOf:
    from resiliparse.extract.html2text import extract_plain_text

    def text_of(markup: str, tree: Any) -> str | None:
        text: str = extract_plain_text(
            markup, preserve_formatting=True, main_content=content == "main", comments=content == "all", alt_texts=False
        )
        return text

    return text_of


def _htmldate() -> DateOf:
    """When the page was first published. The extensive search takes seven times as long and guesses from any number."""
    from htmldate import extractors, find_date

    # Else a date such as "2015-05" is completed from the day of the run. From year 1, one without a year is refused.
    names = vars(extractors)
    names["dateutil_parse"] = partial(names["dateutil_parse"], default=datetime(1, 1, 1))

    def date_of(tree: Any, latest: date) -> str | None:
        end_of_day = datetime.combine(latest, time.max)
        found: str | None = find_date(tree, extensive_search=False, original_date=True, max_date=end_of_day)
        return found

    return date_of


def _from_markup(markup: str, latest: date, settings: Settings, text_of: TextOf, date_of: DateOf) -> Extracted | Refused:
    if not markup.strip():
        return Refused(NO_TEXT)
    # Closing tags open no node. Every element and comment starts with "<", so this bounds them without parsing.
    nodes = markup.count("<") - markup.count("</")
    if nodes > settings.max_nodes:
        return Refused(TOO_MANY_NODES, nodes, settings.max_nodes)
    markup = _UNWANTED_REFERENCES.sub(" ", markup)
    tree = _parsed(markup)
    if isinstance(tree, Refused):
        return tree
    depth = _depth_beyond(tree, settings.max_depth)
    if depth is not None:
        return Refused(TOO_DEEP, depth, settings.max_depth)
    text = (text_of(markup, tree) or "").strip()
    return _finished(text, _title(tree), date_of(tree, latest), settings.repair)


def _parsed(markup: str) -> Any:
    """The tree of libxml2, from bytes: a `str` with an encoding in its XML declaration is refused by lxml.

    libxml2 silently stops at a depth of 2,048, and at 256 without `huge_tree`, trafilatura's own way.
    """
    from lxml import etree, html

    parser = html.HTMLParser(
        encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True, collect_ids=False, default_doctype=False
    )
    try:
        return html.document_fromstring(markup.encode("utf-8", "replace"), parser=parser)
    except etree.ParserError as error:
        return Refused(UNREADABLE, detail=type(error).__name__)


def _depth_beyond(tree: Any, limit: int) -> int | None:
    """The depth of the tree where it is more than the limit."""
    from lxml import etree

    if not _deeper_than(limit)(tree):
        return None
    depth = deepest = 0
    for event, _ in etree.iterwalk(tree, events=("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(deepest, depth)
    return deepest


@cache
def _deeper_than(limit: int) -> Callable[[Any], bool]:
    """A path of one step more than the limit, for libxml2 to follow: a walk in Python takes three times as long."""
    from lxml import etree

    path: Callable[[Any], bool] = etree.XPath(f"boolean({'/*' * (limit + 1)})")
    return path


def _title(tree: Any) -> str | None:
    """The title meant for sharing, which is more often without the name of the site, else that of the window."""
    for title in tree.xpath("//meta[@property='og:title' or @name='og:title']/@content"):
        if title.strip():
            return str(title)
    for element in tree.xpath("//title[not(ancestor::svg)]"):
        return str(element.text_content())
    return None


def _finished(text: str, title: str | None, published: str | None, repair: bool) -> Extracted | Refused:
    """Mended, and without control characters. Blank text is none."""
    text = _clean(text, repair)
    title = " ".join(_clean(title or "", repair).split())
    return Extracted(text, title or None, published) if text.strip() else Refused(NO_TEXT)


def _clean(text: str, repair: bool) -> str:
    return without_controls(_repaired(text) if repair else text)


def _repaired(text: str) -> str:
    """Mojibake undone line by line, for one character of another script saves a whole text from being mended."""
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    return "\n".join(fix_encoding(line) if not line.isascii() and is_bad(line) else line for line in text.split("\n"))
