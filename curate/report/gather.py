"""Gathers what `report.json` holds of a finished run: the funnel, drop reasons, edits, distributions, and documents to read.

The funnel and the reasons count all documents. Distributions come from a sample and are scaled to the whole, and the number of
documents to read is fixed, so a report of a trillion tokens is as long as one of a thousand pages.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curate.api.rules import RuleStage
from curate.api.stage import Stage
from curate.errors import SpecError
from curate.pipeline import lockfile
from curate.report.collectors import BATCH_ROWS, F64, Dropped, Edited, Kept, Limit, Size
from curate.report.replay import PastRun, checks_of, thresholds_of
from curate.report.run_files import parquet_files
from curate.stages.filters.toxicity import Toxicity
from curate.stages.score.keep import Keep
from curate.storage.run_dir import MANIFEST
from curate.storage.store import Store


def gather(directory: str, size: Size | None = None) -> dict[str, Any]:
    """Gather the content of `report.json`, with samples of the given size.

    Raises SpecError if the folder has no run, or one that is not complete.
    """
    size = size or Size()
    store, saved = lockfile.opened(directory)
    if not store.exists(MANIFEST):
        raise SpecError(f"{directory!r} is not complete, and a report is of a whole run. 'curate run' again continues it.")
    manifest = store.read_json(MANIFEST)
    run = PastRun(store, saved)
    limits, columns, unread = _limits(run)
    tokens = next((options["column"] for name, options in run.options.items() if run.kinds[name] == "tokens"), None)
    stages = manifest["stages"]
    num_dropped = sum(sum(counts["dropped"].values()) for counts in stages.values())
    dropped, edited = Dropped(size, max(1, math.ceil(num_dropped / size.rows))), Edited(size)
    for batch in _batches(store, "dropped"):
        dropped.add(batch)
    known = {(limit.stage, limit.reason) for limit in limits}
    limits += [
        Limit(*reason, limit, columns.get(reason), recorded=False) for reason, limit in dropped.limits() if reason not in known
    ]
    for batch in _batches(store, "edited"):
        edited.add(batch)
    kept = Kept(store, size, limits, tokens, manifest["documents_out"])
    # If a single language is kept, all kept documents are in it, even if the corpus has no column for it.
    languages: list[list[str]] = [run.options[name]["keep"] or [] for name in run.kinds if run.kinds[name] == "language"]
    if not kept.languages and languages and len(languages[-1]) == 1:
        kept.languages[languages[-1][0]] = kept.drawn
    data = {name: file for name, file in manifest["files"].items() if name.startswith("data/")}
    return {
        "name": saved["name"],
        "run": {name: manifest[name] for name in ("started", "finished", "fingerprint", "versions", "shards", "failed_shards")},
        "documents_in": manifest["documents_in"],
        "documents_out": manifest["documents_out"],
        "characters_out": next((counts["chars_out"] for counts in reversed(stages.values())), 0),
        "tokens_out": kept.tokens_per_char and round(kept.scale * kept.tokens),
        "funnel": list(_funnel(stages, kept.tokens_per_char)),
        "reasons": [
            {"stage": stage, "reason": reason, "documents": count, "frac": count / max(1, manifest["documents_in"])}
            for stage, counts in stages.items()
            for reason, count in sorted(counts["dropped"].items(), key=lambda item: -item[1])
        ],
        "rules": [{"stage": stage, "rule": rule, "edits": n} for (stage, rule), n in edited.rules.most_common()],
        "records": manifest.get("records", {}),
        "barriers": manifest.get("barriers", {}),
        "scores": [_histogram(limit, kept, dropped) for limit in limits],
        "scores_unread": unread,
        "languages": _compared(dropped, kept, "languages", size.names),
        "hosts": _compared(dropped, kept, "hosts", size.names),
        "lengths": _lengths(kept, dropped),
        "drawn_from": {"kept": kept.drawn, "dropped": dropped.drawn},
        "documents": [*dropped.documents(), *edited.documents(), *kept.documents()],
        "num_files": len(data),
        "files": {name: {key: data[name][key] for key in ("rows", "sha256")} for name in sorted(data)[: size.files]},
    }


def _funnel(stages: Mapping[str, Mapping[str, Any]], tokens_per_char: float | None) -> Iterator[dict[str, Any]]:
    first = max(1, next((counts["rows_in"] for counts in stages.values()), 0))
    total = sum(counts["seconds"] for counts in stages.values())
    for name, counts in stages.items():
        seconds, chars = counts["seconds"], counts["chars_in"] or counts["chars_out"]
        yield {
            "stage": name,
            **{key: counts[key] for key in ("rows_in", "rows_out", "failed", "edited", "chars_in", "chars_out", "seconds")},
            "dropped": sum(counts["dropped"].values()),
            "chars_removed": counts["chars_removed"] - counts["chars_inserted"],
            "frac_of_stage": counts["rows_out"] / max(1, counts["rows_in"]),
            "frac_of_all": counts["rows_out"] / first,
            # Estimated from characters: only the corpus is tokenized.
            "tokens_out": tokens_per_char and round(counts["chars_out"] * tokens_per_char),
            "frac_of_seconds": seconds / total if total else None,
            "documents_per_s": counts["rows_in"] / seconds if seconds else None,
            "mchars_per_s": chars / seconds / 1e6 if seconds and chars else None,
        }


def _limits(run: PastRun) -> tuple[list[Limit], dict[tuple[str, str], str], list[dict[str, str]]]:
    """Limits whose values were recorded, the column that each (stage, reason) compares with a limit, and the stages that could
    not be created, for example because a package or a model is missing."""
    limits: list[Limit] = []
    columns: dict[tuple[str, str], str] = {}
    unread = []
    for position, name in enumerate(run.order):
        try:
            if name not in run.kinds:
                continue
            stage_class = run.class_of(name)
            if not issubclass(stage_class, Keep | RuleStage | Toxicity) and stage_class.value_columns is Stage.value_columns:
                continue
            stage = run.stage(name)
            checks = checks_of(stage) if thresholds_of(stage) else ()
        except SpecError as error:
            unread.append({"stage": name, "why": str(error)})
            continue
        columns |= {(name, reason): column for reason, column in stage.value_columns.items()}
        recorded = run.recorded_by(position)
        for check in checks:
            columns[name, check.reason] = check.column
            if check.limit is not None and check.column in recorded:
                limits.append(Limit(name, check.reason, check.limit, check.column, recorded=True))
    return limits, columns, unread


def _batches(store: Store, folder: str) -> Iterator[pa.RecordBatch]:
    for name in parquet_files(store, folder):
        yield from pq.ParquetFile(store.open(name)).iter_batches(BATCH_ROWS)


def _compared(dropped: Dropped, kept: Kept, column: str, num: int) -> list[dict[str, Any]]:
    """The most frequent names with estimates of their dropped and kept documents; None if the corpus has no such column."""
    lost, stayed = (
        Counter({name: round(side.scale * count) for name, count in getattr(side, column).items()}) for side in (dropped, kept)
    )
    is_known = bool(stayed) or not kept.drawn
    most = (lost + stayed).most_common(num)
    return [{"name": name, "dropped": lost[name], "kept": stayed[name] if is_known else None} for name, _ in most]


def _lengths(kept: Kept, dropped: Dropped) -> dict[str, list[Any]]:
    """Documents by their length in characters, in bins of equal width on a logarithmic scale."""
    lengths = {name: side.lengths.astype(np.float64) for name, side in (("kept", kept), ("dropped", dropped))}
    edges = np.geomspace(1.0, max(10.0, *(found.max(initial=0) for found in lengths.values())), 41)
    return {"edges": edges.tolist(), **{name: _counted(found, edges).tolist() for name, found in lengths.items()}}


def _counted(values: F64, edges: F64) -> npt.NDArray[np.int64]:
    """Count finite values in bins. The first and the last bin include what lies beyond them."""
    return np.histogram(np.clip(values[np.isfinite(values)], edges[0], edges[-1]), edges)[0]


def _histogram(limit: Limit, kept: Kept, dropped: Dropped) -> dict[str, Any]:
    """Values of documents that the rule dropped, and of all others whose values are known, in common bins."""
    others, stopped = dropped.values(limit)
    stayed = kept.values.get(limit.column or "", np.zeros(0))
    values = np.concatenate([others, stayed, stopped])
    values = values[np.isfinite(values)]
    low, high = (float(x) for x in np.quantile(values, [0.01, 0.99])) if len(values) else (0.0, 1.0)
    low, high = min(low, limit.limit), max(high, limit.limit)
    edges = np.linspace(low, high if high > low else low + 1.0, 41)
    passed = dropped.scale * _counted(others, edges) + kept.scale * _counted(stayed, edges)
    return {
        "stage": limit.stage, "reason": limit.reason, "column": limit.column, "limit": limit.limit, "edges": edges.tolist(),
        "passed": np.rint(passed).astype(int).tolist(),
        "stopped": np.rint(dropped.scale * _counted(stopped, edges)).astype(int).tolist(),
    }  # fmt: skip
