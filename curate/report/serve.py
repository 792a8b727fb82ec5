"""`curate serve DIR`: browse all documents of a run on this machine, and label them as good or bad.

DuckDB queries the Parquet files, so a run of any size opens at once. Labels are appended to `DIR/audit.jsonl`. They give the
precision of each drop reason: the share of the labelled documents it dropped that are bad, with a confidence interval.

The page is served on the loopback address, under a path that nobody can guess: other users of the machine, and web pages in the
same browser, do not know it. Texts are shown as text, and the page runs no script.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa

from curate.api.batch import apply_edits
from curate.errors import SpecError
from curate.pipeline import lockfile
from curate.report.collectors import HOST_PATTERN
from curate.report.inspect_run import dataset_of
from curate.report.render import render
from curate.report.search_query import Search
from curate.report.shown_documents import shown_parts
from curate.report.sql import connect, quoted
from curate.schema import ID, TEXT, URL
from curate.storage.run_dir import MANIFEST
from curate.storage.store import is_url

if TYPE_CHECKING:
    import flask

HOST = "127.0.0.1"
AUDIT = "audit.jsonl"
PER_PAGE = 25
KINDS = ("dropped", "edited", "kept")
_FOLDER = {"dropped": "dropped", "edited": "edited", "kept": "data"}
_SHOWN_CHARS = 20_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


@dataclass(frozen=True)
class Query:
    """The documents to find."""

    kind: str = "dropped"
    stage: str = ""
    reason: str = ""
    host: str = ""
    words: str = ""
    column: str = ""
    """A numeric column whose values lie between `low` and `high`."""
    low: float | None = None
    high: float | None = None
    page: int = 0

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Query:
        """Parse the query string of a page. Raises SpecError if a number or the kind is not valid."""
        names = {name: asked.get(name, "") for name in ("stage", "reason", "host", "words", "column")}
        try:
            low, high = (float(asked[name]) if asked.get(name) else None for name in ("low", "high"))
            page = min(2**31, max(0, int(asked.get("page") or 0)))
        except ValueError as error:
            raise SpecError(f"low, high and page are numbers: {error}") from error
        kind = asked.get("kind") or "dropped"
        if kind not in KINDS:
            raise SpecError(f"kind: {kind!r}. Known: {', '.join(KINDS)}")
        return cls(kind=kind, low=low, high=high, page=page, **names)


class Browser:
    """The documents of a finished run."""

    def __init__(self, directory: str) -> None:
        """Raises SpecError if the folder has no run, or one that is not complete."""
        store, self.saved = lockfile.opened(directory)
        if not store.exists(MANIFEST):
            raise SpecError(f"{directory!r} is not complete: its documents are gathered at the end. See 'curate status'.")
        self.directory, self.manifest = directory, store.read_json(MANIFEST)
        self._datasets = {kind: dataset_of(store, folder) for kind, folder in _FOLDER.items()}

    def columns(self, kind: str) -> list[str]:
        """Names of the numeric columns that documents of this kind have."""
        found = self._datasets[kind]
        if found is None:
            return []
        numeric = (name for name, of in zip(found.schema.names, found.schema.types, strict=True) if _is_number(of))
        return [name for name in numeric if name not in ("ordinal", "offset", "length")]

    def find(self, query: Query) -> tuple[int, list[dict[str, Any]]]:
        """The number of matches, and the matches on the page. Raises SpecError if documents of this kind lack the column."""
        found = self._datasets[query.kind]
        if found is None:
            return 0, []
        names, numbers = found.schema.names, self.columns(query.kind)
        conditions: list[str] = []
        values: list[Any] = []
        for name in ("stage", "reason"):
            if getattr(query, name) and name in names:
                conditions.append(f"{name} = ?")
                values.append(getattr(query, name))
        if query.host and URL in names:
            conditions.append(f"regexp_extract(lower({URL}), '{HOST_PATTERN}', 1) = ?")
            values.append(query.host.lower())
        body = "before" if query.kind == "edited" else TEXT
        searched = [name for name in (body, URL, ID) if name in names]
        stands = "coalesce(" + " OR ".join([*(f"contains(lower({name}), lower(?))" for name in searched), "false"]) + ", false)"
        search = Search.of(query.words)
        for terms, condition in ((search.wanted, stands), (search.unwanted, f"NOT {stands}")):
            for term in terms:
                conditions.append(condition)
                values += [term] * len(searched)
        if query.column:
            if query.column not in numbers:
                known = ", ".join(numbers) or "none"
                raise SpecError(f"column: {query.column!r}. Numbers that {query.kind} documents have: {known}")
            for sign, limit in ((">=", query.low), ("<=", query.high)):
                if limit is not None:
                    conditions.append(f"{quoted(query.column)} {sign} ?")
                    values.append(limit)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        connection = connect()
        connection.register("documents", found)
        (count,) = connection.execute(f"SELECT count(*) FROM documents {where}", values).fetchone() or (0,)
        key = [name for name in (ID, "file", "offset", "stage") if name in names] or names[:1]
        order = ", ".join(map(quoted, key))
        # Ordered by a few narrow columns; all others are read of the rows of the page only. Rows that share a key have turns.
        turn = f"row_number() OVER (PARTITION BY {order}) AS turn"
        page = f"ORDER BY {order}, turn LIMIT {PER_PAGE} OFFSET {PER_PAGE * query.page}"
        connection.execute(f"CREATE TEMP TABLE page AS SELECT {order}, {turn} FROM documents {where} {page}", values)
        same = " AND ".join(f"found.{quoted(name)} IS NOT DISTINCT FROM page.{quoted(name)}" for name in key)
        connection.execute(
            f"CREATE TEMP TABLE near AS SELECT * FROM (SELECT * FROM documents {where}) AS found SEMI JOIN page ON {same}",
            values,
        )
        rows: Any = connection.sql(
            f"SELECT found.* EXCLUDE (turn) FROM (SELECT *, {turn} FROM near) AS found SEMI JOIN page ON {same} "
            f"AND found.turn = page.turn ORDER BY {order}"
        ).to_arrow_table()
        return int(count), [_shown(query.kind, row) for row in rows.to_pylist()]


def _is_number(of: pa.DataType) -> bool:
    return bool(pa.types.is_floating(of) or pa.types.is_integer(of))


def _place(row: Mapping[str, Any]) -> str:
    """Distinguishes documents with the same id."""
    return f"{row['file']} {row['offset']}" if row.get("file") is not None else ""


def _shown(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in row.items() if isinstance(value, int | float) and name not in ("ordinal", "offset")}
    facts |= {name: value for name, value in (row.get("values") or {}).items() if value is not None}
    text = row.get(TEXT)
    shown = {
        "kind": kind, "id": row.get(ID), "url": row.get(URL), "place": _place(row),
        "stage": row.get("stage"), "reason": row.get("reason"), "detail": row.get("detail"),
        "facts": facts, "text": text and text[:_SHOWN_CHARS], "chars": len(text or ""),
    }  # fmt: skip
    if kind == "edited" and row["before"] is not None:
        assert apply_edits(row["before"], row["edits"]) == row["after"]
        shown["parts"] = shown_parts(row["before"], row["edits"], _SHOWN_CHARS)
    return shown


# --- labels


def read_audit(path: Path) -> list[dict[str, Any]]:
    """The last label of every document. A line that is not valid JSON was cut short while it was written, and is skipped."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            found[_label_key(row)] = row
    return list(found.values())


