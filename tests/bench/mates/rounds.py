"""`python tests/bench/mates/rounds.py [--seeds 3]`: rounds of MATES against random choice, at equal tokens, several seeds each.

Llamas of 1.3 million parameters on sixteen kinds of English text, four rounds of a million tokens. Both ways have the same
tokenizer, first round, learning rate and schedule, and what they are asked for are questions of LAMBADA, ARC easy and PIQA, one
half for the reference, the other only judged by. All runs are reported; the curves are drawn to `out/mates-rounds/curves.svg`.

`--only NAME` carries out one of them (`mates-0`, `random-2`), for two processes side by side; without it, those not done yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from curate.mates.loop import rounds_file
from curate.report.mates_report import RESULT
from curate.train.eval_items import read_items
from curate.train.tokenizer import train_cased_tokenizer
from tests.bench.mates.influence import DATA, KINDS, REFERENCE

OUT = Path(__file__).parents[3] / "out" / "mates-rounds"
DOCUMENTS = 50_000
CURVES = ("reference", "items", "documents")
ROUNDS: dict[str, Any] = {
    "rounds": 4, "tokens": 1_000_000, "top": 0.2, "by": "chars", "gumbel": 0.5, "reference": ["reference/*.jsonl"],
    "also_judge": ["judged/*.jsonl"], "max_items": 128, "probes": 500, "length": 256, "mode": "gradient", "looks": 5,
    "tokenizer": "tokenizer.json", "threads": 1,
    "influence": {
        "encoder": "model", "window": 256, "max_windows": 1, "epochs": 5, "lr": 3e-4, "validation": 0.15, "test": 0.15,
    },
}  # fmt: skip


def write_items() -> None:
    """Every second question of each file for the reference, the others to judge by."""
    for pattern in REFERENCE:
        for number, pairs in enumerate(read_items([str(DATA / "evals" / pattern)], 256, "reference").values()):
            for part, folder in enumerate(("reference", "judged")):
                lines = [json.dumps({"context": before, "continuation": after}) for before, after in pairs[part::2]]
                path = OUT / folder / f"{pattern.split('/')[0]}-{number}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(lines) + "\n")


def write_texts() -> None:
    """Texts of those kinds, mixed, and a tokenizer of some."""
    tables = [pq.read_table(path, columns=["id", "text", "source"]) for path in sorted((DATA / "web_text").glob("*.parquet"))]
    whole = pa.concat_tables(tables)
    whole = whole.filter(pc.is_in(whole["source"], pa.array(KINDS)))
    whole = whole.take(np.random.Generator(np.random.PCG64(0)).permutation(len(whole))[:DOCUMENTS])
    train_cased_tokenizer(whole["text"].slice(0, 10_000).to_pylist(), 4096, OUT / "tokenizer.json")
    (OUT / "texts").mkdir()
    for number, start in enumerate(range(0, len(whole), 10_000)):
        pq.write_table(whole.slice(start, 10_000), OUT / "texts" / f"{number:02}.parquet")


def pipeline(name: str, way: str, seed: int) -> str:
    path = OUT / f"{name}.yaml"
    source = {"parquet": {"paths": "texts/*.parquet"}}
    content = {"name": "mates", "source": source, "stages": [], "rounds": {**ROUNDS, "choose": way, "seed": seed}}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def curve(name: str, of: str) -> tuple[list[int], list[float], list[float]]:
    """Tokens, losses and FLOPs so far at every look; those of a choice are spent before its round."""
    found = json.loads((OUT / name / RESULT).read_text())["rounds"]
    tokens: list[int] = []
    losses: list[float] = []
    flops: list[float] = []
    before = 0.0
    for one in found:
        choosing = sum(one["flops"].values()) - one["flops"]["training"]
        for number, look in enumerate(one["losses"]):
            tokens.append(look["tokens"])
            losses.append(look[of])
            flops.append(before + choosing + one["flops"]["training"] * (number + 1) / len(one["losses"]))
        before += sum(one["flops"].values())
    return tokens, losses, flops


def reached(losses: Sequence[float], spent: Sequence[float], goal: float) -> float | None:
    """What was spent when a loss first was as low as a goal, in a straight line between looks."""
    for number, loss in enumerate(losses):
        if loss <= goal:
            if not number:
                return spent[0]
            share = (losses[number - 1] - goal) / (losses[number - 1] - loss)
            return spent[number - 1] + share * (spent[number] - spent[number - 1])
    return None


def draw(names: Sequence[str]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(CURVES), figsize=(12, 3.6), layout="constrained")
    for axis, of in zip(axes, CURVES, strict=True):
        for way, colour in (("mates", "tab:orange"), ("random", "tab:blue")):
            some = [curve(name, of) for name in names if name.startswith(way)]
            tokens, losses = np.array(some[0][0]) / 1e6, np.array([one[1] for one in some])
            axis.plot(tokens, losses.mean(axis=0), color=colour, label=way)
            axis.fill_between(tokens, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.25)
        axis.set(title=of, xlabel="million tokens", ylabel="nats per token", ylim=(None, np.quantile(losses, 0.9) + 0.1))
        axis.legend()
    figure.savefig(OUT / "curves.svg")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only")
    asked = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if not (OUT / "texts").exists():
        write_items()
        write_texts()
    ways = {"mates": "influence", "random": "random"}
    names = {f"{name}-{seed}": (way, seed) for name, way in ways.items() for seed in range(asked.seeds)}
    for name, (way, seed) in names.items():
        if asked.only in (None, name):
            print(f"{name}: {rounds_file(pipeline(name, way, seed), out=str(OUT / name), inline=True)}", flush=True)
    if asked.only is None:
        report(list(names))


def report(names: Sequence[str]) -> None:
    print(
        "| run | " + " | ".join(f"loss of {of}" for of in CURVES) + " | Spearman, rounds 2 to 4 | stale |\n" + "|---" * 6 + "|"
    )
    for name in names:
        found = json.loads((OUT / name / RESULT).read_text())
        scorers = [one["scorer"] for one in found["rounds"] if "scorer" in one]
        live = " ".join(f"{one['spearman']['model']['spearman']['value']:.2f}" for one in scorers)
        stale = " ".join(f"{one['stale']['stale_spearman']:.2f}" for one in scorers if "stale" in one)
        print(f"| {name} | " + " | ".join(f"{curve(name, of)[1][-1]:.4f}" for of in CURVES) + f" | {live} | {stale} |")
    seeds = sorted({name.split("-")[1] for name in names})
    for of in CURVES:
        saved = []
        for seed in seeds:
            goal = curve(f"random-{seed}", of)[1][-1]
            tokens, losses, flops = curve(f"mates-{seed}", of)
            whole, spent = curve(f"random-{seed}", of)[0][-1], curve(f"random-{seed}", of)[2][-1]
            at, cost = reached(losses, tokens, goal), reached(losses, flops, goal)
            saved.append((at / whole, cost / spent) if at and cost else None)
        told = ", ".join(f"{one[0]:.2f} of the tokens and {one[1]:.2f} of the FLOPs" if one else "never" for one in saved)
        print(f"to random's last loss of {of}, by seed: {told}")
    parts = [json.loads((OUT / f"mates-{seed}" / RESULT).read_text())["flops"] for seed in seeds]
    for part in ("training", "probing", "fitting", "scoring"):
        print(f"  {part}: {statistics.median(one[part] for one in parts):.2e} FLOPs")
    draw(names)


if __name__ == "__main__":
    main()
