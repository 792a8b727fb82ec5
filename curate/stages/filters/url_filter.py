"""Drop documents by their URL: listed domains and hosts, and words in the URL (as RefinedWeb and FineWeb do).

Hosts are compared lower-cased, in their ASCII form, without user, port, a leading `www.` or a trailing dot. A listed
domain covers all hosts below it; a listed host only itself. Words are the maximal runs of letters and digits of the URL;
sub-words match anywhere in it. Every list is a text file with one entry per line.

Source: Penedo et al. 2023, "The RefinedWeb Dataset", appendix G.1. The lists published with it are not shipped: give
them by path. The small lists in `lists/` are our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import pyarrow as pa
from annotated_types import Ge

from curate.api.batch import Batch, Kernel
from curate.api.stage import Stage
from curate.config.options import AssetPath
from curate.schema import DROP, DROP_TYPE, URL
from curate.storage import store

_OWN = Path(__file__).parent / "lists"
_DOT = re.compile(r"\.")
_WORD = re.compile(r"[^\W_]+")

DropReason = tuple[str, float | None, float | None, str]
"""Reason, value, limit and detail, as in the column `drop`."""


@dataclass(frozen=True, kw_only=True)
class UrlFilter(Stage):
    """Drops documents by lists given by path. Word lists default to our own. An empty list switches its rule off."""

    domains: tuple[AssetPath, ...] = ()
    hosts: tuple[AssetPath, ...] = ()
    words: tuple[AssetPath, ...] = (str(_OWN / "url_words.txt"),)
    """One of these words in the URL drops the document."""
    soft_words: tuple[AssetPath, ...] = (str(_OWN / "url_soft_words.txt"),)
    subwords: tuple[AssetPath, ...] = ()
    """One of these strings anywhere in the URL drops the document."""
    max_soft_words: Annotated[int, Ge(0)] = 1
    """Distinct soft words a URL may hold."""
    require_url: bool = False
    """Drop documents without a URL; they are kept otherwise."""

    reasons = ("no_url", "blocked_domain", "blocked_host", "blocked_word", "too_many_soft_words", "blocked_subword")

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        return {URL: pa.string()}

    def open(self) -> Kernel:
        check = self._checker()

        def kernel(batch: Batch) -> Batch:
            drops = [check(url) for url in batch[URL].to_pylist()]
            keys = [field.name for field in DROP_TYPE]
            rows = [dict(zip(keys, drop, strict=True)) if drop else None for drop in drops]
            return batch.put(DROP, pa.array(rows, DROP_TYPE))

        return kernel

    def _checker(self) -> Callable[[str | None], DropReason | None]:
        """A function that tries all rules in order on one URL."""
        domains, hosts = ({host_of(line) for line in _entries(paths)} for paths in (self.domains, self.hosts))
        words, soft = ({line.lower() for line in _entries(paths)} for paths in (self.words, self.soft_words))
        longest = max(map(len, domains), default=0)
        subwords = sorted(line.lower() for line in _entries(self.subwords))
        anywhere = re.compile("|".join(map(re.escape, subwords))) if subwords else None

        def check(url: str | None) -> DropReason | None:
            if not url:
                return ("no_url", None, None, "") if self.require_url else None
            host = host_of(url)
            if (listed := _covering(host, domains, longest)) is not None:
                return "blocked_domain", None, None, listed
            if host in hosts:
                return "blocked_host", None, None, host
            url_words = set(_WORD.findall(url.lower()))
            if hits := url_words & words:
                return "blocked_word", None, None, min(hits)
            if len(soft_hits := url_words & soft) > self.max_soft_words:
                return "too_many_soft_words", len(soft_hits), self.max_soft_words, " ".join(sorted(soft_hits))
            if anywhere and (match := anywhere.search(url.lower())):
                return "blocked_subword", None, None, match.group()
            return None

        return check


def host_of(url: str) -> str:
    """The host of a URL (or of a bare host name) in the form in which hosts are compared; empty when there is none."""
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""
    host = host.rstrip(".").removeprefix("www.")
    try:
        return host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return host


def _covering(host: str, domains: set[str], longest: int) -> str | None:
    """The listed domain that is the host or lies above it. `longest`: characters of the longest listed domain.

    Only ends of a host that are no longer than that are tried, so a host of a million dots takes linear time.
    """
    starts = [0] if len(host) <= longest else []
    starts += [dot.end() for dot in _DOT.finditer(host, max(0, len(host) - longest - 1))]
    return next((host[start:] for start in starts if host[start:] in domains), None)


def _entries(paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        yield from store.read_lines(path)
