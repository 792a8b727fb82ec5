"""`python tests/bench/scoring.py`: scoring with a fastText model of published size, ours, the library's loop and datatrove.

The model has words and bigrams, 2,000,000 buckets and rows of 100 numbers, and is trained by the library on real text. Every
way runs in a process of its own over the same documents, in turn, and says seconds for loading, seconds for scoring (best of
two passes in the process) and its peak memory. datatrove is that of `make parity`, which needs `fasttext-numpy2-wheel` and
`fasteners` beside it here.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.corpora import text_tables
from tests.bench.filters import batches, size_of

SIZE, ROUNDS = 30_000_000, 5
OUT = Path("out/bench/scoring")
CARD = """---
kind: fasttext
model: model.bin
columns: {prose: __label__1}
transform: [newlines_to_spaces]
---
A bench's model.
"""
COMMON = """
import json, re, sys, time
import pyarrow.parquet as pq
def report(load, work):
    started = time.perf_counter()
    state = load()
    loaded = time.perf_counter()
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        scores = work(state)
        times.append(time.perf_counter() - begun)
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) * 1024
    print(json.dumps({"load": loaded - started, "work": min(times), "peak": peak, "scores": scores[:2000]}))
folder, source = sys.argv[1:3]
table = pq.read_table(source)
"""
WAYS = {
    "bare loop": """
import fasttext
fasttext.FastText.eprint = lambda *a: None
texts = [text.replace("\\n", " ") + "\\n" for text in table["text"].to_pylist()]
def work(model):
    found = []
    for text in texts:
        found.append(next(p for p, label in model.predict(text, -1, 0.0, "strict") if label == "__label__1"))
    return found
report(lambda: fasttext.load_model(folder + "/model.bin").f, work)
""",
    "score": """
from curate.options import build
from curate.stages.score import Score
from curate.stage import Batch
given = [Batch(records) for records in table.to_batches(1024)]
def work(kernel):
    found = []
    for batch in given:
        found += kernel(Batch(batch.records))["prose"].to_pylist()
    return found
def load():
    kernel = build(Score, {"scorer": folder}).open()
    kernel(Batch(given[0].records.slice(0, 1)))
    return kernel
report(load, work)
""",
    "two scorers": """
from curate.options import build
from curate.stages.score import Score
from curate.stage import Batch
given = [Batch(records) for records in table.to_batches(1024)]
def work(kernels):
    found = []
    for batch in given:
        found += kernels[1](kernels[0](Batch(batch.records)))["other"].to_pylist()
    return found
def load():
    kernels = [build(Score, {"scorer": folder}).open(), build(Score, {"scorer": folder, "column": "other"}).open()]
    kernels[0](Batch(given[0].records.slice(0, 1)))
    return kernels
report(load, work)
""",
    "datatrove": """
from datatrove.data import Document
from datatrove.pipeline.filters import FastTextClassifierFilter
texts = table["text"].to_pylist()
def load():
    step = FastTextClassifierFilter(folder + "/model.bin", keep_labels=[("1", 0.5)], newline_replacement=" ")
    step.model
    return step
def work(step):
    found = []
    for number, text in enumerate(texts):
        document = Document(text=text, id=str(number))
        step.filter(document)
        found.append(document.metadata["__label__1"])
    return found
report(load, work)
""",
}


def main() -> None:
    if not (OUT / "model.bin").exists():
        _train()
    given = batches(SIZE, skip=0.5)
    source = OUT / "texts.parquet"
    pq.write_table(pa.Table.from_batches(given), source)
    size, documents = size_of(given), sum(len(records) for records in given)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    scores: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, code in WAYS.items():
            python = "out/parity/venv/bin/python" if name == "datatrove" else sys.executable
            done = subprocess.run([python, "-c", COMMON + code, str(OUT), str(source)], check=True, capture_output=True)
            row = json.loads(done.stdout.splitlines()[-1])
            scores[name] = row.pop("scores")
            found[name].append(row)
    print(f"{documents:,} documents, {size / 1e6:.1f} MB; model of {(OUT / 'model.bin').stat().st_size / 1e6:,.0f} MB")
    print(f"  {'':12} {'MB/s':>6} {'ratio to bare loop':>19} {'load s':>7} {'peak MB':>8} {'largest difference':>19}")
    for name, rows in found.items():
        speed = size / 1e6 / statistics.median(row["work"] for row in rows)
        ratio = statistics.median(a["work"] / b["work"] for a, b in zip(found["bare loop"], rows, strict=True))
        load, peak = (statistics.median(row[key] for row in rows) for key in ("load", "peak"))
        apart = max(abs(min(1.0, a) - b) for a, b in zip(scores["bare loop"], scores[name], strict=True))
        print(f"  {name:12} {speed:6.1f} {ratio:19.2f} {load:7.2f} {peak / 1e6:8,.0f} {apart:19.1e}")


def _train() -> None:
    import fasttext

    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "train.txt", "w", encoding="utf-8") as file:
        for table in text_tables():
            for source, text in zip(table["source"].to_pylist(), table["text"].to_pylist(), strict=True):
                line = text.replace("\n", " ").replace("\r", " ")
                file.write(f"__label__{int(source.startswith(('wiki', 'openstax', 'arxiv')))} {line}\n")
    model = fasttext.train_supervised(str(OUT / "train.txt"), lr=0.1, epoch=1, wordNgrams=2, thread=11, verbose=0)
    model.save_model(str(OUT / "model.bin"))
    (OUT / "card.md").write_text(CARD)


if __name__ == "__main__":
    main()
