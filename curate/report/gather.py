"""What a finished run has to say, in plain values: the funnel, reasons, edits, distributions, and documents to read.

Counts are of all documents. Texts, and what is drawn from single documents, are of samples: the ledger keeps the texts of a
keyed sample of dropped and edited documents per reason, and of these, and of those that were kept, the report shows the ones
with the smallest keyed hash of their own. Of a large corpus some files are read, chosen by a hash of their names, and of what
was dropped every so many documents; both are scaled to the whole. So a report of a trillion tokens is as long as one of a
thousand pages.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.api.rules import RuleStage
from curate.api.stage import Stage
from curate.errors import SpecError
from curate.execution.accounting import VALUES
from curate.pipeline import lockfile
from curate.report.inspect_run import row_keys
from curate.report.replay import PastRun, checks_of, thresholds_of
from curate.report.whatif import beside_each_other, parquets
from curate.schema import ID, TEXT, URL
from curate.stages.filters.toxicity import Toxicity
from curate.stages.score.keep import Keep
from curate.storage.run_dir import MANIFEST
from curate.storage.store import Store

F64 = npt.NDArray[np.float64]
HOST_PATTERN = r"^(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@]*@)?(?P<host>[^/?#:]+)"
"""The host of a URL in small letters."""
_FEW = 5
"""So many values, or fewer, make no histogram."""
_AROUND = 120
"""Characters of an unchanged stretch that are shown on either side of an edit."""


@dataclass(frozen=True)
class Size:
    """How much of a run is shown."""

    per_reason: int = 20
    """Dropped documents of each reason."""
    per_stage: int = 40
    """Edited documents of each stage."""
    kept: int = 100
    near: int = 6
    """Documents nearest to each limit, on either side of it."""
    chars: int = 4000
    """Of a text."""
    rows: int = 200_000
    """Documents that distributions are drawn from."""
    names: int = 25
    """Languages and hosts."""
    files: int = 100
    """Of the corpus."""


@dataclass(frozen=True)
class _Limit:
    """What a rule holds documents against."""

    stage: str
    reason: str
    limit: float
    column: str | None
    """Where documents that stayed have the value; None where it is not known."""
    recorded: bool
    """Dropped ones have it too, whatever dropped them."""


def gather(directory: str, size: Size | None = None) -> dict[str, Any]:
    """Everything that `report.json` has. Raises SpecError where there is no run, or one that is not over."""
    size = size or Size()
    store, saved = lockfile.opened(directory)
    if not store.exists(MANIFEST):
        raise SpecError(f"{directory!r} is not complete, and a report is of a whole run. 'curate run' again continues it.")
    manifest = store.read_json(MANIFEST)
    run = PastRun(store, saved)
    limits, columns, unread = _limits(run)
    tokens = next((options["column"] for name, options in run.options.items() if run.kinds[name] == "tokens"), None)
    lost = sum(sum(account["dropped"].values()) for account in manifest["stages"].values())
    dropped, edits = _Dropped(size, max(1, math.ceil(lost / size.rows))), _Edits(size)
    for batch in _batches(store, "dropped"):
        dropped.add(batch)
    known = {(limit.stage, limit.reason) for limit in limits}
    limits += [
        _Limit(*verdict, limit, columns.get(verdict), recorded=False)
        for verdict, limit in dropped.limits()
        if verdict not in known
    ]
    for batch in _batches(store, "edited"):
        edits.add(batch)
    kept = _Kept(store, size, limits, tokens, manifest["documents_out"])
    # Where one language is kept, that is the language of what was kept, whether or not it is written down.
    asked: list[list[str]] = [run.options[name]["keep"] or [] for name in run.kinds if run.kinds[name] == "language"]
    if not kept.languages and asked and len(asked[-1]) == 1:
        kept.languages[asked[-1][0]] = kept.drawn
    stages = manifest["stages"]
    data = {name: file for name, file in manifest["files"].items() if name.startswith("data/")}
    return {
        "name": saved["name"],
        "run": {name: manifest[name] for name in ("started", "finished", "fingerprint", "versions", "shards", "failed_shards")},
        "documents_in": manifest["documents_in"],
        "documents_out": manifest["documents_out"],
        "characters_out": next((account["chars_out"] for account in reversed(stages.values())), 0),
        "tokens_out": kept.tokens_per_char and round(kept.scale * kept.tokens),
        "funnel": list(_funnel(stages, kept.tokens_per_char)),
        "reasons": [
            {"stage": stage, "reason": reason, "documents": count, "frac": count / max(1, manifest["documents_in"])}
            for stage, account in stages.items()
            for reason, count in sorted(account["dropped"].items(), key=lambda item: -item[1])
        ],
        "rules": [{"stage": stage, "rule": rule, "edits": n} for (stage, rule), n in edits.rules.most_common()],
        "records": manifest.get("records", {}),
        "barriers": manifest.get("barriers", {}),
        "scores": [_histogram(limit, kept, dropped) for limit in limits],
        "scores_unread": unread,
        "languages": _compared(dropped, kept, "languages", size.names),
        "hosts": _compared(dropped, kept, "hosts", size.names),
        "lengths": _lengths(kept, dropped),
        "drawn_from": {"kept": kept.drawn, "dropped": dropped.drawn},
        "documents": [*dropped.documents(), *edits.documents(), *kept.documents()],
        "num_files": len(data),
        "files": {name: {key: data[name][key] for key in ("rows", "sha256")} for name in sorted(data)[: size.files]},
    }


def _funnel(stages: Mapping[str, Mapping[str, Any]], tokens_per_char: float | None) -> Iterator[dict[str, Any]]:
    first = max(1, next((account["rows_in"] for account in stages.values()), 0))
    total = sum(account["seconds"] for account in stages.values())
    for name, account in stages.items():
        seconds, chars = account["seconds"], account["chars_in"] or account["chars_out"]
        yield {
            "stage": name,
            **{key: account[key] for key in ("rows_in", "rows_out", "failed", "edited", "chars_in", "chars_out", "seconds")},
            "dropped": sum(account["dropped"].values()),
            "chars_removed": account["chars_removed"] - account["chars_inserted"],
            "frac_of_stage": account["rows_out"] / max(1, account["rows_in"]),
            "frac_of_all": account["rows_out"] / first,
            # Characters of all, at the rate of the corpus.
            "tokens_out": tokens_per_char and round(account["chars_out"] * tokens_per_char),
            "frac_of_seconds": seconds / total if total else None,
            "documents_per_s": account["rows_in"] / seconds if seconds else None,
            "mchars_per_s": chars / seconds / 1e6 if seconds and chars else None,
        }


def _limits(run: PastRun) -> tuple[list[_Limit], dict[tuple[str, str], str], list[dict[str, str]]]:
    """Rules whose values were recorded; columns, by stage and reason, that others hold against a limit; and stages that cannot
    be asked any more, as when a package or a model is gone."""
    found: list[_Limit] = []
    columns: dict[tuple[str, str], str] = {}
    unread = []
    for place, name in enumerate(run.order):
        try:
            if name not in run.kinds:
                continue
            kind = run.class_of(name)
            if not issubclass(kind, Keep | RuleStage | Toxicity) and kind.value_columns is Stage.value_columns:
                continue
            stage = run.stage(name)
            checks = checks_of(stage) if thresholds_of(stage) else ()
        except SpecError as error:
            unread.append({"stage": name, "why": str(error)})
            continue
        columns |= {(name, reason): column for reason, column in stage.value_columns.items()}
        recorded = run.recorded_by(place)
        for check in checks:
            columns[name, check.reason] = check.column
            if check.limit is not None and check.column in recorded:
                found.append(_Limit(name, check.reason, check.limit, check.column, recorded=True))
    return found, columns, unread


def _batches(store: Store, kind: str) -> Iterator[pa.RecordBatch]:
    for name in parquets(store, kind):
        yield from pq.ParquetFile(store.open(name)).iter_batches(4096)


class _Dropped:
    """What was dropped, seen once."""

    def __init__(self, size: Size, every: int) -> None:
        self._size = size
        self.scale = float(every)
        """Of so many documents one is counted in what follows."""
        self.drawn = self._rows = 0
        self.languages: Counter[str] = Counter()
        self.hosts: Counter[str] = Counter()
        self.lengths: list[int] = []
        self._values: dict[str, list[F64]] = defaultdict(list)
        self._verdicts: list[tuple[str, str]] = []
        self._stopped: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._limits: dict[tuple[str, str], set[float]] = defaultdict(set)
        self._drawn: dict[tuple[str, str], _Smallest] = defaultdict(lambda: _Smallest(size.per_reason))
        self._near: dict[tuple[str, str], _Smallest] = defaultdict(lambda: _Smallest(size.near))

    def add(self, batch: pa.RecordBatch) -> None:
        columns = {name: batch.column(name).to_pylist() for name in ("stage", "reason", "value", "limit", "detail")}
        some = slice(-self._rows % int(self.scale), None, int(self.scale))
        self._rows += batch.num_rows
        urls = batch.column(URL).to_pylist()[some]
        self.drawn += len(urls)
        self.hosts.update(_hosts(pa.array(urls, pa.string())))
        everyones = list(zip(columns["stage"], columns["reason"], strict=True))
        verdicts = everyones[some]
        self._verdicts += verdicts
        for verdict, value, limit in zip(verdicts, columns["value"][some], columns["limit"][some], strict=True):
            if value is not None and limit is not None and math.isfinite(value):
                self._stopped[verdict].append(value)
                self._limits[verdict].add(limit)
        details = zip(verdicts, columns["detail"][some], strict=True)
        self.languages.update(detail for (_, reason), detail in details if detail and reason == "other_language")
        if VALUES in batch.schema.names:
            measured = batch.column(VALUES)
            for place, column in enumerate(measured.type):
                self._values[column.name].append(_floats(measured.field(place))[some])
        texts = batch.column(TEXT)
        has_text = texts.is_valid().to_numpy(zero_copy_only=False)
        # Those without a text come last, where there are no others; of many only some are looked at, and one of each reason.
        looked_at = has_text.copy()
        looked_at[some] = True
        looked_at[[everyones.index(verdict) for verdict in {*everyones} - self._drawn.keys()]] = True
        rows = np.flatnonzero(looked_at).tolist()
        for row, key in zip(rows, row_keys(batch.select([ID, "offset"]).take(pa.array(rows, pa.int64()))), strict=True):
            verdict = everyones[row]
            self._drawn[verdict].offer((b"\0" if has_text[row] else b"\1") + key, batch, row)
            if not has_text[row]:
                continue
            value, limit = columns["value"][row], columns["limit"][row]
            if value is not None and limit is not None and math.isfinite(value):
                self._near[verdict].offer(abs(value - limit), batch, row)
            if len(self.lengths) < self._size.rows:
                self.lengths.append(len(texts[row].as_py()))

    def limits(self) -> list[tuple[tuple[str, str], float]]:
        """Rules, by stage and reason, that stopped more than a few documents, all at the same limit."""
        many = {verdict: self._limits[verdict] for verdict, values in self._stopped.items() if len(values) > _FEW}
        return [(verdict, next(iter(limits))) for verdict, limits in many.items() if len(limits) == 1]

    def values(self, limit: _Limit) -> tuple[F64, F64]:
        """What was measured of documents that went elsewhere, where it was recorded, and of those that this rule stopped."""
        verdict = (limit.stage, limit.reason)
        if not limit.recorded:
            return np.zeros(0), np.array(self._stopped[verdict])
        if limit.column not in self._values:
            return np.zeros(0), np.zeros(0)
        found = np.concatenate(self._values[limit.column])
        stopped = np.array([one == verdict for one in self._verdicts], np.bool_)
        return found[~stopped], found[stopped]

    def documents(self) -> Iterator[dict[str, Any]]:
        seen = set()
        for near, drawn in ((True, self._near), (False, self._drawn)):
            for some in drawn.values():
                for row in some.rows():
                    place = (row["id"], row["stage"], row["file"], row["offset"])
                    if place not in seen:
                        seen.add(place)
                        yield {**_document("dropped", row, row["text"], self._size.chars), "near": near}


class _Edits:
    """What was edited, seen once."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self.rules: Counter[tuple[str, str]] = Counter()
        self._drawn: dict[str, _Smallest] = defaultdict(lambda: _Smallest(size.per_stage))

    def add(self, batch: pa.RecordBatch) -> None:
        stages = batch.column("stage").to_pylist()
        edits = batch.column("edits")
        rules = pc.struct_field(pc.list_flatten(edits), "rule").to_pylist()
        owners = pc.list_parent_indices(edits).to_pylist()
        self.rules.update((stages[row], rule) for row, rule in zip(owners, rules, strict=True))
        with_text = np.flatnonzero(batch.column("before").is_valid().to_numpy(zero_copy_only=False)).tolist()
        for row, key in zip(with_text, row_keys(batch.take(pa.array(with_text, pa.int64()))), strict=True):
            self._drawn[stages[row]].offer(key, batch, row)

    def documents(self) -> Iterator[dict[str, Any]]:
        for some in self._drawn.values():
            for row in some.rows():
                shown = _document("edited", row, None, self._size.chars)
                rules = Counter(edit["rule"] for edit in row["edits"])
                yield {
                    **shown, "reason": ", ".join(rules), "chars": row["chars_before"], "chars_after": row["chars_after"],
                    "parts": shown_parts(row["before"], row["edits"], self._size.chars),
                }  # fmt: skip


