"""What a plug-in may import: the names of `curate.api`, whose examples run, and nothing else."""

from __future__ import annotations

import ast
import doctest
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

import curate
import curate.api
from tests.conftest import PLUGIN, WritePipeline

MODULES = ["curate", "curate.api.batch", "curate.api.global_stage", "curate.api.rules", "curate.api.source", "curate.api.stage"]
MODULES += ["curate.config.options", "curate.errors", "curate.schema"]


@pytest.mark.parametrize("module", [curate, curate.api], ids=["curate", "curate.api"])
def test_public_names_are_listed_in_order(module: ModuleType) -> None:
    tree = ast.parse(Path(module.__file__ or "").read_text())
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = functions if module is curate else imported
    assert sorted(module.__all__) == sorted(names)
    assert module.__all__ == sorted(module.__all__, key=lambda name: (name[0].islower(), not name.isupper(), name))


def test_a_plug_in_imports_the_public_api_only() -> None:
    imported = set()
    for path in (Path(PLUGIN) / "curate_example").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    assert {name for name in imported if name.split(".")[0] == "curate"} == {"curate.api"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert doctest.testmod(import_module(name)).failed == 0


def test_public_functions_have_examples() -> None:
    found = {test.name for name in MODULES for test in doctest.DocTestFinder().find(import_module(name)) if test.examples}
    functions = [getattr(curate.api, name) for name in curate.api.__all__ if name[0].islower()]
    functions += [curate.apply, curate.load_scorer]
    bare = [f"{function.__module__}.{function.__name__}" for function in functions]
    assert [name for name in bare if name not in found and not name.startswith("curate.storage")] == []


def test_a_source_of_a_plug_in_is_read(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes("first ----\nzweite Zeile ü\n".encode())
    out = tmp_path / "out"
    curate.run(write_pipeline("source: {example_lines: {paths: lines.txt}}\nstages: [example_dashes]\n"), out=out, inline=True)
    files = sorted((out / "data").glob("*.parquet"))
    assert pq.read_table(files, columns=["id", "text", "offset"]).to_pylist() == [
        {"id": "00000-lines.txt:0", "text": "first —", "offset": 0},
        {"id": "00000-lines.txt:11", "text": "zweite Zeile ü", "offset": 11},
    ]
