"""HTML from templates, in which text is text and never markup."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("curate.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters |= {"number": number, "percent": percent, "flops": flops, "moment": moment}
    return found


def render(template: str, **values: Any) -> str:
    """A template of this package, filled in."""
    return _environment().get_template(template).render(**values)


def number(value: float | None, digits: int = 0) -> str:
    """With thousands apart; a dash for nothing."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{share:.{digits}%}"


def moment(iso: str) -> str:
    """`2026-11-28T04:26:05Z` for people."""
    return iso.replace("T", " ").removesuffix("Z")


def flops(value: float | None) -> str:
    return f"{value:.2e}" if value else "–"
