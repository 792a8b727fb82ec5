"""`python tests/bench/mates/influence.py [--probes N]`: influence measured and predicted, on a small warm model and real text.

A Llama of 1.3 million parameters is trained on three million tokens of sixteen kinds of English text; then the influence of
documents it has not seen is measured both ways, at one length, on questions of LAMBADA, ARC easy and PIQA, and predicted
by a small BERT that begins from nothing, and by the body of the model itself. All of it stays in `out/mates`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import pyarrow.parquet as pq
import yaml

from curate.lm.model import Shape, num_parameters, save
from curate.lm.token_stream import token_stream
from curate.lm.train import Training, train
from curate.train.documents import load_corpus
from curate.train.recipe import fit_file, load_recipe
from curate.train.tokenizer import train_cased_tokenizer

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
OUT = ROOT / "out" / "mates"
KINDS = (
    "arxiv_abstracts", "c4_samples", "commoncrawl_weborganizer", "digital_gov", "github_dmca", "imdb_reviews", "medquad_qa",
    "newsgroups20", "novels_en", "openstax_textbooks", "reddit_self", "reuters21578", "scotus_transcripts",
    "stackexchange_small_sites", "wiki_en", "wiki_en_stubs",
)  # fmt: skip
EACH = 900
LENGTH = 256
REFERENCE = ("lambada/llm_foundry*", "arc_easy/llm_foundry*", "piqa/llm_foundry*")


def documents(part: tuple[float, float]) -> list[dict[str, object]]:
    """As many of each kind, of which a share is trained on and another probed."""
    source = {"parquet": {"paths": str(DATA / "web_text" / "*.parquet")}}
    return [{"source": source, "where": {"source": [kind]}, "part": list(part), "max_documents": EACH} for kind in KINDS]


def recipe(name: str, **options: object) -> str:
    path = OUT / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"name": f"{name}-v1", **options}, sort_keys=False))
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--probes", type=int, default=1200)
    parser.add_argument("--tokens", type=int, default=3_000_000)
    asked = parser.parse_args()
    reference = [str(DATA / "evals" / name) for name in REFERENCE]
    probe = recipe(
        "probes", kind="oracle", checkpoint=str(OUT / "model"), reference=reference, max_items=32, pool=documents((0.8, 1.0)),
        group=["id"], domain=["source"], probes=asked.probes, length=LENGTH, mode="both",
    )  # fmt: skip
    started = time.perf_counter()
    (OUT / "model").mkdir(parents=True, exist_ok=True)
    texts = load_corpus(
        load_recipe(recipe("training", kind="prox", documents=documents((0.0, 0.8)), tokens=1)).documents["documents"], ["id"]
    )
    tokenizer = OUT / "tokenizer.json"
    if not tokenizer.exists():
        train_cased_tokenizer(texts.texts.to_pylist(), 4096, tokenizer)
    shape = Shape(vocab_size=4096, width=128, layers=4, heads=4, hidden=352, context=LENGTH, bos=0)
    stream = token_stream(texts.texts.to_pylist(), tokenizer, 0)
    training = Training(tokens=asked.tokens, batch=16, lr=3e-3, warmup_frac=0.04, decay_frac=0.0, seed=0, checkpoint_every=100)
    trained = train(shape, training, stream, OUT / "model")
    save(trained.model, OUT / "model", tokenizer)
    print(
        f"{num_parameters(shape):,} parameters, {trained.tokens:,} of {len(stream):,} tokens, loss "
        f"{sum(trained.losses[-50:]) / 50:.3f}, {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    started = time.perf_counter()
    print(fit_file(probe, out=str(OUT / "probes"), work=str(OUT / "probes-work"), inline=True))
    found = json.loads((OUT / "probes" / "metrics.json").read_text())
    print(
        f"{time.perf_counter() - started:.0f} s; reference loss {found['reference_loss']:.4f}, mean {found['mean']:+.2e}, "
        f"standard deviation {found['std']:.2e}, good {found['positive_frac']:.0%}, agreement {found['agreement']}",
        flush=True,
    )
    for kind, row in found["by_kind"].items():
        print(f"  {kind:28} {row['probes']:5} {row['mean']:+.2e}")
    learnt = [{"source": {"parquet": {"paths": str(OUT / "probes" / "probes.parquet")}}}]
    ways: dict[str, dict[str, object]] = {
        "bert-from-nothing": {"epochs": 8, "vocab_size": 1024, "min_groups": 3},
        "body-of-the-model": {"encoder": str(OUT / "model"), "epochs": 5, "lr": 3e-4},
    }
    for name, options in ways.items():
        started = time.perf_counter()
        path = recipe(
            name, kind="influence", documents=learnt, validation=0.15, test=0.25, window=LENGTH, max_windows=2, **options
        )  # fmt: skip
        told = fit_file(path, out=str(OUT / name), work=str(OUT / f"{name}-work"), inline=True)
        print(f"{name}: {told}, {time.perf_counter() - started:.0f} s", flush=True)
    rows = sorted(pq.read_table(OUT / "probes" / "probes.parquet").to_pylist(), key=lambda row: -row["influence"])
    for title, some in (("best", rows[:10]), ("worst", rows[-10:])):
        print(title)
        for row in some:
            print(f"  {row['influence']:+.2e} {row['domain']:26} {' '.join(row['text'].split())[:90]}")


if __name__ == "__main__":
    main()
