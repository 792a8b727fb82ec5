"""`python tests/bench/prox/curve.py [--threads N | --of SCORER]`: what more pages, parameters and tokens buy a refiner.

Refiners are trained by the recipe of `prox-mini-v1` with one thing changed at a time, without teachers, on fewer tokens than
the shipped one, and judged on the pages of `judge.py`, read by torch: at the threshold that was chosen without these pages, and
at the one that suits them best. A line for each; trained ones are kept in `out/prox/curve`. An hour and a half on one thread.
With `--of` nothing is trained: the figures of one refiner, by threshold.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import numpy as np
import pyarrow as pa
import yaml
from safetensors import safe_open

import curate
from curate.prox.line_masks import removed_lines
from curate.train.recipe import fit_file
from tests.bench.prox.held_out import HELD_FRAC, OUT, ROOT, held_pages
from tests.bench.prox.judge import THRESHOLDS, macro, page_of, scores

RECIPE = ROOT / "scorers" / "recipes" / "prox-mini-v1.yaml"
TOKENS = 3_000_000
POINTS: dict[str, Mapping[str, Any]] = {
    "base": {},
    "a quarter of the pages": {"share": 0.25, "min_groups": 5},
    "half of the pages": {"share": 0.5, "min_groups": 10},
    "half of the tokens": {"tokens": TOKENS // 2},
    "twice the tokens": {"tokens": TOKENS * 2},
    "half as wide": {"width": 64, "heads": 2, "hidden": 160},
    "half as wide again": {"width": 192, "heads": 6, "hidden": 480},
}


def recipe_of(name: str, changes: Mapping[str, Any], threads: int) -> Path:
    """The recipe, changed, as a file of its own."""
    recipe = yaml.safe_load(RECIPE.read_text())
    share = changes.get("share", 1.0)
    for documents in recipe["documents"]:
        paths = documents["source"]["parquet"]["paths"]
        documents["source"]["parquet"]["paths"] = str((RECIPE.parent / paths).resolve())
        documents["part"] = [HELD_FRAC, HELD_FRAC + share * (1 - HELD_FRAC)]
    recipe |= {"tokens": TOKENS, "threads": threads, "name": f"{name}-v1", "teachers": 0, "words_frac": 0.0}
    recipe |= {key: value for key, value in changes.items() if key != "share"}
    path = OUT / "curve" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def judged(scorer: Path, threshold: float | None = None) -> tuple[float, float]:
    """Token F1 and removed-line F1, macro means without CleanEval; at the card's threshold, or another."""
    rows = [row for row in held_pages().to_pylist() if not row["source"].startswith("cleaneval")]
    table = pa.table({"text": pa.array([row["text"] for row in rows], pa.large_string())})
    how = {"engine": "torch", "drop_removed_frac": None, "min_words": 0, "self_test": False, "threshold": threshold}
    cleaned = curate.apply("prox_chunk", table, scorer=str(scorer), cache=str(OUT / "curve" / "answers"), **how)
    found = []
    for row, program in zip(rows, cleaned["prox_program"].to_pylist(), strict=True):
        page = page_of(row)
        keep = ~np.array(removed_lines(program, len(page.lines)), np.bool_)
        found.append((page.kind, scores(page, keep)))
    token_f1, removed_f1, _, _ = macro(found)
    return token_f1, removed_f1


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--of", type=Path, metavar="SCORER")
    given = arguments.parse_args()
    if given.of:
        print("| threshold | token F1 | removed-line F1 |\n|---|---|---|")
        for threshold in THRESHOLDS:
            print("| {} | {:.3f} | {:.3f} |".format(threshold, *judged(given.of.resolve(), threshold)), flush=True)
        return
    threads = given.threads
    print("| what | parameters | groups | tokens | minutes | token F1 | removed-line F1 | at the best threshold |")
    print(f"|{'---|' * 8}")
    for what, changes in POINTS.items():
        name = what.replace(" ", "-")
        out, started = OUT / "curve" / name, time.perf_counter()
        fit_file(str(recipe_of(name, changes, threads)), out=str(out), work=str(OUT / "curve" / f"{name}-work"), inline=True)
        minutes = (time.perf_counter() - started) / 60
        with safe_open(out / "model.safetensors", framework="np") as tensors:
            size = sum(int(np.prod(tensors.get_slice(key).get_shape())) for key in tensors.keys())  # noqa: SIM118
        groups = json.loads((out / "metrics.json").read_text())["groups"]["training"]
        token_f1, removed_f1 = judged(out)
        best, best_removed, threshold = max((*judged(out, threshold), threshold) for threshold in THRESHOLDS)
        tokens = changes.get("tokens", TOKENS) / 1e6
        print(
            f"| {what} | {size:,} | {groups} | {tokens:.1f} M | {minutes:.1f} | {token_f1:.3f} | {removed_f1:.3f} | "
            f"{best:.3f}, {best_removed:.3f} ({threshold}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
