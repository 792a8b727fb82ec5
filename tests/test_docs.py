"""A promise in the documentation is a tested fact: commands run, generated pages are complete, figures are on record."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from curate.cli.main import main
from curate.config.registry import load_class
from curate.errors import SpecError
from curate.execution.runner import run_file, survey
from curate.pipeline.explain import describe_plan
from curate.pipeline.spec import load
from curate.sources import SOURCES
from curate.stages import STAGES
from curate.train.recipe import load_recipe

ROOT = Path(__file__).parents[1]
PLANS = Path(__file__).parent / "plans"
GENERATED = ("stages.md", "cli.md", "python-api.md")
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "pipelines/*.md", "scorers/*.md", "notebooks/*.md")
    for path in ROOT.glob(pattern)
    if path.name not in GENERATED
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and what the comment before it says: `file: NAME`, or `not run: WHY`."""

    note: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        return self.note.removeprefix("file: ") if self.note.startswith("file: ") else None


def blocks(page: str) -> list[Block]:
    pattern = r"(?:<!-- ([^\n]*) -->\n)?^```([\w-]*)\n(.*?)^```$"
    text = (ROOT / page).read_text()
    return [Block(*(part or "" for part in found)) for found in re.findall(pattern, text, re.MULTILINE | re.DOTALL)]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "quickstart"
    run_file("quickstart", out=str(out), inline=True)
    return out


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a checkout, where pages may write."""
    for name in ("pipelines", "scorers", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_and_snippets_of_a_page_run(
    page: str, workspace: Path, quickstart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page. README.md runs the quickstart itself; the other pages find it done."""
    if page != "README.md":
        shutil.copytree(quickstart, workspace / "out" / "quickstart")
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.file:
            write_file(workspace / block.file, block.text, monkeypatch)
        elif block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        elif not block.note.startswith("not run: "):
            for command, shown in commands(block):
                assert_runs(command, shown, workspace)


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a block that begin with `$ curate`, each with the output that the page shows."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        if command.startswith("curate "):
            yield command, shown


def assert_runs(command: str, shown: list[str], workspace: Path) -> None:
    """Run a command of `curate` in this process. The page shows paths as counted from where the reader is."""
    arguments = shlex.split(command)[1:]
    result = CliRunner().invoke(main, [*arguments, *(["--inline"] if arguments[0] == "run" else [])])
    assert result.exit_code == 0, f"{command}: {result.output}"
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line.rstrip()) + r" *\n" for line in shown)
    printed = result.stdout.replace(f"{workspace}/", "")
    assert not shown or re.fullmatch(pattern, printed), f"{command} prints:\n{printed}"


def write_file(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of a page. A pyproject.toml is installed too, as far as its entry points go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if path.name == "pyproject.toml":
        project = tomllib.loads(text)["project"]
        info = path.parent / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
        groups = project["entry-points"].items()
        lines = [line for group, points in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))]
        (info / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(path.parent))


YAML_BLOCKS = [(page, block.text) for page in PAGES for block in blocks(page) if block.language == "yaml"]


@pytest.mark.parametrize(("page", "text"), YAML_BLOCKS, ids=[f"{page}-{n}" for n, (page, _) in enumerate(YAML_BLOCKS)])
def test_the_yaml_of_a_page_has_known_names_only(page: str, text: str, tmp_path: Path) -> None:
    """A pipeline, a recipe, lines of `stages:`, or one `source:` a line. Files and models need not be there."""
    path = tmp_path / "page.yaml"
    path.write_text(text)
    lines = text.splitlines()
    if all(line.startswith("source: ") for line in lines):
        for line in lines:
            ((kind, options),) = yaml.safe_load(line)["source"].items()
            assert set(options) <= set(load_class(kind, SOURCES, "source").__dataclass_fields__)
        return
    if text.startswith("- "):
        path.write_text("source: {parquet: {paths: '*.parquet'}}\nstages:\n" + text)
    try:
        load_recipe(str(path)) if "\nkind: " in text else load(str(path))
    except SpecError as error:
        assert page == "docs/write-a-stage.md" or re.search("is not there|no such|matches no", str(error)), error


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that makes pages from the code."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_have_every_stage_and_command(generate: ModuleType) -> None:
    stages, cli = generate.stages_page(), generate.cli_page()
    assert [name for name in STAGES if f"\n### {name}\n" not in stages] == []
    assert [name for name in main.commands if f"\n### curate {name}\n" not in cli] == []
    assert "| `min_words` | whole number 0.. or null | `50` |" in stages


def test_generated_pages_have_the_public_api(generate: ModuleType) -> None:
    import curate
    import curate.api

    page = generate.api_page()
    names = [f"curate.{name}" for name in curate.__all__] + ["curate.api.Stage", "curate.api.drop_where"]
    assert [name for name in names if f"### {name}\n" not in page] == []
    assert [name for name in curate.api.__all__ if f"### curate.api.{name}\n" not in page and f"\n- `{name}`" not in page] == []


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("pipelines", "tests"):  # pages include pictures and figures
        (tmp_path / name).symlink_to(ROOT / name)
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "docs", "site"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "stages.html").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    missing = [link for link in links if "://" not in link and not (folder / link).exists() and link not in GENERATED]
    assert missing == []


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^([\w-]+)$", (ROOT / "docs/index.md").read_text(), re.MULTILINE))
    written = {Path(page).stem for page in PAGES if page.startswith("docs/")} | {Path(name).stem for name in GENERATED}
    assert listed == written - {"index"}


def test_every_room_is_in_the_architecture() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    rooms = {f"{path.parent.name}/" for path in (ROOT / "curate").glob("*/__init__.py")}
    modules = {path.name for path in (ROOT / "curate").glob("*.py")} - {"__init__.py"}
    assert [name for name in sorted(rooms | modules) if f"`{name}`" not in page] == []


def test_make_targets_of_pages_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = "\n".join((ROOT / page).read_text() for page in PAGES)
    named = set(re.findall(r"(?:`|^)make ([\w-]+)", pages, re.MULTILINE))
    assert named - targets == set()


def test_figures_of_the_readme_are_on_record() -> None:
    """Every number of its table of benchmarks, and the commit, stand in RESULTS.md."""
    table = (ROOT / "README.md").read_text().split("## Benchmarks")[1].split("## ")[0]
    record = (ROOT / "tests/bench/RESULTS.md").read_text()
    figures = [row.split("|")[2] for row in table.splitlines() if row.startswith("| ")][1:]
    assert len(figures) == 5
    for figure in figures:
        numbers = re.findall(r"(?<![\w.-])[\d,.]*\d|[0-9a-f]{7}(?=,)", re.sub(r"`[^`]*`|target", "", figure))
        assert [number for number in numbers if number not in record] == [], figure


def test_what_is_installed_is_all_that_is_needed() -> None:
    """pip puts in what a lock file names and nothing else."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = {normalized(line) for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert not {normalized(line) for line in needed} - locked


def normalized(requirement: str) -> str:
    """The name of a package, as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>\[; ]", requirement)[0]).lower()


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plan_of_a_shipped_pipeline_is_the_recorded_one(path: Path, tmp_path: Path) -> None:
    """Every default spelled out; UPDATE_GOLDEN=1 records it anew."""
    source = tmp_path / "source.yaml"
    source.write_text(f"source: {{warc: {{paths: '{ROOT}/pipelines/sample/*.warc.gz'}}}}\n")
    plan = describe_plan(*survey(load(str(path), source_file=str(source)))).replace(str(ROOT), "")
    golden = PLANS / f"{path.stem}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(plan + "\n")
    assert golden.read_text() == plan + "\n"
