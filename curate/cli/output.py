"""What commands print. Texts, names and URLs of documents go to a terminal, which obeys control characters: none reaches it."""

from __future__ import annotations

from typing import Any

import click

from curate.logs import escape_controls, escape_json_controls


def echo(text: Any, *, err: bool = False) -> None:
    """Print a line or several, with control characters escaped."""
    click.echo(escape_controls(str(text)), err=err)


def echo_json(text: str) -> None:
    """Print JSON lines: what `json.loads` makes of them stays the same."""
    click.echo(escape_json_controls(text))
