"""`make real`: the shipped recipe over all real data at hand, with funnels, and documents to read.

Runs pipelines/fineweb.yaml, unchanged but for `--source`, over every real WARC file (damaged ones included), over
annotated pages repacked as WARC, and the stages after extraction over bulk text in Parquet. Each run writes
`kept.txt` and `dropped.txt` beside its output: ten documents each, drawn by keyed hash.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
DATA = ROOT.parent / "shared" / "data"
CURATE = [sys.executable, "-c", "from curate.cli.main import main; main()"]

TEXT_PIPELINE = """
name: text
source: {{parquet: {{paths: '{data}/web_text/*.parquet'}}}}
stages:
  - url_filter
  - language: {{keep: [en], min_score: 0.65}}
  - gopher_quality
  - tokens: {{tokenizer: {root}/scorers/bpe-v1/tokenizer.json}}
"""


def main(out: Path) -> None:
    from tests.bench.repack import repack

    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}")
    out.mkdir(parents=True, exist_ok=True)
    gold = out / "gold"
    if not gold.is_dir():
        print(repack(sorted(DATA.glob("html_gold_dev-*.parquet")), gold), "pages repacked")
    sources = {"warc": f"{DATA}/warc", "gold": f"{gold}/*.warc.gz"}
    for name, paths in sources.items():
        listed = [f"{paths}/*arc*", f"{paths}/edge/*"] if name == "warc" else [paths]
        source = out / f"{name}.source.yaml"
        source.write_text(f"source:\n  warc: {{paths: {listed}}}\n")
        run(ROOT / "pipelines" / "fineweb.yaml", out / name, "--source", str(source))
    text = out / "text.yaml"
    text.write_text(TEXT_PIPELINE.format(data=DATA, root=ROOT))
    run(text, out / "text")


def run(pipeline: Path, out: Path, *options: str) -> None:
    from datasets import load_dataset

    started = time.perf_counter()
    print(f"\n== {pipeline.name} {' '.join(options)}", flush=True)
    subprocess.run([*CURATE, "run", str(pipeline), "--out", str(out), *options], check=True)
    print(f"{time.perf_counter() - started:.1f} s", flush=True)
    dataset = load_dataset("parquet", data_dir=str(out / "data"), cache_dir=str(out / "cache"))["train"]
    print(f"datasets.load_dataset: {dataset.num_rows} rows, columns {dataset.column_names}", flush=True)
    for name, options_of_sample in (("kept", []), ("dropped", ["--dropped"])):
        command = [*CURATE, "sample", str(out), "-n", "10", *options_of_sample]
        (out / f"{name}.txt").write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "out" / "real")
