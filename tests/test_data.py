"""Names of shipped pipelines, scorers and tokenizers, and a folder to begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import curate
from curate.cli.main import main
from curate.config.options import relative_paths, resolve_paths
from curate.data import cache_folder, init_project, known_names, pipeline_path, scorer_path, tokenizer_path
from curate.errors import SpecError
from curate.pipeline.spec import load
from curate.stages.score.score import Score
from curate.stages.score.tokens import Tokens

ROOT = Path(__file__).parents[1]


def test_a_shipped_pipeline_has_a_name() -> None:
    assert load("quickstart") == load(str(ROOT / "pipelines" / "quickstart.yaml"))


def test_an_unknown_pipeline_is_told_with_those_that_are_known() -> None:
    with pytest.raises(SpecError, match=r"no pipeline 'quickstrt'\. Did you mean 'quickstart'\? .*Or give"):
        load("quickstrt")


def test_a_shipped_scorer_has_a_name(tmp_path: Path) -> None:
    shipped = str(ROOT / "scorers" / "preselect-mini-v1")
    assert scorer_path("preselect-mini-v1") == shipped
    assert resolve_paths(Score, {"scorer": "preselect-mini-v1"}, str(tmp_path)) == {"scorer": shipped}
    assert relative_paths(Score, {"scorer": shipped}, str(tmp_path)) == {"scorer": "preselect-mini-v1"}
    assert curate.load_scorer("preselect-mini-v1")(["some text"]).keys() == {"preselect"}


def test_a_shipped_tokenizer_has_a_name(tmp_path: Path) -> None:
    shipped = str(ROOT / "scorers" / "bpe-v1" / "tokenizer.json")
    assert tokenizer_path("bpe-v1") == shipped
    assert resolve_paths(Tokens, {"tokenizer": "bpe-v1"}, str(tmp_path)) == {"tokenizer": shipped}
    assert relative_paths(Tokens, {"tokenizer": shipped}, str(tmp_path)) == {"tokenizer": "bpe-v1"}


def test_a_scorer_in_the_cache_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path))
    for name in ("mine-v1", "preselect-mini-v1"):
        (tmp_path / "scorers" / name).mkdir(parents=True)
        (tmp_path / "scorers" / name / "card.md").write_text("---\n---\n")
        (tmp_path / "scorers" / name / "model.bin").write_text("")
    assert scorer_path("mine-v1") == str(tmp_path / "scorers" / "mine-v1")
    assert scorer_path("preselect-mini-v1") == str(ROOT / "scorers" / "preselect-mini-v1")
    assert "mine-v1" in known_names("scorer")


@pytest.mark.parametrize(
    "path", ["./quickstart", "../scorers/preselect-mini-v1", "a/b", "/quickstart", "..", "", "no-such-name"]
)
def test_what_is_no_known_name_is_a_path(path: str, tmp_path: Path) -> None:
    assert pipeline_path(path) == path
    assert scorer_path(path) is None
    expected = str((tmp_path / path).resolve())
    assert resolve_paths(Score, {"scorer": path}, str(tmp_path)) == {"scorer": expected}


def test_a_name_that_is_a_path_too_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file means must not depend on what else is shipped."""
    (tmp_path / "preselect-mini-v1").mkdir()
    with pytest.raises(SpecError, match=r"'preselect-mini-v1' is the name of a scorer .* write '\./preselect-mini-v1'\."):
        resolve_paths(Score, {"scorer": "preselect-mini-v1"}, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text("")
    with pytest.raises(SpecError, match=r"'quickstart' is the name of a pipeline .* write '\./quickstart'\."):
        pipeline_path("quickstart")


@pytest.mark.parametrize("cache", ["/proc/1/root", "/dev/null"])
def test_a_cache_that_cannot_be_read_knows_nothing(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURATE_CACHE", cache)
    assert scorer_path("nothing") is None
    assert scorer_path("n" * 300) is None
    assert pipeline_path("my.yaml") == "my.yaml"


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CURATE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert cache_folder() is None
    assert pipeline_path("my.yaml") == "my.yaml"


def test_a_scorer_that_is_nowhere_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("source: {parquet: {paths: x.parquet}}\nstages:\n  - score: {scorer: preselect-mini}\n")
    done = CliRunner().invoke(main, ["plan", str(tmp_path / "p.yaml")])
    assert done.exit_code == 1
    assert "is not there" in done.output and "By name: Did you mean 'preselect-mini-v1'?" in done.output


def test_a_new_project_is_sound_and_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "demo"
    written = init_project(str(target))
    assert written == ["README.md", "pipeline.yaml", "sample/crawl-00000.warc.gz", "sample/crawl-00001.warc.gz"]
    checked = CliRunner().invoke(main, ["check", str(target / "pipeline.yaml")])
    assert checked.exit_code == 0 and "All sound" in checked.output, checked.output
    assert load(str(target / "pipeline.yaml")).name == "demo"
    (target / "README.md").write_text("mine")
    for wrong in ("", "s3://bucket/demo", str(target / "README.md")):
        with pytest.raises(SpecError, match=r"is no folder|is a file"):
            init_project(wrong)
    with pytest.raises(SpecError, match=r"demo' is not empty\. Give a new folder"):
        init_project(str(target))
    assert (target / "README.md").read_text() == "mine"
