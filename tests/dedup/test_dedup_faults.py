"""kill -9 inside every phase of the deduplicating stages; the rerun gives the bytes of a run that nothing disturbed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import curate
from tests.conftest import contents
from tests.dedup.corpora import write_families
from tests.execution.test_faults import finish, start

PIPELINE = """
name: dedup
source: {parquet: {paths: corpus/*.parquet, split_bytes: 10_000}}
stages:
  - example_slow: {seconds: 0}                 # its module dies where a test says
  - example_dashes
  - exact_dedup: {by: normalized}
  - minhash: {ngram: 3, keep: longest}
  - line_dedup_global: {min_chars: 5}
  - bloom_dedup: {ngram: 4, min_ngram: 2, filters: 2}
output: {rows_per_file: 50}
"""
SHUFFLED = {
    "01-exact_dedup": ["spread", "groups"],
    "02-minhash": ["spread", "bands", "union", "attach", "clusters"],
    "03-line_dedup_global": ["spread", "units"],
}
"""Phases of each shuffle."""


def _points(step: str, phases: list[str]) -> list[str]:
    """Files of a shuffle in the order in which they are written."""
    worked = [f"barrier/phase-{n}-{name}/00000.{kind}" for n, name in enumerate(phases) for kind in ("rows", "json")]
    return [f"{step}/{name}" for name in ("barrier/layout", *worked, "decision/00002", "barrier/settled", "decision/counts")]


FOLDED = ("barrier/layout", "decision/00002", "barrier/state-1", "barrier/leg-1", "decision/counts")
POINTS = [point for step, phases in SHUFFLED.items() for point in _points(step, phases)]
POINTS += [f"04-bloom_dedup/{name}" for name in FOLDED]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dedup")
    write_families(folder / "corpus")
    path = folder / "p.yaml"
    path.write_text(PIPELINE)
    return path


@pytest.fixture(scope="module")
def expected(pipeline: Path) -> dict[str, bytes]:
    out = pipeline.parent / "expected"
    curate.run(str(pipeline), out=str(out), inline=True)
    return contents(out)


@pytest.mark.slow
def test_the_driver_may_be_killed_inside_every_phase(pipeline: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    """One output directory through all deaths: each rerun gets further, the last one arrives."""
    for number, point in enumerate(POINTS):
        code, errors = finish(start(pipeline, tmp_path / "out", "--inline", crash=f"{point}:{tmp_path / str(number)}"))
        assert code == -signal.SIGKILL, f"the run was not killed at {point}: {errors}"
    code, errors = finish(start(pipeline, tmp_path / "out", "--inline"))
    assert code == 0, errors
    assert contents(tmp_path / "out") == expected
    assert not list((tmp_path / "out").rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.ray
def test_workers_may_be_killed_inside_one_phase_after_another(
    pipeline: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """Several deaths in one run: at every third point where a worker writes, so that no task dies more than once."""
    points = [point for point in POINTS if not point.endswith(("layout", "counts"))][::3]
    flags = {point: tmp_path / f"flag-{number}" for number, point in enumerate(points)}
    crash = ";".join(f"{point}:{flag}" for point, flag in flags.items())
    code, errors = finish(start(pipeline, tmp_path / "out", "--workers", "2", crash=crash), seconds=300)
    assert [point for point, flag in flags.items() if not flag.exists()] == [], "no worker was killed there"
    assert code == 0, errors
    assert contents(tmp_path / "out") == expected


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_same_bytes_with_one_or_two_workers(
    pipeline: Path, expected: dict[str, bytes], tmp_path: Path, workers: str
) -> None:
    code, errors = finish(start(pipeline, tmp_path / "out", "--workers", workers))
    assert code == 0, errors
    assert contents(tmp_path / "out") == expected
