"""Documents with different outcomes in two runs over the same input: `curate diff A B`.

Documents are matched by id. If several share an id, those with the same outcome in both runs are matched first, and the others
in the order of their outcomes. An outcome is `kept`, or the stage and the reason that dropped the document. DuckDB joins the
Parquet files, and spills to disk what does not fit into memory.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from curate.errors import SpecError
from curate.pipeline import lockfile
from curate.report.inspect_run import dataset_of
from curate.report.render import render
from curate.report.sql import connect
from curate.schema import ID, TEXT, URL
from curate.storage.run_dir import MANIFEST
from curate.storage.store import Store

if TYPE_CHECKING:
    import duckdb

KEPT, ABSENT = "kept", "not there"
_SHOWN_CHARS, _SHOWN_HUNKS, _SHOWN_LINES = 2000, 8, 40
_EMPTY = {
    "data": pa.schema({ID: pa.string(), TEXT: pa.large_string()}),
    "dropped": pa.schema({ID: pa.string(), "stage": pa.string(), "reason": pa.string(), TEXT: pa.large_string()}),
}


@dataclass(frozen=True)
class Example:
    """A document, with its text in both runs as far as they have it."""

    id: str
    url: str | None
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Flip:
    """Documents with the same pair of different outcomes. If both are `kept`, their texts differ."""

    first: str
    second: str
    documents: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Difference:
    """Two runs, the number of documents with the same outcome, and the flips, the most frequent first."""

    first: str
    second: str
    same: int
    flips: tuple[Flip, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        """A table, and an example of every row."""
        lines = [f"{self.same:,} documents have the same outcome in {self.first} and {self.second}"]
        lines += [f"{flip.documents:10,}  {flip.first}  ->  {flip.second}" for flip in self.flips]
        for flip in self.flips:
            for one in flip.examples[:1]:
                lines += ["", f"=== {one.url or one.id}", f"--- {flip.first}  ->  {flip.second}", *_example_lines(one)]
        return "\n".join(lines)

    def as_html(self) -> str:
        """One page, with the texts side by side."""
        pairs = [[(one, list(side_by_side(one.first, one.second))) for one in flip.examples] for flip in self.flips]
        return render("diff.html", found=self, flips=list(zip(self.flips, pairs, strict=True)))


def diff_runs(first: str, second: str, *, num: int = 5) -> Difference:
    """Compare two finished runs, with `num` examples of each flip, sampled by a hash of the id.

    Raises SpecError if one is not a run, or not complete.
    """
    connection = connect()
    for side, directory in (("one", first), ("other", second)):
        _register(connection, side, directory)
    texts_known = all(TEXT in connection.table(f"{side}_data").columns for side in ("one", "other"))
    alike = "outcome, coalesce(text_hash, ''), copy" if texts_known else "outcome, twin"
    for side, facing in (("one", "other"), ("other", "one")):
        connection.execute(
            f"""
            CREATE TEMP TABLE {side}_rest AS
            SELECT *, row_number() OVER (PARTITION BY id ORDER BY outcome, text_hash) AS turn FROM {side}_outcomes
            WHERE (id, {alike}) NOT IN (SELECT (id, {alike}) FROM {facing}_outcomes)
            """
        )
    (total,) = connection.execute("SELECT count(*) FROM one_outcomes").fetchone() or (0,)
    (left,) = connection.execute("SELECT count(*) FROM one_rest").fetchone() or (0,)
    connection.execute(
        """
        CREATE TEMP TABLE pairs AS
        SELECT coalesce(one.id, other.id) AS id,
               coalesce(one.outcome, $absent) AS first, coalesce(other.outcome, $absent) AS second
        FROM one_rest AS one FULL JOIN other_rest AS other ON one.id = other.id AND one.turn = other.turn
        """,
        {"absent": ABSENT},
    )
    counts = connection.execute("SELECT first, second, count(*) FROM pairs GROUP BY ALL").fetchall()
    flips = {(before, after): n for before, after, n in counts}
    drawn = connection.execute(
        """
        SELECT first, second, id FROM pairs
        QUALIFY row_number() OVER (PARTITION BY first, second ORDER BY md5(id), id) <= $num
        ORDER BY md5(id), id
        """,
        {"num": num},
    ).fetchall()
    texts = {side: _texts(connection, side, [name for _, _, name in drawn]) for side in ("one", "other")}

    def examples(before: str, after: str) -> Iterator[Example]:
        for one, other, name in drawn:
            if (one, other) == (before, after):
                text, url = texts["one"].get((name, one), (None, None))
                new, new_url = texts["other"].get((name, other), (None, None))
                yield Example(name, url or new_url, text, new)

    ordered = sorted(flips.items(), key=lambda item: (-item[1], item[0]))
    found = tuple(Flip(before, after, n, tuple(examples(before, after))) for (before, after), n in ordered)
    return Difference(first, second, total - left, found)


def side_by_side(first: str | None, second: str | None) -> Iterator[tuple[str, str, bool]]:
    """Pair the lines of two texts, each pair with whether it differs.

    Different texts yield the lines that differ, with three lines of context. Equal texts yield their beginning. A missing text
    yields empty lines.
    """
    if first is None and second is None:
        return
    if first is None or second is None or first == second:
        for line in (first or second or "")[:_SHOWN_CHARS].split("\n"):
            yield ("" if first is None else line), ("" if second is None else line), False
        return
    old, new = first.split("\n"), second.split("\n")
    groups = difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3)
    for what, a, b, c, d in (code for _, group in zip(range(_SHOWN_HUNKS), groups, strict=False) for code in group):
        for place in range(max(b - a, d - c)):
            left = old[a + place] if a + place < b else ""
            yield left, (new[c + place] if c + place < d else ""), what != "equal"


def _example_lines(one: Example) -> Iterator[str]:
    if one.first is not None and one.second is not None and one.first != one.second:
        lines = difflib.unified_diff(one.first.split("\n"), one.second.split("\n"), "first", "second", lineterm="", n=1)
        yield from (line for _, line in zip(range(_SHOWN_LINES), lines, strict=False))
    else:
        yield (one.first or one.second or "")[:_SHOWN_CHARS]


def _register(connection: duckdb.DuckDBPyConnection, side: str, directory: str) -> None:
    """Tables of a run: `SIDE_data`, `SIDE_dropped`, and `SIDE_outcomes` (id, outcome, text_hash, number among equals)."""
    store, _ = lockfile.opened(directory)
    if not store.exists(MANIFEST):
        raise SpecError(f"{directory!r} is not complete: drop reasons are gathered at the end. See 'curate status'.")
    for kind in _EMPTY:
        found = dataset_of(Store(directory), kind)
        if found is not None and ID not in found.schema.names:
            raise SpecError(f"{directory!r}: {kind}/ has no column 'id' to tell documents by. Add it to output.columns.")
        connection.register(f"{side}_{kind}", _EMPTY[kind].empty_table() if found is None else found)
    text = f"md5({TEXT})" if TEXT in connection.table(f"{side}_data").columns else "NULL"
    connection.execute(
        f"""
        CREATE TEMP TABLE {side}_outcomes AS
        SELECT *, row_number() OVER (PARTITION BY id, outcome, text_hash) AS copy,
               row_number() OVER (PARTITION BY id, outcome) AS twin FROM (
            SELECT id, '{KEPT}' AS outcome, {text} AS text_hash FROM {side}_data
            UNION ALL SELECT id, stage || ': ' || reason, NULL FROM {side}_dropped
        )
        """
    )


def _texts(
    connection: duckdb.DuckDBPyConnection, side: str, names: Sequence[str]
) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    """Text and URL of some documents, by id and outcome."""
    connection.register("wanted", pa.table({ID: pa.array(sorted({*names}), pa.string())}))
    found: dict[tuple[str, str], tuple[str | None, str | None]] = {}
    for kind, outcome in (("dropped", "stage || ': ' || reason"), ("data", f"'{KEPT}'")):
        columns = connection.table(f"{side}_{kind}").columns
        text, url = (name if name in columns else "NULL" for name in (TEXT, URL))
        asked = f"SELECT id, {outcome}, {text}, {url} FROM {side}_{kind} SEMI JOIN wanted USING (id)"
        for name, fared, body, place in connection.execute(asked).fetchall():
            found.setdefault((name, fared), (body, place))
    return found
