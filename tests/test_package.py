"""The wheel, installed into an empty environment elsewhere: what a user has who never saw the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from curate.version import VERSION

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what its light base needs, by the lock."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", folder)
    locked = [line.split()[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if " light" in line]
    (folder / "light.txt").write_text("\n".join(locked))
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    call(*pip, "--constraint", folder / "light.txt", wheel)
    return folder / "bin"


def test_the_wheel_holds_what_a_user_needs_away_from_a_checkout(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = [
        "py.typed", "data/pipelines/quickstart.yaml", "data/pipelines/sample/crawl-00000.warc.gz",
        "data/scorers/bpe-v1/tokenizer.json", "data/scorers/preselect-mini-v1/model.bin",
        "data/scorers/prox-mini-v1/model.safetensors", "report/templates/run.html", "text/words/word_break.txt",
    ]  # fmt: skip
    assert [name for name in wanted if f"curate/{name}" not in names] == []
    shipped = {path.name for path in (ROOT / "pipelines").glob("*.yaml")}
    assert {name.removeprefix("curate/data/pipelines/") for name in names if name.endswith(".yaml")} >= shipped
    assert not [name for name in names if name.endswith((".html", ".png", ".pyc")) and "/templates/" not in name]
    assert wheel.name.startswith(f"curate_data-{VERSION}-") and wheel.stat().st_size < 20e6


def test_a_first_corpus_and_its_report(binaries: Path, tmp_path: Path) -> None:
    assert call(binaries / "curate", "--version") == f"curate {VERSION}, distribution curate-data\n"
    call(binaries / "curate", "init", "demo", cwd=tmp_path)
    demo = tmp_path / "demo"
    out = call(binaries / "curate", "run", "pipeline.yaml", "--out", "out", cwd=demo)
    assert "328 documents in, 49 out" in out
    call(binaries / "curate", "report", "out", cwd=demo)
    assert "<svg" in (demo / "out" / "report.html").read_text()
    assert "All sound" in call(binaries / "curate", "check", "quickstart", cwd=tmp_path)


def test_the_light_base_has_no_torch_and_says_what_to_install(binaries: Path, tmp_path: Path) -> None:
    call(
        binaries / "python", "-c", "import importlib.util as u; assert not any(map(u.find_spec, ['torch', 'flask', 'duckdb']))"
    )
    call(binaries / "curate", "init", "demo", cwd=tmp_path)
    call(binaries / "curate", "run", "pipeline.yaml", "--out", "out", "--limit", "40", "--inline", cwd=tmp_path / "demo")
    done = subprocess.run([binaries / "curate", "diff", "out", "out"], cwd=tmp_path / "demo", capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "error: this needs the package 'duckdb', which is not installed. Install it: pip install 'curate-data[serve]'\n"
    )
