"""Notebooks run from top to bottom, and print what they show; figures are not compared."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w./:<])/(?:[\w.@-]+/)+|\b[A-Z]:\\")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""All that is stored of where a notebook ran."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def execute(path: Path, folder: Path) -> Any:
    """The notebook as a fresh kernel leaves it. Raises CellExecutionError where a cell fails.

    It runs in a folder that has what it needs of the repository, and so writes nothing into that.
    """
    (folder / "notebooks").mkdir(parents=True)
    for name in ("pipelines", "scorers", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    importlib.import_module("matplotlib.font_manager")  # builds a cache the first time, and may say so; not in the notebook
    notebook = read(path)
    place = {"metadata": {"path": str(folder / "notebooks")}}
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=300, record_timing=False, coalesce_streams=True, resources=place
    )
    client.execute()
    notebook.metadata = METADATA  # execution adds the version of Python, and editors more
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def shown(notebook: Any) -> list[list[str]]:
    """The text that every code cell shows, figures by their size."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[output.get("text") or output.data["text/plain"] for output in cell.outputs] for cell in cells]


@pytest.mark.slow
@every_notebook
def test_a_notebook_prints_what_it_shows(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UPDATE_GOLDEN=1 stores the outputs anew."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # no start-up files of a user
    monkeypatch.delenv("MPLBACKEND", raising=False)
    fresh = execute(path, tmp_path / "repository")
    if os.environ.get("UPDATE_GOLDEN"):
        nbformat.write(fresh, path)  # type: ignore[no-untyped-call]
    assert shown(fresh) == shown(read(path)), "run with UPDATE_GOLDEN=1, and read the prose again"


@every_notebook
def test_a_notebook_does_not_say_where_it_ran(path: Path) -> None:
    notebook = read(path)
    assert notebook.metadata == METADATA and all(cell.metadata == {} for cell in notebook.cells)
    text = "\n".join([*(cell.source for cell in notebook.cells), *(line for cell in shown(notebook) for line in cell)])
    assert ABSOLUTE.findall(text) == []


def test_a_path_of_a_machine_is_told_from_an_address() -> None:
    assert ABSOLUTE.search("see /home/me/out/x") and ABSOLUTE.search("'/tmp/a'") and ABSOLUTE.search(r"C:\Users")
    assert not ABSOLUTE.search("https://a.example/b/c ../../pipelines/x and/or <b>x</b> texts/data")
