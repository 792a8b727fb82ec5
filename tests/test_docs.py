"""A promise in the documentation is a tested fact: commands run, tables are fresh, the file tree is complete."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from curate.cli.main import main
from curate.execution.runner import survey
from curate.pipeline.explain import describe_plan, summaries
from curate.pipeline.spec import load
from curate.stages import STAGES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PLANS = Path(__file__).parent / "plans"


def stage_table() -> str:
    """The README's table of stages, made from the code."""
    rows = [f"| `{name}` | {text} |" for name, text in summaries(STAGES)]
    return "\n".join(["| stage | what it does |", "|---|---|", *rows])


def test_the_stage_table_is_fresh() -> None:
    between = README.split("<!-- stages -->")[1].strip()
    assert between == stage_table(), f"put this between the <!-- stages --> marks of README.md:\n{stage_table()}"


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 250


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-vllm.lock"])
def test_what_is_installed_is_all_that_is_needed(lock: str) -> None:
    """pip puts in what a lock file names and nothing else."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = {normalized(line) for line in (ROOT / lock).read_text().splitlines()}
    assert not {normalized(line) for line in needed} - locked


def normalized(requirement: str) -> str:
    """The name of a package, as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>\[; ]", requirement)[0]).lower()


def test_every_command_is_documented() -> None:
    for name in main.commands:
        assert f"curate {name}" in README, f"curate {name} is not in README.md"


def test_the_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, from the root of the repository; output goes to a folder of the test."""
    monkeypatch.chdir(ROOT)
    commands = re.findall(r"^\$ (curate .*)$", README, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        arguments = shlex.split(command.replace("out/quickstart", str(tmp_path / "quickstart")))[1:]
        if arguments[0] == "run":
            arguments.append("--inline")
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_the_quickstart_prints_what_the_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, ["run", "pipelines/quickstart.yaml", "--out", str(tmp_path / "out"), "--inline"])
    shown = README.split("<!-- quickstart -->")[1].strip().strip("`").strip()
    printed = result.stdout.replace(str(tmp_path / "out"), "out/quickstart")
    assert [line.rstrip() for line in printed.strip().splitlines()] == [line.rstrip() for line in shown.splitlines()[1:]]


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