class _Kept:
    """The corpus: a sample of its documents, and those nearest to a limit."""

    def __init__(self, store: Store, size: Size, limits: Sequence[_Limit], tokens: str | None, documents: int) -> None:
        self.languages: Counter[str] = Counter()
        self.hosts: Counter[str] = Counter()
        self.lengths: list[int] = []
        self.values: dict[str, F64] = {}
        self.drawn = self.tokens = self._chars = 0
        self._size = size
        self._tokens_column = tokens
        self._drawn = _Smallest(size.kept)
        self._near = [_Smallest(size.near) for _ in limits]
        self._limits = limits
        measured = sorted({limit.column for limit in limits if limit.column})
        values: dict[str, list[F64]] = {name: [] for name in measured}
        for name in sorted(parquets(store, "data"), key=lambda name: hashlib.sha256(name.encode()).digest()):
            if self.drawn >= size.rows:
                break
            file = pq.ParquetFile(store.open(name))
            if any(limit.recorded for limit in limits):
                beside = beside_each_other(store, name, measured)
            else:
                beside = file.read([column for column in measured if column in file.schema_arrow.names])
            found = {column: _floats(beside[column]) for column in beside.column_names}
            at = 0
            for batch in file.iter_batches(4096):
                self._add(batch)
                for column, whole in found.items():
                    self._offer_near(column, whole[at : at + batch.num_rows], batch)
                at += batch.num_rows
            for column, whole in found.items():
                values[column].append(whole)
        self.values = {name: np.concatenate(some) if some else np.zeros(0) for name, some in values.items()}
        self.scale = documents / max(1, self.drawn)

    def _add(self, batch: pa.RecordBatch) -> None:
        names = batch.schema.names
        self.drawn += batch.num_rows
        if URL in names:
            self.hosts.update(_hosts(batch.column(URL)))
        if "language" in names:
            self.languages.update(name for name in batch.column("language").to_pylist() if name)
        if TEXT in names:
            lengths = pc.utf8_length(batch.column(TEXT).drop_null())
            self.lengths += lengths.to_pylist()
            if self._tokens_column in names:
                self.tokens += pc.sum(batch.column(self._tokens_column)).as_py() or 0
                self._chars += pc.sum(lengths).as_py() or 0
            for row, key in enumerate(row_keys(batch)):
                self._drawn.offer(key, batch, row)

    @property
    def tokens_per_char(self) -> float | None:
        """None where tokens were not counted."""
        return self.tokens / self._chars if self._chars else None

    def _offer_near(self, column: str, values: F64, batch: pa.RecordBatch) -> None:
        for limit, near in zip(self._limits, self._near, strict=True):
            if limit.column != column or TEXT not in batch.schema.names:
                continue
            distance = np.abs(values - limit.limit)
            for row in np.argsort(distance, kind="stable")[: self._size.near].tolist():
                if np.isfinite(distance[row]):
                    near.offer(float(distance[row]), batch, row, value=float(values[row]))

    def documents(self) -> Iterator[dict[str, Any]]:
        for limit, near in zip(self._limits, self._near, strict=True):
            for row in near.rows():
                shown = _document("kept", row, row[TEXT], self._size.chars)
                yield {**shown, "stage": limit.stage, "reason": limit.reason, "limit": limit.limit, "near": True}
        for row in self._drawn.rows():
            scores = {name: value for name, value in row.items() if isinstance(value, int | float) and math.isfinite(value)}
            yield {**_document("kept", row, row[TEXT], self._size.chars), "scores": scores}


