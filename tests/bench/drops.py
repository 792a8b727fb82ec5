"""What every family of heuristics drops of the real text, each on its own, by kind of text, and how far two of them agree.

python tests/bench/drops.py                  the tables
python tests/bench/drops.py --borderline 20  and documents within 2 % of some limit of `ours`, to be read
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.api.batch import Batch
from curate.api.rules import RuleStage
from curate.config.options import build
from curate.config.registry import load_class
from curate.schema import DROP, MAX_BATCH_ROWS, ORDINAL, TEXT
from curate.stages import STAGES
from tests.bench.corpora import text_tables

FAMILIES = (
    "gopher_quality", "gopher_repetition", "c4_quality", "fineweb_quality", "refinedweb_lines", "dclm_page", "c4_paragraphs",
    "c4_badwords", "boilerplate", "digits", "urls", "whitespace", "brackets",
)  # fmt: skip
OTHER_PROFILES = (("gopher_quality", "datatrove-0.10"), ("gopher_repetition", "datatrove-0.10"),
                  ("c4_quality", "datatrove-0.10"), ("fineweb_quality", "datatrove-0.10"))  # fmt: skip
NEAR = 0.02
Mask = npt.NDArray[np.bool_]


def dropped(stage: str, options: dict[str, Any], texts: pa.Array) -> Mask:
    kernel = build(load_class(stage, STAGES, "stage"), options).open()
    records = pa.record_batch({TEXT: texts, ORDINAL: pa.array(range(len(texts)), pa.uint64())})
    batches = (Batch(records[at : at + MAX_BATCH_ROWS]) for at in range(0, len(texts), MAX_BATCH_ROWS))
    return np.concatenate([kernel(batch).dropped for batch in batches])


def tables() -> tuple[pa.Table, dict[str, Mask]]:
    """All documents, and for every family, named with its profile where that is not its own, what it drops."""
    table = pa.concat_tables(table.select(["id", "source", TEXT]) for table in text_tables()).combine_chunks()
    texts = table[TEXT].combine_chunks().cast(pa.large_string())
    masks = {name: dropped(name, {}, texts) for name in FAMILIES}
    for name, profile in OTHER_PROFILES:
        masks[f"{name} {profile}"] = dropped(name, {"profile": profile}, texts)
    return table, masks


def by_kind(table: pa.Table, masks: dict[str, Mask]) -> Iterator[str]:
    sources = np.array([source.split("/")[0].split("|")[0] for source in table["source"].to_pylist()])
    kinds = [kind for kind, _ in sorted(zip(*np.unique(sources, return_counts=True), strict=True), key=lambda pair: -pair[1])]
    yield f"documents dropped by each family on its own, of {len(table):,} (%)"
    yield f"  {'':34}{'all':>7}" + "".join(f"{kind[:11]:>12}" for kind in kinds[:8])
    yield f"  {'documents':34}{len(table):>7}" + "".join(f"{(sources == kind).sum():>12}" for kind in kinds[:8])
    for name, mask in masks.items():
        shares = (f"{100 * mask[sources == kind].mean():>12.1f}" for kind in kinds[:8])
        yield f"  {name:34}{100 * mask.mean():>7.2f}" + "".join(shares)


def overlaps(masks: dict[str, Mask]) -> Iterator[str]:
    names = [name for name in FAMILIES if masks[name].any()]
    yield "of what the family of the row drops, the share that the family of the column drops too (%), and that no other does"
    yield f"  {'':20}" + "".join(f"{name[:10]:>11}" for name in names) + f"{'none':>8}"
    for row in names:
        others = [masks[name] for name in names if name != row]
        cells = (f"{100 * masks[column][masks[row]].mean():>11.0f}" for column in names)
        alone = 100 * (~np.any(others, axis=0))[masks[row]].mean()
        yield f"  {row:20}" + "".join(cells) + f"{alone:>8.0f}"


def borderline(table: pa.Table, number: int) -> Iterator[str]:
    """Documents with the smallest hashes among those one rule of `ours` keeps or drops by less than 2 %."""
    texts, ids = table[TEXT].combine_chunks().cast(pa.large_string()), table["id"].to_pylist()
    found = []
    for name in FAMILIES[:4]:
        stage: Any = build(load_class(name, STAGES, "stage"), {"values": True})
        if not isinstance(stage, RuleStage):
            continue
        kernel = stage.open()
        for start in range(0, len(texts), MAX_BATCH_ROWS):
            records = kernel(Batch(pa.record_batch({TEXT: texts[start : start + MAX_BATCH_ROWS]}))).records
            for rule in stage.chosen_profile.rules:
                limit = getattr(stage, rule.option)
                if not limit or isinstance(limit, bool) or stage.prefix + rule.measure not in records.schema.names:
                    continue
                values = records[stage.prefix + rule.measure].to_numpy(zero_copy_only=False)
                for row in np.flatnonzero(np.abs(values - limit) <= NEAR * limit):
                    key = hashlib.sha1(f"{rule.option} {ids[start + row]}".encode()).hexdigest()
                    reason = (records[DROP][int(row)].as_py() or {}).get("reason", "kept")
                    found.append((key, f"{name}: {rule.measure} {values[row]:.4g}, {rule.option} {limit}", reason, start + row))
    shown: Counter[str] = Counter()
    few = []
    for _, what, reason, row in sorted(found):
        shown[what.split(" ")[1]] += 1
        if shown[what.split(" ")[1]] <= 2:
            few.append((what, reason, row))
    for what, reason, row in few[:number]:
        yield f"\n=== {what} -> {reason}\n    {ids[row]} ({len(texts[row].as_py()):,} characters)"
        yield texts[row].as_py()[:1500]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--borderline", type=int, default=0, metavar="N")
    number = parser.parse_args().borderline
    table, masks = tables()
    print("\n".join([*by_kind(table, masks), "", *overlaps(masks)]))
    if number:
        print("\n".join(borderline(table, number)))


if __name__ == "__main__":
    main()
