"""Refiners served for real: vLLM in a worker of Ray, `vllm serve` over HTTP, and runs that are killed."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import CurateError
from curate.lm.model import CausalLM, Shape, save
from curate.models.server import LINE_CLASSIFIER_ARGUMENTS
from curate.prox.program import parse
from curate.prox.self_test_pages import GOOD, JUNK

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SCORER = ROOT / "scorers" / "prox-mini-v1"
CURATE = str(Path(sys.executable).parent / "curate")
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here: 'make test-slow' installs it")


def pages(folder: Path, copies: int) -> Path:
    texts = [f"{page}\nPage {number}" for number in range(copies) for page in (*GOOD, JUNK)]
    pq.write_table(
        pa.table({"id": [str(n) for n in range(len(texts))], "text": texts}), folder / "pages.parquet", row_group_size=16
    )
    return folder / "pages.parquet"


def pipeline(folder: Path, engine: str, stage: str = "prox", more: str = "", before: str = "") -> Path:
    path = folder / f"{stage}.yaml"
    options = f"scorer: {SCORER}, engine: '{engine}'{more}"
    source = "name: clean\nsource: {parquet: {paths: pages.parquet}}\nstages:\n"
    path.write_text(f"{source}{before}  - {stage}: {{{options}}}\n")
    return path


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "data").to_pylist()
    return found


def refined(folder: Path, name: str) -> list[dict[str, Any]]:
    """What torch makes of the same pages, in this process."""
    path = pipeline(folder, "torch")
    curate.run(str(path), out=str(folder / name), inline=True)
    return rows(folder / name)


@needs_vllm
def test_vllm_in_a_worker_of_ray_refines_as_torch_does(tmp_path: Path) -> None:
    """After a filter too, whose numba is in the worker before vLLM is."""
    pages(tmp_path, 4)
    wanted = refined(tmp_path, "torch")
    path = pipeline(tmp_path, "vllm", before="  - gopher_repetition: {profile: ours}\n")
    command = [CURATE, "run", str(path), "--out", str(tmp_path / "vllm"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "vllm")
    assert [row["text"] for row in found] == [row["text"] for row in wanted]
    assert [row["prox_keep"] for row in found] == pytest.approx([row["prox_keep"] for row in wanted], abs=1e-3)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def serving(*options: str) -> Iterator[str]:
    """The address of a server with the shipped refiner. vLLM for CPUs has another name, by which `vllm serve` stumbles."""
    port = free_port()
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(SCORER), "--port", str(port),
        "--host", "127.0.0.1", "--max-model-len", "576", "--enforce-eager", *options,
    ]  # fmt: skip
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        address, deadline = f"http://127.0.0.1:{port}", time.time() + 240
        try:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{address}/health").status_code == 200:
                        break
                assert process.poll() is None and time.time() < deadline, "vllm serve did not start"
                time.sleep(1)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)


FORWARDS = ("--runner", "pooling", "--convert", "embed", "--pooler-config", '{"task": "token_embed"}')


@needs_vllm
def test_any_causal_language_model_is_asked_in_the_published_way(tmp_path: Path) -> None:
    """Random weights: what it writes is nonsense, but in the grammar it is nonsense that can be executed."""
    pages(tmp_path, 1)
    model = CausalLM(Shape(vocab_size=16_384, width=64, layers=1, heads=2, hidden=64, context=2048, bos=0), seed=3)
    save(model, tmp_path / "model", ROOT / "scorers" / "bpe-v1" / "tokenizer.json")
    asked = "model: ./model, template: plain, self_test: false"
    (tmp_path / "p.yaml").write_text(
        "name: clean\nsource: {parquet: {paths: pages.parquet}}\nstages:\n"
        f"  - prox_doc: {{{asked}}}\n"
        f"  - prox_chunk: {{{asked}, max_tokens: 48, drop_removed_frac: null, min_words: 0}}\n"
    )
    command = [CURATE, "run", str(tmp_path / "p.yaml"), "--out", str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "out")
    assert len(found) == 4
    assert all(row["prox_keep"] is None or 0 <= row["prox_keep"] <= 1 for row in found)
    assert {row["prox_status"] for row in found} <= {"kept", "edited", "truncated", "program_error"}
    assert all(not parse(row["prox_program"]).faults for row in found)


@needs_vllm
def test_a_served_refiner_gives_what_torch_gives(tmp_path: Path) -> None:
    pages(tmp_path, 4)
    wanted = refined(tmp_path, "torch")
    with serving(*shlex.split(LINE_CLASSIFIER_ARGUMENTS)) as address:
        curate.run(str(pipeline(tmp_path, address)), out=str(tmp_path / "served"), inline=True)
    found = rows(tmp_path / "served")
    assert [row["text"] for row in found] == [row["text"] for row in wanted]
    assert [row["prox_keep"] for row in found] == pytest.approx([row["prox_keep"] for row in wanted], abs=1e-3)


@needs_vllm
def test_a_server_that_reads_forwards_only_is_refused(tmp_path: Path) -> None:
    pages(tmp_path, 1)
    with serving(*FORWARDS) as address, pytest.raises(CurateError, match=r"""--hf-overrides '\{"is_causal": false\}'"""):
        curate.run(str(pipeline(tmp_path, address)), out=str(tmp_path / "out"), inline=True)


@needs_vllm
def test_programs_written_in_a_grammar_have_no_fault(tmp_path: Path) -> None:
    pages(tmp_path, 2)
    more = ", written: true, self_test: false, drop_removed_frac: null, min_words: 0"
    with serving("--dtype", "float32") as address:
        with pytest.raises(CurateError, match=r"no hidden states come from it .* Start it so: vllm serve"):
            curate.run(str(pipeline(tmp_path, address)), out=str(tmp_path / "refused"), inline=True)
        curate.run(str(pipeline(tmp_path, address, "prox_chunk", more)), out=str(tmp_path / "out"), inline=True)
    found = rows(tmp_path / "out")
    assert len(found) >= 6  # the articles; of the pages of nothing nothing may be left
    # A line may be asked for twice, and the last call be cut off by the cap: that is no matter of grammar.
    assert [fault for row in found for fault in parse(row["prox_program"]).faults] == []
    assert all(parse(row["prox_program"]).calls for row in found)
    assert all(not parse(row["prox_program"]).faults for row in found)


@pytest.mark.parametrize("engine", ["torch", pytest.param("vllm", marks=needs_vllm)])
def test_a_run_that_was_killed_goes_on_and_asks_nothing_twice(tmp_path: Path, engine: str) -> None:
    pages(tmp_path, 400)
    path = pipeline(tmp_path, engine, more=", self_test: false")
    start = [CURATE, "run", str(path), "--inline", "--out"]
    # In a process of its own like the other: with other threads the last bits would differ.
    subprocess.run([*start, str(tmp_path / "whole")], check=True, capture_output=True)
    command = [*start, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.time() + 120
        while len(logs(tmp_path / "out")) < 2:
            assert time.time() < deadline and process.poll() is None, "no answer was logged before the run ended"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    before = keys(tmp_path / "out")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    after = keys(tmp_path / "out")
    assert len(after) == len(set(after)) == len(set(keys(tmp_path / "whole"))) > len(before) > 0
    found, wanted = ({p.name: p.read_bytes() for p in (tmp_path / name / "data").iterdir()} for name in ("out", "whole"))
    assert found == wanted


def logs(out: Path) -> list[Path]:
    return sorted(out.glob("steps/*/answers/*/*.jsonl"))


def keys(out: Path) -> list[str]:
    """Of all answers on the log; one that was asked for twice would be there twice."""
    return [json.loads(line)[0] for file in logs(out) for line in file.read_text().splitlines()]