class _Smallest:
    """The rows with the smallest keys, in their order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[Any, int, dict[str, Any]]] = []
        self._count = 0

    def offer(self, key: Any, batch: pa.RecordBatch, row: int, **more: Any) -> None:
        turned = _turned(key)
        if not self._size or (len(self._heap) == self._size and turned <= self._heap[0][0]):
            return
        self._count += 1
        item = (turned, -self._count, {**batch.slice(row, 1).to_pylist()[0], **more})
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, item)
        else:
            heapq.heapreplace(self._heap, item)

    def rows(self) -> list[dict[str, Any]]:
        return [row for _, _, row in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


def _turned(key: bytes | float) -> float:
    """Larger for smaller keys: a heap has its smallest on top."""
    return -(int.from_bytes(key, "big") if isinstance(key, bytes) else key)


def _document(kind: str, row: Mapping[str, Any], text: str | None, chars: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"kind": kind, "id": row.get(ID), "url": row.get(URL)}
    known = (name for name in ("stage", "reason", "value", "limit", "detail") if row.get(name) is not None)
    shown |= {name: row[name] for name in known if not isinstance(row[name], float) or math.isfinite(row[name])}
    if text is not None:
        shown |= {"chars": len(text), "text": text[:chars]}
    return shown


def shown_parts(before: str, edits: Sequence[Mapping[str, Any]], chars: int) -> list[list[str]]:
    """The text as stretches: `same`, `cut` (left out here, and how many characters), `gone` with the rule, `new`."""
    parts: list[list[str]] = []
    at = shown = 0
    for number, edit in enumerate(edits):
        if shown > chars:
            parts.append(["cut", f"{len(edits) - number} more edits"])
            return parts
        parts += _same(before[at : edit["start"]], first=not number, last=False)
        gone = before[edit["start"] : edit["end"]]
        for kind, text in (("gone", gone), ("new", edit["replacement"])):
            parts += [[kind, text[:chars], edit["rule"]]] if text else []
            parts += [["cut", f"{len(text) - chars:,} characters"]] if len(text) > chars else []
        shown += len(gone) + len(edit["replacement"]) + 2 * _AROUND
        at = edit["end"]
    return parts + _same(before[at:], first=not edits, last=True)


def _same(text: str, *, first: bool, last: bool) -> list[list[str]]:
    head, tail = (0 if first else _AROUND), (0 if last else _AROUND)
    if len(text) <= head + tail + 40:
        return [["same", text]] if text else []
    parts = [["same", text[:head]]] if head else []
    parts.append(["cut", f"{len(text) - head - tail:,} characters"])
    return parts + ([["same", text[len(text) - tail :]]] if tail else [])


def _hosts(urls: pa.Array) -> Iterable[str]:
    found = pc.extract_regex(pc.utf8_lower(urls), HOST_PATTERN)
    return [host for host in pc.struct_field(found, "host").to_pylist() if host]


def _compared(dropped: _Dropped, kept: _Kept, what: str, names: int) -> list[dict[str, Any]]:
    """The most frequent names, with how many documents of the whole run they stand for; None where it is not on record."""
    lost, stayed = (
        {name: round(side.scale * count) for name, count in getattr(side, what).items()} for side in (dropped, kept)
    )
    both = Counter(lost) + Counter(stayed)
    of_kept = (lambda name: stayed.get(name, 0)) if stayed or not kept.drawn else lambda name: None
    return [{"name": name, "dropped": lost.get(name, 0), "kept": of_kept(name)} for name, _ in both.most_common(names)]


def _lengths(kept: _Kept, dropped: _Dropped) -> dict[str, list[Any]]:
    """Documents by their length in characters, in bins of one width on a logarithmic scale."""
    edges = np.geomspace(1.0, max([10.0, *kept.lengths, *dropped.lengths]), 41)
    counts = {
        name: _counted(np.array(side.lengths, np.float64), edges) for name, side in (("kept", kept), ("dropped", dropped))
    }
    return {"edges": edges.tolist(), **{name: found.tolist() for name, found in counts.items()}}


def _floats(values: Any) -> F64:
    """As numbers; null is NaN."""
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _counted(values: F64, edges: F64) -> npt.NDArray[np.int64]:
    """In bins, of which the first and the last have what lies beyond as well."""
    return np.histogram(np.clip(values[np.isfinite(values)], edges[0], edges[-1]), edges)[0]


def _histogram(rule: _Limit, kept: _Kept, dropped: _Dropped) -> dict[str, Any]:
    """Values of documents that the rule stopped, and of all others whose values are known, in common bins."""
    elsewhere, stopped = dropped.values(rule)
    stayed = kept.values.get(rule.column or "", np.zeros(0))
    both = np.concatenate([elsewhere, stayed, stopped])
    both = both[np.isfinite(both)]
    low, high = (float(x) for x in np.quantile(both, [0.01, 0.99])) if len(both) else (0.0, 1.0)
    low, high = min(low, rule.limit), max(high, rule.limit)
    edges = np.linspace(low, high if high > low else low + 1.0, 41)
    gone, lost, left = (_counted(values, edges) for values in (stopped, elsewhere, stayed))
    passed = dropped.scale * lost + kept.scale * left
    return {
        "stage": rule.stage, "reason": rule.reason, "column": rule.column, "limit": rule.limit, "edges": edges.tolist(),
        "passed": np.rint(passed).astype(int).tolist(), "stopped": np.rint(dropped.scale * gone).astype(int).tolist(),
    }  # fmt: skip
