"""Renders HTML templates. Values are escaped, so text from documents is never markup."""

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
    """Render a template of this package."""
    return _environment().get_template(template).render(**values)


def number(value: float | None, digits: int = 0) -> str:
    """Format with commas between thousands; None is a dash."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{share:.{digits}%}"


def moment(iso: str) -> str:
    """Format `2026-11-28T04:26:05Z` as `2026-11-28 04:26:05`."""
    return iso.replace("T", " ").removesuffix("Z")


def flops(value: float | None) -> str:
    return f"{value:.2e}" if value else "–"