def _label_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) or None for name in ("kind", "stage", "id", "place"))


def precision(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Precision of each drop reason: the share of its labelled documents that are bad, with a 95 % Wilson interval."""
    dropped = [row for row in rows if row["kind"] == "dropped"]
    totals = Counter((row["stage"], row["reason"]) for row in dropped)
    right = Counter((row["stage"], row["reason"]) for row in dropped if row["verdict"] == "bad")
    for (stage, reason), total in sorted(totals.items()):
        low, high = wilson(right[stage, reason], total)
        yield {
            "stage": stage, "reason": reason, "seen": total, "right": right[stage, reason],
            "precision": right[stage, reason] / total, "low": low, "high": high,
        }  # fmt: skip


def wilson(hits: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Score interval of a proportion, which is accurate for small samples too (Wilson 1927). `z` is 1.96 for 95 %.

    >>> wilson(0, 0)
    (0.0, 1.0)
    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    if not total:
        return 0.0, 1.0
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


# --- the pages


def application(directory: str, token: str) -> flask.Flask:
    """The pages, under `/TOKEN/`. Requests for any other address are refused."""
    import flask

    if is_url(directory):
        raise SpecError(f"{directory!r} is a URL, and labels are written beside the run. Copy it to a disk first.")
    browser, audit = Browser(directory), Path(directory) / AUDIT
    app = flask.Flask("curate", static_folder=None)

    @app.before_request
    def check() -> Any:
        if not secrets.compare_digest(flask.request.path.split("/")[1].encode(), token.encode()):
            return "Open the address that 'curate serve' printed.\n", 403
        own = (None, flask.request.host_url.rstrip("/"))
        if flask.request.method == "POST" and flask.request.headers.get("Origin") not in own:
            return "This form was sent by another page.\n", 403
        return None

    @app.after_request
    def harden(answer: flask.Response) -> flask.Response:
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["Referrer-Policy"] = "same-origin"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    @app.errorhandler(SpecError)
    def refused(error: SpecError) -> Any:
        return flask.Response(f"{error}\n", 400, mimetype="text/plain")

    @app.get(f"/{token}/")
    def browse() -> str:
        query = Query.of(flask.request.args)
        count, documents = browser.find(query)
        labels = {_label_key(row): row["verdict"] for row in read_audit(audit)}
        stages = browser.manifest["stages"]
        reasons = sorted({r for name, one in stages.items() if not query.stage or name == query.stage for r in one["dropped"]})
        here = {name: value for name, value in flask.request.args.items() if name != "page"}
        return render(
            "browse.html", name=browser.saved["name"], query=query, count=count,
            documents=[(row, labels.get(_label_key(row))) for row in documents], stages=list(stages), reasons=reasons,
            columns=browser.columns(query.kind), kinds=KINDS, pages=max(1, math.ceil(count / PER_PAGE)),
            pieces=Search.of(query.words).pieces,
            link=lambda page: "?" + urlencode({**here, "page": page}), here=flask.request.query_string.decode(),
        )  # fmt: skip

    @app.post(f"/{token}/audit")
    def say() -> Any:
        form = flask.request.form
        if form.get("verdict") not in ("good", "bad") or form.get("kind") not in KINDS or not form.get("id"):
            raise SpecError("verdict is good or bad, of a document with a kind and an id")
        row = {name: form.get(name) or None for name in ("kind", "id", "place", "stage", "reason", "verdict")}
        with open(audit, "a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "time": round(time.time())}) + "\n")
        return flask.redirect(f"/{token}/?{form.get('back', '')}", 303)

    @app.get(f"/{token}/audit")
    def audit_page() -> str:
        rows = read_audit(audit)
        return render("audit.html", name=browser.saved["name"], rows=list(precision(rows)), total=len(rows), file=AUDIT)

    return app


def serve(directory: str, port: int, say: Any) -> None:
    """Serve until interrupted. `say` receives the address."""
    from werkzeug.serving import make_server

    token = secrets.token_urlsafe(16)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line for every page
    server = make_server(HOST, port, application(directory, token), threaded=True)
    say(f"http://{HOST}:{server.server_port}/{token}/  (Ctrl-C ends it)")
    server.serve_forever()
