"""Engines that hold something open: once per key, closed when the key is done, and opened again where a worker died."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from curate.errors import DataError, SpecError, TransientError
from curate.execution.engine import Engine, InlineEngine, TaskResult
from curate.execution.ray_engine import RayEngine


@dataclass(frozen=True)
class Item:
    name: str


@contextlib.contextmanager
def open_counting(folder: str, key: str) -> Iterator[Callable[[Item], str]]:
    """Leaves a file each time it is opened; one item has an error, one kills its worker as often as it is asked to."""
    number = len(list(Path(folder).glob(f"{key}-opened-*")))
    (Path(folder) / f"{key}-opened-{number}").touch()

    def apply(item: Item) -> str:
        assert not (Path(folder) / f"{key}-closed").exists(), "asked after it was closed"
        if item.name == "wrong":
            raise DataError(f"{key}: wrong")
        if item.name == "flaky" and not (Path(folder) / "flaked").exists():
            (Path(folder) / "flaked").touch()
            raise TransientError("try again")
        if item.name.startswith("deadly") and number < int(item.name.removeprefix("deadly")):
            os._exit(1)
        return f"{key} {item.name}"

    try:
        yield apply
    finally:
        (Path(folder) / f"{key}-closed").touch()


def outcomes(engine: Engine, folder: Path, work: dict[str, list[Item]]) -> list[TaskResult]:
    return [found for found in engine.hold(open_counting, str(folder), work, {}) if found]


def test_in_this_process_a_key_is_closed_before_the_next_is_opened(tmp_path: Path) -> None:
    work = {"a": [Item("one"), Item("wrong"), Item("two")], "b": [], "c": [Item("three")]}
    found = outcomes(InlineEngine(), tmp_path, work)
    assert [outcome.result for outcome in found] == ["a one", None, "a two", "c three"]
    assert str(found[1].error) == "a: wrong"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-closed", "a-opened-0", "c-closed", "c-opened-0"]


@pytest.mark.slow
@pytest.mark.ray
def test_on_ray_a_key_is_opened_again_after_its_worker_died(tmp_path: Path) -> None:
    engine = RayEngine(workers=2)
    try:
        work = {
            "a": [Item("one"), Item("deadly1"), Item("flaky"), Item("two")],
            "b": [Item("wrong")],
            "c": [Item("deadly9"), Item("x")],
        }
        found = {outcome.item.name: outcome for outcome in outcomes(engine, tmp_path, work)}
        with pytest.raises(SpecError, match="4 GPU are asked for, the cluster has 0"):
            list(engine.hold(open_counting, str(tmp_path), work, {"num_gpus": 4}))
    finally:
        engine.close()
    assert found["one"].result == "a one" and found["deadly1"].result == "a deadly1" and found["two"].result == "a two"
    assert found["flaky"].result == "a flaky" and str(found["wrong"].error) == "b: wrong"
    assert "c, deadly9: its worker died 3 times" in str(found["deadly9"].error) and found["x"].result == "c x"
    assert len(list(tmp_path.glob("a-opened-*"))) == 2 and len(list(tmp_path.glob("c-opened-*"))) == 4
