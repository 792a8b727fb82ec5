"""DuckDB over the Parquet files of a run. Column names come from the input, so a name is never part of a statement unquoted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that reads what is registered with it: no file, URL, extension or variable of the program."""
    import duckdb

    connection = duckdb.connect(config={"enable_external_access": "false"})
    connection.execute("SET lock_configuration = true")
    return connection


def quoted(name: str) -> str:
    """An identifier as SQL writes it, whatever characters it has: between quotes, with quotes inside doubled."""
    return '"' + name.replace('"', '""') + '"'
