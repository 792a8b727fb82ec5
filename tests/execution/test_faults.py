"""kill -9 of the driver or of a worker, at chosen points and at seeded times; the rerun gives the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import curate
from tests.conftest import contents, write_corpus

PIPELINE = """
name: faults
source: {parquet: {paths: corpus/*.parquet}}
stages:
  - example_dashes
  - example_slow: {seconds: 0.03}
  - keep: {column: count, min: 1}
  - select: {column: score, top: 0.5, by: chars}
  - example_dashes: {as: again, replacement: "-"}
output: {rows_per_file: 60}
"""
POINTS = ["write", "commit", "map", "reduce", "compaction", "marker", "manifest"]
COMMAND = [sys.executable, "-c", "from curate.cli.main import main; main()", "run"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    write_corpus(folder / "corpus", files=8, rows=60)
    path = folder / "p.yaml"
    path.write_text(PIPELINE)
    return path


@pytest.fixture(scope="module")
def expected(pipeline: Path) -> dict[str, bytes]:
    """The bytes of a run that nothing disturbed."""
    out = pipeline.parent / "expected"
    curate.run(str(pipeline), out=str(out), inline=True)
    return contents(out)


def start(pipeline: Path, out: Path, *options: str, crash: str | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **({"CURATE_EXAMPLE_CRASH": crash} if crash else {})}
    command = [*COMMAND, str(pipeline), "--out", str(out), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes], seconds: float = 120) -> tuple[int, str]:
    _, errors = process.communicate(timeout=seconds)
    return process.returncode, errors.decode()


@pytest.mark.slow
def test_the_driver_may_be_killed_at_every_point(pipeline: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    """One output directory through all deaths: each rerun gets further, the last one arrives."""
    for point in POINTS:
        code, _ = finish(start(pipeline, tmp_path / "out", "--inline", crash=f"{point}:{tmp_path / point}"))
        assert code == -signal.SIGKILL, f"the run was not killed at {point}"
    assert not (tmp_path / "out" / "manifest.json").exists()
    code, errors = finish(start(pipeline, tmp_path / "out", "--inline"))
    assert code == 0, errors
    assert contents(tmp_path / "out") == expected
    assert not list((tmp_path / "out").rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("point", [point for point in POINTS if point != "manifest"])
def test_a_worker_may_be_killed_at_every_point(pipeline: Path, expected: dict[str, bytes], tmp_path: Path, point: str) -> None:
    """Ray workers import the saboteur with the plan; the run itself goes on and needs no rerun."""
    code, errors = finish(start(pipeline, tmp_path / "out", "--workers", "2", crash=f"{point}:{tmp_path / point}"))
    assert (tmp_path / point).exists(), f"no worker was killed at {point}"
    assert code == 0, errors
    assert contents(tmp_path / "out") == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_driver_may_be_killed_at_any_time(pipeline: Path, expected: dict[str, bytes], tmp_path: Path, seed: int) -> None:
    """Up to three deaths at seeded times, inline; then a run to the end."""
    draw = random.Random(seed)
    for _ in range(3):
        process = start(pipeline, tmp_path / "out", "--inline")
        time.sleep(draw.uniform(0.4, 2.4))
        process.kill()
        finish(process)
    code, errors = finish(start(pipeline, tmp_path / "out", "--inline"))
    assert code == 0, errors
    assert contents(tmp_path / "out") == expected


def _workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Ray workers at work on a task, below the driver."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "ray::_on_worker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("seed", range(10))
def test_driver_or_worker_may_be_killed_at_any_time_on_ray(
    pipeline: Path, expected: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    """Even seeds kill the driver (and rerun), odd ones a worker (the run goes on)."""
    draw = random.Random(100 + seed)
    process = start(pipeline, tmp_path / "out", "--workers", "2")
    deadline = time.time() + 60
    while not _workers(process) and process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(draw.uniform(0, 3))
    if seed % 2:
        while not (working := _workers(process)) and process.poll() is None:
            time.sleep(0.02)
        for worker in working[:1]:
            worker.kill()
    else:
        process.kill()
    code, errors = finish(process)
    if not seed % 2:
        code, errors = finish(start(pipeline, tmp_path / "out", "--workers", "2"))
    assert code == 0, errors
    assert contents(tmp_path / "out") == expected


@pytest.mark.slow
@pytest.mark.ray
def test_sigterm_finishes_what_runs_and_starts_nothing_new(pipeline: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    process = start(pipeline, tmp_path / "out", "--workers", "1")
    deadline = time.time() + 60
    while not list((tmp_path / "out").glob("steps/*/ledger/*.json")) and time.time() < deadline:
        time.sleep(0.05)
    process.terminate()
    code, errors = finish(process)
    assert code == 130 and "Run the same command to continue" in errors
    assert not (tmp_path / "out" / "lease.json").exists()
    code, errors = finish(start(pipeline, tmp_path / "out", "--inline"))
    assert code == 0, errors
    assert contents(tmp_path / "out") == expected
